"""
The garbage collector among pushes, mounts, deletions and restorations, in random orders of their steps: a placement
always has its bytes, and a tag its whole image.

QUAY_TEST_INTERLEAVINGS=N runs through N rounds instead of a few hundred, and through some of them on PostgreSQL, too.
"""

from __future__ import annotations

import json
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
from quay.model import condemned, content, namespace, repository, tag, time_machine
from quay.model.repository import Repository
from quay.oci.errors import BlobUnknown, BlobUploadUnknown, ManifestBlobUnknown, ManifestUnknown, Unavailable
from quay.oci.manifest import Manifest, parse
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
SIGNATURES = [image(name + "-signature", subject=one) for name, one in zip("ab", IMAGES, strict=True)]
TEXTS = {
    Digest.of(text.encode()): text.encode() for text in ("a", "b", "layer", "aa", "bb", "a-signature", "b-signature")
}
"""Every blob there is."""


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

    def __init__(self, steps: Steps, clock: Clock) -> None:
        super().__init__("local", now=clock.seconds)
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
        self.store = SteppedBlobs(self.steps, self.clock)
        self.stores = stores = Stores({"local": self.store}, "local")
        self.policy = policy = Policy(upload_s=600, grace_s=300)
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
            for repository_id, raw in self.kept(connection):
                for one in parse(raw, None).blobs():
                    found = sa.select(schema.repository_blob).join(schema.blob)
                    here = schema.repository_blob.c.repository_id == repository_id
                    assert connection.execute(found.where(here, schema.blob.c.digest == one.digest)).first()
                    assert self.store.blobs[one.digest] == TEXTS[one.digest]

    @staticmethod
    def kept(connection: sa.Connection) -> list[tuple[int, bytes]]:
        """Every manifest that a tag keeps, by a mark of our own over the bytes of all; none of them is out of sight."""
        table = schema.manifest
        columns = table.c.id, table.c.repository_id, table.c.digest, table.c.content, table.c.unreachable_ms
        rows = connection.execute(sa.select(*columns).where(table.c.deleted_ms.is_(None))).all()
        bodies = {(row.repository_id, row.digest): json.loads(row.content) for row in rows}
        tagged = sa.select(schema.tag.c.manifest_id).where(schema.tag.c.end_ms.is_(None))
        roots = set(connection.execute(tagged).scalars())
        ahead = [(row.repository_id, row.digest) for row in rows if row.id in roots]
        marked = set()
        while ahead:
            place, digest = ahead.pop()
            if (place, digest) in bodies and (place, digest) not in marked:
                marked.add((place, digest))
                ahead += [(place, child["digest"]) for child in bodies[place, digest].get("manifests", [])]
                referring = (key for key, body in bodies.items() if body.get("subject", {}).get("digest") == digest)
                ahead += [key for key in referring if key[0] == place]
        kept = [row for row in rows if (row.repository_id, row.digest) in marked]
        assert all(row.unreachable_ms is None for row in kept), "a tag keeps what is out of sight"
        return [(row.repository_id, bytes(row.content)) for row in kept]

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
        self.acknowledged += 1
        if self.chance.random() < 0.3:
            await self.put(repository, index(manifest), "index")
        if self.chance.random() < 0.3:
            await self.sign(repository, manifest)

    async def sign(self, repository: Repository, manifest: Manifest) -> None:
        """Push what refers to a manifest, by its digest alone."""
        signature = SIGNATURES[IMAGES.index(manifest)]
        for blob in signature.blobs():
            await self.uploads.receive_whole(repository, "me", blob.digest, Bytes(TEXTS[blob.digest]))
        await self.put(repository, signature, None)

    async def _is_there(self, repository: Repository, digest: Digest) -> bool:
        with suppress(BlobUnknown):
            return bool((await self.blobs.stat(repository, digest)).locations)
        return False

    def put(self, repository: Repository, manifest: Manifest, name: str | None) -> Deferred[object]:
        return self.database.write(
            content.put_manifest,
            repository,
            manifest,
            tag=None if name is None else Tag(name),
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
            lambda: self.put(repository, manifest, name),  # another tag for what may be here
            lambda: self.blobs.mount(repository, Digest.of(b"layer"), self.chance.choice(self.repositories).id),
            lambda: self.sign(repository, manifest),
            lambda: write(tag.delete_tag, at, name),
            lambda: write(tag.delete_tag, at, "index"),
            lambda: write(time_machine.expire_tags, 10),
            lambda: write(content.delete_manifest, at, manifest.digest),
            lambda: write(time_machine.restore_tag, repository, Tag(name), manifest.digest),
            lambda: self.blobs.delete(repository, Digest.of(b"layer")),
            lambda: self.collectors[0].run(AllTheTime(), thorough=self.chance.random() < 0.5),
            lambda: self.collectors[0].run(AllTheTime()),
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
    """On SQLite, in memory where there is a file system in it."""
    directory = tempfile.mkdtemp(prefix="quay-gc-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    path = shutil.copy(sqlite_template, directory)
    found = World(f"sqlite:///{path}", random.Random(57))
    yield found
    found.engine.dispose()
    shutil.rmtree(directory)


@pytest.fixture
def world_on_postgres(postgres_url: str) -> Iterator[World]:
    found = World(postgres_url, random.Random(58))
    yield found
    found.engine.dispose()


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
    assert world.acknowledged > ROUNDS / 5


def test_interleavings_on_postgres(world_on_postgres: World) -> None:
    """The same on PostgreSQL."""
    play(world_on_postgres, ROUNDS // 5)
    assert world_on_postgres.acknowledged > ROUNDS / 25


def test_a_push_meets_the_collector(world: World) -> None:
    """A blob that nobody links is pushed and mounted at the moment at which it is collected."""
    meet(world, ROUNDS)


def test_a_push_meets_the_collector_on_postgres(world_on_postgres: World) -> None:
    """The same on PostgreSQL."""
    meet(world_on_postgres, ROUNDS // 15)


def meet(world: World, rounds: int) -> None:
    digest = Digest.of(b"layer")
    one, two = world.repositories
    collected = 0
    for _ in range(rounds):
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
    assert collected > rounds / 20


def test_in_the_end_nothing_is_left(world: World) -> None:
    """When everything was deleted and time has passed, not a row and not a byte is left."""
    play(world, 20)
    for repository_ in world.repositories:
        for name in ("latest", "stable", "index"):
            world.do(world.database.write(tag.delete_tag, repository_.id, name))
    for _ in range(3):
        world.clock.advance(2 * TIME_MACHINE_S)
        world.do(world.database.write(time_machine.expire_tags, 10))
        world.do(Deferred.fromCoroutine(world.collectors[0].run(AllTheTime(), thorough=True)))
    with world.engine.connect() as connection:
        for table in (schema.tag, schema.manifest, schema.repository_blob, schema.blob, schema.placement):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 0, table.name
    assert world.store.blobs == {}


# --- several collectors, and clocks -----------------------------------------------------------------------------------


def test_two_collectors_at_one_backlog(world: World) -> None:
    """Several collectors that find the same garbage at once remove it once, and count it once."""
    texts = [b"%d" % n for n in range(40)]
    for text in texts:
        world.do(
            Deferred.fromCoroutine(
                world.uploads.receive_whole(world.repositories[0], "me", Digest.of(text), Bytes(text))
            )
        )
    world.clock.advance(601)  # their leases have run out
    collectors = [*world.collectors, GarbageCollector(world.database, world.stores, world.policy, world.clock)]
    running = [Deferred.fromCoroutine(collector.run(AllTheTime(), thorough=True)) for collector in collectors]
    world.settle()
    total = Collected()
    for one in running:
        total.add(world.do(one))
    assert (total.links, total.blobs, total.bytes) == (40, 40, sum(map(len, texts)))
    assert world.store.blobs == {}


@pytest.mark.parametrize("jump", [3600, -3600, 365 * 86400, -365 * 86400])
def test_the_clock_jumps(world: World, jump: int) -> None:
    """Whichever way the clock jumps in the middle of a push, the push goes on or is refused, and no tag is harmed."""
    one, two = world.repositories
    kept, pushed = IMAGES
    world.do(Deferred.fromCoroutine(_as_coroutine(world.push(one, kept, "latest"))))
    for text in world.texts(pushed)[:2]:
        world.do(Deferred.fromCoroutine(world.uploads.receive_whole(two, "me", Digest.of(text), Bytes(text))))
    begun = world.do(Deferred.fromCoroutine(world.uploads.begin(two, "me")))
    world.clock.rightNow += jump
    world.do(Deferred.fromCoroutine(world.collectors[0].run(AllTheTime())))
    last = world.texts(pushed)[2]
    finished = world.uploads.finish(two, "me", begun, Digest.of(last), Bytes(last), None)
    world.do(Deferred.fromCoroutine(finished))
    world.check_tags()
    try:
        world.do(world.put(two, pushed, "latest"))
    except ManifestBlobUnknown:  # the lease of what came before the jump has run out
        assert jump > world.policy.upload_s
    world.do(Deferred.fromCoroutine(_as_coroutine(world.push(two, pushed, "latest"))))
    world.clock.rightNow -= jump
    for collector in world.collectors:
        world.do(Deferred.fromCoroutine(collector.run(AllTheTime())))
    world.check_tags()
    for where, manifest in ((one, kept), (two, pushed)):
        tagged = world.do(world.database.read(tag.resolve_tag, where.id, "latest"))
        assert tagged is not None and tagged.digest == manifest.digest


def test_garbage_is_collected_after_the_clock_was_wrong(world: World) -> None:
    """A collector that once ran a year ahead finds afterwards what becomes garbage at the right time."""
    world.clock.rightNow += 365 * 86400
    world.do(Deferred.fromCoroutine(world.collectors[0].run(AllTheTime())))
    world.clock.rightNow -= 365 * 86400
    world.do(
        Deferred.fromCoroutine(world.uploads.receive_whole(world.repositories[0], "me", Digest.of(b"a"), Bytes(b"a")))
    )
    world.clock.advance(601)
    assert world.do(Deferred.fromCoroutine(world.collectors[0].run(AllTheTime()))).blobs == 1
    assert world.store.blobs == {}


def test_a_claim_of_a_wrong_clock(world: World) -> None:
    """What somebody condemned and left while the clock was a year ahead is finished when it is right; not at once."""
    one, digest = world.repositories[0], Digest.of(b"a")

    def push() -> None:
        world.do(Deferred.fromCoroutine(world.uploads.receive_whole(one, "me", digest, Bytes(b"a"))))

    def collect() -> None:
        world.do(Deferred.fromCoroutine(world.collectors[0].run(AllTheTime())))

    push()
    world.do(Deferred.fromCoroutine(world.blobs.delete(one, digest)))
    world.clock.rightNow += 365 * 86400
    with world.engine.connect() as connection:
        ids = list(connection.execute(sa.select(schema.blob.c.id)).scalars())
    assert world.do(world.database.write(condemned.condemn_unlinked, ids))[0] == 1
    world.clock.rightNow -= 365 * 86400
    for seconds in (0, 300, 200):
        world.clock.advance(seconds)
        collect()
        assert digest in world.store.blobs
    with pytest.raises(Unavailable):
        push()
    world.clock.advance(200)
    collect()
    assert world.store.blobs == {}
    push()
    world.check_tags()


def test_the_grace_is_honoured(world: World) -> None:
    """The blobs of a collected manifest stay for `grace_s` after it, though their own leases ended long ago."""
    one = world.repositories[0]
    world.do(Deferred.fromCoroutine(_as_coroutine(world.push(one, IMAGES[0], "latest"))))
    for name in ("latest", "index"):
        world.do(world.database.write(tag.delete_tag, one.id, name))
    world.do(world.database.write(content.delete_manifest, one.id, IMAGES[0].digest))
    world.clock.advance(TIME_MACHINE_S + 61)
    collected = world.do(Deferred.fromCoroutine(world.collectors[0].run(AllTheTime())))
    assert collected.manifests and not collected.blobs
    world.clock.advance(world.policy.grace_s - 1)
    assert not world.do(Deferred.fromCoroutine(world.collectors[1].run(AllTheTime()))).blobs
    world.clock.advance(2)
    assert world.do(Deferred.fromCoroutine(world.collectors[1].run(AllTheTime()))).blobs >= 3


def test_an_abandoned_upload(world: World) -> None:
    """An upload that nobody has fed for `upload_s` is reaped, with its row; one that is fed can be gone on with."""
    one, upload_s = world.repositories[0], world.policy.upload_s

    def do(work: Coroutine[Any, Any, Any]) -> Any:
        return world.do(Deferred.fromCoroutine(work))

    def reap() -> int:
        found: int = do(world.uploads.reap(world.clock.seconds() - upload_s))
        return found

    abandoned, fed = (do(world.uploads.begin(one, "me")) for _ in range(2))
    world.clock.advance(upload_s - 200)  # and a little passes by itself, until the uploads are suspended
    assert reap() == 0
    do(world.uploads.append(one, "me", fed, Bytes(b"layer"), None))
    world.clock.advance(upload_s - 200)
    assert reap() == 1
    do(world.uploads.append(one, "me", fed, Bytes(b"layer"), None))
    with pytest.raises(BlobUploadUnknown):
        do(world.uploads.offset(one, "me", abandoned))
    assert do(world.uploads.offset(one, "me", fed)) == 10
    assert list(world.store.uploads) == [fed]
    world.clock.advance(upload_s + 1)
    assert reap() == 1 and world.store.uploads == {}
    with world.engine.connect() as connection:
        assert connection.execute(sa.select(schema.upload)).all() == []
