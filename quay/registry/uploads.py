"""
Uploads by uuid: begun, continued after a lost connection or a restart, finished or reaped.

An upload belongs to one repository and one principal; to everybody else it does not exist. While bytes come in, it is
live: an open file and a running hash. When nothing has come for a while it is suspended, and the next request, in this
process or the next, resumes it from what the store really holds.

To be resumed, an upload has to be on record. Most are begun and finished on the same node within milliseconds, and a
row for each would cost as much as the blob's own; so the row is written when an upload holds more than is sent again in
no time (`FORGETTABLE`), when somebody asks how far it is, and before it is suspended. Its file, too, is made when there
is something to put into it. A crash before that loses the upload, cleanly: its client is told to begin a new one. Where
several nodes serve, the next request may come to another one, and file and row come first.

Source: OCI Distribution Specification 1.1, "Pushing blobs"; Docker Registry HTTP API V2; Quay (`Range` for chunks).
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Protocol

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IConsumer, IDelayedCall, IProducer, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from quay import faults
from quay.database import Database, Transaction
from quay.interfaces import IBlobStore, IBlobUpload, IDirectIntake
from quay.model import blob as blobs
from quay.model import upload as rows
from quay.model.blob import Blob
from quay.model.condemned import BytesInDoubt
from quay.model.repository import Repository
from quay.oci.errors import (
    BlobTooLarge,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    RangeInvalid,
    RegistryError,
    TooManyRequests,
)
from quay.oci.reference import Digest
from quay.registry.blobs import Stores, linked
from quay.registry.cache import Recent
from quay.registry.policy import Policy
from quay.storage import DigestMismatch, StorageError, StorageFailed, UploadBusy, UploadMissing
from quay.storage.upload import is_upload_id
from quay.tasks import Tasks

log = Logger()

SMALL: Final = 64 * 1024
"""Up to this size, in bytes, a blob that comes in one body goes to its store in one step."""

FORGETTABLE: Final = 1024 * 1024
"""Up to this size, in bytes, an upload that goes on may be lost by a crash."""

RETRY_S: Final = 0.2
"""Between two attempts to get hold of an upload that somebody else has open, in seconds."""


class Body(Protocol):
    """The bytes of a request: `length` in bytes, None where it is not known beforehand."""

    @property
    def length(self) -> int | None: ...

    def deliver_to(self, consumer: IConsumer) -> Deferred[int]: ...


@attrs.frozen
class Chunk:
    """Where the client says its bytes belong, inclusive; `lenient` skips what was received before (Quay's `Range`)."""

    start: int
    end: int
    lenient: bool = False


@attrs.define(eq=False)
class Session:
    """
    A live upload. `busy` while a request works on it; one at a time. `upload` is None until there is something to keep;
    `recorded` if it has a row, `ended` once it can get none any more. `turn` is for whoever changes one of these.
    `rests_since` is when its last request ended, in seconds since the epoch.
    """

    uuid: str
    repository: Repository
    owner: str
    algorithm: str = "sha256"
    upload: IBlobUpload | None = None
    busy: bool = False
    recorded: bool = False
    ended: bool = False
    turn: DeferredLock = attrs.field(factory=DeferredLock)
    rests_since: float = 0.0

    @property
    def offset(self) -> int:
        return 0 if self.upload is None else self.upload.offset


class Uploads(Service):
    """
    All uploads of this node. One that nobody has written to for `idle_s` seconds is suspended; with several nodes, of
    which it is not `alone`, that is soon, because the next chunk may come to another node, which waits for it for
    `patience_s`. Beyond `live_limit`, each of which has a file open, the one that has rested longest is suspended.
    """

    name = "uploads"
    patience_s = 3.0
    live_limit = 200

    def __init__(
        self,
        clock: IReactorTime,
        database: Database,
        stores: Stores,
        policy: Policy,
        tasks: Tasks,
        recent: Recent | None = None,
        *,
        alone: bool = True,
    ) -> None:
        self._clock = clock
        self._database = database
        self._stores = stores
        self._policy = policy
        self._tasks = tasks
        self._recent = recent or Recent()
        self._alone = alone
        self._idle_s = 60.0 if alone else 0.5
        self._live: dict[str, Session] = {}  # whoever has rested longest comes first
        self._alarm: IDelayedCall | None = None

    @property
    def live(self) -> int:
        """How many are live, with an open file each."""
        return len(self._live)

    # --- what a request asks for

    async def begin(self, repository: Repository, owner: str, algorithm: str = "sha256") -> str:
        """A new upload: its uuid."""
        name = str(uuid.uuid4())
        session = self._live[name] = Session(name, repository, owner, algorithm)
        room = self._rest(session)
        if not self._alone:
            await self._tasks.spawn(self._record(session))
        await room
        return name

    async def offset(self, repository: Repository, owner: str, name: str) -> int:
        """How many bytes of the upload are held. Raises `BlobUploadUnknown`."""
        live = self._live.get(name)
        if live is not None and live.busy and _is(live, repository, owner):
            return live.offset
        async with self._working(repository, owner, name) as session:
            await self._tasks.spawn(self._record(session))
            return await (await self._opened(session)).flushed()

    async def append(self, repository: Repository, owner: str, name: str, body: Body, chunk: Chunk | None) -> int:
        """
        Take the bytes of `body`; returns the offset after them. Raises `BlobUploadUnknown`, `RangeInvalid` for a
        chunk that does not follow what is held, `BlobUploadInvalid` for one that contradicts its own length,
        `BlobTooLarge`. What was received before a failure is kept.
        """
        async with self._working(repository, owner, name) as session:
            upload = await self._opened(session)
            recording: list[Deferred[None]] = []

            def record() -> None:
                if not recording:
                    recording.append(self._tasks.spawn(self._record(session)))

            if not self._alone:
                record()
            try:
                await self._receive(session, upload, body, chunk, record)
                held = await upload.flushed()
            except BaseException:
                for recorded in recording:
                    recorded.addErrback(lambda _: None)  # one reason is enough
                raise
            if held > FORGETTABLE:
                record()
            for recorded in recording:
                await recorded
            return held

    async def finish(
        self, repository: Repository, owner: str, name: str, digest: Digest, body: Body, chunk: Chunk | None
    ) -> Blob:
        """
        Take the last bytes, and make the whole the blob `digest` of the repository. Raises as `append`, and
        `DigestInvalid` when the bytes have another digest: the upload is gone then, and nothing is left of it.
        """
        async with self._working(repository, owner, name) as session:
            if session.upload is None and _is_small(body):
                data = await self._gathered(session, body, chunk)
                return await self._tasks.spawn(self._commit(session, digest, data))
            upload = await self._opened(session)
            if body.length != 0:
                await self._receive(session, upload, body, chunk)
                await upload.flushed()
            return await self._tasks.spawn(self._commit(session, digest))

    async def cancel(self, repository: Repository, owner: str, name: str) -> None:
        """Throw the upload away. Raises `BlobUploadUnknown`."""
        async with self._working(repository, owner, name) as session:
            await self._tasks.spawn(self._drop(session))

    async def receive_whole(self, repository: Repository, owner: str, digest: Digest, body: Body) -> Blob:
        """A blob in one request: no upload that anybody could go on with. Raises as `finish`."""
        session = Session(str(uuid.uuid4()), repository, owner, digest.algorithm, busy=True)
        if _is_small(body):
            data = await self._gathered(session, body, None)
            return await self._tasks.spawn(self._commit(session, digest, data))
        try:
            upload = await self._opened(session)
            await self._receive(session, upload, body, None)
            await upload.flushed()
        except BaseException:
            self._tasks.spawn(_let_go(self._drop(session)))
            raise
        return await self._tasks.spawn(self._commit(session, digest))

    async def reap(self, before: float) -> int:
        """Drop what nobody has written to since `before` (seconds since the epoch); returns how many there were."""
        dropped = 0
        for store in self._stores.by_location.values():
            for name in await store.stale_uploads(before):
                if name not in self._live and await self._discarded(store, name):
                    await self._database.write(rows.end_upload, name)
                    dropped += 1
        # A row without bytes has nothing that could be stale: it goes once nobody can be working on it any more.
        forgotten = int((before - self._policy.upload_s) * 1000)
        for row in await self._database.read(rows.stale_uploads, forgotten, 1000):
            if row.uuid not in self._live:
                await self._database.write(rows.end_upload, row.uuid)
        return dropped

    # --- how it is done

    @staticmethod
    async def _discarded(store: IBlobStore, name: str) -> bool:
        """One that cannot be removed does not keep the others from it."""
        try:
            await store.discard(name)
        except StorageFailed as error:
            log.error("The upload {name} cannot be removed: {error}", name=name, error=error)
            return False
        return True

    @asynccontextmanager
    async def _working(self, repository: Repository, owner: str, name: str) -> AsyncIterator[Session]:
        """The upload, for one request alone; afterwards it rests, if there is still something to go on with."""
        session = await self._take(repository, owner, name)
        try:
            yield session
        except StorageFailed:
            session.busy = False
            await self._suspend(session)  # the next request goes on from what the medium really holds
            raise
        finally:
            session.busy = False
            if session.uuid in self._live:
                self._rest(session)

    async def _opened(self, session: Session) -> IBlobUpload:
        if session.upload is not None:
            return session.upload
        return await self._tasks.spawn(self._open_new(session))

    async def _open_new(self, session: Session) -> IBlobUpload:
        async with session.turn:
            if session.upload is None and session.ended:
                raise _unknown(session.repository, session.uuid)
            upload = session.upload or await self._stores.target.begin(session.uuid, session.algorithm)
            session.upload = upload
            return upload

    async def _record(self, session: Session) -> None:
        """See that the row is there with which the upload can be resumed; none is written for one that has ended."""
        try:
            await self._opened(session)
        except BlobUploadUnknown:
            return  # it has ended meanwhile
        async with session.turn:
            if session.recorded or session.ended:
                return
            location = self._stores.preferred
            await self._database.write(rows.begin_upload, session.uuid, session.repository.id, session.owner, location)
            session.recorded = True
            faults.point("upload.recorded")

    async def _take(self, repository: Repository, owner: str, name: str) -> Session:
        session = self._live.get(name) or await self._resume(repository, owner, name)
        if not _is(session, repository, owner):
            raise _unknown(repository, name)
        if session.busy:
            raise _busy(name)
        session.busy = True
        return session

    async def _resume(self, repository: Repository, owner: str, name: str) -> Session:
        if not is_upload_id(name):  # to look it up is an error of its own, if there is a NUL in it
            raise _unknown(repository, name)
        row = await self._database.read(rows.find_upload, name, repository_id=repository.id, owner=owner)
        store = self._stores.by_location.get(row.location) if row is not None else None
        if store is None:
            raise _unknown(repository, name)
        try:
            upload = await self._open(store, name)
        except UploadMissing as gone:
            await self._database.write(rows.end_upload, name)
            raise _unknown(repository, name) from gone
        self._live[name] = Session(name, repository, owner, upload=upload, recorded=True)
        return self._live[name]

    async def _open(self, store: IBlobStore, name: str) -> IBlobUpload:
        """Resume it, once whoever has it lets it go: this node, which suspends it, or another."""
        for _ in range(int(self.patience_s / RETRY_S)):
            try:
                return await store.resume(name)
            except UploadBusy:
                await deferLater(self._clock, RETRY_S)
        raise _busy(name)

    async def _gathered(self, session: Session, body: Body, chunk: Chunk | None) -> bytes:
        """The whole of a small body. It is kept nowhere if the client leaves: nothing was acknowledged."""
        self._check(session, body.length, chunk)
        gathered = _Gathered()
        await body.deliver_to(gathered)
        return b"".join(gathered.parts)

    async def _receive(
        self,
        session: Session,
        upload: IBlobUpload,
        body: Body,
        chunk: Chunk | None,
        grown: Callable[[], object] = lambda: None,
    ) -> None:
        """Let the upload have the body; `grown` is called, again and again, while it is too large to be forgotten."""
        skip = self._check(session, body.length, chunk)
        delivered = body.deliver_to(_Intake(upload, skip, self._policy.blob_limit, self._too_large(session), grown))
        # A medium that takes no more never resumes the client: then there is no last byte to wait for.
        stopped = upload.stopped()
        stopped.addCallbacks(lambda _: delivered.cancel(), lambda _: None)
        try:
            _check_length(await delivered, chunk)
        except CancelledError:
            await upload.flushed()  # raises what the medium said, if that was it
            raise
        finally:
            stopped.cancel()

    def _check(self, session: Session, length: int | None, chunk: Chunk | None) -> int:
        if length is not None and session.offset + length > self._policy.blob_limit:
            raise self._too_large(session)
        if chunk is None:
            return 0
        _check_length(length, chunk)
        if chunk.start > session.offset or (chunk.start < session.offset and not chunk.lenient):
            raise RangeInvalid(
                f"The chunk begins at byte {chunk.start}, but the next byte of this upload is {session.offset}.",
                advice="Ask the upload's URL for its Range with GET, and go on from there.",
                headers={
                    "Range": f"0-{max(session.offset - 1, 0)}",
                    "Location": f"/v2/{session.repository.name}/blobs/uploads/{session.uuid}",
                    "Docker-Upload-UUID": session.uuid,
                },
            )
        return session.offset - chunk.start

    def _too_large(self, session: Session) -> BlobTooLarge:
        return BlobTooLarge(
            f"The blob is larger than the {self._policy.blob_limit} bytes that this registry takes.",
            advice="Make the layer smaller, or have MAXIMUM_LAYER_SIZE raised.",
            limit=self._policy.blob_limit,
            repository=session.repository.name,
        )

    async def _commit(self, session: Session, digest: Digest, data: bytes = b"") -> Blob:
        """Make what the upload holds, and `data` after it, the blob `digest`."""
        await self._ended(session)
        seen_ms = int(self._clock.seconds() * 1000)
        try:
            size = await self._placed(session, digest, data)
        except DigestMismatch as wrong:
            await self._end(session)
            raise DigestInvalid(
                f"The {session.offset or len(data)} bytes received have the digest {wrong.actual}, not {digest}.",
                advice="The data changed on the way, or the digest is of something else: upload it again.",
            ) from wrong
        faults.point("blob.kept")
        blob = await linked(self._clock, self._stores.target, digest, seen_ms, partial(self._linked, session, size))
        faults.point("blob.linked")
        if data.startswith(b"{"):
            self._recent.keep(digest, data)  # a config, which its manifest will ask for
        return blob

    async def _placed(self, session: Session, digest: Digest, data: bytes) -> int:
        if session.upload is None:
            await self._stores.target.keep(digest, data)
            return len(data)
        session.upload.write(data)
        return await session.upload.commit(digest)

    async def _linked(self, session: Session, size: int, digest: Digest, *, seen_ms: int, verified: str) -> Blob:
        try:
            return await self._database.write(self._link, session, digest, size, seen_ms, verified)
        except BytesInDoubt as doubt:
            if doubt.gone and session.recorded:
                await self._database.write(rows.end_upload, session.uuid)  # whatever comes of it, it is no upload now
            raise

    def _link(self, txn: Transaction, session: Session, digest: Digest, size: int, seen_ms: int, verified: str) -> Blob:
        if session.recorded:
            rows.end_upload(txn, session.uuid)
        return blobs.link_blob(
            txn,
            session.repository.id,
            digest,
            size,
            self._stores.preferred,
            lease_s=self._policy.upload_s,
            seen_ms=seen_ms,
            verified=verified,
        )

    async def _drop(self, session: Session) -> None:
        await self._ended(session)
        if session.upload is not None:
            await session.upload.cancel()
        await self._end(session)

    async def _ended(self, session: Session) -> None:
        """It is over: nobody gets hold of it any more, and whoever was opening or recording it has done so."""
        session.ended = True
        self._live.pop(session.uuid, None)
        if session.turn.locked:
            async with session.turn:
                pass

    async def _end(self, session: Session) -> None:
        if session.recorded:
            await self._database.write(rows.end_upload, session.uuid)

    def _rest(self, session: Session) -> Deferred[None]:
        """Let it wait for its next request; fires when no more are live than may be."""
        self._live[session.uuid] = self._live.pop(session.uuid)  # to the end: it is the last one to have rested
        session.rests_since = self._clock.seconds()
        if self._alarm is None:  # one for all: most uploads end before it rings
            self._alarm = self._clock.callLater(self._idle_s, self._suspend_idle)
        return self._tasks.spawn(self._make_room()) if len(self._live) > self.live_limit else succeed(None)

    async def _make_room(self) -> None:
        while len(self._live) > self.live_limit:
            resting = next((session for session in self._live.values() if not session.busy), None)
            if resting is None:
                return
            await self._suspended(resting)

    def _suspend_idle(self) -> None:
        self._alarm = None
        now = self._clock.seconds()
        for session in [session for session in self._live.values() if not session.busy]:
            session.rests_since = min(session.rests_since, now)  # the clock may have been set back meanwhile
            left = session.rests_since + self._idle_s - now
            if left > 0:
                self._alarm = self._clock.callLater(left, self._suspend_idle)
                return
            self._suspend(session)

    def _suspend(self, session: Session) -> Deferred[None]:
        return self._tasks.spawn(self._suspended(session))

    async def _suspended(self, session: Session) -> None:
        if not session.recorded:
            await _let_go(self._record(session))
            if self._live.get(session.uuid) is not session or (session.busy and self.running):
                return  # somebody ended it meanwhile, or went on with it
        self._live.pop(session.uuid, None)
        session.ended = True
        if session.upload is not None:
            await _let_go(session.upload.suspend())

    def stopService(self) -> Deferred[None]:
        """Suspend what is live: it goes on after the restart."""
        super().stopService()
        return Deferred.fromCoroutine(self._suspend_all())

    async def _suspend_all(self) -> None:
        for session in list(self._live.values()):
            await self._suspend(session)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def _is_small(body: Body) -> bool:
    return body.length is not None and body.length <= SMALL


def _check_length(length: int | None, chunk: Chunk | None) -> None:
    """Whether the chunk is as long as it says: known beforehand, or, for a body without a length, afterwards."""
    if chunk is not None and length is not None and length != chunk.end - chunk.start + 1:
        raise BlobUploadInvalid(
            f"The chunk says it is the bytes {chunk.start}-{chunk.end}, but the request has {length} bytes.",
            advice="Make Content-Range agree with the body, and ask the upload's URL for what is held.",
        )


def _busy(name: str) -> TooManyRequests:
    return TooManyRequests(
        f"Another request is writing to the upload {name}.",
        advice="Send the chunks of an upload one after the other.",
        headers={"Retry-After": "1"},
    )


def _is(session: Session, repository: Repository, owner: str) -> bool:
    return session.repository.id == repository.id and session.owner == owner


def _unknown(repository: Repository, name: str) -> BlobUploadUnknown:
    return BlobUploadUnknown(
        f"There is no upload {name[:64]} in {repository.name} that you could go on with.",
        advice="It was finished, cancelled or given up on, or somebody else began it: begin a new one with POST.",
    )


async def _let_go(ending: Awaitable[object]) -> None:
    """Wait for an upload to be let go of; what goes wrong there is the operator's to know."""
    try:
        await ending
    except (StorageError, RegistryError) as error:
        log.warn("an upload could not be let go of: {error}", error=error)


@implementer(IConsumer)
class _Gathered:
    """A small body, in memory."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Memory has no pace of its own."""

    def unregisterProducer(self) -> None:
        """See `registerProducer`."""

    def write(self, data: bytes) -> None:
        self.parts.append(data)


@implementer(IDirectIntake)
class _Intake:
    """
    Stands between a body and an upload: leaves out the first `skip` bytes, raises `refusal` beyond `limit`, and calls
    `grown` with each piece beyond `FORGETTABLE`.
    """

    def __init__(
        self, upload: IBlobUpload, skip: int, limit: int, refusal: BlobTooLarge, grown: Callable[[], object]
    ) -> None:
        self._upload = upload
        self._skip = skip
        self._limit = limit
        self._refusal = refusal
        self._grown = grown

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._upload.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._upload.unregisterProducer()

    def write(self, data: bytes) -> None:
        if self._skip:
            self._skip, data = max(self._skip - len(data), 0), data[self._skip :]
        if self._upload.offset + len(data) > self._limit:
            raise self._refusal
        self._upload.write(data)
        self._tell_if_grown()

    def fetch(self, fill: Callable[[memoryview], int], most: int) -> Deferred[None] | None:
        self._tell_if_grown()
        room = self._limit - self._upload.offset
        if self._skip or not room or not IDirectIntake.providedBy(self._upload):
            return None
        return IDirectIntake(self._upload).fetch(fill, min(most, room))

    def _tell_if_grown(self) -> None:
        if self._upload.offset > FORGETTABLE:
            self._grown()
