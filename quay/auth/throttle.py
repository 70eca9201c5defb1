"""
Guessing passwords is slow: a bucket of attempts for each account and address, refilled all the time.

Only wrong credentials cost an attempt, and nobody is locked out for longer than it takes the bucket to gain one.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network

from quay.oci.errors import TooManyRequests, Unauthorized


def neighbourhood(address: str) -> str:
    """Whom attempts from `address` are counted with: an IPv6 host has a /64 to choose addresses from (RFC 6177)."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


class Throttle:
    """
    `burst` failures at once and `per_minute` after that, for each key; at most `limit` keys are remembered, and only
    while their bucket is not full. `what` is what there were too many of.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        burst: int = 10,
        per_minute: float = 10,
        limit: int = 10_000,
        what: str = "failed logins for this account from this address",
    ) -> None:
        self._now = now
        self._burst = burst
        self._rate = per_minute / 60
        self._limit = limit
        self._what = what
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def check(self, key: Hashable) -> None:
        """Raises `TooManyRequests`, with `Retry-After`, if there is no attempt left for `key`."""
        left = self._left(key)
        if left < 1:
            seconds = math.ceil((1 - left) / self._rate)
            raise TooManyRequests(
                f"Too many {self._what}; the next try is in {seconds} s.",
                advice="Check the user name and password, wait, and log in again.",
                headers={"Retry-After": str(seconds)},
            )

    def spend(self, key: Hashable) -> None:
        """Use an attempt up, whatever comes of it. Raises `TooManyRequests` if there is none left."""
        self.check(key)
        self._put(key, self._left(key) - 1)

    @contextmanager
    def attempt(self, key: Hashable) -> Iterator[None]:
        """
        One attempt, which stays spent only if the block raises `Unauthorized`. It is taken beforehand, so that many
        guesses at the same time are no more than many in a row. Raises `TooManyRequests` instead of entering.
        """
        self.check(key)
        self._put(key, self._left(key) - 1)
        wrong = False
        try:
            yield
        except Unauthorized:
            wrong = True
            raise
        finally:
            if not wrong:
                self._put(key, self._left(key) + 1)

    def _left(self, key: Hashable) -> float:
        left, since = self._buckets.get(key, (float(self._burst), self._now()))
        elapsed = self._now() - since
        if elapsed < 0:  # the clock was set back: nobody waits until it is where it was
            return self._burst
        return min(self._burst, left + elapsed * self._rate)

    def _put(self, key: Hashable, left: float) -> None:
        self._buckets.pop(key, None)
        if left < self._burst:
            self._buckets[key] = (left, self._now())
        if len(self._buckets) > self._limit:
            self._buckets.popitem(last=False)
