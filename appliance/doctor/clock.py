"""Time: whether the clock can be right, whether something keeps it so, and what the server's own answers say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from appliance.doctor import reach
from appliance.doctor.patient import Patient
from quay.condition import Finding, clock, fine, remarkable


def look(patient: Patient) -> Iterator[Finding]:
    """The machine's clock, then the server's."""
    now = patient.host.now()
    yield from clock.plausible(now, _written(patient))
    yield clock.in_step(patient.host.kept())
    if not patient.broken and patient.server is not None:
        yield from _skew(patient)


def _written(patient: Patient) -> Iterator[Path]:
    """What the server writes all the time, and once."""
    for name in ("quay.db-wal", "quay.db", "server.lock", "quay.yaml"):
        yield patient.config.data / name


def _skew(patient: Patient) -> Iterator[Finding]:
    for url in reach.urls(patient)[-1:]:  # the name that clients use, behind which there may be a proxy
        try:
            answer = reach.ask(url, "/v2/", reach.trust_of(patient.config))
        except reach.Unreached:
            continue  # the check of the ports says so
        said = answer.date
        if said is None:
            continue
        skew = abs(said - patient.host.now())
        if skew > clock.LEEWAY:
            yield remarkable(
                f"{url} says that it is {said:%Y-%m-%d %H:%M:%S} UTC, {_minutes(skew)} off from here.",
                "timedatectl",
                clock.WRONG_CLOCK,
            )
        else:
            yield fine(f"The answers of {url} have the time of this machine.")


def _minutes(skew: timedelta) -> str:
    return f"{skew.total_seconds() / 60:,.0f} minutes"
