"""
What has been found out and need not be found out again: a bounded memory with deadlines, and computations that are
shared by everybody who asks for the same thing at the same time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from quay.oci.errors import RegistryError

K = TypeVar("K")
V = TypeVar("V")

log = Logger()


class Remembered(Generic[K, V]):
    """
    At most `limit` values, each until a time of its own; the least recently used go first. A clock that is set back
    before a value was kept ends it too, so that no deadline recedes.
    """

    def __init__(self, now: Callable[[], float], limit: int) -> None:
        self._now = now
        self._limit = limit
        self._entries: OrderedDict[K, tuple[V, float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value under `key`, if it is still true."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, since, until = entry
        if not since <= self._now() < until:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    def keep(self, key: K, value: V, until: float) -> None:
        """Keep `value` until the time `until` (seconds since the epoch), or until others need the room."""
        self._entries[key] = (value, self._now(), until)
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def drop(self, ended: Callable[[V], bool]) -> None:
        """Forget every value for which `ended` is true."""
        for key in [key for key, (value, _, _) in self._entries.items() if ended(value)]:
            del self._entries[key]


class Shared(Generic[K, V]):
    """
    One computation at a time for each key. Whoever asks while it runs gets its outcome; whoever stops waiting
    (cancels) leaves it running for the others.
    """

    def __init__(self) -> None:
        self._waiting: dict[K, list[Deferred[V]]] = {}

    def run(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> Deferred[V]:
        """The outcome of `work()`, or of the one that is already under way for `key`."""
        waiter: Deferred[V] = Deferred()
        if key in self._waiting:
            self._waiting[key].append(waiter)
        else:
            self._waiting[key] = [waiter]
            Deferred.fromCoroutine(work()).addBoth(self._tell, key)
        return waiter

    def _tell(self, outcome: V | Failure, key: K) -> None:
        waiting = [waiter for waiter in self._waiting.pop(key) if not waiter.called]
        for waiter in waiting:
            waiter.callback(outcome)  # a Failure becomes the errback chain
        if not waiting and isinstance(outcome, Failure) and outcome.check(RegistryError) is None:
            log.failure("nobody was waiting for this any more, and it failed", failure=outcome)
