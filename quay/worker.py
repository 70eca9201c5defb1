"""
Work that is done again and again: never twice at once, within a budget, on one node at a time if it has a lease.

A `Worker` promises that its work is not running when `stopService` has fired; that a failure is logged when it is a
new one, and retried; and that what it is doing can be seen in its attributes. It does not promise to be punctual.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from quay.coordination import CoordinatorUnavailable
from quay.interfaces import ICoordinator, ILease

LEASE: Final = 60.0
"""Seconds; a node that dies in the middle of its work is replaced after so long."""

LONGEST_START: Final = 300.0
"""Seconds until the first run, at most: a node that is restarted every day still does its daily work."""

LONGEST_PAUSE: Final = 3600.0
"""Seconds between retries of a work that fails, unless its period is longer."""

log = Logger()


class LeaseLost(Exception):
    """The work was interrupted, because another node may have begun it."""


class Budget:
    """What one run may take. Long work asks between two steps whether it is `spent`, and goes on in the next run."""

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._clock = clock
        self._until = clock.seconds() + seconds

    @property
    def remaining(self) -> float:
        """Seconds; never less than 0."""
        return max(0.0, self._until - self._clock.seconds())

    @property
    def spent(self) -> bool:
        """True when the time is over or the worker is being stopped."""
        return self.remaining == 0.0

    def end(self) -> None:
        """There is no more time."""
        self._until = self._clock.seconds()


Work = Callable[[Budget], Awaitable[None]]


class Worker(Service):
    """
    Does `work` every `period` seconds, give or take the share `jitter` of it, counted from the end of the last run; the
    first time within one period and five minutes.

    `budget` is what a run may take, in seconds; the work is asked to keep to it, and not made to. With a
    `coordinator`, a run happens only while this node holds the lease of this name, and is interrupted when the lease
    is lost. After a failure the pause doubles, up to an hour. On stop, the budget is spent at once, and after `grace`
    seconds the work is cancelled.

    For status pages: `busy`; `last_start`, `last_success` and `last_failure` (seconds since the epoch, None for
    never); `last_error` (a sentence; empty if the last run succeeded).
    """

    def __init__(
        self,
        name: str,
        work: Work,
        clock: IReactorTime,
        *,
        period: float,
        jitter: float = 0.1,
        budget: float = 60.0,
        grace: float = 10.0,
        coordinator: ICoordinator | None = None,
        random: Callable[[], float] = random.random,
    ) -> None:
        self.setName(name)
        self._work = work
        self._clock = clock
        self._period = period
        self._jitter = jitter
        self._seconds = budget
        self._grace = grace
        self._coordinator = coordinator
        self._random = random
        self._failures = 0
        self._budget: Budget | None = None
        self._pause: Deferred[None] | None = None
        self._wanted: list[Deferred[None]] = []
        self._life: Deferred[None] | None = None
        self.busy = False
        self.last_start: float | None = None
        self.last_success: float | None = None
        self.last_failure: float | None = None
        self.last_error = ""

    def startService(self) -> None:
        super().startService()
        self._life = Deferred.fromCoroutine(self._live()).addErrback(self._died)

    def stopService(self) -> Deferred[None]:
        """Fires when the run in flight is over; work that ignores being cancelled holds it up."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def run_now(self) -> Deferred[None]:
        """
        Fires when a run that began after this call is over, however it ended (see `last_error`), or when the worker
        stops. What several callers want at once is one run.
        """
        over: Deferred[None] = Deferred()
        self._wanted.append(over)
        if self.running:
            self._wake_up()
        else:
            self._answer(self._wanted)
        return over

    # --- life

    async def _live(self) -> None:
        await self._wait(min(self._period, LONGEST_START) * self._random())
        while self.running:
            await self._run()
            await self._wait(self._next_pause())

    async def _wait(self, seconds: float) -> None:
        if self._wanted or not self.running:
            return
        self._pause = Deferred()
        timer = self._clock.callLater(seconds, self._wake_up)
        try:
            await self._pause
        finally:
            self._pause = None
            if timer.active():
                timer.cancel()

    def _wake_up(self) -> None:
        if self._pause is not None:
            self._pause.callback(None)

    def _next_pause(self) -> float:
        doubled = self._period * 2.0 ** min(max(self._failures - 1, 0), 20)
        pause = min(doubled, max(self._period, LONGEST_PAUSE))
        return pause * (1 + self._jitter * (2 * self._random() - 1))

    async def _stop(self) -> None:
        life, self._life = self._life, None
        if life is None:
            return
        if self._budget is not None:
            self._budget.end()
        self._wake_up()
        patience = self._clock.callLater(self._grace, life.cancel)
        try:
            await life
        finally:
            if patience.active():
                patience.cancel()
        self._answer(self._wanted)

    def _died(self, failure: Failure) -> None:
        log.failure("the worker {name} has died: restart this node", failure=failure, name=self.name)

    # --- runs

    async def _run(self) -> None:
        callers, self._wanted = self._wanted, []
        self.busy, self.last_start = True, self._clock.seconds()
        self._budget = Budget(self._clock, self._seconds)
        try:
            if await self._work_alone(self._budget):
                self._succeeded()
        except Exception:
            self._failed(Failure())
        finally:
            self.busy, self._budget = False, None
            self._answer(callers)

    async def _work_alone(self, budget: Budget) -> bool:
        """Work, unless another node does; tells which."""
        if self._coordinator is None:
            await self._work(budget)
            return True
        since = self._clock.seconds()
        lease = await self._coordinator.lease(f"worker:{self.name}", LEASE)
        if lease is None:
            return False
        try:
            await Held(lease, self._clock, since).do(self._work, budget)
        finally:
            await lease.release()
        return True

    def _succeeded(self) -> None:
        if self.last_error:
            log.info("the worker {name} works again", name=self.name)
        self._failures, self.last_error, self.last_success = 0, "", self._clock.seconds()

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) and not self.running:
            log.info("the worker {name} was interrupted after its grace", name=self.name)
            return
        self._failures += 1
        error = str(failure.value) or type(failure.value).__name__
        if error != self.last_error:
            log.failure("the worker {name} failed, and will try again", failure=failure, name=self.name)
        self.last_error, self.last_failure = error, self._clock.seconds()

    @staticmethod
    def _answer(callers: list[Deferred[None]]) -> None:
        while callers:
            caller = callers.pop()
            if not caller.called:
                caller.callback(None)


