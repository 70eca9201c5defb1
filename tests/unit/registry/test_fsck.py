"""What `quay fsck` and `quay scrub` find, and what becomes of it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from twisted.internet.defer import Deferred

from quay.database import schema
from quay.oci.errors import Unavailable
from quay.oci.reference import Digest
from quay.registry.fsck import Check
from quay.registry.scrub import Scrub
from quay.threads import ImmediatePool
from tests.unit.registry.test_garbage import IMAGES, Bytes, World

LAYER = Digest.of(b"layer")


@pytest.fixture
def world(sqlite_template: Path, tmp_path: Path) -> Iterator[World]:
    """A registry with an image in it."""
    found = World(f"sqlite:///{shutil.copy(sqlite_template, tmp_path)}", random.Random(1))
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
    looking = Check(world.database, world.stores, world.clock, said.append, repair=repair)
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
    """A missing or truncated blob is found; after the repair it is refused instead of wrong, and a push heals it."""
    del world.store.blobs[LAYER]
    if bytes_ is not None:
        world.store.blobs[LAYER] = bytes_
    remaining, sentences = check(world)
    assert remaining == 1 and f"{LAYER} at local {said}" in sentences
    assert check(world, repair=True)[0] == check(world)[0] == 0
    with pytest.raises(Unavailable):
        read(world)
    push(world, b"layer")
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


def test_rot(world: World) -> None:
    """A blob of which a byte has flipped is set aside: it cannot be read, and a push heals it."""
    world.store.blobs[LAYER] = b"laYer"
    assert scrub(world) == 1
    assert LAYER not in world.store.blobs
    with pytest.raises(Unavailable):
        read(world)
    push(world, b"layer")
    assert scrub(world) == 0
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
