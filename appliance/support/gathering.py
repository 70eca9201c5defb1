"""What goes into a bundle: each part a text, made from what the machine and the installation say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Final

import attrs
import click
import yaml

from appliance.doctor import reach, report, system
from appliance.doctor.examination import Progress, examine
from appliance.doctor.patient import Patient
from appliance.doctor.table import TABLE
from appliance.layout import UNIT
from appliance.support.redaction import Redaction
from appliance.support.settings import shown
from quay import __version__
from quay.database import Transaction
from quay.database.examination import reading, tables
from quay.database.migrations import status_of
from quay.database.probe import DatabaseUnfit
from quay.database.schema import SCHEMA, SCHEMA_COMPAT

LINES: Final = 5000
"""Of the log."""
LONGEST: Final = 8 * 1024 * 1024
"""Characters of one part."""
COUNTING_S: Final = 10.0
PACKAGE: Final = "quay-on-one-reactor"


@attrs.frozen
class Part:
    """A file of the bundle: its name, what it is, and its text; `free` if others than this program have written it."""

    name: str
    about: str
    text: str = attrs.field(repr=False)
    free: bool = False


def gather(patient: Patient, tell: Callable[[Progress], object] = lambda progress: None) -> list[Part]:
    """All parts. Waits as long as the doctor does."""
    hide = Redaction.of(patient.config)
    return [attrs.evolve(part, text=_hidden(hide, part)[-LONGEST:]) for part in _parts(patient, tell)]


def _hidden(hide: Redaction, part: Part) -> str:
    text = hide.known(part.text)
    return hide.alike(text) if part.free else text


def _parts(patient: Patient, tell: Callable[[Progress], object]) -> Iterator[Part]:
    examined = examine(patient, TABLE, tell)
    told = "\n".join(report.plain(examined, base="", details=True))
    yield Part("doctor.txt", "what the doctor has found", click.unstyle(told) + "\n")
    yield Part("doctor.json", "the same for machines", report.as_json(examined) + "\n")
    yield Part("versions.json", "the versions of everything", _json(_versions(patient)))
    yield Part("configuration.yaml", "the configuration, with *** for every secret", _configuration(patient))
    yield Part("database.json", "its schema, and how many rows each table has", _json(_database(patient)))
    for part in (_metrics(patient), _log(patient)):
        if part is not None:
            yield part


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _versions(patient: Patient) -> dict[str, Any]:
    return {**system.facts(patient), "schema": SCHEMA, "schema_compat": SCHEMA_COMPAT, "packages": _packages()}


def _packages() -> dict[str, str]:
    try:
        needed = [line.split(";")[0].strip() for line in requires(PACKAGE) or () if "extra ==" not in line]
    except PackageNotFoundError:
        return {}
    names = [line.split("[")[0].split(">")[0].split("<")[0].split("=")[0].split("!")[0].strip() for line in needed]
    return {name: found for name in names if (found := _version(name))}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _configuration(patient: Patient) -> str:
    if patient.broken:
        return "".join(f"# {problem}\n" for problem in patient.broken)
    head = f"# {patient.file or 'no file: the defaults'}, Quay {__version__}\n"
    variables = sorted(name for name in patient.host.environ if name.startswith("QUAY_"))
    named = f"# set by the environment: {', '.join(variables) or 'nothing'}\n"
    text: str = yaml.safe_dump(shown(patient.config), sort_keys=True, allow_unicode=True)
    return head + named + text


def _database(patient: Patient) -> dict[str, Any]:
    uri = patient.config.database_uri
    if uri.is_sqlite and not Path(uri.place).exists():
        return {"place": uri.place, "there": False}
    try:
        return {"place": uri.place, **reading(patient.config.database_url, _counted)}
    except DatabaseUnfit as unfit:
        return {"place": uri.place, "problem": str(unfit)}


def _counted(txn: Transaction) -> dict[str, Any]:
    status = status_of(txn.connection)
    return {"engine": txn.dialect, "schema": status.schema, "compat": status.compat, "rows": tables(txn, COUNTING_S)}


def _metrics(patient: Patient) -> Part | None:
    """What the server measures, if it runs and shows it to this machine."""
    if patient.broken or patient.server is None:
        return None
    for url in reach.urls(patient):
        try:
            answer = reach.ask(url, "/metrics", reach.trust_of(patient.config), limit=LONGEST)
        except reach.Unreached:
            continue
        if answer.status == 200:
            return Part("metrics.txt", "what the server measures", answer.body.decode("utf-8", "replace"))
    return None


def _log(patient: Patient) -> Part | None:
    """The end of the log, where it is in the journal of systemd."""
    said = patient.host.run(("journalctl", f"--unit={UNIT}", f"--lines={LINES}", "--no-pager", "--output=short-iso"))
    if said is None or said.status or not said.text.strip() or "-- No entries --" in said.text:
        return None
    return Part("log.txt", f"the last {LINES:,} lines of the server's log at most", said.text, free=True)
