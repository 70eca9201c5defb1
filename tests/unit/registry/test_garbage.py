"""
The garbage collector among pushes, mounts, deletions and restorations, in random orders of their steps: a placement
always has its bytes, and a tag its whole image.

QUAY_TEST_INTERLEAVINGS=N runs through N rounds instead of a few hundred.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from quay.database import Database, Transaction, schema
from quay.database.engines import open_engine
from quay.interfaces import IPool
from quay.model import content, namespace, repository, tag, time_machine
from quay.model.repository import Repository
from quay.oci.errors import BlobUnknown, ManifestBlobUnknown, ManifestUnknown, Unavailable
from quay.oci.manifest import Manifest
from quay.oci.reference import Digest, RepositoryName, Tag
from quay.registry.blobs import Blobs, Stores
from quay.registry.cache import Cache
from quay.registry.garbage import AllTheTime, Collected, GarbageCollector
from quay.registry.policy import Policy
from quay.registry.uploads import Uploads
from quay.storage.memory import MemoryBlobs
from quay.tasks import Tasks
from tests.unit.model.pushing import image, index

ROUNDS = int(os.environ.get("QUAY_TEST_INTERLEAVINGS", "300"))
REFUSALS = (Unavailable, ManifestBlobUnknown, ManifestUnknown, BlobUnknown)
TIME_MACHINE_S = 1800
IMAGES = [image(name, layers=["layer", name * 2]) for name in "ab"]


@implementer(IPool)
class Steps:
    """A pool whose calls wait until they are chosen."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def run(self, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((done, lambda: f(*args, **kwargs)))
        return done

    def take(self, number: int) -> None:
        done, call = self.waiting.pop(number)
        maybeDeferred(call).chainDeferred(done)


class SteppedBlobs(MemoryBlobs):
    """Looks for blobs and removes them when it is its turn."""

    def __init__(self, steps: Steps) -> None:
        super().__init__("local")
        self._steps = steps

    def stat(self, digest: Digest) -> Deferred[int | None]:
        return self._steps.run(super().stat, digest)

    def delete(self, digest: Digest) -> Deferred[None]:
        return self._steps.run(super().delete, digest)


@attrs.frozen
class Bytes:
    """The body of a request."""

    data: bytes

    @property
    def length(self) -> int:
        return len(self.data)

    def deliver_to(self, consumer: IConsumer) -> Deferred[int]:
        consumer.write(self.data)
        return succeed(len(self.data))


