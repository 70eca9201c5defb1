"""Pools: what runs where, what stopping waits for, and what cancelling leaves alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from quay.interfaces import IPool
from quay.threads import ImmediatePool, Pool, PoolStopped, Threads, interruptible, shielded


class PoolTests(TestCase):
    """Real threads, the real reactor."""

    def make_pool(self, size: int = 2) -> Pool:
        pool = Pool(reactor, "some", size)
        pool.startService()
        self.addCleanup(lambda: pool.stopService() if pool.running else None)
        return pool

    async def test_counts_who_waits(self) -> None:
        """`asked` and `begun` differ by the calls that wait for a thread; `waited` has grown when they have begun."""
        pool, gate = self.make_pool(1), threading.Event()
        calls = [pool.run(gate.wait) for _ in range(3)]
        self.assertEqual(pool.asked, 3)
        self.assertLessEqual(pool.begun, 1)
        gate.set()
        await gatherResults(calls)
        self.assertEqual((pool.begun, pool.waited > 0), (3, True))

    async def test_runs_in_a_thread_of_its_own(self) -> None:
        """`run` calls in a thread of the pool and answers in the reactor's."""
        pool = self.make_pool()
        verifyObject(IPool, pool)
        name = await pool.run(lambda: threading.current_thread().name)
        self.assertIn("some", name)
        self.assertIs(threading.current_thread(), threading.main_thread())

    async def test_arguments_and_failures(self) -> None:
        """Arguments go in as they are; what is raised comes back as the failure."""
        pool = self.make_pool()
        self.assertEqual(await pool.run(divmod, 7, 3), (2, 1))
        self.assertEqual(await pool.run(int, "ff", base=16), 255)
        await self.assertFailure(pool.run(divmod, 1, 0), ZeroDivisionError)

    async def test_size_is_the_limit(self) -> None:
        """No more than `size` calls run at once; with one thread they run in order."""
        pool = self.make_pool(1)
        order: list[int] = []
        await gatherResults([pool.run(order.append, n) for n in range(50)])
        self.assertEqual(order, list(range(50)))

    async def test_no_thread_to_be_had(self) -> None:
        """Where the system gives no thread, the call fails, or waits for one there is; the next call has a new one."""
        pool, gate = self.make_pool(2), threading.Event()
        with patch.object(threading.Thread, "start", side_effect=RuntimeError("can't start new thread")):
            await self.assertFailure(pool.run(int), RuntimeError)
        held = pool.run(gate.wait)
        with patch.object(threading.Thread, "start", side_effect=RuntimeError("can't start new thread")):
            waiting = pool.run(lambda: "done")
        self.assertNoResult(waiting)
        gate.set()
        self.assertEqual((await held, await waiting), (True, "done"))
        await pool.stopService()

    async def test_work_before_the_start_waits(self) -> None:
        """What is asked of a pool before its start is done after it."""
        pool = Pool(reactor, "early", 1)
        answer = pool.run(lambda: "done")
        pool.startService()
        self.assertEqual(await answer, "done")
        await pool.stopService()

    async def test_stopping_finishes_what_was_begun(self) -> None:
        """`stopService` fires after every call, running or waiting, has answered."""
        pool = self.make_pool(1)
        gate = threading.Event()
        answers: list[Any] = []
        for n in range(3):
            pool.run(lambda n=n: (gate.wait(10), n)).addCallback(answers.append)
        stopped = pool.stopService()
        self.assertNoResult(stopped)
        gate.set()
        await stopped
        self.assertEqual(answers, [(True, 0), (True, 1), (True, 2)])

    async def test_a_stopped_pool_refuses(self) -> None:
        """Work for a stopped pool fails with a sentence instead of waiting for ever."""
        pool = self.make_pool()
        await pool.stopService()
        error = await self.assertFailure(pool.run(lambda: None), PoolStopped)
        self.assertIn("some", str(error))

    async def test_stopping_without_having_worked(self) -> None:
        """A pool that never made a thread stops as well."""
        await self.make_pool().stopService()


