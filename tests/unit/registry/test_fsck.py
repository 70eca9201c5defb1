"""What `quay fsck` and `quay scrub` find, and what becomes of it."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from twisted.internet.defer import Deferred, fail, succeed

from quay.database import schema
from quay.interfaces import IBlobSource
from quay.model import tag
from quay.oci.errors import Unavailable
from quay.oci.reference import Digest
from quay.registry.fsck import Check
from quay.registry.garbage import AllTheTime
from quay.registry.scrub import Scrub
from quay.storage import StorageFailed
from quay.threads import ImmediatePool
from tests.unit.registry.test_garbage import IMAGES, Bytes, World

LAYER = Digest.of(b"layer")


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """A registry with an image in it, on either engine."""
    found = World(database_url, random.Random(1))
    found.watched = False  # here it is the bytes that go wrong
    for text in World.texts(IMAGES[0]):
        push(found, text)
    found.do(found.put(found.repositories[0], IMAGES[0], "latest"))
    yield found
    found.engine.dispose()


def push(world: World, text: bytes) -> None:
    world.do(
        Deferred.fromCoroutine(world.uploads.receive_whole(world.repositories[0], "me", Digest.of(text), Bytes(text)))
    )


def check(world: World, *, repair: bool = False) -> tuple[int, str]:
    """How many problems remain, and what was said."""
    said: list[str] = []
    looking = Check(world.database, world.stores, ImmediatePool(), world.clock, said.append, repair=repair)
    return world.do(Deferred.fromCoroutine(looking.run())), "\n".join(said)


def scrub(world: World) -> int:
    looking = Scrub(world.database, world.stores, ImmediatePool(), world.clock, [].append, rate=1e6)
    found: int = world.do(Deferred.fromCoroutine(looking.run()))
    return found


def read(world: World) -> bytes:
    async def reading() -> bytes:
        _, source = await world.blobs.open(world.repositories[0], LAYER)
        return await source.read(0, 100)

    found: bytes = world.do(Deferred.fromCoroutine(reading()))
    return found


def test_all_is_well(world: World) -> None:
    """A registry to which nothing happened has no problems."""
    assert check(world)[0] == scrub(world) == 0


@pytest.mark.parametrize(("bytes_", "said"), [(None, "are missing"), (b"lay", "are 3, not 5")])
def test_bytes_that_are_not_there(world: World, bytes_: bytes | None, said: str) -> None:
    """A missing or truncated blob is found; after the repair it is refused instead of wrong, until a push heals it."""
    del world.store.blobs[LAYER]
    if bytes_ is not None:
        world.store.blobs[LAYER] = bytes_
    remaining, sentences = check(world)
    assert remaining == 1 and f"{LAYER} at local {said}" in sentences
    assert check(world, repair=True)[0] == check(world)[0] == 1
    assert f"The bytes of {LAYER} are nowhere" in check(world)[1]
    with pytest.raises(Unavailable):
        read(world)
    push(world, b"layer")
    assert check(world)[0] == 0
    assert read(world) == b"layer"


def test_bytes_without_a_row(world: World) -> None:
    """They are found, and removed by the repair; those of a push that comes meanwhile are not."""
    stray = Digest.of(b"stray")
    world.store.blobs[stray] = b"stray"
    remaining, sentences = check(world)
    assert remaining == 1 and f"local holds {stray}" in sentences
    assert check(world, repair=True)[0] == 0
    assert stray not in world.store.blobs
    push(world, b"stray")
    assert check(world)[0] == 0


@pytest.mark.parametrize("look", [scrub, lambda world: check(world, repair=True)])
def test_a_storage_that_was_not_there(world: World, look: Callable[[World], object]) -> None:
    """Somebody looked while a mount was missing: when it is back, the repair places again what is good."""
    kept = dict(world.store.blobs)
    world.store.blobs.clear()
    look(world)
    world.store.blobs.update(kept)
    assert check(world, repair=True)[0] == check(world)[0] == scrub(world) == 0
    assert world.store.blobs == kept
    assert read(world) == b"layer"


def test_bytes_without_a_row_that_cannot_be_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a repository lacks and nobody can read now is a problem that remains, and placed again when it can be."""
    kept = world.store.blobs.pop(LAYER)
    check(world, repair=True)
    world.store.blobs[LAYER] = kept
    with monkeypatch.context() as patched:
        broken(world, patched, medium=lambda: False)
        assert check(world, repair=True)[0] == 2
    assert check(world, repair=True)[0] == 0
    assert read(world) == b"layer"


def test_rotten_bytes_without_a_row(world: World) -> None:
    """Bytes that a repository lacks and that are not what they should be are not placed again."""
    del world.store.blobs[LAYER]
    check(world, repair=True)
    world.store.blobs[LAYER] = b"laYer"
    assert check(world, repair=True)[0] == 1
    assert LAYER not in world.store.blobs


def test_a_manifest_without_its_links(world: World) -> None:
    """A link that is missing is found and made again."""
    with world.engine.begin() as connection:
        connection.execute(sa.delete(schema.repository_blob))
    remaining, sentences = check(world)
    assert remaining == 3 and "me/one has no link" in sentences
    assert check(world, repair=True)[0] == check(world)[0] == 0
    assert read(world) == b"layer"


def test_a_tag_without_its_manifest(world: World) -> None:
    """A tag that names a manifest of another repository is found and removed."""
    with world.engine.begin() as connection:
        connection.execute(sa.update(schema.tag).values(repository_id=world.repositories[1].id))
    assert check(world)[0] == 1
    assert check(world, repair=True)[0] == check(world)[0] == 0


