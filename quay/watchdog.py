"""
How long the reactor stands still: whoever blocks it makes every client wait, and this is where it shows.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds up to which each but the last of `Watchdog.counts` goes."""

LONG: Final = 1.0
"""Seconds; a stall of so long is logged."""

log = Logger()


class Watchdog(Service):
    """
    Asks `clock` to be called every `period` seconds, and measures by how much that is late: by a `steady` clock, since
    the one on the wall may be set.

    `longest` is the longest stall since the start and `total` the sum of all, in seconds; `counts` are the numbers of
    stalls up to each of `BOUNDS`, and of those beyond. A tick in time counts as a stall of nothing.
    """

    name = "watchdog"

    def __init__(self, clock: IReactorTime, period: float = 0.02, steady: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steady = steady
        self._period = period
        self._due = 0.0
        self._timer: IDelayedCall | None = None
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0
        self.longest = 0.0

    def startService(self) -> None:
        super().startService()
        self._wait()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        return succeed(None)

    def _wait(self) -> None:
        self._due = self._steady() + self._period
        self._timer = self._clock.callLater(self._period, self._tick)

    def _tick(self) -> None:
        stall = max(0.0, self._steady() - self._due)  # called early, where the clock on the wall was set ahead
        self.counts[bisect_left(BOUNDS, stall)] += 1
        self.total += stall
        self.longest = max(self.longest, stall)
        if stall >= LONG:
            log.warn("The reactor stood still for {stall:.1f} s, and with it every client.", stall=stall)
        self._wait()
