"""Guessing is slow, and nobody is locked out for good."""

from __future__ import annotations

from contextlib import suppress

import pytest
from twisted.internet.task import Clock

from quay.auth.throttle import Throttle
from quay.oci.errors import TooManyRequests, Unauthorized

KEY = ("devtable", "192.0.2.1")


def fail(throttle: Throttle, key: tuple[str, str] = KEY) -> None:
    with suppress(Unauthorized), throttle.attempt(key):
        raise Unauthorized("wrong")


def test_after_the_burst_comes_a_wait_that_ends() -> None:
    """The eleventh failure in a minute is refused with the seconds to wait, and after them there is one more try."""
    clock = Clock()
    throttle = Throttle(clock.seconds, burst=10, per_minute=10)
    for _ in range(10):
        fail(throttle)
    with pytest.raises(TooManyRequests) as refused:
        throttle.check(KEY)
    assert refused.value.headers["Retry-After"] == "6"
    clock.advance(6)
    fail(throttle)
    with pytest.raises(TooManyRequests):
        fail(throttle)


def test_other_accounts_and_addresses_are_not_touched() -> None:
    """An attacker does not lock his victim out: the bucket belongs to account and address."""
    throttle = Throttle(Clock().seconds, burst=2)
    for _ in range(2):
        fail(throttle)
    throttle.check(("devtable", "192.0.2.2"))
    throttle.check(("reader", "192.0.2.1"))


def test_only_wrong_credentials_cost() -> None:
    """Success, and failures that are not the user's, give the attempt back."""
    throttle = Throttle(Clock().seconds, burst=2)
    for _ in range(20):
        with throttle.attempt(KEY):
            pass
        with suppress(ZeroDivisionError), throttle.attempt(KEY):
            raise ZeroDivisionError
    throttle.check(KEY)


def test_guesses_at_the_same_time_are_counted() -> None:
    """An attempt is spent while it is under way: a thousand at once are not a thousand tries."""
    throttle = Throttle(Clock().seconds, burst=2)
    with throttle.attempt(KEY), throttle.attempt(KEY), pytest.raises(TooManyRequests), throttle.attempt(KEY):
        pytest.fail("a third attempt was let in")
    throttle.check(KEY)


def test_a_clock_set_back_does_not_lock() -> None:
    """A bucket that was empty before the clock went back is not empty until the clock has caught up."""
    now = [1e9]
    throttle = Throttle(lambda: now[0], burst=2)
    for _ in range(2):
        fail(throttle)
    now[0] -= 1e6
    throttle.check(KEY)


def test_memory_is_bounded() -> None:
    """However many accounts are tried, only so many are remembered, and full buckets not at all."""
    throttle = Throttle(Clock().seconds, limit=50)
    for n in range(200):
        fail(throttle, (str(n), "a"))
    assert len(throttle._buckets) == 50
    with throttle.attempt(("fine", "a")):
        pass
    assert ("fine", "a") not in throttle._buckets
