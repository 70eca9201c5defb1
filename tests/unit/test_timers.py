"""What waits for the reactor, when the clock on the wall is set."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from quay.timers import Timers

DAY_S = 86400


class Machine(Clock):
    """A reactor whose clock is that on the wall; `steady` is the other one."""

    steady = 0.0

    def callFromThread(self, f: Callable[..., object], *args: object) -> None:
        f(*args)


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    made.rightNow = 1_790_000_000.0
    return made


@pytest.fixture
def timers(machine: Machine) -> Timers:
    return Timers(machine, machine.seconds, lambda: machine.steady)


def passes(machine: Machine, seconds: float) -> None:
    machine.steady += seconds
    machine.advance(seconds)


def test_set_back(machine: Machine, timers: Timers) -> None:
    """What was to happen in a minute happens in a minute, though the clock is set back by a day."""
    happened: list[str] = []
    machine.callLater(60, happened.append, "first")
    machine.callLater(90, happened.append, "second")
    passes(machine, 10)
    machine.rightNow -= DAY_S
    timers.look()
    timers.look()
    passes(machine, 49)
    assert happened == []
    passes(machine, 1)
    assert happened == ["first"]
    passes(machine, 30)
    assert happened == ["first", "second"]


def test_what_was_asked_for_since(machine: Machine, timers: Timers) -> None:
    """Whoever begins to wait after the clock was set, and before that was noticed, waits as long as he asked for."""
    machine.rightNow -= DAY_S
    waiting = machine.callLater(60, list)
    timers.look()
    assert waiting.getTime() == machine.rightNow + 60


@pytest.mark.parametrize("by", [DAY_S, 0.5, 0, -0.5])
def test_nothing_to_do(machine: Machine, timers: Timers, by: float) -> None:
    """Whoever waits is left alone where the clock is right, is set ahead, or is adjusted a little."""
    waiting = machine.callLater(2 * DAY_S, list)
    until = waiting.getTime()
    machine.rightNow += by
    timers.look()
    assert waiting.getTime() == until


class InAThread(TestCase):
    """The real reactor, and a thread."""

    def test_found_out(self) -> Deferred[None]:
        """Whoever waits for a day longer than he should does not wait."""
        wall = iter([float(DAY_S)])
        waited: Deferred[None] = Deferred()
        waiting = reactor.callLater(DAY_S, waited.callback, None)
        self.patch(reactor, "getDelayedCalls", lambda: [waiting])
        timers = Timers(reactor, lambda: next(wall, 0.0), lambda: 0.0)
        timers.startService()
        self.addCleanup(timers.stopService)
        return waited
