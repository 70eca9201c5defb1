"""The disks: their room and its forecast, and of what kind they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from appliance.doctor.patient import Patient
from quay.condition import Finding, disk, unseen
from quay.condition.whole import places
from quay.database.examination import reading
from quay.database.probe import DatabaseUnfit
from quay.model.holdings import grown

MONTH_D: Final = 30


def look(patient: Patient) -> Iterator[Finding]:
    """Each disk on which the registry stands."""
    config = patient.config
    if not patient.exists:
        yield unseen(f"{config.data} is not there yet: the server makes it when it starts.", "quay serve")
        return
    daily = _daily(patient)
    for place in places(config):
        yield from disk.room(place, daily)
        yield from disk.kind(
            place,
            database=config.database_uri.is_sqlite and place == config.data,
            table=patient.host.path("/proc/self/mountinfo"),
        )


def _daily(patient: Patient) -> float:
    """How many bytes came in a day in the last month; 0 where nobody can say."""
    since_ms = int(patient.host.now().timestamp() * 1000) - MONTH_D * 86_400_000
    try:
        return reading(patient.config.database_url, grown, since_ms) / MONTH_D
    except DatabaseUnfit:
        return 0.0
