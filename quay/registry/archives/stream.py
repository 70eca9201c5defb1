"""
Bytes between a request and a blob store: a body that is taken piece by piece, and an upload that is given piece by
piece, both at the pace of the slower one, so that memory is bounded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IProducer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from quay.registry.uploads import Body

R = TypeVar("R")

HIGH: Final = 1024 * 1024
"""Bytes of a body that may wait for whoever takes them."""


@implementer(IConsumer)
class Inlet:
    """Takes a body in. Whoever has made one closes it."""

    def __init__(self, body: Body) -> None:
        self._pieces: list[bytes] = []
        self._held = 0
        self._producer: IPushProducer | None = None
        self._paused = False
        self._outcome: int | Failure | None = None
        self._waiting: Deferred[None] | None = None
        self._delivered = body.deliver_to(self).addBoth(self._ended)

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of it, in pieces of about `HIGH` bytes at most. Raises what the body fails with."""
        while True:
            while not self._pieces and self._outcome is None:
                self._waiting = Deferred()
                await self._waiting
            if not self._pieces:
                break
            data, self._pieces, self._held = b"".join(self._pieces), [], 0
            self._resume()
            yield data
        if isinstance(self._outcome, Failure):
            self._outcome.raiseException()

    def close(self) -> None:
        """Take no more."""
        self._pieces.clear()
        self._delivered.cancel()

    # The consumer.

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._producer = IPushProducer(producer)

    def unregisterProducer(self) -> None:
        self._producer = None

    def write(self, data: bytes) -> None:
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= HIGH and self._producer is not None:
            self._paused = True
            self._producer.pauseProducing()
        self._wake()

    def _resume(self) -> None:
        if self._paused and self._producer is not None:
            self._paused = False
            self._producer.resumeProducing()

    def _ended(self, outcome: int | Failure) -> None:
        self._outcome = outcome
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)


@implementer(IPushProducer)
class Outlet:
    """A body that somebody writes. `length` is in bytes, None where it is not known beforehand."""

    def __init__(self, length: int | None) -> None:
        self.length = length
        self._consumer: IConsumer | None = None
        self._delivered: Deferred[int] | None = None
        self._written = 0
        self._paused = False
        self._waiting: Deferred[None] | None = None
        self.closed = False

    def deliver_to(self, consumer: IConsumer) -> Deferred[int]:
        """As `Body` promises."""
        self._consumer = consumer
        self._delivered = Deferred(lambda _: self.close())
        consumer.registerProducer(self, True)
        if not self._paused:
            self._wake()
        return self._delivered

    async def write(self, data: bytes) -> None:
        """Hand `data` over when the consumer takes it; returns at once when it takes no more."""
        while not self.closed and (self._consumer is None or self._paused):
            self._waiting = Deferred()
            await self._waiting
        if self.closed or self._consumer is None:
            return
        self._written += len(data)
        try:
            self._consumer.write(data)
        except Exception:  # the consumer's refusal, for whoever waits for the delivery
            self._settle(Failure())

    async def end(self) -> None:
        """There is no more to write."""
        while not self.closed and self._consumer is None:
            self._waiting = Deferred()
            await self._waiting
        self._settle(self._written)

    def close(self) -> None:
        """Nobody takes any more."""
        self.closed = True
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.unregisterProducer()
        self._wake()

    def _settle(self, outcome: int | Failure) -> None:
        if self.closed:
            return
        delivered = self._delivered
        self.close()
        if delivered is not None and not delivered.called:
            delivered.callback(outcome)  # a Failure becomes the errback chain

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._wake()

    def stopProducing(self) -> None:
        self.close()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)


class Upload(Generic[R]):
    """`receive` under way with a body of `length` bytes that is still to be written."""

    def __init__(self, receive: Callable[[Outlet], Coroutine[Any, Any, R]], length: int | None) -> None:
        self._outlet = Outlet(length)
        self._received = Deferred.fromCoroutine(receive(self._outlet)).addBoth(self._ended)

    def _ended(self, outcome: R) -> R:
        self._outlet.close()
        return outcome

    async def write(self, data: bytes) -> None:
        """Write the next bytes. Raises what the receiver raised meanwhile."""
        await self._outlet.write(data)
        if self._outlet.closed:
            await self._received

    async def finish(self) -> R:
        """What the receiver made of it."""
        await self._outlet.end()
        return await self._received

    def abandon(self) -> None:
        """There will be no more. Harmless after its end."""
        self._received.addErrback(lambda _: None)  # why it ends, somebody else tells
        self._received.cancel()
