"""Backups as they are made: complete, or not there; and never of a blob that was collected meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest
from twisted.internet.defer import Deferred

from quay.backups import BackupFailed, BackupUnderWay, Folder, Record
from quay.model import fence
from quay.registry.garbage import AllTheTime, Collected
from tests.unit.backups.house import LAYER, House, file_of, rot

ROUNDS = int(os.environ.get("QUAY_TEST_INTERLEAVINGS", "60"))


def test_what_is_in_it(house: House) -> None:
    """The database, the list of blobs and the blobs, the configuration and the secrets, for their owner only."""
    made = house.backed_up()
    record = Record.read(made.path)
    assert record == made.record
    assert (record.blobs, record.lost, record.engine) == (3, 0, "sqlite")
    assert record.held["tags"] == 1 and record.held["repositories"] == 2
    assert {file.path for file in record.files} == {"files/quay.yaml", "files/secret_key"}
    assert file_of(made.path, LAYER).read_bytes() == b"layer"
    files = [path for path in made.path.rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in [*files, made.path])
    assert house.verified(made.path).problems == 0


def test_interleavings(house: House) -> None:
    """Whatever is pushed, deleted and collected while it is made, it has every blob that its database names."""
    world = house.world
    collected = copied = 0
    for _ in range(ROUNDS):
        world.clock.advance(world.chance.choice([1, 400, 4000]))
        backing_up = Deferred.fromCoroutine(house.backup().run())
        playing = [Deferred.fromCoroutine(world.some_time(world.anything())) for _ in range(world.chance.randrange(4))]
        collecting = [Deferred.fromCoroutine(world.some_time(one.run(AllTheTime()))) for one in world.collectors]
        world.settle()
        made = world.do(backing_up)
        for one in (*playing, *collecting):
            result = world.do(one)
            collected += result.blobs if isinstance(result, Collected) else 0
        assert made.record.lost == 0 and house.verified(made.path).problems == 0, house.said
        copied += made.record.copied
        house.folder.remove(made.path)
    assert collected > ROUNDS / 10 and copied


def test_a_collection_in_the_middle(house: House) -> None:
    """What became garbage after its moment is kept until it has been copied, and goes in the next run."""
    collector = house.world.collectors[0]
    collections: list[Deferred[Collected]] = []

    def collect(line: str) -> None:
        if "as the database is now" in line:
            collections.append(Deferred.fromCoroutine(collector.run(AllTheTime(), thorough=True)))

    for _ in range(2):  # the first takes the manifest, and its blobs are leased for a while
        house.delete()
        house.await_(collector.run(AllTheTime(), thorough=True))
        house.push()
    house.delete()
    house.await_(collector.run(AllTheTime(), thorough=True))
    house.world.clock.advance(house.world.policy.grace_s + 1)
    made = house.await_(house.backup(say=collect).run())
    [collected] = [house.world.do(one) for one in collections]
    assert (collected.links, collected.blobs) == (3, 0)
    assert made.record.blobs == 3 and house.verified(made.path).problems == 0
    assert house.await_(collector.run(AllTheTime(), thorough=True)).blobs == 3
    assert house.world.store.blobs == {}


def test_what_is_there_is_linked(house: House) -> None:
    """A blob that an earlier backup has is not copied again, and both have it when one of them is removed."""
    first, second = house.backed_up(), house.backed_up()
    assert (first.record.copied, second.record.copied) == (first.record.size, 0)
    assert file_of(first.path, LAYER).samefile(file_of(second.path, LAYER))
    house.folder.remove(first.path)
    assert house.verified(second.path).problems == 0


def test_what_is_damaged_is_copied_anew(house: House) -> None:
    """A blob that was found damaged when a backup was verified is not taken from there."""
    first = house.backed_up()
    rot(file_of(first.path, LAYER))
    assert house.verified(first.path).problems == 1
    second = house.backed_up()
    assert second.record.copied == len(b"layer") and house.verified(second.path).problems == 0


def test_what_has_another_size_is_copied_anew(house: House) -> None:
    """A file of an earlier backup that was cut off is no source, even before somebody finds that out."""
    first = house.backed_up()
    path = file_of(first.path, LAYER)
    path.unlink()
    path.write_bytes(b"lay")
    second = house.backed_up()
    assert file_of(second.path, LAYER).read_bytes() == b"layer"


@pytest.mark.parametrize("held", [None, b"rotten"], ids=["missing", "rotten"])
def test_a_blob_that_cannot_be_had(house: House, held: bytes | None) -> None:
    """It is named, in the backup and when that is verified; everything else is there."""
    if held is None:
        del house.world.store.blobs[LAYER]
    else:
        house.world.store.blobs[LAYER] = held[: len(b"layer")]
    made = house.backed_up()
    assert (made.record.lost, list(made.record.missing), made.record.blobs) == (1, [LAYER], 3)
    assert "1 blobs could not be had" in str(made)
    assert house.verified(made.path).problems == 1


def test_without_blobs(house: House) -> None:
    """The database, the list of blobs and the secrets alone; such a backup is no source for the next one."""
    made = house.backed_up(with_blobs=False)
    assert not (made.path / "blobs").exists() and not made.record.holds_blobs
    assert house.verified(made.path).problems == 0
    assert house.backed_up().record.copied == made.record.size


def test_one_at_a_time(house: House) -> None:
    """Two are not made in one directory at once."""
    first = Deferred.fromCoroutine(house.backup().run())
    second = Deferred.fromCoroutine(house.backup().run())
    house.world.settle()
    ends = [one.result if one.called else None for one in (first, second)]
    failures = [end for end in ends if hasattr(end, "check")]
    assert len(failures) == 1 and failures[0].check(BackupUnderWay)
    for one in (first, second):
        one.addErrback(lambda failure: None)
    assert len(house.folder.complete()) == 1


def test_it_is_interrupted(house: House) -> None:
    """It leaves no backup and no fence; the next one takes over what was copied, and removes the rest."""
    backing_up = Deferred.fromCoroutine(house.backup().run())
    backing_up.addErrback(lambda failure: None)
    world = house.world
    while not any(house.folder.root.glob("*.partial/blobs/sha256/*/[0-9a-f]*")):
        world.steps.take(0)
    backing_up.cancel()
    world.settle()
    assert house.folder.complete() == [] and len(house.folder.remains()) == 1
    assert not world.do(world.database.read(fence.is_standing))
    made = house.backed_up()
    assert made.record.copied < made.record.size
    assert house.folder.remains() == [] and house.verified(made.path).problems == 0


def test_no_room(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room, that is said before anything is copied, and nothing is left."""
    monkeypatch.setattr("quay.backups.copying.SPARE", 1 << 60)
    with pytest.raises(BackupFailed, match=r"The database may take .* bytes, and .* free: make room"):
        house.backed_up()
    assert house.folder.remains() == [] and house.folder.complete() == []


