"""
Counts pulls, without a pull waiting for it: they are summed up in memory, and written together, at most once a minute.

The first pull after a quiet minute is written within a second. What a crash has not let us write, up to a minute of
pulls, is missing in the sums, and in the audit log it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from quay.database import Database
from quay.events import Bus, Pulled
from quay.model import pull
from quay.model.pull import ALL, Pulls
from quay.oci.errors import RegistryError
from quay.oci.reference import Digest, Tag

log = Logger()

Key = tuple[int, Tag | None, Digest]


@attrs.define
class _Sum:
    """What has not been written yet of the pulls of something."""

    count: int = 0
    last_ms: int = 0

    def add(self, count: int, last_ms: int) -> None:
        self.count += count
        self.last_ms = max(self.last_ms, last_ms)


class PullCounter(Service):
    """
    Writes what the bus tells of: `soon` seconds after it happened, but not before `period` seconds after the last time.
    More than `limit` different things that wait are written at once; while the database is away, what comes beyond them
    is not counted.
    """

    name = "pulls"
    soon = 1.0
    period = 60.0
    limit = 50_000
    batch = 500
    """So many of them go in one transaction."""

    def __init__(self, clock: IReactorTime, database: Database, bus: Bus) -> None:
        self._clock = clock
        self._database = database
        self._bus = bus
        self._waiting: dict[Key, _Sum] = {}
        self._timer: IDelayedCall | None = None
        self._writing: Deferred[None] | None = None
        self._next = 0.0

    def startService(self) -> None:
        super().startService()
        self._bus.subscribe(Pulled, self.count)

    def count(self, event: Pulled) -> None:
        """Take an event; returns at once."""
        key = (event.repository_id, event.tag, event.digest)
        found = self._waiting.get(key)
        if found is None:
            if len(self._waiting) >= self.limit:
                return
            found = self._waiting[key] = _Sum()
            self._schedule(at_once=len(self._waiting) == self.limit)
        found.add(1, event.at_ms)

    def stopService(self) -> Deferred[None]:
        """Write what is there."""
        super().stopService()
        return Deferred.fromCoroutine(self._drain())

    async def _drain(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._writing is not None:
            await self._writing
        await self._write()

    def _schedule(self, *, at_once: bool = False) -> None:
        if self._writing is not None or (self._timer is not None and not at_once):
            return
        if self._timer is not None:
            self._timer.cancel()
        delay = 0.0 if at_once else max(self.soon, self._next - self._clock.seconds())
        self._timer = self._clock.callLater(delay, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._next = self._clock.seconds() + self.period
        self._writing = Deferred.fromCoroutine(self._write())
        self._writing.addCallback(self._written)

    def _written(self, _: None) -> None:
        self._writing = None
        if self._waiting and self.running:
            self._schedule()

    async def _write(self) -> None:
        """Write all that waits now, a batch in each transaction; what the database cannot take now goes on waiting."""
        waiting, self._waiting = self._waiting, {}
        while waiting:
            some = {key: waiting[key] for key in islice(waiting, self.batch)}
            try:
                await self._database.write(pull.add, _by_subject(some))
            except RegistryError as error:
                log.error("Pulls cannot be counted now, and wait: {why}", why=error)
                self._keep(waiting)
                return
            except Exception:
                log.failure("some pulls were refused by the database, and are not counted")
            for key in some:
                del waiting[key]

    def _keep(self, unwritten: Mapping[Key, _Sum]) -> None:
        for key, more in unwritten.items():
            self._waiting.setdefault(key, _Sum()).add(more.count, more.last_ms)


def _by_subject(some: Mapping[Key, _Sum]) -> dict[tuple[int, str], Pulls]:
    """The pulls of each tag, manifest and repository."""
    sums: dict[tuple[int, str], _Sum] = {}
    for (repository_id, tag, digest), more in some.items():
        for subject in (ALL, digest, *([tag] if tag is not None else [])):
            sums.setdefault((repository_id, str(subject)), _Sum()).add(more.count, more.last_ms)
    return {key: Pulls(one.count, one.last_ms) for key, one in sums.items()}
