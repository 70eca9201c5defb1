"""
Bodies that are too large for memory, on their way in and out: at the pace of the slower side, but not at any pace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.internet.interfaces import IConsumer, IDelayedCall, IProducer, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol as Receiver
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (  # type: ignore[attr-defined]  # one is twisted.web.http's, which is for the web only
    PotentialDataLoss,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from quay.egress.policy import EgressError, EgressFailed

FLOOR: Final = 1024
"""Bytes a second: whoever moves fewer for a while is as good as gone."""
HANG_UP_S: Final = 1.0
"""How long a connection may take to close after the end of an answer."""


class Body(Protocol):
    """Bytes that come when they are asked for: `length` of them, None where that is not known beforehand."""

    @property
    def length(self) -> int | None: ...

    def deliver_to(self, consumer: IConsumer) -> Deferred[int]: ...


class Patience:
    """
    Calls `late`, once, when fewer bytes than `FLOOR` a second have moved for about `seconds`. While this side rests,
    nobody can be late.
    """

    def __init__(self, clock: IReactorTime, seconds: float, late: Callable[[], object]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._late = late
        self._moved = 0
        self._resting = False
        self.exhausted = False
        self._call: IDelayedCall = clock.callLater(seconds, self._look)

    def moved(self, count: int) -> None:
        self._moved += count

    def rest(self, resting: bool) -> None:
        """This side takes no more, or goes on: then the other side has all its time again."""
        self._resting = resting
        self._moved += int(FLOOR * self._seconds)

    def end(self) -> None:
        """Nobody is waited for any more."""
        if self._call.active():
            self._call.cancel()

    def _look(self) -> None:
        if not self._resting and self._moved < FLOOR * self._seconds:
            self.exhausted = True
            self._late()
            return
        self._moved = 0
        self._call = self._clock.callLater(self._seconds, self._look)


@implementer(IPushProducer)
class Stream(Receiver):
    """
    An answer whose head is there, and whose body is not read yet; `headers` in lower case. It ends with its body, or
    when it is closed, which whoever has it sees to.
    """

    def __init__(
        self,
        host: str,
        response: Any,
        limit: int,
        clock: IReactorTime,
        patience_s: float,
        hang_up: Callable[[float], object],
    ) -> None:
        self.status: int = response.code
        self.headers: Mapping[str, str] = fields(response.headers)
        self._host = host
        self._response = response
        self._room = limit
        self._patience = Patience(clock, patience_s, self._late)
        self._hang_up: Callable[[float], object] | None = hang_up
        self._consumer: IConsumer | None = None
        self._delivered: Deferred[int] | None = None
        self._count = 0

    @property
    def length(self) -> int | None:
        """How long the body is by its head."""
        told = self.headers.get("content-length", "")
        return int(told) if told.isascii() and told.isdigit() else None

    def deliver_to(self, consumer: IConsumer) -> Deferred[int]:
        """
        Give the body to `consumer`, as its streaming producer; fires with the number of bytes. Fails with
        `EgressFailed`, also if the body is longer than its limit, and with what the consumer raises.
        """
        self._delivered = Deferred(lambda _: self.close())
        self._consumer = consumer
        delivered = self._delivered
        self._patience.rest(False)
        self._response.deliverBody(self)
        return delivered

    def close(self) -> None:
        """Take no more. Harmless after the end."""
        self._end(0)

    def _end(self, patience_s: float) -> None:
        hang_up, self._hang_up = self._hang_up, None
        if hang_up is None:
            return
        self._patience.end()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.unregisterProducer()
        hang_up(patience_s)

    def _late(self) -> None:
        self._fail(EgressFailed(f"{self._host} sent too little for too long."))

    # --- what comes in

    def connectionMade(self) -> None:
        if self._consumer is not None:
            self._consumer.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        if self._consumer is None:
            return
        self._patience.moved(len(data))
        self._count += len(data)
        if self._count > self._room:
            self._fail(EgressFailed(f"{self._host} sends more than the {self._room} bytes that were to come."))
            return
        try:
            self._consumer.write(data)
        except Exception:  # the consumer's refusal, for whoever waits for the delivery
            self._fail(Failure())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ResponseDone, PotentialDataLoss):
            self._settle(self._count)
        else:
            self._fail(translated(reason.value, self._host))

    def _fail(self, why: Exception | Failure) -> None:
        self._settle(why if isinstance(why, Failure) else Failure(why))

    def _settle(self, outcome: int | Failure) -> None:
        delivered, self._delivered = self._delivered, None
        self._end(0 if isinstance(outcome, Failure) else HANG_UP_S)
        if delivered is not None and not delivered.called:
            delivered.callback(outcome)  # a Failure becomes the errback chain

    # --- the producer

    def pauseProducing(self) -> None:
        self._patience.rest(True)
        self._transport("pauseProducing")

    def resumeProducing(self) -> None:
        self._patience.rest(False)
        self._transport("resumeProducing")

    def stopProducing(self) -> None:
        self.close()

    def _transport(self, what: str) -> None:
        if self._hang_up is not None and self.transport is not None:
            getattr(self.transport, what)()


@implementer(IBodyProducer)
class Sending:
    """A body for a request, whose `length` is known; what has moved, `patience` hears."""

    def __init__(self, body: Body) -> None:
        if body.length is None:
            raise ValueError("A request needs a body whose length is known.")
        self.length = body.length
        self.patience: Patience | None = None
        self._body = body
        self._producer: IPushProducer | None = None
        self._consumer: IConsumer | None = None
        self._delivered: Deferred[int] | None = None

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        self._consumer = consumer
        self._delivered = self._body.deliver_to(_Outlet(self, consumer))
        return self._delivered.addCallback(lambda _: None)

    def sent(self, count: int) -> None:
        if self.patience is not None:
            self.patience.moved(count)

    def produced_by(self, producer: IPushProducer | None) -> None:
        self._producer = producer

    def pauseProducing(self) -> None:
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        if self._producer is not None:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        if self._delivered is not None:
            self._delivered.addErrback(lambda _: None)
            self._delivered.cancel()


@implementer(IConsumer)
class _Outlet:
    """Stands between a body and a connection, which knows `Sending` as its producer already."""

    def __init__(self, sending: Sending, consumer: IConsumer) -> None:
        self._sending = sending
        self._consumer = consumer

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._sending.produced_by(IPushProducer(producer))

    def unregisterProducer(self) -> None:
        self._sending.produced_by(None)

    def write(self, data: bytes) -> None:
        self._sending.sent(len(data))
        self._consumer.write(data)


def fields(headers: Any) -> dict[str, str]:
    """The headers of an answer, their names in lower case."""
    return {
        name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
        for name, values in headers.getAllRawHeaders()
    }


def translated(error: BaseException | None, host: str) -> Exception:
    """What went wrong, in a sentence that does not tell more of a network than whether it works."""
    reasons: list[Any] = [error]
    if isinstance(error, ResponseFailed | ResponseNeverReceived):
        reasons += [reason.value if isinstance(reason, Failure) else reason for reason in error.reasons]
    told = next((reason for reason in reasons if isinstance(reason, EgressError)), None)
    if told is not None:
        return told
    if any(isinstance(reason, CancelledError | ConnectingCancelledError) for reason in reasons):
        return CancelledError()
    if any(isinstance(reason, SSL.Error | VerificationError) for reason in reasons):
        return EgressFailed(
            f"No secure connection to {host} could be made: its certificate must be valid, for this name, and issued "
            "by a CA that this registry knows (EGRESS_CA)."
        )
    if isinstance(error, ConnectError):
        return EgressFailed(f"No connection to {host} could be made.")
    if isinstance(error, ResponseFailed | ResponseNeverReceived | ConnectionClosed):
        return EgressFailed(f"{host} ended the connection without a proper answer.")
    return error if isinstance(error, Exception) else EgressFailed(f"{host} could not be asked.")
