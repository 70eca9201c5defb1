"""Installations for the doctor: a data directory of a test's own, on a machine that says what the test wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from appliance.doctor.patient import Host, Patient, Said
from appliance.doctor.table import TABLE
from quay.condition import Finding, State
from quay.condition.clock import Kept
from quay.config import parse

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
IN_STEP = Kept(True, 0.01)


def machine(
    root: Path,
    files: Mapping[str, str] | None = None,
    *,
    dns: Mapping[str, Iterable[str]] | None = None,
    reverse: Mapping[str, str] | None = None,
    own: Iterable[str] = ("127.0.0.1", "10.0.0.5"),
    programs: Mapping[str, Said] | None = None,
    environ: Mapping[str, str] | None = None,
    now: datetime = NOW,
    kept: Kept | None = IN_STEP,
    uid: int = 0,
) -> Host:
    """A machine with these files below `root`, names, and programs by the beginning of their command."""
    for place, text in (files or {}).items():
        path = root / place.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    known = {name: tuple(found) for name, found in (dns or {}).items()}

    def addresses(name: str) -> tuple[str, ...]:
        if name not in known:
            raise OSError(-2, "Name or service not known")
        return known[name]

    def run(command: tuple[str, ...]) -> Said | None:
        text = " ".join(command)
        return next((said for begin, said in (programs or {}).items() if text.startswith(begin)), None)

    return Host(
        environ=environ or {},
        root=root,
        addresses=addresses,
        name=lambda address: (reverse or {}).get(address),
        own_addresses=lambda: tuple(own),
        run=run,
        now=lambda: now,
        kept=lambda: kept,
        uid=uid,
    )


def patient(tmp_path: Path, host: Host | None = None, **keys: Any) -> Patient:
    """An installation with these keys; its data directory is there."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700, exist_ok=True)
    config = parse(yaml.safe_dump(keys), {}, tmp_path, data="data")
    return Patient(config, host or machine(tmp_path / "machine"))


Look = Callable[[Patient], Iterable[Finding]]


def states(look: Look, whom: Patient) -> list[tuple[State, str]]:
    """What was found, without fixes."""
    return [(finding.state, finding.sentence) for finding in look(whom)]


def only(look: Look, whom: Patient, state: State) -> Finding:
    """The one finding of this state."""
    found = list(look(whom))
    wanted = [finding for finding in found if finding.state is state]
    assert len(wanted) == 1, found
    return wanted[0]


def well(look: Look, whom: Patient) -> bool:
    """Whether everything is fine, and something was looked at."""
    found = list(look(whom))
    return bool(found) and all(finding.state is State.FINE for finding in found)


def look_of(name: str) -> Look:
    """What the check of this name looks with."""
    return next(check.look for check in TABLE if check.name == name)
