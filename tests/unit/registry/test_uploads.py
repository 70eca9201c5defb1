"""When an upload is on record, and what becomes of the row: one is written only for what outlives its first request."""

from __future__ import annotations

import errno
import functools
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import attrs
import pytest
import sqlalchemy as sa
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from quay.database import Database, Transaction
from quay.database.engines import open_engine
from quay.database.schema import upload
from quay.interfaces import IDirectIntake, IPool
from quay.model import namespace, repository
from quay.model.repository import Repository
from quay.oci.errors import BlobTooLarge, BlobUploadUnknown, DigestInvalid
from quay.oci.reference import Digest, RepositoryName
from quay.registry.blobs import Blobs, Stores
from quay.registry.cache import Cache
from quay.registry.policy import Policy
from quay.registry.uploads import FORGETTABLE, SMALL, Chunk, Uploads
from quay.storage import StorageFailed, StorageFull, partial
from quay.storage.local import LocalBlobs
from quay.storage.memory import MemoryBlobs
from quay.tasks import Tasks
from quay.threads import ImmediatePool

OWNER = "devtable"
DATA = b"0123456789"
DIGEST = Digest.of(DATA)
LARGE = bytes(FORGETTABLE + 1)


@implementer(IPool)
class Writers:
    """Calls at once, or, while `held`, when it is released."""

    def __init__(self) -> None:
        self.held = False
        self._waiting: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def run(self, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        if not self.held:
            return maybeDeferred(f, *args, **kwargs)
        done: Deferred[Any] = Deferred()
        self._waiting.append((done, lambda: f(*args, **kwargs)))
        return done

    def release(self) -> None:
        self.held = False
        while self._waiting:
            done, call = self._waiting.pop(0)
            maybeDeferred(call).chainDeferred(done)


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


class Fetched:
    """A body that comes in pieces, each fetched by the upload if it can; `fetched` counts the bytes that were."""

    length = None

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.fetched = 0

    def deliver_to(self, consumer: IConsumer) -> Deferred[int]:
        return maybeDeferred(self._deliver, consumer)

    def _deliver(self, consumer: IConsumer) -> int:
        for piece in self.pieces:
            at = self.fetched
            IDirectIntake(consumer).fetch(functools.partial(self._fill, io.BytesIO(piece)), len(piece))
            if rest := piece[self.fetched - at :]:
                consumer.write(rest)
        return sum(map(len, self.pieces))

    def _fill(self, piece: io.BytesIO, buffer: memoryview) -> int:
        count = piece.readinto(buffer)
        self.fetched += count
        return count


class Node:
    """A node with one repository; `another` is the same after a restart, or beside it."""

    def __init__(self, url: str, store: Any = None, *, alone: bool = True, blob_limit: int = 1 << 30) -> None:
        self.clock = Clock()
        self.clock.rightNow = 1_790_000_000.0
        self.writers = Writers()
        self.engine = open_engine(url)
        self.database = Database(self.clock, self.engine, ImmediatePool(), self.writers)
        self.store = store or MemoryBlobs("local", now=self.clock.seconds)
        stores = Stores({"local": self.store}, "local")
        policy = Policy(upload_s=600, blob_limit=blob_limit)
        self.uploads = Uploads(self.clock, self.database, stores, policy, Tasks(), alone=alone)
        self.uploads.startService()
        self._url = url

    def another(self) -> Node:
        return Node(self._url, self.store)

    def repository(self) -> tuple[Repository, str]:
        """The repository, and who pushes to it."""
        made: list[Repository] = []
        self.database.write(_repository).addCallback(made.append)
        return made[0], OWNER

    @property
    def rows(self) -> int:
        """How many uploads are on record."""
        with self.engine.connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(upload)).scalar_one()


def done(work: Any) -> Any:
    """The result of something that needs no waiting."""
    outcome: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(outcome.append)
    assert outcome, "this would have to wait"
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


def _repository(txn: Transaction) -> Repository:
    owner = namespace.create_user(txn, OWNER, time_machine_s=600)
    name = RepositoryName.parse(f"{OWNER}/app")
    return repository.create(txn, name, namespace_id=owner.id, creator_id=None, public=False)


@pytest.fixture
def node(sqlite_url: str) -> Node:
    return Node(sqlite_url)


@pytest.fixture
def where(node: Node) -> tuple[Repository, str]:
    return node.repository()


