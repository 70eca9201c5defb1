"""
How long a connection waits for its client. Its patience changes several times in each request, which has to cost next
to nothing: so the clock is asked to call once in a while, and not anew for every change.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.protocols.policies import TimeoutMixin

ROUND_S: Final = 20
"""So often, in seconds, a connection that waits for longer looks whether it still does."""


class Patience(TimeoutMixin):
    """What TimeoutMixin promises, to the moment."""

    clock: IReactorTime
    _until = 0.0
    _alarm: IDelayedCall | None = None

    def setTimeout(self, period: int | None) -> int | None:
        before, self.timeOut = self.timeOut, period
        if period is not None:
            self._until = self.clock.seconds() + period
            if self._alarm is None:
                self._set_alarm(period)
            elif self._alarm.getTime() > self._until:
                self._alarm.reset(period)
        return before

    def resetTimeout(self) -> None:
        if self.timeOut is not None:
            self._until = self.clock.seconds() + self.timeOut

    def never_time_out(self) -> None:
        """It is over: leave nothing behind with the clock."""
        self.timeOut = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _set_alarm(self, seconds: float) -> None:
        self._alarm = self.clock.callLater(min(seconds, ROUND_S), self._look)

    def _look(self) -> None:
        self._alarm = None
        if self.timeOut is None:
            return
        left = self._until - self.clock.seconds()
        if left > 0:
            self._set_alarm(left)
        else:
            self.timeOut = None
            self.timeoutConnection()
