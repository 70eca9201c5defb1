"""An installation as it would be, and what stands in its way."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from appliance import systemd
from appliance.layout import PACKAGED, Layout, point
from appliance.planning import Wish, obstacles, planned
from appliance.programs import Program
from appliance.state import State
from quay import __version__
from quay.config import Endpoint
from quay.config.values import Hostname
from quay.lock import DataLock
from quay.setup import checks

PROGRAM = Program(None, ("/usr/bin/python3",), Path("/usr/bin/quay"))
DATA = Path("/srv/quay")


@pytest.fixture
def image(tmp_path: Path) -> Layout:
    """The file system of another machine."""
    return Layout(tmp_path)


def problems(layout: Layout, **wish: object) -> list[str]:
    return list(obstacles(planned(layout, PROGRAM, Wish(**wish))))  # type: ignore[arg-type]


def here(layout: Layout) -> Path:
    """The data directory, made."""
    made = layout.here(DATA)
    made.mkdir(parents=True, exist_ok=True)
    return made


def test_nothing_in_the_way(image: Layout) -> None:
    """An image needs no systemd, no free port, and no configuration: its first start makes that."""
    plan = planned(image, PROGRAM, Wish())
    assert list(obstacles(plan)) == []
    assert (plan.data, plan.beginning, plan.before, plan.writable()) == (Path("/var/lib/quay"), None, None, ())


def test_what_is_installed_is_known(image: Layout) -> None:
    """Where the data are, and what was asked for, has not to be said again; elsewhere they cannot be at once."""
    State(version="0.0.1", writable=(Path("/mnt/blobs"),)).keep(here(image))
    point(image.pointer, DATA)
    plan = planned(image, PROGRAM, Wish(writable=(Path("/mnt/more"),)))
    assert (plan.data, plan.before) == (DATA, "0.0.1")
    assert plan.writable() == (Path("/mnt/blobs"), Path("/mnt/more"))
    assert problems(image, data=DATA) == []
    assert "are in /srv/quay" in problems(image, data=Path("/srv/other"))[0]


def test_what_the_configuration_names(image: Layout) -> None:
    """Directories that the configuration names outside of the data are written to as well; those inside are anyway."""
    (here(image) / "quay.yaml").write_text(
        "DATA: .\nBACKUP_DIRECTORY: /mnt/backups\n"
        "DISTRIBUTED_STORAGE_CONFIG: {default: [LocalStorage, {storage_path: /mnt/blobs}]}\n"
    )
    assert planned(image, PROGRAM, Wish(data=DATA)).writable() == (Path("/mnt/blobs"), Path("/mnt/backups"))
    (here(image) / "quay.yaml").write_text("DATA: .\n")
    assert planned(image, PROGRAM, Wish(data=DATA)).writable() == ()


def test_a_configuration_that_is_wrong(image: Layout) -> None:
    """It is refused now, and not by a server that does not start."""
    (here(image) / "quay.yaml").write_text("LISTEN: nowhere\n")
    assert "cannot be used" in problems(image, data=DATA)[0]


def test_no_room(image: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for the program or for data, it is said how much there is, and how much is needed."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**40, 2**40, 2**20))  # type: ignore[attr-defined]
    found = problems(image)
    assert len(found) == 2
    assert all("has 1 MiB of room" in each for each in found)


def test_after_a_rollback(image: Layout) -> None:
    """What is installed is what runs, and not what was installed last: going on from there is no step back."""
    State(version="99.0.0").keep(here(image))
    point(image.pointer, DATA)
    image.program(__version__).mkdir(parents=True)
    point(image.current, __version__)
    assert planned(image, PROGRAM, Wish()).before == __version__
    assert problems(image) == []


def test_a_package(image: Layout) -> None:
    """What a package has installed is the package's to upgrade: two installations would be in each other's way."""
    image.here(PACKAGED).mkdir(parents=True)
    assert "by a package" in problems(image)[0]
    image.unit.parent.mkdir(parents=True)
    image.unit.touch()
    assert problems(image) == []


def test_an_older_version(image: Layout) -> None:
    """An older program than the one that is there is refused, with the way back."""
    State(version="99.0.0").keep(here(image))
    point(image.pointer, DATA)
    assert f"this is {__version__}, which is older" in problems(image)[0]


@pytest.mark.parametrize("path", ["/", "/etc/quay", "/usr/share/quay", "/var/lib", "/home", "/tmp/quay", "/run/quay"])
def test_a_place_of_the_system(image: Layout, path: str) -> None:
    """Where other things are, nothing is put."""
    assert problems(image, data=Path(path))


@pytest.mark.parametrize("path", ["data", "/srv/with space", "/srv/../etc", "/srv/%n"])
def test_a_path_that_is_none(image: Layout, path: str) -> None:
    """A path is absolute, plain, and leads nowhere else."""
    assert "absolute path" in problems(image, data=Path(path))[0]
    assert "absolute path" in problems(image, writable=(Path(path),))[0]


def test_somebody_else_is_there(image: Layout) -> None:
    """Files that are none of Quay's are left alone, and so is a file in the place of the directory."""
    (here(image) / "letter").touch()
    assert "none of Quay's" in problems(image, data=DATA)[0]
    (image.root / "srv" / "file").touch()
    assert "is no directory" in problems(image, data=Path("/srv/file"))[0]