def test_finished_by_its_second_request(node: Node, where: tuple[Repository, str]) -> None:
    """An upload that is begun and finished on one node is never on record, and makes its blob all the same."""
    name = done(node.uploads.begin(*where))
    assert node.rows == 0
    blob = done(node.uploads.finish(*where, name, DIGEST, Bytes(DATA), None))
    assert (blob.digest, blob.size, node.rows) == (DIGEST, len(DATA), 0)


@pytest.mark.parametrize("name", ["\0", "..", "a" * 65])
def test_what_is_no_name_of_an_upload(database_url: str, name: str) -> None:
    """What can be the name of none is an unknown upload, on every engine."""
    node = Node(database_url)
    with pytest.raises(BlobUploadUnknown):
        done(node.uploads.offset(*node.repository(), name))
    node.engine.dispose()


def test_a_small_upload_is_not_on_record(node: Node, where: tuple[Repository, str]) -> None:
    """What is sent again in no time has no row, however many chunks it came in; with one byte more it has."""
    name = done(node.uploads.begin(*where))
    assert done(node.uploads.append(*where, name, Bytes(LARGE[1:]), None)) == FORGETTABLE
    assert node.rows == 0
    assert done(node.uploads.append(*where, name, Bytes(b"0"), None)) == len(LARGE)
    assert node.rows == 1


@pytest.mark.parametrize("ask", ["append", "offset"])
def test_on_record_before_it_is_told(node: Node, where: tuple[Repository, str], ask: str) -> None:
    """Once a client was told that an upload holds much, it can go on after a crash; the blob takes the row along."""
    name = done(node.uploads.begin(*where))
    if ask == "append":
        assert done(node.uploads.append(*where, name, Bytes(LARGE), None)) == len(LARGE)
    else:
        assert done(node.uploads.offset(*where, name)) == 0
    assert node.rows == 1
    rest = Bytes(LARGE if ask == "offset" else b"")
    done(node.uploads.finish(*where, name, Digest.of(LARGE), rest, None))
    assert node.rows == 0


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_large_upload_that_is_fetched_is_on_record(sqlite_url: str, tmp_path: Path, pieces: int) -> None:
    """It does not matter how the bytes came, or in how many pieces."""
    node = Node(sqlite_url, LocalBlobs("local", tmp_path, ImmediatePool()))
    where = node.repository()
    name = done(node.uploads.begin(*where))
    done(node.uploads.append(*where, name, Fetched(*[LARGE] * pieces), None))
    assert node.rows == 1


def test_an_acknowledgement_waits_for_the_row(node: Node, where: tuple[Repository, str]) -> None:
    """While the row is not committed, nobody is told that his bytes are held."""
    name = done(node.uploads.begin(*where))
    node.writers.held = True
    told: list[Any] = []
    Deferred.fromCoroutine(node.uploads.append(*where, name, Bytes(LARGE), None)).addBoth(told.append)
    assert not told
    node.writers.release()
    assert told == [len(LARGE)]
    assert node.rows == 1


@pytest.mark.parametrize(
    ("failure", "said"), [(OSError(errno.ENOSPC, "no space"), StorageFull), (MemoryError(), StorageFailed)]
)
def test_after_a_failure_it_goes_on_from_what_is_held(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, said: type[StorageFailed]
) -> None:
    """Whoever is told that the medium failed finds, with his next request, an upload that can be gone on with."""
    node = Node(sqlite_url, LocalBlobs("local", tmp_path, ImmediatePool()))
    where = node.repository()
    name = done(node.uploads.begin(*where))
    assert done(node.uploads.append(*where, name, Bytes(DATA[:4]), None)) == 4
    told: list[Any] = []
    node.writers.held = True
    with monkeypatch.context() as broken:
        broken.setattr(partial, "write_all", Mock(side_effect=failure))
        Deferred.fromCoroutine(node.uploads.append(*where, name, Bytes(DATA[4:]), None)).addBoth(told.append)
    assert not told
    node.writers.release()
    assert told[0].check(said)
    assert done(node.uploads.offset(*where, name)) == 4
    assert done(node.uploads.finish(*where, name, DIGEST, Bytes(DATA[4:]), None)).size == len(DATA)


