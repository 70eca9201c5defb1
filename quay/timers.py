"""
What waits for the reactor waits until a time of the clock on the wall. When somebody sets that back by a day, all that
was to happen in a second would happen in a day and a second: here it is brought forward by as much.

A clock that is set ahead, or a machine that slept, needs nobody: what is due then happens at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

PERIOD_S: Final = 1.0
LEAST_S: Final = 1.0
"""A clock that is set back by less is not worth the trouble."""

log = Logger()


class Timers(Service):
    """
    Compares the clock on the `wall` with a `steady` one, every second, in a thread of its own: the reactor may have
    nothing to do until the clock is where it was.
    """

    name = "timers"

    def __init__(
        self, reactor: Any, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._reactor = reactor
        self._wall = wall
        self._steady = steady
        self._apart = wall() - steady()
        self._stopped = Event()

    def startService(self) -> None:
        super().startService()
        Thread(target=self._watch, name=self.name, daemon=True).start()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._stopped.set()
        return succeed(None)

    def _watch(self) -> None:
        while not self._stopped.wait(PERIOD_S):
            self.look()

    def look(self) -> None:
        """Bring forward what waits, if the clock has been set back since the last look. In whatever thread."""
        before, self._apart = self._apart, self._wall() - self._steady()
        if before - self._apart > LEAST_S:
            self._reactor.callFromThread(self._bring_forward, before - self._apart)

    def _bring_forward(self, seconds: float) -> None:
        log.warn("The clock was set back by {seconds:.0f} s: whatever waits is brought forward.", seconds=seconds)
        earliest = self._reactor.seconds() + seconds - 2 * PERIOD_S  # what is due before was asked for since
        for call in self._reactor.getDelayedCalls():
            if call.getTime() > earliest:
                call.delay(-seconds)
