"""A lease in Redis: a key that is set if it was not, with a time to live. Source: Redis documentation, `SET`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from quay.coordination import CoordinatorUnavailable, check_seconds
from quay.interfaces import ILease

EXTEND: Final = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"
RELEASE: Final = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"

log = Logger()


@implementer(ILease)
@attrs.frozen(eq=False)
class RedisLease:
    """A key that holds a token nobody else knows, and that expires."""

    _change: Callable[..., Coroutine[Any, Any, bool]]
    _key: str
    _token: str = attrs.field(repr=False)

    def extend(self, seconds: float) -> Deferred[bool]:
        """As `ILease.extend`. Fails with `CoordinatorUnavailable`."""
        return Deferred.fromCoroutine(self._change(EXTEND, self._key, self._token, milliseconds(seconds)))

    def release(self) -> Deferred[None]:
        """As `ILease.release`. Does not fail: a lease that cannot be released runs out."""
        return Deferred.fromCoroutine(self._release())

    async def _release(self) -> None:
        try:
            await self._change(RELEASE, self._key, self._token)
        except CoordinatorUnavailable as unavailable:
            log.info("the lease {key} will run out: {unavailable}", key=self._key, unavailable=unavailable)


def milliseconds(seconds: float) -> int:
    """`seconds` as Redis counts them: at least 1. Raises `ValueError` if a lease cannot last so long."""
    return max(1, round(check_seconds(seconds) * 1000))
