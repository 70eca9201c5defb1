"""Room, kind and speed of a disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.doctor.disk import look
from appliance.doctor.speed import speed
from quay.condition import State, disk
from quay.condition.disk import Room
from quay.condition.whole import places
from tests.unit.appliance.doctor.patients import look_of, machine, only, patient

GIB = 1024**3
MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:5 / /proc rw - proc proc rw
30 22 254:1 / /srv rw,noatime - {kind} {source} {options}
31 30 254:2 / /srv/with\\040blank rw - xfs /dev/vdc rw
"""


def table(tmp_path: Path, kind: str = "ext4", options: str = "rw") -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS.format(kind=kind, source="/dev/vdb", options=options))
    return path


def test_which_mount(tmp_path: Path) -> None:
    """It is the deepest one around a path, also where its name has a blank."""
    mounts = table(tmp_path)
    assert [
        str(found.point)
        for path in ("/srv/quay", "/srv/with blank/x", "/srvother", "/")
        if (found := disk.mount_of(Path(path), mounts))
    ] == ["/srv", "/srv/with blank", "/", "/"]


@pytest.mark.parametrize(
    ("kind", "database", "state"),
    [
        ("ext4", True, State.FINE),
        ("xfs", False, State.FINE),
        ("tmpfs", False, State.WRONG),
        ("nfs4", True, State.WRONG),
        ("nfs4", False, State.REMARKABLE),
        ("cifs", True, State.WRONG),
        ("overlay", True, State.REMARKABLE),
    ],
)
def test_kinds(tmp_path: Path, kind: str, database: bool, state: State) -> None:
    """SQLite does not belong on a network file system, and nothing belongs into memory."""
    (finding,) = disk.kind(Path("/srv/quay"), database=database, table=table(tmp_path, kind))
    assert finding.state is state
    assert (finding.link == "") is (state is State.FINE)


def test_read_only(tmp_path: Path) -> None:
    """As the kernel leaves a disk that fails."""
    wrong, _ = disk.kind(Path("/srv/quay"), database=True, table=table(tmp_path, options="ro"))
    assert wrong.state is State.WRONG
    assert wrong.fix == "mount -o remount,rw /srv"


@pytest.mark.parametrize(
    ("room", "daily", "found"),
    [
        (Room(100 * GIB, 50 * GIB, 10**6, 10**6), 0, [State.FINE, State.FINE]),
        (Room(100 * GIB, 5 * GIB, 10**6, 10**6), 0, [State.REMARKABLE, State.FINE]),
        (Room(100 * GIB, GIB // 2, 10**6, 10**6), 0, [State.WRONG, State.FINE]),
        (Room(100 * GIB, 50 * GIB, 10**6, 10**6), 2 * GIB, [State.REMARKABLE, State.FINE]),
        (Room(100 * GIB, 50 * GIB, 10**6, 10**6), GIB // 2, [State.FINE, State.FINE]),
        (Room(100 * GIB, 50 * GIB, 10**6, 20_000), 0, [State.FINE, State.REMARKABLE]),
        (Room(100 * GIB, 50 * GIB, 10**6, 10), 0, [State.FINE, State.WRONG]),
        (Room(100 * GIB, 50 * GIB, 0, 0), 0, [State.FINE]),
    ],
)
def test_room(monkeypatch: pytest.MonkeyPatch, room: Room, daily: float, found: list[State]) -> None:
    """Bytes and inodes are looked at apart; what comes in each day says how long it will do."""
    monkeypatch.setattr(disk, "room_of", lambda path: room)
    assert [finding.state for finding in disk.room(Path("/srv"), daily)] == found


def test_the_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told in days, but not for a time that nobody foresees."""
    monkeypatch.setattr(disk, "room_of", lambda path: Room(100 * GIB, 46 * GIB, 0, 0))
    (finding,) = disk.room(Path("/srv"), 1000.0)
    assert "days" not in finding.sentence
    (finding,) = disk.room(Path("/srv"), 2 * GIB)
    assert finding.sentence == (
        "/srv has 46.0 GiB free of 100.0 GiB (46%), and is full in 23 days if pushes go on as in the last month."
    )


def test_speed_leaves_nothing(tmp_path: Path) -> None:
    """Both measures are taken, and the directory is as empty as before."""
    found = [finding.sentence for finding in speed(tmp_path)]
    assert [word in sentence for word, sentence in zip(("is safe after", "a second"), found, strict=True)] == [True] * 2
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_has_no_nameless_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a file with a name is made, and removed before anything is written."""
    opened = os.open

    def refusing(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refusing)
    assert len(list(speed(tmp_path))) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes that are safe late are wrong or remarkable, by how late."""
    from appliance.doctor import speed as module

    for taken, state in (([2.0], State.WRONG), ([0.05], State.REMARKABLE), ([0.001], State.FINE)):
        monkeypatch.setattr(module, "_syncs", lambda descriptor, taken=taken: taken)
        first, *_ = speed(tmp_path)
        assert first.state is state


def test_no_data_directory(tmp_path: Path) -> None:
    """Before the first start there is nothing to look at, and nothing is made."""
    whom = patient(tmp_path, machine(tmp_path))
    whom.config.data.rmdir()
    for each in (look, look_of("speed")):
        assert only(each, whom, State.UNSEEN).fix == "quay serve"
    assert not whom.config.data.exists()


def test_one_file_system_once(tmp_path: Path) -> None:
    """Locations on the disk of the data are not looked at twice, and those that are not there not at all."""
    there, missing = [["LocalStorage", {"storage_path": name}] for name in ("there", "missing")]
    whom = patient(tmp_path, DISTRIBUTED_STORAGE_CONFIG={"there": there, "missing": missing})
    (whom.config.data / "there").mkdir()
    assert places(whom.config) == (whom.config.data,)