class ThreadsTests(TestCase):
    async def test_the_pools_start_and_stop_together(self) -> None:
        """One service has all the pools, each with a name."""
        threads = Threads(reactor, blobs=1)
        threads.startService()
        self.assertEqual([pool.name for pool in threads], ["blobs", "cpu", "directory", "db-read", "db-write"])
        pools = (threads.blobs, threads.cpu, threads.directory, threads.db_read, threads.db_write)
        self.assertEqual(await gatherResults([pool.run(lambda: 1) for pool in pools]), [1] * 5)
        await threads.stopService()
        await self.assertFailure(threads.cpu.run(lambda: None), PoolStopped)


class ImmediatePoolTests(SynchronousTestCase):
    def test_answers_at_once(self) -> None:
        """The call is over when `run` returns, failed or not."""
        pool = ImmediatePool()
        verifyObject(IPool, pool)
        self.assertEqual(self.successResultOf(pool.run(int, "7")), 7)
        self.failureResultOf(pool.run(int, "seven"), ValueError)


class ShieldedTests(SynchronousTestCase):
    def test_outcomes_pass(self) -> None:
        """A shield changes neither results nor failures."""
        work: Deferred[int] = Deferred()
        outcome = shielded(work)
        self.assertNoResult(outcome)
        work.callback(5)
        self.assertEqual(self.successResultOf(outcome), 5)
        work = Deferred()
        outcome = shielded(work)
        work.errback(KeyError())
        self.failureResultOf(outcome, KeyError)

    def test_cancelling_leaves_the_work_alone(self) -> None:
        """The caller is told at once; the work goes on, and what it brings is given back."""
        cancelled: list[object] = []
        returned: list[int] = []
        work: Deferred[int] = Deferred(cancelled.append)
        outcome = shielded(work, returned.append)
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        work.callback(5)
        self.assertEqual((cancelled, returned), ([], [5]))

    def test_nobody_waits_for_a_failure(self) -> None:
        """A failure that comes after the cancelling is logged as a warning, and is not an unhandled error."""
        work: Deferred[int] = Deferred()
        outcome = shielded(work)
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        work.errback(KeyError("lost"))
        self.assertEqual(self.flushLoggedErrors(), [])


class InterruptibleTests(SynchronousTestCase):
    """Work in a pool that answers when it is told to."""

    def setUp(self) -> None:
        self.stops: list[threading.Event] = []
        self.work: Deferred[int] = Deferred()

    @implementer(IPool)
    class Waiting:
        """Gives what somebody else fires."""

        def __init__(self, test: InterruptibleTests) -> None:
            self._test = test

        def run(self, f: Callable[..., object], *args: Any, **kwargs: Any) -> Any:
            self._test.stops.append(args[0])
            return self._test.work

    def begun(self) -> Deferred[int]:
        return Deferred.fromCoroutine(interruptible(self.Waiting(self), lambda stop: 7))

    def test_outcomes_pass(self) -> None:
        """What nobody interrupts gives its result, or its failure; and was told to go on to its end."""
        begun = self.begun()
        self.work.callback(7)
        self.assertEqual(self.successResultOf(begun), 7)
        self.work = Deferred()
        begun = self.begun()
        self.work.errback(KeyError("lost"))
        self.failureResultOf(begun, KeyError)
        self.assertEqual([stop.is_set() for stop in self.stops], [False, False])

    def test_it_has_ended(self) -> None:
        """Whoever is cancelled tells it to stop, and is cancelled when it has, whatever came of it."""
        for end in (lambda: self.work.callback(7), lambda: self.work.errback(KeyError("lost"))):
            self.work = Deferred()
            begun = self.begun()
            begun.cancel()
            begun.cancel()
            self.assertTrue(self.stops[-1].is_set())
            self.assertNoResult(begun)
            end()
            self.failureResultOf(begun, CancelledError)
