"""
What a body on its way out waits for: its client, its medium, and the page cache.
"""

from __future__ import annotations

import os
from typing import TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IPullProducer, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from quay.interfaces import IBlobSource, IPool
from quay.web.body import ClientGone
from quay.web.request import RegistryRequest

T = TypeVar("T")
TOUCH_BYTES = 128 * 1024


@implementer(IPushProducer, IPullProducer)
class Pace:
    """
    When the client takes more. As a push producer it is told to pause; as a pull producer it is told each `turn`. A
    client that takes nothing for `patience` seconds is as good as gone.
    """

    def __init__(self, request: RegistryRequest, clock: IReactorTime, patience: float) -> None:
        self._request, self._clock, self._patience = request, clock, patience
        self._paused = self._gone = False
        self._waiting: Deferred[None] | None = None
        if not request.disconnected:
            request.notifyFinish().addErrback(lambda _: self.stopProducing())

    def check(self) -> None:
        """Raises `ClientGone` if the client has hung up."""
        if self._gone or self._request.disconnected:
            raise ClientGone("the client hung up in the middle of its answer")

    async def ready(self) -> None:
        """Return when the client is not behind."""
        self.check()
        if self._paused:
            await self.turn()

    async def turn(self) -> None:
        """Return when the client has taken all that was written."""
        self.check()
        self._waiting = Deferred()
        try:
            await self._waiting.addTimeout(self._patience, self._clock)
        except TimeoutError as late:
            raise ClientGone(f"the client took nothing for {self._patience} seconds") from late
        finally:
            self._waiting = None

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:
        self._gone = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(Failure(ClientGone("the client hung up in the middle of its answer")))


class HeldSource:
    """A source that is closed once, and never under a thread that is still reading it."""

    def __init__(self, source: IBlobSource) -> None:
        self.source = source
        self._busy = self._closing = False

    async def use(self, reading: Deferred[T]) -> T:
        """The result of `reading`, which goes on to its end even if the waiting for it is cancelled."""
        self._busy = True
        landed: Deferred[T] = Deferred()
        reading.addBoth(self._landed, landed)
        return await landed

    def _landed(self, result: T | Failure, landed: Deferred[T]) -> None:
        self._busy = False
        if self._closing:
            self.source.close()
        landed.callback(result)  # a Failure given to callback() is an error

    def close(self) -> None:
        self._closing = True
        if not self._busy:
            self.source.close()


class PagedFile:
    """An open file, and whether its bytes can be had without waiting for a disk."""

    def __init__(self, descriptor: int, pool: IPool) -> None:
        self.descriptor = descriptor
        self._pool = pool
        self._can_ask = hasattr(os, "RWF_NOWAIT")

    def resident(self, piece: range) -> bool:
        """Whether the end of `piece` is in the page cache; False where the kernel or file system cannot say."""
        if not self._can_ask:
            return False
        try:
            return os.preadv(self.descriptor, [bytearray(1)], piece[-1], os.RWF_NOWAIT) == 1
        except BlockingIOError:
            return False
        except OSError:
            self._can_ask = False
            return False

    def load(self, piece: range) -> Deferred[None]:
        """Let a thread wait until `piece` is in the page cache."""
        return self._pool.run(_touch, self.descriptor, piece)


def _touch(descriptor: int, piece: range) -> None:
    scrap = [bytearray(TOUCH_BYTES)]
    for offset in piece[::TOUCH_BYTES]:
        os.preadv(descriptor, scrap, offset)
