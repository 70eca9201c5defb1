"""
The bytes of one request, as they arrive: nothing is read before somebody wants it, and nothing is spooled.

Source: RFC 9112 section 6 (message body); RFC 9110 section 10.1.1 (`Expect: 100-continue`).
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from quay.interfaces import IDirectIntake
from quay.oci.errors import InvalidRequest, RegistryError
from quay.web.draught import MOST, Draught


class ClientGone(ConnectionLost):
    """The client hung up: there is nobody left to answer, and nothing for the operator to read."""


class BodyTooLarge(RegistryError):
    """The body has more bytes than its reader takes. The rest of it is never read."""

    code, status = "SIZE_INVALID", 413

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The body of this request is too large: at most {limit} bytes are taken here.",
            advice="Send less, or send it as a blob.",
            limit=limit,
        )


class BodyStalled(InvalidRequest):
    """The client promised a body and then sent next to nothing of it."""

    status = 408


class BodyMalformed(InvalidRequest):
    """The chunked coding of the body is broken: where it ends can no longer be known."""


class Tap(Protocol):
    """What a body needs of its connection: to turn it on, off and on again, and to let a thread drink from it."""

    def want_body(self) -> None: ...
    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...
    def draw_body(self) -> None: ...
    def abort(self) -> None: ...


@implementer(IPushProducer)
class RequestBody:
    """
    The body of one request, delivered once: by `read` to memory, or by `deliver_to` to a consumer. Until then the
    connection is not read and `100 Continue` is not sent. Both fail with `ClientGone`, `BodyStalled`,
    `BodyMalformed`, or with whatever the consumer raised; the connection is then only good for an answer.

    `length` is what the client announced, None for a chunked body; `received` counts the bytes so far.
    """

    received = 0
    _consumer: IConsumer | None = None
    _done: Deferred[int] | None = None
    _complete = False
    _unwanted = False
    _failure: Failure | None = None

    def __init__(self, tap: Tap, length: int | None) -> None:
        self.length = length
        self._tap = tap
        self._pending: list[bytes] = []

    def read(self, limit: int) -> Deferred[bytes]:
        """The whole body, if it has at most `limit` bytes; else `BodyTooLarge`, as early as that can be known."""
        if self.length is not None and self.length > limit:
            return fail(BodyTooLarge(limit))
        collected = _Collected(limit)
        return self.deliver_to(collected).addCallback(lambda _: collected.value())

    def deliver_to(self, consumer: IConsumer) -> Deferred[int]:
        """
        Write every byte to `consumer`, at its pace; fires with their number after the last one. A consumer that
        raises refuses the rest. Cancelling stops the delivery and leaves the connection open for an answer.
        """
        if self._done is not None:
            raise RuntimeError("a body is delivered once")
        self._consumer = consumer
        done = self._done = Deferred(self._cancelled)
        consumer.registerProducer(self, True)
        if self._failure is None and not self._complete:
            self._tap.want_body()
        self._deliver_pending()
        self._tap.draw_body()
        if self._failure is not None or self._complete:
            self._settle(self._failure)
        return done

    def draw(self, draught: Draught) -> Deferred[None] | None:
        """Have the consumer fetch `draught`, and fire when that is over; None if it takes only what it is given."""
        drawn = None
        if IDirectIntake.providedBy(self._consumer):
            drawn = IDirectIntake(self._consumer).fetch(draught.fill, MOST)
        if drawn is None:
            draught.end()
            return None
        return drawn.addCallback(self._drawn, draught)

    def _drawn(self, _: None, draught: Draught) -> None:
        draught.end()
        self.received += draught.taken

    def discard(self) -> None:
        """Whatever still comes is not kept."""
        self._unwanted = True
        self._pending.clear()

    # From the request.

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self._unwanted:
            return
        if self._consumer is None:
            self._pending.append(data)  # at most what one recv() brought: reading is paused
        else:
            self._write(data)

    def completed(self) -> None:
        self._complete = True
        self._settle(None)

    def failed(self, reason: Failure) -> None:
        if not self._complete and self._failure is None:
            self._failure = reason
            self._settle(reason)

    # To the consumer.

    def _deliver_pending(self) -> None:
        pending, self._pending = self._pending, []
        for data in pending:
            if self._consumer is not None:
                self._write(data)

    def _write(self, data: bytes) -> None:
        assert self._consumer is not None
        try:
            self._consumer.write(data)
        except Exception:  # the consumer's refusal, handed to whoever waits for the delivery
            self._tap.pause_body()
            self._settle(Failure())

    def _settle(self, failure: Failure | None) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None or self._done is None:
            return
        self.discard()
        consumer.unregisterProducer()
        if failure is None:
            self._done.callback(self.received)
        else:
            self._done.errback(failure)

    def _cancelled(self, done: Deferred[int]) -> None:
        consumer, self._consumer = self._consumer, None
        self.discard()
        self._tap.pause_body()
        if consumer is not None:
            consumer.unregisterProducer()

    # IPushProducer, for the consumer.

    def pauseProducing(self) -> None:
        self._tap.pause_body()

    def resumeProducing(self) -> None:
        if self._consumer is not None:
            self._tap.resume_body()

    def stopProducing(self) -> None:
        self._tap.abort()


@implementer(IConsumer)
class _Collected:
    """A small body in memory; one byte too many is refused."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self._parts: list[bytes] = []

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Memory has no pace of its own."""

    def unregisterProducer(self) -> None:
        """See `registerProducer`."""

    def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            raise BodyTooLarge(self._limit)
        self._parts.append(data)

    def value(self) -> bytes:
        return b"".join(self._parts)
