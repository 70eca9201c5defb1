"""What is said of the backups of an installation: whether there are any, how old the last is, whether it is good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest

from quay.backups import Folder, Record, Verified
from quay.backups.record import File
from quay.condition import Finding, State
from quay.condition.backups import backups, remembered_backups
from quay.config import parse

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
FILE = File("database.sqlite", 1, "0" * 64)
RECORD = Record(
    name="",
    installation="ours",
    version="1.0",
    made_ms=0,
    seconds=1.0,
    engine="sqlite",
    schema=4,
    data="/srv/quay",
    storage={},
    database=FILE,
    listing=FILE,
    files=[],
    holds_blobs=True,
    blobs=7,
    size=70,
    copied=70,
    lost=0,
    missing=[],
    uploads=0,
    held={"tags": 3, "repositories": 2},
)


def made(directory: Path, ago: timedelta, **facts: int) -> Path:
    """A backup of so long ago."""
    folder = Folder(directory)
    folder.acquire()
    draft = folder.begin(NOW - ago)
    attrs.evolve(RECORD, made_ms=int((NOW - ago).timestamp() * 1000), **facts).write(draft)
    folder.release()
    return folder.publish(draft)


def found(tmp_path: Path, **keys: object) -> list[Finding]:
    settings = {"BACKUP_DIRECTORY": str(tmp_path / "backups"), **keys}
    return list(backups(parse(str(settings), {}, tmp_path), NOW))


def test_nobody_makes_any(tmp_path: Path) -> None:
    """An installation without a directory for them is told that it has no backups."""
    [finding] = backups(parse("", {}, tmp_path), NOW)
    assert finding.state is State.REMARKABLE and finding.sentence.startswith("No backups are made")


def test_none_yet(tmp_path: Path) -> None:
    """It is wrong that there is none where the server should have made one, and else remarkable."""
    assert [one.state for one in found(tmp_path)] == [State.WRONG]
    assert [one.state for one in found(tmp_path, BACKUP_SCHEDULE=[])] == [State.REMARKABLE]


def test_a_good_one(tmp_path: Path) -> None:
    """A backup of this night that somebody has verified is fine."""
    path = made(tmp_path / "backups", timedelta(hours=10))
    Verified(ms=int(NOW.timestamp() * 1000), problems=0).write(path)
    assert [one.state for one in found(tmp_path)] == [State.FINE, State.FINE]


@pytest.mark.parametrize(
    ("ago", "facts", "problems", "states"),
    [
        (10, {}, None, [State.FINE, State.REMARKABLE]),
        (60, {}, None, [State.WRONG, State.REMARKABLE]),
        (10, {"lost": 2}, None, [State.WRONG, State.REMARKABLE]),
        (10, {}, 3, [State.FINE, State.WRONG]),
    ],
    ids=["never verified", "too old", "lacks blobs", "damaged"],
)
def test_what_is_not_well(
    tmp_path: Path, ago: int, facts: dict[str, int], problems: int | None, states: list[State]
) -> None:
    """Each has its sentence, and what mends it."""
    path = made(tmp_path / "backups", timedelta(hours=ago), **facts)
    if problems is not None:
        Verified(ms=int(NOW.timestamp() * 1000), problems=problems).write(path)
    findings = found(tmp_path)
    assert [one.state for one in findings] == states
    assert all(one.fix for one in findings if one.state is not State.FINE)


def test_a_directory_that_cannot_be_read(tmp_path: Path) -> None:
    """A disk that is not there, say."""
    (tmp_path / "backups").write_bytes(b"")
    assert [one.state for one in found(tmp_path)] == [State.WRONG]


def test_verified_long_ago(tmp_path: Path) -> None:
    """What was good months ago may be good no longer."""
    path = made(tmp_path / "backups", timedelta(hours=1))
    Verified(ms=int((NOW - timedelta(days=90)).timestamp() * 1000), problems=0).write(path)
    assert [one.state for one in found(tmp_path)] == [State.FINE, State.REMARKABLE]


MADE = {"ms": (NOW - timedelta(hours=10)).timestamp() * 1000, "lost": 0, "blobs": 7, "directory": "/b", "name": "n"}
GOOD = {"ms": NOW.timestamp() * 1000, "name": "n", "problems": 0}


@pytest.mark.parametrize(
    ("remembered", "states"),
    [
        ({}, [State.WRONG]),
        ({"made": MADE}, [State.FINE, State.REMARKABLE]),
        ({"made": MADE, "verified": GOOD}, [State.FINE, State.FINE]),
        ({"made": MADE | {"lost": 1}, "verified": GOOD | {"problems": 2}}, [State.WRONG, State.WRONG]),
    ],
    ids=["none", "never verified", "good", "not good"],
)
def test_what_a_server_remembers(tmp_path: Path, remembered: dict[str, dict[str, object]], states: list[State]) -> None:
    """It says the same of them without looking at their disk, which may be one that does not answer."""
    config = parse("{BACKUP_DIRECTORY: /nowhere}", {}, tmp_path)
    assert [one.state for one in remembered_backups(config, NOW, remembered)] == states
    [nobody] = remembered_backups(parse("", {}, tmp_path), NOW, remembered)
    assert nobody.state is State.REMARKABLE
