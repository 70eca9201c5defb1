"""Bodies that stream in and out: at whose pace, within which bounds, and what is left behind."""

from __future__ import annotations

import ipaddress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from quay.egress import AT_ONCE, Egress, EgressFailed, Policy
from quay.egress.flow import FLOOR, Patience
from tests import foreign
from tests.foreign import ForeignRegistry, reactor


class PatienceTests(SynchronousTestCase):
    """When the other side is late."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.late: list[bool] = []
        self.patience = Patience(self.clock, 30, lambda: self.late.append(True))

    def test_nothing_moves(self) -> None:
        """Whoever sends nothing is late, once."""
        self.clock.advance(29)
        self.assertEqual([], self.late)
        self.clock.pump([1, 30, 30])
        self.assertEqual([True], self.late)

    def test_a_drip_is_late(self) -> None:
        """Whoever sends a byte a second, too."""
        for _ in range(31):
            self.patience.moved(1)
            self.clock.advance(1)
        self.assertEqual([True], self.late)

    def test_who_moves_is_not(self) -> None:
        """A slow line has all the time that it needs."""
        for _ in range(300):
            self.patience.moved(FLOOR + 1)
            self.clock.advance(1)
        self.assertEqual([], self.late)

    def test_our_own_rest_does_not_count(self) -> None:
        """While this side takes nothing, nobody is late; afterwards, the other side has its time again."""
        self.patience.rest(True)
        self.clock.pump([30] * 10)
        self.patience.rest(False)
        self.clock.advance(30)
        self.assertEqual([], self.late)
        self.clock.advance(30)
        self.assertEqual([True], self.late)

    def test_the_end(self) -> None:
        """Nothing is left behind."""
        self.patience.end()
        self.assertEqual([], self.clock.getDelayedCalls())


@implementer(IConsumer)
class Taker:
    """Takes `most` bytes, and refuses more."""

    def __init__(self, most: int = 10**9) -> None:
        self.count = 0
        self._most = most

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.count += len(data)
        if self.count > self._most:
            raise ValueError("no more")


class StreamTests(TestCase):
    """Streams over real sockets."""

    timeout = 30

    def setUp(self) -> None:
        self.registry = ForeignRegistry()
        self.addCleanup(self.registry.close)
        self.egress = Egress(reactor, Policy(networks=(ipaddress.ip_network("127.0.0.1/32"),)))

    async def taken(self, odd: Any, taker: Taker, **bounds: Any) -> int:
        self.registry.odd["/v2/"] = [odd]
        stream = await self.egress.stream("GET", f"{self.registry.url}/v2/", **bounds)
        return await stream.deliver_to(taker)

    async def test_a_long_body(self) -> None:
        """A body comes whole, whatever its size."""
        data = b"0123456789" * 1_000_000
        self.assertEqual(len(data), await self.taken(foreign.body(data), Taker(), limit=len(data)))

    async def test_a_body_over_its_limit(self) -> None:
        """A body that is longer than it may be fails in the middle, and its connection is cut."""
        with self.assertRaises(EgressFailed):
            await self.taken(foreign.endless, Taker(), limit=1_000_000)

    async def test_a_consumer_that_refuses(self) -> None:
        """What the consumer raises ends the stream, and reaches whoever waits for it."""
        with self.assertRaises(ValueError):
            await self.taken(foreign.endless, Taker(100_000), limit=10**9)

    async def test_a_body_that_stands_still(self) -> None:
        """Whoever stops in the middle is given up."""
        with self.assertRaises(EgressFailed):
            await self.taken(foreign.silent, Taker(), patience_s=0.05)

    async def test_a_head_that_does_not_come(self) -> None:
        """Whoever does not answer is given up."""
        self.registry.odd["/v2/"] = [lambda request: 1]
        with self.assertRaises(EgressFailed):
            await self.egress.stream("GET", f"{self.registry.url}/v2/", patience_s=0.05)

    async def test_places_are_given_back(self) -> None:
        """However a stream ends, another one can have its place."""
        for _ in range(AT_ONCE + 1):
            (await self.egress.stream("GET", f"{self.registry.url}/v2/")).close()
        for _ in range(AT_ONCE + 1):
            with self.assertRaises(EgressFailed):
                await self.taken(foreign.broken(b"", 5), Taker())
        self.assertEqual(2, await self.taken(foreign.body(b"{}"), Taker()))

    async def test_a_delivery_that_is_cancelled(self) -> None:
        """Whoever waits no more leaves no connection behind."""
        self.registry.odd["/v2/"] = [foreign.endless]
        stream = await self.egress.stream("GET", f"{self.registry.url}/v2/", limit=10**9)
        delivering: Deferred[int] = stream.deliver_to(Taker())
        delivering.addErrback(lambda _: None)
        delivering.cancel()
        await delivering
