"""Workers on a clock that the test moves: when they run, what they say of themselves, and how they stop."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quay.coordination import CoordinatorUnavailable, MemoryCoordinator
from quay.worker import LEASE, LONGEST_PAUSE, Budget, LeaseLost, Worker


class Job:
    """Work whose every run lasts until the test ends it."""

    def __init__(self) -> None:
        self.runs: list[Deferred[None]] = []
        self.budgets: list[Budget] = []
        self.cancelled = 0

    def __call__(self, budget: Budget) -> Deferred[None]:
        self.budgets.append(budget)
        self.runs.append(Deferred(self.cancel))
        return self.runs[-1]

    def cancel(self, run: Deferred[None]) -> None:
        self.cancelled += 1

    def end(self) -> None:
        self.runs[-1].callback(None)

    def fail(self, error: Exception) -> None:
        self.runs[-1].errback(error)


class WorkerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.job = Job()

    def worker(self, work: Callable[[Budget], Any] | None = None, **options: Any) -> Worker:
        settings = {"period": 60.0, "jitter": 0.0, "budget": 30.0, "grace": 10.0, "random": lambda: 0.5} | options
        worker = Worker("gc", work or self.job, self.clock, **settings)
        worker.startService()
        self.addCleanup(self.end, worker)
        return worker

    def end(self, worker: Worker) -> None:
        stopped = worker.stopService()
        self.clock.advance(11)
        self.successResultOf(stopped)
        assert not self.clock.getDelayedCalls()


class PeriodTests(WorkerCase):
    def test_first_run(self) -> None:
        """The first run comes at random within the first period, so that nodes started together do not run together."""
        self.worker(random=lambda: 0.25)
        self.clock.advance(14)
        assert len(self.job.runs) == 0
        self.clock.advance(1)
        assert len(self.job.runs) == 1

    def test_first_run_of_a_long_period(self) -> None:
        """A daily work begins within five minutes, because nodes may be restarted more often than that."""
        self.worker(period=86400.0, random=lambda: 1.0)
        self.clock.advance(300)
        assert len(self.job.runs) == 1

    def test_never_twice_at_once(self) -> None:
        """The pause begins when a run is over, however long that takes."""
        self.worker()
        self.clock.advance(30)
        self.clock.advance(1000)
        assert len(self.job.runs) == 1
        self.job.end()
        self.clock.advance(59)
        assert len(self.job.runs) == 1
        self.clock.advance(1)
        assert len(self.job.runs) == 2

    def test_jitter(self) -> None:
        """The pause is longer or shorter by up to the share `jitter`."""
        starts: list[float] = []
        chances = iter([0.5, 0.0, 1.0, 0.5])
        self.worker(lambda _: succeed(starts.append(self.clock.seconds())), jitter=0.1, random=lambda: next(chances))
        self.clock.pump([1] * 150)
        assert starts == [1030, 1030 + 54, 1030 + 54 + 66]

    def test_run_now(self) -> None:
        """A run can be had at once; the Deferred fires when it is over, and the period begins anew."""
        worker = self.worker()
        over = worker.run_now()
        assert len(self.job.runs) == 1
        self.assertNoResult(over)
        self.job.end()
        self.successResultOf(over)
        self.clock.advance(59)
        assert len(self.job.runs) == 1

    def test_run_now_while_busy(self) -> None:
        """Whoever asks during a run gets another one after it, because the one under way may have missed his reason."""
        worker = self.worker()
        worker.run_now()
        late = [worker.run_now(), worker.run_now()]
        self.job.end()
        assert len(self.job.runs) == 2
        self.assertNoResult(late[0])
        self.job.end()
        for over in late:
            self.successResultOf(over)
        assert len(self.job.runs) == 2

    def test_run_now_given_up(self) -> None:
        """Whoever stops waiting for a run leaves it alone."""
        worker = self.worker()
        over = worker.run_now()
        over.cancel()
        self.failureResultOf(over, CancelledError)
        self.job.end()
        assert worker.last_success == 1000

    def test_run_now_when_stopped(self) -> None:
        """A worker that is stopped runs nothing, and keeps nobody waiting."""
        worker = self.worker()
        self.end(worker)
        self.successResultOf(worker.run_now())
        assert self.job.runs == []


class StatusTests(WorkerCase):
    def test_success(self) -> None:
        """Status pages see what a worker does and when it last succeeded."""
        worker = self.worker()
        assert (worker.busy, worker.last_start, worker.last_success) == (False, None, None)
        self.clock.advance(30)
        assert (worker.busy, worker.last_start, worker.last_success) == (True, 1030, None)
        self.clock.advance(5)
        self.job.end()
        assert (worker.busy, worker.last_start, worker.last_success) == (False, 1030, 1035)

    def test_failure_is_said_once(self) -> None:
        """A failure is kept, logged when it is a new one, and forgotten after a success."""
        worker = self.worker()
        for number, reason in enumerate(["disk full", "disk full", "disk gone"]):
            worker.run_now()
            self.job.fail(OSError(reason))
            assert worker.last_error == reason
            assert worker.last_failure == 1000
            assert len(self.flushLoggedErrors(OSError)) == (number != 1)
        worker.run_now()
        self.job.end()
        assert worker.last_error == ""
        assert worker.last_success == 1000

    def test_work_that_raises_at_once(self) -> None:
        """Work that fails before it waits for anything is a failure like any other, named if it says nothing."""
        worker = self.worker(lambda _: 1 // 0)
        worker.run_now()
        assert "division" in worker.last_error
        worker._work = lambda _: fail(KeyError())
        worker.run_now()
        assert worker.last_error == "KeyError"
        assert len(self.flushLoggedErrors()) == 2

    def test_back_off(self) -> None:
        """The first failure is retried after a period; then the pause doubles, up to an hour."""
        starts: list[float] = []

        def work(_: Budget) -> Deferred[None]:
            starts.append(self.clock.seconds())
            return fail(OSError("disk full"))

        self.worker(work)
        self.clock.pump([30] * 1000)
        pauses = [after - before for before, after in pairwise(starts)]
        assert pauses[:4] == [60, 120, 240, 480]
        assert pauses[-1] == LONGEST_PAUSE
        assert len(self.flushLoggedErrors(OSError)) == 1

    def test_cancelled_by_itself(self) -> None:
        """Work that something else cancelled has failed, and the worker goes on."""
        worker = self.worker()
        worker.run_now()
        self.job.fail(CancelledError())
        assert worker.last_error == "CancelledError"
        worker.run_now()
        assert len(self.job.runs) == 2
        self.flushLoggedErrors(CancelledError)


class BudgetTests(WorkerCase):
    def test_spent(self) -> None:
        """Work can see how much time it has left, and when there is none."""
        self.worker()
        self.clock.advance(30)
        (budget,) = self.job.budgets
        self.clock.advance(29)
        assert (budget.remaining, budget.spent) == (1, False)
        self.clock.advance(1)
        assert budget.spent
        self.clock.advance(1)
        assert budget.remaining == 0

    def test_each_run_has_its_own(self) -> None:
        """What one run spends is not missing from the next."""
        worker = self.worker()
        for _ in range(2):
            worker.run_now()
            self.clock.advance(29)
            assert not self.job.budgets[-1].spent
            self.job.end()


class StopTests(WorkerCase):
    def test_idle(self) -> None:
        """A worker that has nothing to do stops at once, and does not run again."""
        worker = self.worker()
        self.successResultOf(worker.stopService())
        self.clock.advance(1000)
        assert self.job.runs == []

    def test_waits_for_the_run(self) -> None:
        """Stopping spends the budget and waits until the run is over."""
        worker = self.worker()
        over = worker.run_now()
        stopped = worker.stopService()
        assert self.job.budgets[0].spent
        self.assertNoResult(stopped)
        self.job.end()
        self.successResultOf(stopped)
        self.successResultOf(over)
        assert worker.last_error == ""

    def test_cancels_after_grace(self) -> None:
        """Work that goes on after the grace is cancelled, which is not a failure of it."""
        worker = self.worker()
        over = worker.run_now()
        stopped = worker.stopService()
        self.clock.advance(9)
        self.assertNoResult(stopped)
        self.clock.advance(1)
        self.successResultOf(stopped)
        self.successResultOf(over)
        assert worker.last_error == ""
        assert not worker.busy

    def test_wanted_run_does_not_come(self) -> None:
        """Whoever waits for a run that does not come because of the stop is not left waiting."""
        worker = self.worker()
        worker.run_now()
        late = worker.run_now()
        worker.stopService()
        self.job.end()
        self.successResultOf(late)
        assert len(self.job.runs) == 1

    def test_start_again(self) -> None:
        """A worker that was stopped can be started again."""
        worker = self.worker()
        self.end(worker)
        worker.startService()
        self.clock.advance(30)
        assert len(self.job.runs) == 1


class LeaseTests(WorkerCase):
    def setUp(self) -> None:
        super().setUp()
        self.coordinator = MemoryCoordinator(self.clock)

    def lease(self) -> Any:
        return self.successResultOf(self.coordinator.lease("worker:gc", LEASE))

    def test_alone(self) -> None:
        """While another node holds the lease nothing is done, and that is neither success nor failure."""
        self.lease()
        worker = self.worker(coordinator=self.coordinator)
        self.successResultOf(worker.run_now())
        assert self.job.runs == []
        assert (worker.last_success, worker.last_error) == (None, "")

    def test_held_and_given_back(self) -> None:
        """The lease is held as long as the work takes, and given back after it, failed or not."""
        worker = self.worker(coordinator=self.coordinator)
        for outcome in (self.job.end, lambda: self.job.fail(OSError("disk full"))):
            worker.run_now()
            self.clock.pump([5] * 100)
            assert self.lease() is None
            outcome()
            self.successResultOf(self.lease().release())
        self.flushLoggedErrors(OSError)

    def test_given_back_on_stop(self) -> None:
        """A worker that had to be cancelled gives its lease back, too."""
        worker = self.worker(coordinator=self.coordinator)
        worker.run_now()
        self.end(worker)
        assert self.lease() is not None

    def test_lost(self) -> None:
        """When the lease is lost the work is cancelled, because another node may do it now; then it is retried."""
        worker = self.worker(coordinator=self.coordinator)
        worker.run_now()
        self.coordinator._leases.clear()
        successor = self.lease()
        self.clock.advance(LEASE / 4)
        assert self.job.cancelled == 1
        assert "another node may be doing it" in worker.last_error
        assert self.successResultOf(successor.extend(1))
        assert len(self.flushLoggedErrors(LeaseLost)) == 1

    def test_unavailable(self) -> None:
        """Without the coordinator nothing is done, and the reason is kept."""
        self.coordinator.lease = lambda *_: fail(CoordinatorUnavailable("Redis is down."))  # type: ignore[method-assign]
        worker = self.worker(coordinator=self.coordinator)
        worker.run_now()
        assert (self.job.runs, worker.last_error) == ([], "Redis is down.")
        self.flushLoggedErrors(CoordinatorUnavailable)


class FlakyLeaseTests(WorkerCase):
    """A lease whose coordinator comes and goes."""

    def setUp(self) -> None:
        super().setUp()
        self.answers: list[bool | Exception] = []
        self.released = 0

    def lease(self, name: str, seconds: float) -> Deferred[Any]:
        return succeed(self)

    def extend(self, seconds: float) -> Deferred[bool]:
        answer = self.answers.pop(0)
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)

    def release(self) -> Deferred[None]:
        self.released += 1
        return succeed(None)

    def test_hiccup(self) -> None:
        """A coordinator that is away for less than the lease lasts does not interrupt the work."""
        away = CoordinatorUnavailable("Redis is down.")
        self.answers = [away, away, True, away, away, True]
        worker = self.worker(coordinator=self)
        worker.run_now()
        self.clock.pump([LEASE / 4] * 6)
        assert self.job.cancelled == 0
        self.job.end()
        assert (worker.last_error, self.released) == ("", 1)

    def test_outage(self) -> None:
        """A coordinator that stays away lets the lease run out: the work is cancelled before that."""
        self.answers = [CoordinatorUnavailable("Redis is down.")] * 9
        worker = self.worker(coordinator=self)
        worker.run_now()
        self.clock.pump([LEASE / 4] * 3)
        assert self.job.cancelled == 1
        assert "The lease of this work was lost" in worker.last_error
        self.flushLoggedErrors(LeaseLost)

    def test_broken(self) -> None:
        """A lease that fails in an unforeseen way counts as lost, and the failure is logged."""
        self.answers = [ZeroDivisionError()]
        worker = self.worker(coordinator=self)
        worker.run_now()
        self.clock.advance(LEASE / 4)
        assert "The lease of this work was lost" in worker.last_error
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        self.flushLoggedErrors(LeaseLost)
