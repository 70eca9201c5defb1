"""
Every push and pull on record, without a push or pull waiting for it: events are collected and written in batches.

A clean stop writes what is collected. Should the database be away, events wait in memory, up to a limit; beyond it the
oldest are given up, and the log says how many.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from quay.database import Database
from quay.events import Bus, Deleted, Pulled, Pushed, RepositoryCreated, RepositoryEvent
from quay.model import audit
from quay.oci.errors import RegistryError

log = Logger()

KINDS: Final[dict[type[RepositoryEvent], str]] = {
    Pushed: "push_repo",
    Pulled: "pull_repo",
    Deleted: "delete_tag",
    RepositoryCreated: "create_repo",
}
"""What Quay calls it."""


class AuditTrail(Service):
    """Writes what the bus tells of, `period` seconds after it happened or when `batch` events have come together."""

    name = "audit"
    period = 1.0
    batch = 1000
    limit = 100_000

    def __init__(self, clock: IReactorTime, database: Database, bus: Bus) -> None:
        self._clock = clock
        self._database = database
        self._waiting: deque[RepositoryEvent] = deque()
        self._timer: IDelayedCall | None = None
        self._writing: Deferred[bool] | None = None
        self._lost = 0
        bus.subscribe(RepositoryEvent, self.record)

    def record(self, event: RepositoryEvent) -> None:
        """Take an event; returns at once."""
        if len(self._waiting) >= self.limit:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(event)
        if self._writing is None and (self._timer is None or len(self._waiting) == self.batch):
            self._schedule(0 if len(self._waiting) >= self.batch else self.period)

    def stopService(self) -> Deferred[None]:
        """Write what is collected."""
        super().stopService()
        return Deferred.fromCoroutine(self._drain())

    async def _drain(self) -> None:
        if self._writing is not None:
            await self._writing
        while self._waiting and await self._write():
            pass
        self._cancel_timer()
        if self._waiting:
            log.error("{count} audit events could not be written before the stop", count=len(self._waiting))

    def _schedule(self, delay: float) -> None:
        self._cancel_timer()
        self._timer = self._clock.callLater(delay, self._begin)

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _begin(self) -> None:
        self._timer = None
        self._writing = Deferred.fromCoroutine(self._write())
        self._writing.addCallback(self._written)

    def _written(self, succeeded: bool) -> None:
        self._writing = None
        if self._waiting and self.running:
            self._schedule(0 if succeeded and len(self._waiting) >= self.batch else self.period)

    async def _write(self) -> bool:
        events = [self._waiting.popleft() for _ in range(min(self.batch, len(self._waiting)))]
        try:
            await self._database.write(audit.append, [_row(event) for event in events])
        except RegistryError as error:
            self._waiting.extendleft(reversed(events))
            log.error("The audit log cannot be written now, {count} events wait: {why}", count=len(events), why=error)
            return False
        except Exception:
            log.failure("a batch of audit events was refused by the database, and is lost")
        if self._lost:
            log.error("{lost} audit events were given up while the database was away", lost=self._lost)
            self._lost = 0
        return True


def _row(event: RepositoryEvent) -> audit.Entry:
    details: dict[str, object] = {
        "namespace": event.repository.namespace,
        "repo": event.repository.path,
        "user-agent": event.user_agent[:512],
        event.actor.kind: event.actor.name,
    }
    if isinstance(event, Pushed | Pulled | Deleted):
        details["manifest_digest"] = event.digest
        if event.tag is not None:
            details["tag"] = event.tag
    return audit.Entry(
        kind=KINDS[type(event)],
        performed_ms=event.at_ms,
        namespace_id=event.namespace_id,
        repository_id=event.repository_id,
        performer_id=event.actor.namespace_id,
        performer=event.actor.name,
        ip=event.ip,
        details=details,
    )
