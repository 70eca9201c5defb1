"""A bounded memory with deadlines, and shared computations."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quay.auth.remembered import Remembered, Shared
from quay.oci.errors import Unauthorized


def test_a_value_is_true_until_its_deadline() -> None:
    """At its deadline a value is gone."""
    clock = Clock()
    memory: Remembered[str, int] = Remembered(clock.seconds, 10)
    memory.keep("a", 1, clock.seconds() + 60)
    clock.advance(59.9)
    assert memory.get("a") == 1
    clock.advance(0.1)
    assert memory.get("a") is None
    assert len(memory) == 0


def test_the_least_recently_used_goes_first() -> None:
    """Beyond the limit, what was not looked at for longest makes room."""
    memory: Remembered[int, int] = Remembered(Clock().seconds, 3)
    for n in (1, 2, 3):
        memory.keep(n, n, 100)
    memory.get(1)
    memory.keep(4, 4, 100)
    assert [n for n in (1, 2, 3, 4) if memory.get(n)] == [1, 3, 4]


def test_a_clock_set_back_ends_what_was_kept() -> None:
    """A value does not live a year longer because the clock went back a year."""
    now = [1000.0]
    memory: Remembered[str, int] = Remembered(lambda: now[0], 3)
    memory.keep("a", 1, 1060)
    now[0] = 500
    assert memory.get("a") is None


def test_drop_forgets_what_has_ended() -> None:
    """Only the values that a change ends are dropped."""
    memory: Remembered[int, int] = Remembered(Clock().seconds, 9)
    for n in range(6):
        memory.keep(n, n, 100)
    memory.drop(lambda n: n % 2 == 0)
    assert [n for n in range(6) if memory.get(n) is not None] == [1, 3, 5]


class SharedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.shared: Shared[str, int] = Shared()
        self.begun: list[Deferred[int]] = []

    async def work(self) -> int:
        self.begun.append(Deferred())
        return await self.begun[-1]

    def test_those_who_ask_together_share_one_computation(self) -> None:
        """Any number of callers with one key cost one computation, and the next caller after it another."""
        waiting = [self.shared.run("a", self.work) for _ in range(5)]
        self.assertEqual(len(self.begun), 1)
        self.begun[0].callback(7)
        self.assertEqual([self.successResultOf(waiter) for waiter in waiting], [7] * 5)
        self.shared.run("a", self.work)
        self.assertEqual(len(self.begun), 2)

    def test_other_keys_are_other_computations(self) -> None:
        """Nothing is shared between keys."""
        self.shared.run("a", self.work)
        self.shared.run("b", self.work)
        self.assertEqual(len(self.begun), 2)

    def test_whoever_hangs_up_disturbs_nobody(self) -> None:
        """Cancelling one caller, even the first, leaves the computation to the others."""
        first, second = self.shared.run("a", self.work), self.shared.run("a", self.work)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.begun[0].callback(7)
        self.assertEqual(self.successResultOf(second), 7)

    def test_a_failure_is_shared_too(self) -> None:
        """Everybody who waited hears why it failed."""
        waiting = [self.shared.run("a", self.work) for _ in range(2)]
        self.begun[0].errback(Unauthorized("no"))
        for waiter in waiting:
            self.failureResultOf(waiter, Unauthorized)

    def test_a_failure_that_nobody_saw_is_logged(self) -> None:
        """When all have hung up, a failure other than a refusal goes to the log."""
        waiter = self.shared.run("a", self.work)
        waiter.cancel()
        self.failureResultOf(waiter, CancelledError)
        self.begun[0].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
