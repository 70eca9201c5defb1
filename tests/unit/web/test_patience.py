"""How long a connection waits: exactly so long, however often its patience changed, and with one call at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from quay.web.patience import ROUND_S, Patience


class Waiting(Patience):
    """Somebody who waits, and notes when it has become too long."""

    def __init__(self):
        self.clock = Clock()
        self.over = []

    def timeoutConnection(self):
        self.over.append(self.clock.seconds())


CHANGES = st.lists(st.tuples(st.sampled_from(["set", "reset", "none"]), st.integers(1, 100), st.integers(0, 60)))


@given(CHANGES)
def test_to_the_moment(changes):
    """Whatever happened before, it is over when the last patience has passed since it was set, once, never earlier."""
    waiting, until, expected = Waiting(), None, []
    period = None
    for what, seconds, passing in changes:
        now = waiting.clock.seconds()
        if what == "set":
            waiting.setTimeout(seconds)
            period, until = seconds, now + seconds
        elif what == "none":
            waiting.setTimeout(None)
            period = until = None
        else:
            waiting.resetTimeout()
            until = None if period is None else now + period
        for _ in range(passing):
            waiting.clock.advance(1)
            if until is not None and waiting.clock.seconds() >= until:
                expected.append(until)
                period = until = None
        assert waiting.over == expected
        assert len(waiting.clock.getDelayedCalls()) <= 1


def test_it_says_what_was_before():
    """As TimeoutMixin does, a change gives back the patience of before."""
    waiting = Waiting()
    assert [waiting.setTimeout(5), waiting.setTimeout(None), waiting.setTimeout(7)] == [None, 5, None]


@pytest.mark.parametrize("period", [None, 5, 10 * ROUND_S])
def test_nothing_is_left_behind(period):
    """A connection that is gone leaves nothing with the clock, and never times out."""
    waiting = Waiting()
    waiting.setTimeout(5)
    waiting.setTimeout(period)
    waiting.never_time_out()
    waiting.never_time_out()
    assert waiting.clock.getDelayedCalls() == []
    waiting.clock.advance(1000)
    assert waiting.over == []