def test_a_directory_that_cannot_be_used(house: House, tmp_path: Path) -> None:
    """A path that is no directory is refused in a sentence."""
    (tmp_path / "file").write_bytes(b"")
    house.folder = Folder(tmp_path / "file" / "backups")
    with pytest.raises(BackupFailed, match="cannot be used: "):
        house.backed_up()


def test_large_files_are_left_out(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody has put into the data directory is copied if it is small; logs and locks are not."""
    monkeypatch.setattr("quay.backups.files.LARGEST", 10)
    for name in ("tls/server.pem", "server.log", "server.lock", ".draft", "snapshots/old.db", "replaced-1/quay.yaml"):
        (house.data / name).parent.mkdir(exist_ok=True)
        (house.data / name).write_bytes(b"small")
    (house.data / "large").write_bytes(bytes(11))
    made = house.backed_up()
    names = {file.path for file in made.record.files}
    assert names == {"files/tls/server.pem", "files/secret_key"}
    assert any("large is larger than" in line for line in house.said)


def test_a_path_that_leads_elsewhere(house: House) -> None:
    """A record that names files outside of the backup is not believed, though its seal is good."""
    made = house.backed_up()
    for path in ("../../etc/passwd", "/etc/passwd", ""):
        forged = attrs.evolve(made.record, database=attrs.evolve(made.record.database, path=path))
        forged.write(made.path)
        with pytest.raises(BackupFailed, match="names a file outside of itself"):
            house.verified(made.path)


@pytest.mark.parametrize("line", [b"[]\n", b'["sha256:../x",1,["local"]]\n', b'["%s",-1,["local"]]\n', b"\xff\n"])
def test_a_list_of_something_else(house: House, line: bytes) -> None:
    """Lines of the list that name no blob are a problem, and nothing worse."""
    made = house.backed_up()
    line = line.replace(b"%s", LAYER.encode())
    (made.path / "blobs.jsonl").write_bytes(line)
    assert house.verified(made.path).problems == 3  # the file is another one, it does not fit, and it names no blobs


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes backups for others")
def test_whose_it_is(house: House) -> None:
    """What root makes is the directory's owner's, but for blobs that have other names elsewhere."""
    house.folder.root.mkdir()
    os.chown(house.folder.root, 65534, 65534)
    made = house.backed_up()
    layer = file_of(made.path, LAYER)
    assert {path.stat().st_uid for path in (made.path, *made.path.rglob("*"))} == {65534}
    os.chown(layer, 0, 0)
    again = house.backed_up()
    assert file_of(again.path, LAYER).stat().st_uid == 0 and (again.path / "SEAL").stat().st_uid == 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root restores for others")
def test_whose_a_restored_one_is(house: House, tmp_path: Path) -> None:
    """What root restores is the data directory's owner's."""
    made = house.backed_up()
    data = tmp_path / "theirs"
    data.mkdir()
    os.chown(data, 65534, 65534)
    house.await_(house.restoration(made.path, data).run())
    assert {path.stat().st_uid for path in data.rglob("*")} == {65534}


def test_a_directory_of_the_registry(house: House) -> None:
    """Backups are not made where they would be a part of themselves; a directory of their own in there will do."""
    house.folder = Folder(house.data)
    with pytest.raises(BackupFailed, match="is where the registry itself keeps its data"):
        house.backed_up()
    house.folder = Folder(house.data / "backups")
    house.backed_up()
    assert {file.path for file in house.backed_up().record.files} == {"files/quay.yaml", "files/secret_key"}
