"""The watchdog, under a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock

from quay.watchdog import BOUNDS, Watchdog


class Late(Clock):
    """A clock whose calls come late by `by` seconds: what a reactor that stood still looks like from within."""

    by = 0.0

    def callLater(self, when: float, what: Callable[..., object], *args: Any, **kw: Any) -> Any:
        return super().callLater(when + self.by, what, *args, **kw)


@pytest.fixture
def clock() -> Late:
    return Late()


@pytest.fixture
def watchdog(clock: Late) -> Watchdog:
    made = Watchdog(clock, period=0.5, steady=clock.seconds)
    made.startService()
    return made


def test_ticks_in_time_are_stalls_of_nothing(clock: Late, watchdog: Watchdog) -> None:
    """While every call comes in time, nothing is measured but that it did."""
    clock.pump([0.5] * 8)
    assert (watchdog.counts[0], sum(watchdog.counts)) == (8, 8)
    assert watchdog.longest == watchdog.total == 0.0


def test_a_stall_is_measured(clock: Late, watchdog: Watchdog) -> None:
    """A call that comes a quarter of a second late is a stall of that length, and the longest one stays."""
    clock.by = 0.25
    clock.advance(0.5)
    clock.by = 0.0
    clock.advance(0.75)
    clock.pump([0.5] * 3)
    assert watchdog.counts[BOUNDS.index(0.25)] == 1
    assert watchdog.longest == watchdog.total == 0.25


def test_stalls_beyond_all_bounds_are_counted(clock: Late, watchdog: Watchdog) -> None:
    """A stall longer than every bound counts in the last place."""
    clock.by = 64.0
    clock.advance(0.5)
    clock.advance(64.5)
    assert watchdog.counts[-1] == 1
    assert watchdog.longest == 64.0


def test_a_clock_that_is_set_is_no_stall() -> None:
    """A clock on the wall that was set ahead by an hour between two ticks gives a stall of nothing, never of less."""
    wall, steady = Clock(), Clock()
    watchdog = Watchdog(wall, period=0.5, steady=steady.seconds)
    watchdog.startService()
    steady.advance(0.25)
    wall.advance(3600)
    assert (watchdog.counts[0], watchdog.longest, watchdog.total) == (1, 0.0, 0.0)


def test_nothing_ticks_after_the_end(clock: Late, watchdog: Watchdog) -> None:
    """A stopped watchdog leaves no call behind, and can be stopped again."""
    watchdog.stopService()
    watchdog.stopService()
    assert clock.getDelayedCalls() == []
