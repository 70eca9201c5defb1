"""
A blob on its way here from another registry: one body, however often its connection breaks.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IProducer
from zope.interface import implementer

from quay.egress import EgressFailed, Stream
from quay.registry.client.errors import RemoteFailed, RemoteWrong

FRUITLESS: Final = 4
"""So many attempts in a row may bring nothing."""
BREAKS: Final = 100
"""So many attempts one blob may take."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/(?:[0-9]{1,19}|\*)")


class Download:
    """
    The bytes of one blob, `length` of them: a `Body`. `opened(offset)` asks for what comes from `offset` on, `pause(n)`
    waits before the attempt after the n-th, and `moved` hears of every byte. Nobody looks at the digest here: a blob
    store does that for whatever it takes.
    """

    def __init__(
        self,
        what: str,
        length: int,
        opened: Callable[[int], Awaitable[Stream]],
        pause: Callable[[int], Awaitable[None]],
        moved: Callable[[int], object],
    ) -> None:
        self.length = length
        self._what = what
        self._opened = opened
        self._pause = pause
        self._moved = moved
        self._offset = 0

    def deliver_to(self, consumer: IConsumer) -> Deferred[int]:
        """As `Body` promises. Fails with `RemoteError`, and with what the consumer raises."""
        return Deferred.fromCoroutine(self._deliver(consumer))

    async def _deliver(self, consumer: IConsumer) -> int:
        fruitless = 0
        for _ in range(BREAKS):
            before = self._offset
            why = await self._go_on(consumer)
            if why is None:
                return self.length
            fruitless = fruitless + 1 if self._offset == before else 0
            if fruitless == FRUITLESS:
                break
            await self._pause(fruitless)
        raise RemoteFailed(f"{self._what} does not come whole: {why}")

    async def _go_on(self, consumer: IConsumer) -> str | None:
        """Take what comes; None if that is all, else why it is not."""
        stream = await self._opened(self._offset)
        try:
            await stream.deliver_to(_Rest(self, consumer, self._skipped(stream)))
        except EgressFailed as failed:
            return str(failed)
        finally:
            stream.close()
        if self._offset < self.length:
            return f"{self._offset} of {self.length} bytes came."
        return None

    def _skipped(self, stream: Stream) -> int:
        """How much of the answer is here already."""
        if stream.status == 200:
            return self._offset
        told = _CONTENT_RANGE.fullmatch(stream.headers.get("content-range", ""))
        if told is None or int(told[1]) != self._offset:
            raise RemoteWrong(f"{self._what} comes in another part than was asked for.")
        return 0

    def take(self, count: int) -> None:
        """Account for bytes that have come. Raises `RemoteWrong` for too many."""
        if self._offset + count > self.length:
            raise RemoteWrong(f"{self._what} has more than the {self.length} bytes that were promised.")
        self._offset += count
        self._moved(count)


@implementer(IConsumer)
class _Rest:
    """Hands on what comes of one answer, after its first `skip` bytes."""

    def __init__(self, download: Download, consumer: IConsumer, skip: int) -> None:
        self._download = download
        self._consumer = consumer
        self._skip = skip

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._consumer.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._consumer.unregisterProducer()

    def write(self, data: bytes) -> None:
        if self._skip:
            self._skip, data = max(self._skip - len(data), 0), data[self._skip :]
        self._download.take(len(data))
        if data:
            self._consumer.write(data)