def test_an_image_takes_no_ports(image: Layout) -> None:
    """Ports and names are for a machine that starts now: an image would have to know another machine's."""
    assert "first start" in problems(image, listen=(Endpoint("0.0.0.0", 8443),))[0]


def test_a_machine_without_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing would start it, it is told what can be done instead."""
    monkeypatch.setattr(systemd, "is_running", lambda: False)
    assert "`quay serve`" in problems(Layout(), data=tmp_path / "data")[0]


@pytest.fixture
def this_one(monkeypatch: pytest.MonkeyPatch) -> Layout:
    """This machine, as if systemd had started it, and nothing were installed."""
    monkeypatch.setattr(systemd, "is_running", lambda: True)
    monkeypatch.setattr(systemd, "shown", dict)
    monkeypatch.setattr(Layout, "data", None)
    return Layout()


def test_a_port_that_is_taken(this_one: Layout) -> None:
    """It is told who has it, and how to do without; the second port may be left out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = Endpoint("127.0.0.1", taken.getsockname()[1])
        (found,) = problems(this_one, data=Path("/srv/quay-test"), listen=(endpoint,), plain=())
        assert "(process " in found and "--listen" in found
        free = Endpoint("127.0.0.1", 0)
        (found,) = problems(this_one, data=Path("/srv/quay-test"), listen=(free,), plain=(endpoint,))
        assert "--plain none does without" in found


def test_another_server(this_one: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that another process serves are its; those that the unit's own serves are to be upgraded."""
    monkeypatch.setattr("appliance.planning._OF_THE_SYSTEM", ())
    lock = DataLock(tmp_path / "data")
    lock.acquire()
    try:
        found = problems(this_one, data=tmp_path / "data", listen=(Endpoint("127.0.0.1", 0),), plain=())
        assert "Another server is using" in found[-1]
        pid = found[-1].split("process ")[1].split()[0]
        monkeypatch.setattr(systemd, "shown", lambda: {"MainPID": pid})
        assert not any("Another server" in each for each in problems(this_one, data=tmp_path / "data"))
    finally:
        lock.release()


def test_how_it_begins(this_one: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 443 and 80; on another port, with 8080 beside it, and in the name that clients have to write."""
    monkeypatch.setattr(checks, "refusal", lambda endpoint: "")

    def begins(**wish: object) -> tuple[object, ...]:
        found = planned(this_one, PROGRAM, Wish(data=Path("/srv/quay-test"), **wish)).beginning  # type: ignore[arg-type]
        assert found is not None
        return (*map(str, found.listen), *map(str, found.plain), found.hostname)

    name = Hostname.parse("registry.test")
    assert begins() == ("0.0.0.0:443", "0.0.0.0:80", None)
    assert begins(hostname=name) == ("0.0.0.0:443", "0.0.0.0:80", "registry.test")
    high = (Endpoint("0.0.0.0", 8443),)
    assert begins(listen=high, hostname=name) == ("0.0.0.0:8443", "0.0.0.0:8080", "registry.test:8443")
    assert begins(listen=high, plain=()) == ("0.0.0.0:8443", None)
    assert planned(this_one, PROGRAM, Wish(start=False)).beginning is None
