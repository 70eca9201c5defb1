"""
What was queued is delivered: a few at a time, again after a while if it fails, and again after a restart.

An item of the queue is one occurrence for one notification. It is delivered at least once: if the server dies between
a delivery and its record, the receiver sees the same uuid again. Every attempt is put on record in the transaction in
which the queue learns of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred, DeferredList, FirstError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from quay.auth.seals import SealBroken, Seals
from quay.database import Database, Transaction
from quay.interfaces import INotificationMethod
from quay.model import notification, queue, repository
from quay.model.notification import Attempt, Notification
from quay.model.repository import Repository
from quay.notifications.methods import NotDelivered
from quay.notifications.notice import Place, notice, sample
from quay.worker import Budget

QUEUE: Final = "notification/delivery"
ATTEMPTS: Final = notification.FAILURES
RETRY_S: Final = (10, 300)
"""How long to wait after the first attempt that fails, and after the second."""
HOLD_S: Final = 60
"""How long nobody else takes an item that is being delivered; longer than any delivery takes."""
LANES: Final = 4
SECRET: Final = "notification secret"  # noqa: S105  # what a seal is for

log = Logger()


def enqueue(txn: Transaction, notification_id: int, data: Mapping[str, Any]) -> None:
    """Let somebody be told of what happened; `data` are the members of the payload that are the event's own."""
    queue.put(txn, QUEUE, _body(notification_id, data, ATTEMPTS), attempts=ATTEMPTS)


def enqueue_test(txn: Transaction, target: Notification) -> None:
    """Let somebody be told of something made up, once, even if the notification has ended."""
    queue.put(txn, QUEUE, _body(target.id, sample(target.event), 1) | {"test": True}, attempts=1)


def _body(notification_id: int, data: Mapping[str, Any], attempts: int) -> dict[str, Any]:
    return {"notification": notification_id, "uuid": str(uuid4()), "data": dict(data), "attempts": attempts}


class Postman:
    """Delivers with `methods`, by the name of each; `vault` opens the secrets of notifications."""

    def __init__(
        self,
        clock: IReactorTime,
        database: Database,
        methods: Mapping[str, INotificationMethod],
        vault: Callable[[], Seals],
        place: Place,
    ) -> None:
        self._clock = clock
        self._database = database
        self._methods = methods
        self._vault = vault
        self._place = place

    async def work(self, time: Budget) -> None:
        """Deliver what is due, until there is no more or the time is over."""
        first = await self._next()
        if first is None:
            return
        lanes = [Deferred.fromCoroutine(self._deliver_all(time, item)) for item in (first, *[None] * (LANES - 1))]
        try:
            await DeferredList(lanes, fireOnOneErrback=True, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()

    def _next(self) -> Deferred[queue.Item | None]:
        return self._database.write(queue.claim, QUEUE, HOLD_S)

    async def _deliver_all(self, time: Budget, item: queue.Item | None) -> None:
        item = item or await self._next()
        while item is not None:
            await self._deliver(item)
            item = None if time.spent else await self._next()

    async def _deliver(self, item: queue.Item) -> None:
        found = await self._database.read(_load, item.body["notification"])
        if found is None or (found[0].ended and not item.body.get("test")):
            await self._database.write(queue.done, item)
            return
        target, place = found
        began = self._clock.seconds()
        try:
            delivered, outcome = await self._told(item, target, place)
        except CancelledError:  # the server stops: somebody else does it, or we do after the start
            await self._database.write(queue.fail, item, 0, restore=True)
            raise
        made = Attempt(
            event_uuid=item.body["uuid"],
            attempt=item.body["attempts"] - item.attempts_left,
            delivered=delivered,
            outcome=outcome,
            took_ms=int((self._clock.seconds() - began) * 1000),
        )
        await self._database.write(_record, item, target.id, made)

    async def _told(self, item: queue.Item, target: Notification, place: Repository) -> tuple[bool, str]:
        """Whether the receiver was told, and what came of it."""
        method = self._methods.get(target.method)
        if method is None:
            return False, f"This registry has no method {target.method} any more."
        told = notice(item.body["uuid"], target.event, place, self._place, item.body["data"])
        try:
            return True, await method.deliver(told, target.config, self._secret(target))
        except (NotDelivered, SealBroken) as error:
            return False, str(error)
        except CancelledError:
            raise
        except Exception:
            log.failure("the notification {uuid} could not be delivered", uuid=target.uuid)
            return False, "The registry failed; its log says why."

    def _secret(self, target: Notification) -> bytes:
        return self._vault().open(SECRET, target.secret) if target.secret else b""


def _load(txn: Transaction, notification_id: int) -> tuple[Notification, Repository] | None:
    target = notification.by_id(txn, notification_id)
    place = None if target is None else repository.by_id(txn, target.repository_id)
    return None if target is None or place is None else (target, place)


def _record(txn: Transaction, item: queue.Item, notification_id: int, made: Attempt) -> None:
    notification.attempted(txn, notification_id, made)
    if made.delivered or item.attempts_left == 0:
        queue.done(txn, item)
    else:
        queue.fail(txn, item, RETRY_S[min(made.attempt, len(RETRY_S)) - 1])