def test_what_the_server_knows_is_durable(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes whose name may not be on the medium yet, because that failed at the first attempt, are not relied on."""
    node = Node(sqlite_url, LocalBlobs("local", tmp_path, ImmediatePool()))
    repository, _ = node.repository()
    stores = Stores({"local": node.store}, "local")
    blobs = Blobs(node.database, stores, Cache(node.clock.seconds), Policy(), node.clock)
    synced: list[Path] = []
    with monkeypatch.context() as broken:
        broken.setattr(partial, "sync_directory", Mock(side_effect=OSError(errno.EIO, "broken")))
        with pytest.raises(StorageFailed):
            done(blobs.hold(repository, DATA))
    monkeypatch.setattr(partial, "sync_directory", synced.append)
    assert done(blobs.hold(repository, DATA)).digest == DIGEST
    assert synced == [tmp_path / "blobs" / "sha256" / DIGEST.hex[:2]]


def test_what_cannot_be_removed(sqlite_url: str, tmp_path: Path) -> None:
    """Abandoned uploads are reaped, though something is among them that nobody can remove."""
    node = Node(sqlite_url, LocalBlobs("local", tmp_path, ImmediatePool()))
    where = node.repository()
    done(node.uploads.append(*where, done(node.uploads.begin(*where)), Bytes(DATA), None))
    node.clock.advance(61)
    (tmp_path / "uploads" / "foreign").mkdir()
    assert done(node.uploads.reap(time.time() + 60)) == 1
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == ["foreign"]
    assert node.rows == 0


def test_rest_after_the_clock_was_set_back(node: Node, where: tuple[Repository, str]) -> None:
    """An upload that rested before the clock was set back by a day is let go of within the usual time."""
    done(node.uploads.append(*where, done(node.uploads.begin(*where)), Bytes(DATA), None))
    node.clock.rightNow -= 86400
    for waiting in node.clock.getDelayedCalls():
        waiting.delay(-86400)
    node.clock.pump([60, 60])
    assert (node.uploads.live, node.rows) == (0, 1)


def test_on_record_before_it_is_suspended(node: Node, where: tuple[Repository, str]) -> None:
    """An upload that rests for long is on record when it is let go of, and goes on from there, after a restart too."""
    name = done(node.uploads.begin(*where))
    node.clock.advance(61)
    assert (node.uploads.live, node.rows) == (0, 1)
    other = node.another()
    done(other.uploads.finish(*where, name, DIGEST, Bytes(DATA), None))
    assert node.rows == 0


def test_a_clean_stop_puts_it_on_record(node: Node, where: tuple[Repository, str]) -> None:
    """What was begun before a clean stop can be gone on with after the start."""
    name = done(node.uploads.begin(*where))
    node.uploads.stopService()
    assert (node.uploads.live, node.rows) == (0, 1)
    assert done(node.another().uploads.append(*where, name, Bytes(DATA), None)) == len(DATA)


def test_not_alone(sqlite_url: str, node: Node, where: tuple[Repository, str]) -> None:
    """Where several nodes serve, an upload is on record when its client hears of it: any of them may get the rest."""
    one = Node(sqlite_url, node.store, alone=False)
    name = done(one.uploads.begin(*where))
    assert one.rows == 1
    one.clock.advance(1)
    done(node.uploads.finish(*where, name, DIGEST, Bytes(DATA), None))
    assert one.rows == 0


def test_finished_while_its_row_is_written(node: Node, where: tuple[Repository, str]) -> None:
    """An upload that is finished just when it was to be suspended leaves no row behind, and is not suspended."""
    name = done(node.uploads.begin(*where))
    node.writers.held = True
    node.clock.advance(61)
    told: list[Any] = []
    Deferred.fromCoroutine(node.uploads.finish(*where, name, DIGEST, Bytes(DATA), None)).addBoth(told.append)
    node.writers.release()
    assert told[0].digest == DIGEST
    assert (node.rows, node.uploads.live, node.store.uploads) == (0, 0, {})


def test_gone_on_with_while_its_row_is_written(node: Node, where: tuple[Repository, str]) -> None:
    """A request that comes just when an upload was to be suspended has it, and none is told that it is unknown."""
    name = done(node.uploads.begin(*where))
    node.writers.held = True
    node.clock.advance(61)
    told: list[Any] = []
    Deferred.fromCoroutine(node.uploads.append(*where, name, Bytes(DATA), None)).addBoth(told.append)
    node.writers.release()
    assert (told, node.rows) == ([len(DATA)], 1)
    done(node.uploads.finish(*where, name, DIGEST, Bytes(b""), None))
    assert node.rows == 0


def test_room_is_made_for_as_many_as_come(node: Node, where: tuple[Repository, str]) -> None:
    """However many begin at once while the database is slow, only so many stay open, and each can be gone on with."""
    node.uploads.live_limit = 3
    node.writers.held = True
    names: list[str] = []
    for _ in range(10):
        Deferred.fromCoroutine(node.uploads.begin(*where)).addCallback(names.append)
    assert len(names) == 3
    node.writers.release()
    assert (len(names), node.uploads.live) == (10, 3)
    assert all(done(node.uploads.append(*where, name, Bytes(DATA), None)) == len(DATA) for name in names)


def test_cancelled_without_a_row(node: Node, where: tuple[Repository, str]) -> None:
    """One that is cancelled right away leaves neither a row nor a byte, and is unknown from then on."""
    name = done(node.uploads.begin(*where))
    done(node.uploads.cancel(*where, name))
    assert (node.rows, node.store.uploads) == (0, {})
    with pytest.raises(BlobUploadUnknown):
        done(node.uploads.offset(*where, name))


def test_a_small_blob_is_no_upload_of_the_store(node: Node, where: tuple[Repository, str]) -> None:
    """A small blob in one body goes to the store as a blob, and never was an upload there; a large one was."""
    begun: list[str] = []
    begin = node.store.begin
    node.store.begin = lambda name, algorithm: (begun.append(name), begin(name, algorithm))[1]  # type: ignore[method-assign]
    for size, uploads in ((0, 0), (SMALL, 0), (SMALL + 1, 1)):
        data = bytes(size)
        begun.clear()
        name = done(node.uploads.begin(*where))
        assert done(node.uploads.finish(*where, name, Digest.of(data), Bytes(data), None)).size == size
        assert len(begun) == uploads
        begun.clear()
        assert done(node.uploads.receive_whole(*where, Digest.of(data), Bytes(data))).size == size
        assert len(begun) == uploads


def test_a_small_blob_of_another_digest(node: Node, where: tuple[Repository, str]) -> None:
    """Where the bytes of a small blob are not what the digest says, the upload is gone, and nothing is left of it."""
    name = done(node.uploads.begin(*where))
    with pytest.raises(DigestInvalid, match="The 10 bytes received"):
        done(node.uploads.finish(*where, name, Digest.of(b"other"), Bytes(DATA), None))
    with pytest.raises(BlobUploadUnknown):
        done(node.uploads.offset(*where, name))
    assert (node.rows, node.store.uploads, node.store.blobs) == (0, {}, {})


@pytest.mark.parametrize("local", [True, False])
def test_fetched_by_the_store(sqlite_url: str, tmp_path: Path, local: bool) -> None:
    """What a store fetches by itself is part of the upload like any other bytes; a store that cannot is written to."""
    node = Node(sqlite_url, LocalBlobs("local", tmp_path, ImmediatePool()) if local else None)
    where, body = node.repository(), Fetched(DATA[:3], DATA[3:7])
    name = done(node.uploads.begin(*where))
    assert done(node.uploads.append(*where, name, body, None)) == 7
    assert body.fetched == (7 if local else 0)
    assert done(node.uploads.finish(*where, name, DIGEST, Bytes(DATA[7:]), None)).size == len(DATA)


def test_no_more_is_fetched_than_is_taken(sqlite_url: str, tmp_path: Path) -> None:
    """Of a body that turns out to be too large, no byte beyond the limit is fetched, and the client is told."""
    node = Node(sqlite_url, LocalBlobs("local", tmp_path, ImmediatePool()), blob_limit=8)
    where, body = node.repository(), Fetched(DATA[:6], DATA[6:])
    name = done(node.uploads.begin(*where))
    with pytest.raises(BlobTooLarge):
        done(node.uploads.append(*where, name, body, None))
    assert (body.fetched, done(node.uploads.offset(*where, name))) == (8, 8)


def test_bytes_that_were_there_are_not_fetched(sqlite_url: str, tmp_path: Path) -> None:
    """Where a chunk may repeat what is held, that is left out, and only then is fetched."""
    node = Node(sqlite_url, LocalBlobs("local", tmp_path, ImmediatePool()))
    where, body = node.repository(), Fetched(DATA[2:6], DATA[6:])
    name = done(node.uploads.begin(*where))
    assert done(node.uploads.append(*where, name, Bytes(DATA[:4]), None)) == 4
    assert done(node.uploads.append(*where, name, body, Chunk(2, 9, lenient=True))) == len(DATA)
    assert body.fetched == 4
    assert done(node.uploads.finish(*where, name, DIGEST, Bytes(b""), None)).size == len(DATA)