class World:
    """A registry of two repositories that does one step at a time."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self.chance = chance
        self.clock = Clock()
        self.clock.rightNow = 1_790_000_000.0
        self.steps = Steps()
        self.engine = open_engine(url)
        self.database = Database(self.clock, self.engine, self.steps, self.steps)
        self.store = SteppedBlobs(self.steps)
        self.stores = stores = Stores({"local": self.store}, "local")
        policy = Policy(upload_s=600, grace_s=300)
        self.uploads = Uploads(self.clock, self.database, stores, policy, Tasks())
        cache = Cache(self.clock.seconds)
        self.database.on_commit(cache.drop)
        self.blobs = Blobs(self.database, stores, cache, policy, self.clock)
        self.collectors = [GarbageCollector(self.database, stores, policy, self.clock) for _ in range(2)]
        self.watched = True
        self.repositories = self.do(self.database.write(_two_repositories))
        self.acknowledged = 0

    def do(self, work: Deferred[Any]) -> Any:
        """What `work` gives, when nothing else happens."""
        outcome: list[Any] = []
        work.addBoth(outcome.append)
        self.settle()
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]

    def settle(self) -> None:
        """Do all steps there are, in a random order."""
        while self.steps.waiting or self.clock.getDelayedCalls():
            if self.steps.waiting and self.chance.random() < 0.97:
                self.steps.take(self.chance.randrange(len(self.steps.waiting)))
                if self.watched:
                    self.check_placements()
            else:
                self.clock.advance(0.1)

    def check_placements(self) -> None:
        """Every placement has its bytes, at every moment."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(schema.blob.c.digest).join(schema.placement)).scalars().all()
        assert set(rows) <= set(self.store.blobs)

    def check_tags(self) -> None:
        """Every manifest that is stored has all its blobs, linked and placed."""
        with self.engine.connect() as connection:
            named = sa.select(schema.manifest_blob.c.repository_id, schema.manifest_blob.c.blob_id)
            linked = sa.select(schema.repository_blob.c.repository_id, schema.repository_blob.c.blob_id)
            assert set(connection.execute(named)) <= set(connection.execute(linked))
            placed = set(connection.execute(sa.select(schema.placement.c.blob_id)).scalars())
            assert {blob_id for _, blob_id in connection.execute(linked)} <= placed

    # --- what clients do

    async def some_time(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Begin `work` after a while; a refusal is an answer, too."""
        for _ in range(self.chance.randrange(50)):
            await self.steps.run(int)
        try:
            return await work
        except REFUSALS:
            return None

    async def push(self, repository: Repository, manifest: Manifest, name: str) -> None:
        """As a client does: look for each blob, mount it or upload it, then put the manifest."""
        for text in self.texts(manifest):
            digest = Digest.of(text)
            if self.chance.random() < 0.5 and await self._is_there(repository, digest):
                continue
            other = self.chance.choice(self.repositories)
            if self.chance.random() < 0.3 and await self.blobs.mount(repository, digest, other.id):
                continue
            await self.uploads.receive_whole(repository, "me", digest, Bytes(text))
        await self.put(repository, manifest, name)
        if self.chance.random() < 0.3:
            await self.put(repository, index(manifest), "index")
        self.acknowledged += 1

    async def _is_there(self, repository: Repository, digest: Digest) -> bool:
        with suppress(BlobUnknown):
            return bool((await self.blobs.stat(repository, digest)).locations)
        return False

    def put(self, repository: Repository, manifest: Manifest, name: str) -> Deferred[object]:
        return self.database.write(
            content.put_manifest,
            repository,
            manifest,
            tag=Tag(name),
            labels={},
            expires_after_s=None,
            temp_tag_s=60,
            sparse=False,
        )

    @staticmethod
    def texts(manifest: Manifest) -> list[bytes]:
        name = next(name for name, known in zip("ab", IMAGES, strict=True) if known is manifest)
        return [name.encode(), b"layer", name.encode() * 2]

    async def anything(self) -> None:
        """Something that a client or a worker does; a refusal is an answer, too."""
        repository, manifest = self.chance.choice(self.repositories), self.chance.choice(IMAGES)
        name = self.chance.choice(["latest", "stable"])
        write, at = self.database.write, repository.id
        choices: list[Callable[[], Any]] = [
            lambda: self.push(repository, manifest, name),
            lambda: self.push(repository, manifest, name),
            lambda: write(tag.delete_tag, at, name),
            lambda: write(tag.delete_tag, at, "index"),
            lambda: write(content.delete_manifest, at, manifest.digest),
            lambda: write(time_machine.restore_tag, repository, Tag(name), manifest.digest),
            lambda: self.blobs.delete(repository, Digest.of(b"layer")),
            lambda: self.collectors[0].run(AllTheTime(), thorough=self.chance.random() < 0.5),
            lambda: self.collectors[1].run(AllTheTime()),
        ]
        try:
            await self.chance.choice(choices)()
        except REFUSALS:
            return
        except Exception as error:
            if type(error).__name__ != "BlobInUse":
                raise


def _two_repositories(txn: Transaction) -> list[Repository]:
    owner = namespace.create_user(txn, "me", time_machine_s=TIME_MACHINE_S)
    return [
        repository.create(txn, RepositoryName("me", name), namespace_id=owner.id, creator_id=None, public=False)
        for name in ("one", "two")
    ]


@pytest.fixture
def world(sqlite_template: Path) -> Iterator[World]:
    directory = tempfile.mkdtemp(prefix="quay-gc-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    path = shutil.copy(sqlite_template, directory)
    found = World(f"sqlite:///{path}", random.Random(57))
    yield found
    found.engine.dispose()
    shutil.rmtree(directory)


def play(world: World, rounds: int) -> None:
    for _ in range(rounds):
        playing = [Deferred.fromCoroutine(_as_coroutine(world.anything())) for _ in range(world.chance.randrange(2, 6))]
        world.settle()
        for one in playing:
            world.do(one)
        world.check_tags()
        world.clock.advance(world.chance.choice([1, 10, 400, 1000, 4000]))


async def _as_coroutine(work: Coroutine[Any, Any, None]) -> None:
    await work


def test_interleavings(world: World) -> None:
    """In whatever order the steps come: no placement without its bytes, no stored manifest without its blobs."""
    play(world, ROUNDS)
    assert world.acknowledged > ROUNDS / 4


def test_a_push_meets_the_collector(world: World) -> None:
    """A blob that nobody links is pushed and mounted at the moment at which it is collected."""
    digest = Digest.of(b"layer")
    one, two = world.repositories
    collected = 0
    for _ in range(ROUNDS):
        world.do(Deferred.fromCoroutine(world.uploads.receive_whole(one, "me", digest, Bytes(b"layer"))))
        world.do(Deferred.fromCoroutine(world.blobs.delete(one, digest)))
        ways: list[Coroutine[Any, Any, Any]] = [
            world.uploads.receive_whole(one, "me", digest, Bytes(b"layer")),
            world.uploads.receive_whole(two, "me", digest, Bytes(b"layer")),
            world.blobs.mount(two, digest, one.id),
            world.blobs.hold(one, b"layer"),
        ]
        collecting = (collector.run(AllTheTime(), thorough=True) for collector in world.collectors)
        playing = [Deferred.fromCoroutine(way) for way in (*collecting, *map(world.some_time, ways))]
        world.settle()
        assert all(one.called for one in playing)
        collected += sum(isinstance(one.result, Collected) and one.result.blobs for one in playing)
        world.check_tags()
        world.clock.advance(world.chance.choice([0, 700]))
    assert collected > ROUNDS / 20


def test_in_the_end_nothing_is_left(world: World) -> None:
    """When everything was deleted and time has passed, not a row and not a byte is left."""
    play(world, 20)
    for repository_ in world.repositories:
        for name in ("latest", "stable", "index"):
            world.do(world.database.write(tag.delete_tag, repository_.id, name))
    for _ in range(3):
        world.clock.advance(2 * TIME_MACHINE_S)
        world.do(Deferred.fromCoroutine(world.collectors[0].run(AllTheTime(), thorough=True)))
    with world.engine.connect() as connection:
        for table in (schema.tag, schema.manifest, schema.repository_blob, schema.blob, schema.placement):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 0, table.name
    assert world.store.blobs == {}
