"""Backups as they are restored: all of it, or nothing; and what is found to be wrong on the way."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from quay.backups import BackupDamaged, BackupFailed
from quay.database import once
from quay.database.engines import sqlite
from quay.database.migrations import status
from quay.database.schema import SCHEMA
from quay.lock import DataInUse, DataLock, RestorationUnfinished, prepare
from quay.model import backup as rows
from quay.model import fence, holdings, job
from quay.oci.reference import Digest
from quay.storage.local import LocalBlobs
from quay.storage.memory import MemoryBlobs
from quay.threads import ImmediatePool
from tests.unit.backups.house import LAYER, House, file_of, rot
from tests.unit.registry.test_garbage import TEXTS


def names(data: Path) -> list[str]:
    return sorted(path.name for path in data.iterdir())


def test_it_is_what_it_was(house: House, tmp_path: Path) -> None:
    """The files, the blobs and the rows; and nothing that would keep a server from starting."""
    made = house.backed_up()
    data = tmp_path / "restored"
    house.await_(house.restoration(made.path, data).run())
    assert names(data) == ["blobs", "quay.db", "quay.yaml", "secret_key", "server.lock"]
    assert (data / "secret_key").read_bytes() == b"a secret"
    assert file_of(data / "blobs", LAYER).read_bytes() == b"layer"
    found = once(f"sqlite:///{data / 'quay.db'}", holdings.holdings)
    assert (found.tags, found.repositories, found.locations[0].blobs) == (1, 2, 3)
    prepare(data)


def test_into_another_store(house: House, tmp_path: Path) -> None:
    """Blobs go through the store that the configuration names, whatever that is."""
    made = house.backed_up()
    store = MemoryBlobs("local", now=house.world.clock.seconds)
    house.await_(house.restoration(made.path, tmp_path / "restored", store).run())
    assert store.blobs == house.world.store.blobs


def test_what_is_not_true_any_more(house: House, tmp_path: Path) -> None:
    """Uploads under way, fences and jobs at work are not restored with the rest: the backup itself was one."""
    world = house.world
    house.await_(world.uploads.begin(world.repositories[0], "me"))
    world.do(world.database.write(job.create, "backup", "me"))
    world.do(world.database.write(job.take_up))
    made = house.backed_up()
    data = tmp_path / "restored"
    house.await_(house.restoration(made.path, data).run())
    url = f"sqlite:///{data / 'quay.db'}"
    assert once(url, rows.uploads) == 0 and not once(url, fence.is_standing)
    assert once(url, job.take_up) is None


@pytest.mark.parametrize("name", ["database.sqlite", "files/secret_key", "blobs.jsonl", "backup.json", "blob"])
def test_a_flipped_byte(house: House, tmp_path: Path, name: str) -> None:
    """Wherever it is, it is found, by verifying, too; and the data directory is as it was, with what was in it."""
    made = house.backed_up()
    rot(file_of(made.path, LAYER) if name == "blob" else made.path / name)
    data = tmp_path / "occupied"
    data.mkdir()
    (data / "quay.db").write_bytes(b"the old one")
    (data / "quay.yaml").write_bytes(b"{}")
    with pytest.raises(BackupDamaged):
        house.await_(house.restoration(made.path, data, force=True).run())
    assert (data / "quay.db").read_bytes() == b"the old one" and (data / "quay.yaml").read_bytes() == b"{}"
    assert set(names(data)) <= {"quay.db", "quay.yaml", "server.lock"}
    prepare(data)
    if name == "backup.json":
        with pytest.raises(BackupDamaged):
            house.verified(made.path)
    else:
        assert house.verified(made.path).problems >= 1


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_without_the_damaged(house: House, tmp_path: Path, damage: str) -> None:
    """One damaged blob keeps nobody from having all others back; it is named, and no row says that it is held."""
    made = house.backed_up()
    path = file_of(made.path, LAYER)
    rot(path) if damage == "flipped" else path.unlink()
    data = tmp_path / "restored"
    with pytest.raises(BackupDamaged, match="--skip-damaged"):
        house.await_(house.restoration(made.path, data).run())
    restoration = house.restoration(made.path, data, skip_damaged=True)
    house.await_(restoration.run())
    assert list(restoration.missing) == [LAYER]
    assert once(f"sqlite:///{data / 'quay.db'}", holdings.holdings).locations[0].blobs == 2


def test_what_could_not_be_had(house: House, tmp_path: Path) -> None:
    """What was missing when the backup was made is missing afterwards, and no reason to stop."""
    del house.world.store.blobs[LAYER]
    made = house.backed_up()
    restoration = house.restoration(made.path, tmp_path / "restored")
    house.await_(restoration.run())
    assert list(restoration.missing) == [LAYER]


def test_a_directory_in_use(house: House, tmp_path: Path) -> None:
    """A server has it: nothing is touched."""
    made = house.backed_up()
    lock = DataLock(tmp_path / "used")
    lock.acquire()
    with pytest.raises(DataInUse):
        house.await_(house.restoration(made.path, tmp_path / "used", force=True).run())
    lock.release()


def test_aside(house: House, tmp_path: Path) -> None:
    """With force, what was there is moved aside: but for logs, what belongs to the machine, and the backup itself."""
    data = tmp_path / "occupied"
    house.folder.root = data / "backups"
    data.mkdir()
    for name in ("quay.db", "server.log", "installation.json", "blobs/blobs/sha256/00/old"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"old")
    made = house.backed_up()
    with pytest.raises(BackupFailed, match=r"is not empty: it has blobs, quay\.db\."):
        house.await_(house.restoration(made.path, data).run())
    house.await_(house.restoration(made.path, data, force=True).run())
    [aside] = data.glob("replaced-*")
    assert names(aside) == ["blobs", "quay.db"]
    assert (data / "installation.json").read_bytes() == b"old" and made.path.exists()


def test_undoing_that_was_cut_short(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was moved back before a crash is there again when the same restoration has failed once more."""
    data, made = tmp_path / "occupied", house.backed_up()
    file_of(made.path, LAYER).unlink()
    for name in ("quay.db", "blobs/blobs/sha256/00/old"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"old")
    with monkeypatch.context() as crash:
        crash.setattr(Path, "rmdir", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            house.await_(house.restoration(made.path, data, force=True).run())
    with pytest.raises(BackupDamaged):
        house.await_(house.restoration(made.path, data, force=True).run())
    assert names(data) == ["blobs", "quay.db", "server.lock"]
    assert (data / "quay.db").read_bytes() == (data / "blobs/blobs/sha256/00/old").read_bytes() == b"old"


def test_blobs_of_somebody_else(house: House, tmp_path: Path) -> None:
    """A storage outside of the data directory that has blobs in it is not added to without being told so."""
    made = house.backed_up()
    elsewhere = tmp_path / "elsewhere"
    store = LocalBlobs("local", elsewhere, ImmediatePool())
    other = Digest.of(b"somebody else's")
    house.world.do(store.keep(other, b"somebody else's"))
    restoration = house.restoration(made.path, tmp_path / "restored", store, place=elsewhere)
    with pytest.raises(BackupFailed, match="perhaps of a registry that is at work"):
        house.await_(restoration.run())
    assert file_of(elsewhere, other).exists() and not file_of(elsewhere, LAYER).exists()


def test_cut_short(house: House, tmp_path: Path) -> None:
    """Where a restoration was cut short nobody may serve, another backup is refused, and the same one goes on."""
    first, second = house.backed_up(), house.backed_up()
    data = tmp_path / "restored"
    restoration = house.restoration(first.path, data)

    def die() -> None:
        raise KeyboardInterrupt

    restoration._site.undo = die  # type: ignore[method-assign]
    rotten = file_of(first.path, LAYER)
    rotten.unlink()
    with pytest.raises(KeyboardInterrupt):
        house.await_(restoration.run())
    with pytest.raises(RestorationUnfinished):
        prepare(data)
    with pytest.raises(BackupFailed, match="Another backup was being restored"):
        house.await_(house.restoration(second.path, data).run())
    rotten.write_bytes(TEXTS[LAYER])
    house.await_(house.restoration(first.path, data).run())
    prepare(data)
    engine = sqlite(str(data / "quay.db"))
    assert status(engine).schema == SCHEMA
    engine.dispose()
