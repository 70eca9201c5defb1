"""What every coordinator does: one contract, for the memory of one process and for a real Redis."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from quay.coordination import MemoryCoordinator
from quay.coordination.redis import RedisCoordinator
from quay.interfaces import ICoordinator, ILease
from tests.redis_server import RedisServer


class CoordinatorContract:
    """Mixed into a TestCase that makes `self.coordinator` and lets time pass."""

    coordinator: Any

    def pass_time(self, seconds: float) -> Deferred[None]:
        raise NotImplementedError

    async def test_interface(self) -> None:
        """It provides `ICoordinator`, its leases provide `ILease`, and it is connected."""
        verifyObject(ICoordinator, self.coordinator)
        verifyObject(ILease, await self.coordinator.lease("gc", 10))
        assert self.coordinator.connected

    async def test_lease_excludes(self) -> None:
        """While a lease is held, nobody else gets it; other names are free."""
        assert await self.coordinator.lease("gc", 10) is not None
        assert await self.coordinator.lease("gc", 10) is None
        assert await self.coordinator.lease("mirror", 10) is not None

    async def test_lease_released(self) -> None:
        """A lease that was given back can be taken again, and giving it back twice does no harm."""
        lease = await self.coordinator.lease("gc", 10)
        await lease.release()
        await lease.release()
        assert await self.coordinator.lease("gc", 10) is not None

    async def test_lease_runs_out(self) -> None:
        """A lease that is not extended ends by itself."""
        lost = await self.coordinator.lease("gc", 0.05)
        await self.pass_time(0.1)
        assert not await lost.extend(10)
        assert await self.coordinator.lease("gc", 10) is not None

    async def test_lease_extended(self) -> None:
        """A lease that is extended lasts from then on."""
        lease = await self.coordinator.lease("gc", 2)
        assert await lease.extend(30)
        await self.pass_time(2.1)
        assert await self.coordinator.lease("gc", 10) is None

    async def test_late_holder(self) -> None:
        """Whoever lost a lease can neither extend nor release the one that its successor holds."""
        late = await self.coordinator.lease("gc", 0.05)
        await self.pass_time(0.1)
        successor = await self.coordinator.lease("gc", 10)
        assert not await late.extend(10)
        await late.release()
        assert await self.coordinator.lease("gc", 10) is None
        assert await successor.extend(10)

    async def test_lease_of_no_time(self) -> None:
        """A lease for no time, less than none or for ever is refused."""
        lease = await self.coordinator.lease("gc", 10)
        for seconds in (0, -1, float("inf"), float("nan")):
            for ask in (lambda s=seconds: self.coordinator.lease("other", s), lambda s=seconds: lease.extend(s)):
                try:
                    ask()
                except ValueError as refused:
                    assert "lease" in str(refused)
                else:
                    raise AssertionError(f"{seconds} was taken")

    async def test_announced_here(self) -> None:
        """Listeners have been called, in their order and with every byte, when `announce` returns."""
        heard: list[Any] = []
        self.coordinator.subscribe("tags", lambda message: heard.append((1, message)))
        self.coordinator.subscribe("tags", lambda message: heard.append((2, message)))
        self.coordinator.subscribe("other", lambda message: heard.append((3, message)))
        message = bytes(range(256)) + b"\r\n0042"
        announced = self.coordinator.announce("tags", message)
        assert heard == [(1, message), (2, message)]
        await announced

    async def test_leave(self) -> None:
        """A listener that left is not called any more; leaving twice, or leaving alone a twin, does no harm."""
        heard: list[bytes] = []
        leave, _ = [self.coordinator.subscribe("tags", heard.append) for _ in range(2)]
        leave()
        leave()
        await self.coordinator.announce("tags", b"once")
        assert heard == [b"once"]

    async def test_failing_listener(self) -> None:
        """A listener that fails is logged, and hurts neither the others nor the announcer."""
        heard: list[bytes] = []
        self.coordinator.subscribe("tags", lambda _: 1 // 0)
        self.coordinator.subscribe("tags", heard.append)
        await self.coordinator.announce("tags", b"a")
        assert heard == [b"a"]
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1  # type: ignore[attr-defined]


class MemoryCoordinatorTests(CoordinatorContract, TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.coordinator = MemoryCoordinator(self.clock)

    async def pass_time(self, seconds: float) -> None:  # type: ignore[override]
        self.clock.advance(seconds)

    async def test_expired_leases_are_forgotten(self) -> None:
        """Leases of many names that ran out leave nothing behind."""
        for number in range(100):
            await self.coordinator.lease(f"upload {number}", 1)
        self.clock.advance(2)
        await self.coordinator.lease("gc", 1)
        assert list(self.coordinator._leases) == ["gc"]


class RedisCoordinatorTests(CoordinatorContract, TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = RedisServer()
        cls.server.start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.close()

    async def setUp(self) -> None:
        self.coordinator = RedisCoordinator(reactor, self.server.address, prefix=f"{self.id()}:")
        await self.coordinator.start()
        self.addCleanup(self.coordinator.stopService)

    def pass_time(self, seconds: float) -> Deferred[None]:
        return deferLater(reactor, seconds)