class Held:
    """A lease that is extended while something is done under it. If it is lost, what is being done is cancelled."""

    def __init__(self, lease: ILease, clock: IReactorTime, since: float) -> None:
        self._lease = lease
        self._clock = clock
        self._until = since + LEASE
        self._lost = False

    async def do(self, work: Work, budget: Budget) -> None:
        """Do it. Fails with `LeaseLost` if it had to be cancelled."""
        working = Deferred.fromCoroutine(_call(work, budget))
        extending = Deferred.fromCoroutine(self._extend()).addBoth(self._lose, working)
        try:
            await working
        except CancelledError:
            if self._lost:
                raise LeaseLost(
                    "The lease of this work was lost, so it was interrupted: another node may be doing it now. "
                    "If this happens often, look at the connection to the coordinator."
                ) from None
            raise
        finally:
            extending.cancel()

    async def _extend(self) -> None:
        """Keep it; returns when it is lost or cannot be kept any longer."""
        while self._clock.seconds() + LEASE / 4 < self._until:
            await deferLater(self._clock, LEASE / 4)
            since = self._clock.seconds()
            try:
                if not await self._lease.extend(LEASE):
                    return
                self._until = since + LEASE
            except CoordinatorUnavailable as unavailable:
                log.info("a lease could not be extended: {unavailable}", unavailable=unavailable)

    def _lose(self, result: object, working: Deferred[None]) -> None:
        if isinstance(result, Failure) and not result.check(CancelledError):
            log.failure("a lease could not be kept", failure=result)
        self._lost = True
        working.cancel()


async def _call(work: Work, budget: Budget) -> None:
    await work(budget)
