"""
Bytes on their way in: what the uploads of all drivers share.

What a client sends is gathered into segments of about a mebibyte, and each segment goes to the medium as one piece of
work, one after the other and in order. Memory is bounded for one upload (`HIGH`) and for all of them (`Budget`): over
either, the producer is paused until the medium has caught up.

Whatever is asked of an upload is done in turn, and it is done even if the caller is cancelled meanwhile. A failure is
remembered: no byte after it is taken, and everybody who asks is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IProducer, IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from quay.interfaces import IBlobUpload
from quay.oci.reference import Digest
from quay.storage import UploadMissing
from quay.threads import shielded

R = TypeVar("R")
Work: TypeAlias = Deferred[R] | Coroutine[Deferred[Any], Any, R]

MIB: Final = 1024 * 1024
SEGMENT: Final = MIB
HIGH: Final = 4 * SEGMENT  # one on its way to the medium, two waiting, one being gathered
LOW: Final = 2 * SEGMENT
CHUNK_COST: Final = 64  # what a bytes object costs beside its bytes: a body in one-byte chunks is no way around a limit

_UPLOAD_ID: Final = re.compile(r"[0-9a-zA-Z-]{1,64}")

log = Logger()


def is_upload_id(name: str) -> bool:
    """Whether an upload can be called `name`; nothing that means something to a file system is among these."""
    return _UPLOAD_ID.fullmatch(name) is not None


class Partial(Protocol):
    """
    The bytes of one upload on a driver's medium. Asked for one thing at a time, and never again after `place`, `close`
    or `discard`, whatever came of it.
    """

    def append(self, segment: Sequence[bytes]) -> Work[None]:
        """Hash and keep the chunks of a segment."""

    def place(self, digest: Digest) -> Work[None]:
        """Make the bytes the blob `digest`, durably. A failure (`DigestMismatch`, if they differ) leaves nothing."""

    def close(self) -> Work[None]:
        """Let go of it; the bytes stay."""

    def discard(self) -> Work[None]:
        """Throw the bytes away."""


class Budget:
    """How many bytes the uploads of a process may hold in memory together. Once full, until half of it is free."""

    def __init__(self, limit: int = 256 * MIB) -> None:
        self.limit = limit
        self.held = 0
        self.full = False
        self._uploads: dict[SegmentedUpload, None] = {}  # a set that keeps its order

    def join(self, upload: SegmentedUpload) -> None:
        self._uploads[upload] = None

    def leave(self, upload: SegmentedUpload) -> None:
        self._uploads.pop(upload, None)

    def take(self, count: int) -> None:
        """Account for `count` bytes. When that fills the budget, nobody waits for a whole segment any longer."""
        self.held += count
        if not self.full and self.held >= self.limit:
            self.full = True
            for upload in tuple(self._uploads):
                upload.hurry()

    def give(self, count: int) -> None:
        """`count` bytes are with their medium."""
        self.held -= count
        if self.full and self.held <= self.limit // 2:
            self.full = False
            for upload in tuple(self._uploads):
                upload.relax()


@implementer(IBlobUpload)
class SegmentedUpload:
    """An upload to `location`, which holds `offset` bytes of it already, in `partial`."""

    def __init__(self, location: str, upload_id: str, partial: Partial, budget: Budget, offset: int = 0) -> None:
        self.upload_id = upload_id
        self.offset = offset
        self._location = location
        self._partial = partial
        self._budget = budget
        self._gathered: list[bytes] = []
        self._weight = 0  # of what is gathered
        self._held = 0  # that, and all that is on its way
        self._turn = DeferredLock()
        self._refusal: Exception | None = None  # why no more bytes are taken
        self._gone = False  # the partial has been let go of
        self._watchers: list[Deferred[Exception]] = []
        self._producer: IPushProducer | None = None
        self._paused = False
        budget.join(self)

    # --- the consumer

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Raises RuntimeError for a second producer, and for one that would have to be asked for each write."""
        if self._producer is not None or not streaming:
            raise RuntimeError(f"The upload {self.upload_id} takes one producer at a time, and only one that streams.")
        self._producer = IPushProducer(producer)
        self._paused = False
        self._pause_if_full()

    def unregisterProducer(self) -> None:
        self._producer = None

    def write(self, data: bytes) -> None:
        """Take `data`; it is dropped after a failure and after the end, of which `flushed` and `commit` will tell."""
        if self._refusal is None and data:
            self.offset += len(data)
            self._gathered.append(data)
            self._hold(len(data) + CHUNK_COST)
            if self._weight >= SEGMENT:
                self._cut()
            elif self._budget.full:
                self.hurry()
        self._pause_if_full()

    # --- the upload

    def flushed(self) -> Deferred[int]:
        return self._in_turn(self._tell, self.offset)

    def commit(self, digest: Digest) -> Deferred[int]:
        return self._in_turn(self._place, digest, self.offset)

    def suspend(self) -> Deferred[None]:
        return self._in_turn(self._close)

    def cancel(self) -> Deferred[None]:
        self._refuse(self._missing())  # what waits need not be written any more
        return self._in_turn(self._discard)

    def stopped(self) -> Deferred[Exception]:
        """
        Fires with the reason as soon as no more bytes are taken: a failure of the medium, or the end of this upload.
        A producer that is paused then is never resumed, so whoever waits for its last byte waits for this too.
        """
        if self._refusal is not None:
            return succeed(self._refusal)
        watcher: Deferred[Exception] = Deferred(self._watchers.remove)
        self._watchers.append(watcher)
        return watcher

    # --- what the budget asks for

    def hurry(self) -> None:
        """Send what has been gathered on its way, though it is less than a segment, unless some is on its way now."""
        if self._held == self._weight:
            self._cut()

    def relax(self) -> None:
        """Let the producer go on, if it was paused and there is room."""
        if self._paused and self._producer is not None and self._held <= LOW and not self._is_full():
            self._paused = False
            self._producer.resumeProducing()

    # --- memory

    def _cut(self) -> None:
        if self._gathered:
            self._turn.run(self._append, *self._taken())

    def _taken(self) -> tuple[list[bytes], int]:
        """What has been gathered, and its weight, to be sent on its way."""
        segment, weight = self._gathered, self._weight
        self._gathered, self._weight = [], 0
        return segment, weight

    def _hold(self, count: int) -> None:
        self._weight += count
        self._held += count
        self._budget.take(count)

    def _release(self, count: int) -> None:
        self._held -= count
        self._budget.give(count)
        if self._budget.full:
            self.hurry()
        self.relax()

    def _is_full(self) -> bool:
        return self._refusal is not None or self._held >= HIGH or self._budget.full

    def _pause_if_full(self) -> None:
        # Again at each write: a producer that has just been started may not know that it is paused.
        if self._producer is not None and self._is_full():
            self._paused = True
            self._producer.pauseProducing()

    # --- in turn

    def _in_turn(self, f: Callable[..., Coroutine[Deferred[Any], Any, R]], *args: object) -> Deferred[R]:
        """Call `f` when everything that came before has been done, whether or not somebody still waits for it."""
        self._cut()
        return shielded(self._turn.run(f, *args))

    async def _append(self, segment: list[bytes], weight: int) -> None:
        with self._keeping(weight):
            if self._refusal is None:
                await self._partial.append(segment)

    @contextmanager
    def _keeping(self, weight: int) -> Iterator[None]:
        """While bytes of this weight are brought to the medium; if that fails, no more are taken."""
        try:
            yield
        except Exception as failure:  # whatever it is: told to all who ask from now on
            log.warn("Upload {upload_id} takes no more bytes: {why}", upload_id=self.upload_id, why=failure)
            self._refuse(failure)
        finally:
            self._release(weight)

    async def _tell(self, offset: int) -> int:
        if self._refusal is not None:
            raise self._refusal
        return offset

    async def _place(self, digest: Digest, size: int) -> int:
        await self._tell(size)
        self._let_go()
        await self._partial.place(digest)
        return size

    async def _close(self) -> None:
        if not self._gone:
            self._let_go()
            await self._partial.close()

    async def _discard(self) -> None:
        if not self._gone:
            self._let_go()
            await self._partial.discard()

    # --- the end

    def _let_go(self) -> None:
        self._gone = True
        self._refuse(self._missing())
        self._budget.leave(self)

    def _missing(self) -> UploadMissing:
        return UploadMissing(self._location, self.upload_id)

    def _refuse(self, reason: Exception) -> None:
        """Take no more bytes; the first reason stays."""
        if self._refusal is None:
            self._refusal = reason
            self._pause_if_full()
            watchers, self._watchers = self._watchers, []
            for watcher in watchers:
                watcher.callback(reason)
