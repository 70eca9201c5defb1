"""
What happens goes into the queue, without a push waiting for it: events are collected for a moment, and only where a
repository has somebody to tell is anything written.

A clean stop writes what is collected; what happened in the moment before a crash is not told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from quay.database import Database, Transaction
from quay.events import Bus, Pushed
from quay.model import notification
from quay.notifications.notice import PUSH
from quay.notifications.postman import enqueue
from quay.oci.errors import RegistryError

PERIOD_S: Final = 0.5
BATCH: Final = 500
LIMIT: Final = 50_000
"""Pushes that may wait while the database is away; beyond it the oldest are not told."""

log = Logger()


class Intake(Service):
    """Hears of pushes on the bus; calls `wake` when there is something to deliver."""

    def __init__(self, clock: IReactorTime, database: Database, bus: Bus, wake: Callable[[], object]) -> None:
        self._clock = clock
        self._database = database
        self._wake = wake
        self._waiting: deque[Pushed] = deque(maxlen=LIMIT)
        self._timer: IDelayedCall | None = None
        self._writing: Deferred[bool] | None = None
        bus.subscribe(Pushed, self.hear)

    def hear(self, event: Pushed) -> None:
        """Take an event; returns at once. What is pushed by digest alone is nothing that anybody asked to hear of."""
        if event.tag is not None:
            self._waiting.append(event)
            self._schedule()

    def stopService(self) -> Deferred[None]:
        """Write what is collected."""
        super().stopService()
        return Deferred.fromCoroutine(self._drain())

    async def _drain(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await self._writing
        while self._waiting and await self._write():
            pass

    def _schedule(self) -> None:
        if self._timer is None and self._writing is None:
            self._timer = self._clock.callLater(PERIOD_S, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._writing = Deferred.fromCoroutine(self._write())
        self._writing.addErrback(self._failed).addCallback(self._written)  # which may be at once

    def _failed(self, failure: Failure) -> bool:
        log.failure("some pushes could not be put into the queue, and nobody will be told of them", failure=failure)
        return True

    def _written(self, result: bool) -> bool:
        self._writing = None
        if self._waiting and self.running:
            self._schedule()
        return result

    async def _write(self) -> bool:
        """Put a batch into the queue; False if the database is away, and they have to wait."""
        events = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        try:
            if await self._database.read(_heard, events):
                await self._database.write(_enqueue, events)
                self._wake()
        except RegistryError as error:
            self._waiting.extendleft(reversed(events))
            log.error("Notifications of {count} pushes wait: {why}", count=len(events), why=error)
            return False
        return True


def _heard(txn: Transaction, events: Sequence[Pushed]) -> Mapping[int, Sequence[int]]:
    """Who wants to hear of them: the numbers of notifications, by repository."""
    return notification.wanted(txn, {event.repository_id for event in events}, PUSH)


def _enqueue(txn: Transaction, events: Sequence[Pushed]) -> None:
    heard = _heard(txn, events)
    for event in events:
        data: dict[str, Any] = {"updated_tags": [str(event.tag)]}
        for notification_id in heard.get(event.repository_id, ()):
            enqueue(txn, notification_id, data)
