"""The time of an answer, made once a second."""

from __future__ import annotations

from collections.abc import Callable

from twisted.web.http import datetimeToString


class Today:
    """Gives the time as RFC 9110 has it in `Date`; `now` is in seconds since the epoch."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._second = -1
        self._date = b""

    def __call__(self) -> bytes:
        second = int(self._now())
        if second != self._second:
            self._second, self._date = second, datetimeToString(second)
        return self._date