@pytest.mark.parametrize("wrong", [b"{}", IMAGES[1].raw, IMAGES[0].raw[:-1], b""])
def test_a_manifest_that_is_not_its_own(world: World, wrong: bytes) -> None:
    """A manifest whose bytes are not what its digest says is found and removed with its tag; a push brings it back."""
    with world.engine.begin() as connection:
        connection.execute(sa.update(schema.manifest).values(content=wrong))
    remaining, sentences = check(world)
    assert remaining == 1 and f"The manifest {IMAGES[0].digest} of me/one is not what its digest says" in sentences
    assert check(world, repair=True)[0] == check(world)[0] == 0
    one = world.repositories[0]
    assert world.do(world.database.read(tag.resolve_tag, one.id, "latest")) is None
    world.clock.advance(3600)
    world.do(Deferred.fromCoroutine(world.collectors[0].run(AllTheTime())))  # whose leases had nearly run out
    world.do(world.put(one, IMAGES[0], "latest"))
    world.check_tags()


def test_a_manifest_whose_blobs_no_row_names(world: World) -> None:
    """The config and layers that a manifest names, and its rows do not, are found, and named and linked again."""
    with world.engine.begin() as connection:
        for table in (schema.manifest_blob, schema.repository_blob):
            connection.execute(sa.delete(table))
    remaining, sentences = check(world)
    assert remaining == 3 and f"No row says that {IMAGES[0].digest} of me/one names {LAYER}" in sentences
    assert check(world, repair=True)[0] == check(world)[0] == 0
    world.clock.advance(100_000)
    world.do(Deferred.fromCoroutine(world.collectors[0].run(AllTheTime(), thorough=True)))
    assert read(world) == b"layer"
    world.check_tags()


def test_a_blob_without_a_row(world: World) -> None:
    """A blob that a manifest names, and that has no row, remains a problem until it is pushed; then repair helps."""
    with world.engine.begin() as connection:
        for table in (schema.manifest_blob, schema.repository_blob, schema.placement, schema.blob):
            connection.execute(sa.delete(table))
    world.store.blobs.clear()
    assert check(world, repair=True)[0] == 3
    for text in World.texts(IMAGES[0]):
        push(world, text)
    assert check(world, repair=True)[0] == check(world)[0] == 0
    assert read(world) == b"layer"


def test_what_can_be_restored_is_checked_too(world: World) -> None:
    """A manifest that only the time machine can bring back is checked like any other."""
    world.do(world.database.write(tag.delete_tag, world.repositories[0].id, "latest"))
    with world.engine.begin() as connection:
        connection.execute(sa.delete(schema.manifest_blob))
    assert check(world)[0] == 3
    assert check(world, repair=True)[0] == check(world)[0] == 0


def test_rot(world: World) -> None:
    """A blob of which a byte has flipped is set aside: it cannot be read, and a push heals it."""
    world.store.blobs[LAYER] = b"laYer"
    assert scrub(world) == 1
    assert LAYER not in world.store.blobs
    with pytest.raises(Unavailable):
        read(world)
    assert check(world)[0] == 1
    push(world, b"layer")
    assert scrub(world) == check(world)[0] == 0
    assert read(world) == b"layer"


def broken(world: World, monkeypatch: pytest.MonkeyPatch, *, medium: Callable[[], bool]) -> None:
    """The layer cannot be read; and nothing can, once the `medium` is broken."""
    open_, failure = world.store.open, StorageFailed("local", "read a blob", errno.EIO)

    def opened(digest: Digest) -> Deferred[IBlobSource]:
        return fail(failure) if digest == LAYER else open_(digest)

    monkeypatch.setattr(world.store, "open", opened)
    monkeypatch.setattr(world.store, "check", lambda: fail(failure) if medium() else succeed(None))


def test_a_blob_that_cannot_be_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad sector below one blob: it is set aside, the others are looked at, and a push heals it."""
    with monkeypatch.context() as patched:
        broken(world, patched, medium=lambda: False)
        assert scrub(world) == 1
    assert LAYER not in world.store.blobs
    push(world, b"layer")
    assert scrub(world) == check(world)[0] == 0
    assert read(world) == b"layer"


@pytest.mark.parametrize("looks", [0, 1])
def test_a_medium_that_cannot_be_read(world: World, monkeypatch: pytest.MonkeyPatch, looks: int) -> None:
    """Where the medium fails, at the first look or at the second, nobody takes a blob for rotten or for garbage."""
    checks = iter([False] * looks)
    with monkeypatch.context() as patched:
        broken(world, patched, medium=lambda: next(checks, True))
        with pytest.raises(StorageFailed):
            scrub(world)
    world.clock.advance(100_000)
    world.do(Deferred.fromCoroutine(world.collectors[0].run(AllTheTime(), thorough=True)))
    assert check(world)[0] == scrub(world) == 0
    assert read(world) == b"layer"


def test_rot_that_is_healed_meanwhile(world: World) -> None:
    """In whatever order a push and the scrub of a rotten blob take their steps, an acknowledged push stays."""
    for _ in range(100):
        world.store.blobs[LAYER] = b"laYer"
        looking = Scrub(world.database, world.stores, world.steps, world.clock, [].append, rate=1e9)
        upload = world.uploads.receive_whole(world.repositories[0], "me", LAYER, Bytes(b"layer"))
        scrubbing = Deferred.fromCoroutine(looking.run())
        pushing = Deferred.fromCoroutine(world.some_time(upload))
        world.settle()
        assert scrubbing.result is not None
        if pushing.result is None:  # it was refused: the client comes again
            push(world, b"layer")
        assert read(world) == b"layer"
