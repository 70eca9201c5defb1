"""All checks are run, each within its time, and whatever happens to one of them happens to it alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import attrs
import click
import pytest

from appliance.doctor import examination, report
from appliance.doctor.examination import Progress, examine, failed
from appliance.doctor.patient import Check, Patient
from appliance.doctor.table import TABLE
from quay.condition import Finding, State, fine, remarkable, wrong
from tests.unit.appliance.doctor.patients import machine, patient


def checks(**looks: object) -> list[Check]:
    return [Check(name, f"about {name}", 60, look) for name, look in looks.items()]  # type: ignore[arg-type]


def good(whom: Patient) -> Iterator[Finding]:
    yield fine("It is good.")


def bad(whom: Patient) -> Iterator[Finding]:
    yield fine("The one half is good.")
    yield wrong("The other is bad.", "mend it", "/docs/runbooks#disk-full")


def refused(whom: Patient) -> Iterator[Finding]:
    yield from ()
    raise PermissionError(13, "Permission denied", "/etc/shadow")


def faint(whom: Patient) -> Iterator[Finding]:
    yield fine("So far, so good.")
    raise RuntimeError("password=hunter2")


def test_their_order(tmp_path: Path) -> None:
    """Findings are told in the order of the checks, and progress as they end."""
    told: list[Progress] = []
    found = examine(patient(tmp_path), checks(first=good, second=bad, third=good), told.append)
    assert [one.check.name for one in found] == ["first", "second", "third"]
    assert [len(one.findings) for one in found] == [1, 2, 1]
    assert [progress.done for progress in told] == [0, 1, 2, 3]
    assert failed(found)
    assert not failed(found[:1])


def test_what_may_not_be_seen(tmp_path: Path) -> None:
    """It is named, and nothing is wrong."""
    (one,) = examine(patient(tmp_path), checks(refused=refused))
    assert [finding.state for finding in one.findings] == [State.UNSEEN]
    assert "/etc/shadow may not be looked at by this user" in one.findings[0].sentence


def test_one_that_faints(tmp_path: Path) -> None:
    """What nobody foresaw is wrong; its words, in which there may be a secret, are kept back."""
    one, other = examine(patient(tmp_path), checks(faint=faint, good=good))
    assert [finding.state for finding in one.findings] == [State.FINE, State.WRONG]
    assert "RuntimeError in test_examination.py" in one.findings[1].sentence
    assert "hunter2" not in str(one)
    assert [finding.state for finding in other.findings] == [State.FINE]


def test_one_that_does_not_end(tmp_path: Path) -> None:
    """It is given up; what it had found counts, and the others are not held up."""
    never = threading.Event()

    def stuck(whom: Patient) -> Iterator[Finding]:
        yield remarkable("It begins.")
        never.wait()

    table = [
        attrs.evolve(check, seconds=0.0) if check.name == "stuck" else check for check in checks(stuck=stuck, good=good)
    ]
    try:
        one, other = examine(patient(tmp_path), table)
    finally:
        never.set()
    assert one.findings[-1].state is State.UNSEEN
    assert "did not end within 0 seconds" in one.findings[-1].sentence
    assert [finding.state for finding in other.findings] == [State.FINE]


def test_more_than_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few run side by side, all of them run."""
    monkeypatch.setattr(examination, "AT_ONCE", 1)
    assert all(one.findings for one in examine(patient(tmp_path), checks(a=good, b=bad, c=good)))


def test_a_broken_configuration(tmp_path: Path) -> None:
    """Only the machine can be looked at; no check that needs the configuration guesses."""
    whom = attrs.evolve(patient(tmp_path, machine(tmp_path / "machine")), broken=("LISTEN: is nothing.",))
    for one in examine(whom, TABLE):
        if not one.check.machine:
            assert [finding.sentence for finding in one.findings] == [
                "This needs the configuration, which cannot be used."
            ]
    assert failed(examine(whom, TABLE))


def test_a_report(tmp_path: Path) -> None:
    """What is fine is a word, what is not is a sentence with its fix in one piece, and where to read more."""
    found = examine(patient(tmp_path), checks(first=good, second=bad))
    lines = list(report.plain(found, base="https://here", details=False))
    assert click.unstyle("\n".join(lines)) == (
        "        fine  first: about first\n"
        "       wrong  second: The other is bad.\n"
        "              $ mend it\n"
        "              https://here/docs/runbooks#disk-full\n"
        "\n"
        "1 wrong, 2 fine."
    )


def test_a_name_that_would_do_something(tmp_path: Path) -> None:
    """What others have named reaches no terminal as it is."""

    def hostile(whom: Patient) -> Iterator[Finding]:
        yield wrong("Held by \x1b]0;x\x07 (process 1).", "ps \x9b2J")

    lines = click.unstyle(
        "\n".join(report.plain(examine(patient(tmp_path), checks(one=hostile)), base="", details=True))
    )
    assert "Held by ?]0;x? (process 1)." in lines
    assert "$ ps ?2J" in lines


def test_a_report_for_machines(tmp_path: Path) -> None:
    """It has everything, fine or not."""
    value = report.machine(examine(patient(tmp_path), checks(second=bad)))
    assert value["well"] is False
    assert value["findings"][1] == {
        "check": "second",
        "state": "wrong",
        "sentence": "The other is bad.",
        "fix": "mend it",
        "link": "/docs/runbooks#disk-full",
    }
