"""
One connection, to one of a few addresses and to no other; what comes through it is counted, and it can be cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet import ssl
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IConsumer, IDelayedCall, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import Agent, PotentialDataLoss, ResponseDone  # type: ignore[attr-defined]
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from quay.egress.policy import Address, EgressFailed, EgressRefused, Policy, Target

CONNECT_S = 4.0
"""How long one address may take to connect, before the next one is tried."""


class Meter(ProtocolWrapper):
    """Cuts the connection when more than `limit` bytes have come through it."""

    limit = 0
    received = 0
    lost = False
    patience: IDelayedCall | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        if self.received > self.limit:
            self.cut()
        else:
            super().dataReceived(data)

    def cut(self) -> None:
        """End it, without waiting for the other side to agree."""
        transport: Any = self.transport
        transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.lost = True
        if self.patience is not None and self.patience.active():
            self.patience.cancel()
        super().connectionLost(reason)


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class Line:
    """
    The endpoint of one request to `target`, whatever the agent thinks that its URI means: one of `addresses`, which
    have been checked, with a certificate for the host if it is https. At most `limit` bytes come in.
    """

    def __init__(
        self, reactor: Any, target: Target, addresses: Sequence[Address], policy: Policy, trust: Any, limit: int
    ) -> None:
        self._reactor = reactor
        self._target = target
        self._addresses = addresses
        self._policy = policy
        self._trust = trust
        self._limit = limit
        self._meters: list[Meter] = []

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    def hang_up(self, patience_s: float) -> None:
        """
        Cut what is connected, however far the request has come: now, or if it has not closed by itself in so many
        seconds.
        """
        for meter in self._meters:
            if meter.lost:
                continue
            if patience_s:
                meter.patience = self._reactor.callLater(patience_s, meter.cut)
            else:
                meter.cut()

    async def _connect(self, factory: IProtocolFactory) -> Any:
        problem: Exception = EgressFailed(f"{self._target.host} has no address.")
        for address in self._addresses:
            try:
                connected = await self._endpoint(address).connect(factory)
            except ConnectError as error:
                problem = error
                continue
            self._refuse_oneself()
            return connected
        raise problem

    def _endpoint(self, address: Address) -> Any:
        kind = TCP4ClientEndpoint if address.version == 4 else TCP6ClientEndpoint
        metered = _Metered(self, kind(self._reactor, str(address), self._target.port, timeout=CONNECT_S))
        if self._target.scheme == "http":
            return metered
        return wrapClientTLS(ssl.optionsForClientTLS(self._target.host, trustRoot=self._trust), metered)

    def meter(self, outer: Any, protocol: Any) -> Meter:
        """A meter around `protocol`."""
        meter = Meter(outer, protocol)
        meter.limit = self._limit
        self._meters.append(meter)
        return meter

    def _refuse_oneself(self) -> None:
        """A connection whose two ends have one address stays in this machine, whatever the address is called."""
        transport: Any = self._meters[-1].transport
        if self._target.port in self._policy.own_ports and transport.getHost().host == transport.getPeer().host:
            raise EgressRefused(f"The registry does not call {self._target.host}, because there it would call itself.")


@implementer(IStreamClientEndpoint)
class _Metered:
    """An endpoint below which everything is counted."""

    def __init__(self, line: Line, inner: Any) -> None:
        self._line = line
        self._inner = inner

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        outer: Any = WrappingFactory(protocolFactory)
        outer.noisy, outer.protocol = False, self._line.meter
        connecting: Deferred[Any] = self._inner.connect(outer)
        return connecting.addCallback(lambda meter: meter.wrappedProtocol)


@implementer(IAgent)
class PlainAgent:
    """
    An agent whose answers are not packed. treq would unpack whatever the other side sends, a chunk of a thousand times
    its size included, so it never hears of an encoding.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Deferred[Any]:
        headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        return self._agent.request(method, uri, headers, bodyProducer).addCallback(self._plain)

    @staticmethod
    def _plain(response: Any) -> Any:
        response.headers.removeHeader(b"Content-Encoding")
        return response


@implementer(IBodyProducer)
class Bytes:
    """A body that is there already."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """There is nothing more to come."""

    def resumeProducing(self) -> None:
        """There is nothing more to come."""

    def stopProducing(self) -> None:
        """There is nothing more to come."""


class Collector(Protocol):
    """The first `limit` bytes of a body; `done` fires with them, and with whether that is all of it."""

    def __init__(self, limit: int) -> None:
        self.done: Deferred[tuple[bytes, bool]] = Deferred()
        self._limit = limit
        self._data = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._data += data[: self._limit - len(self._data) + 1]
        if len(self._data) > self._limit:
            self._end(False)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ResponseDone, PotentialDataLoss):
            self._end(True)
        elif not self.done.called:
            self.done.errback(reason)

    def _end(self, complete: bool) -> None:
        if not self.done.called:
            self.done.callback((bytes(self._data[: self._limit]), complete))
