"""
What a pull needs to know, in memory, and never out of date.

An entry is named by the change that ends it: ("tag", repository id, name), ("manifest", repository id, digest),
("blob", repository id, digest), ("repository", name). The transaction that changes such a thing names it
(`Transaction.changed`), and the entry is dropped before that transaction's caller hears of the commit, on every node.
A value that was being read from the database meanwhile is not kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import attrs

from quay.oci.reference import Digest

Key = tuple[str | int, ...]

ENTRY_COST: Final = 400
"""What an entry weighs beside its payload, in bytes: the key, the value object, the place in the table."""


class Recent:
    """
    Small blobs that were pushed lately, by digest: what a digest names never changes, so nothing here is ever out of
    date. It says nothing about who may read them, or whether a repository still has them. `limit` is in bytes.
    """

    def __init__(self, limit: int = 4 * 1024 * 1024) -> None:
        self._limit = limit
        self._weight = 0
        self._blobs: OrderedDict[Digest, bytes] = OrderedDict()

    def keep(self, digest: Digest, data: bytes) -> None:
        """Remember `data`, whose digest has been verified; the oldest are forgotten for it."""
        if digest not in self._blobs:
            self._blobs[digest] = data
            self._weight += len(data) + ENTRY_COST
        while self._weight > self._limit:
            self._weight -= len(self._blobs.popitem(last=False)[1]) + ENTRY_COST

    def get(self, digest: Digest) -> bytes | None:
        return self._blobs.get(digest)


@attrs.define(eq=False, slots=True)
class _Reading:
    """A value on its way from the database; spoiled if what it depends on changes before it is here."""

    spoiled: bool = False


class Cache:
    """
    At most `limit` bytes of values, the least recently used dropped first.

    `hits` counts what was found, `misses` what had to be read; `weight` is in bytes.
    """

    def __init__(self, now: Callable[[], float], limit: int = 64 * 1024 * 1024) -> None:
        self._now = now
        self._limit = limit
        self.weight = 0
        self.hits = self.misses = 0
        self._entries: OrderedDict[Key, tuple[Any, float | None, int]] = OrderedDict()
        self._readings: dict[Key, set[_Reading]] = {}
        self.trusted: Callable[[], bool] = lambda: True

    @property
    def entries(self) -> int:
        """How many values are kept."""
        return len(self._entries)

    def get(self, key: Key) -> Any:
        """The value under `key`, or None. No waiting: this is the fast path of every pull."""
        entry = self._entries.get(key)
        if entry is None or not self.trusted():
            return None
        if entry[1] is not None and entry[1] <= self._now():
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        self.hits += 1
        return entry[0]

    async def load(
        self,
        key: Key,
        read: Callable[[], Awaitable[Any]],
        *,
        weigh: Callable[[Any], int] = lambda _: 0,
        expires: Callable[[Any], float | None] = lambda _: None,
    ) -> Any:
        """
        The value under `key`, read if it is not here. None is never kept. `weigh` gives the bytes of a value's
        payload, `expires` the time (seconds since the epoch) from which it is no longer true.
        """
        value = self.get(key)
        if value is not None:
            return value
        self.misses += 1
        reading = _Reading()
        self._readings.setdefault(key, set()).add(reading)
        try:
            value = await read()
        finally:
            self._end_reading(key, reading)
        if value is not None and not reading.spoiled and self.trusted():
            self._keep(key, value, expires(value), weigh(value) + ENTRY_COST)
        return value

    def drop(self, changes: Iterable[Key]) -> None:
        """Forget what these changes ended. A changed namespace may show in anything: it ends everything."""
        for change in changes:
            if change[0] == "namespace":
                self.clear()
                return
            self._forget(change)
            for reading in self._readings.get(change, ()):
                reading.spoiled = True

    def clear(self) -> None:
        """Forget everything, and what is being read as well."""
        self._entries.clear()
        self.weight = 0
        for readings in self._readings.values():
            for reading in readings:
                reading.spoiled = True

    def _end_reading(self, key: Key, reading: _Reading) -> None:
        readings = self._readings[key]
        readings.discard(reading)
        if not readings:
            del self._readings[key]

    def _keep(self, key: Key, value: Any, expires: float | None, weight: int) -> None:
        self._forget(key)
        self._entries[key] = (value, expires, weight)
        self.weight += weight
        while self.weight > self._limit:
            self.weight -= self._entries.popitem(last=False)[1][2]

    def _forget(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.weight -= entry[2]
