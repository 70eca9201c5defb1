"""
Telling people and programs what happens in a repository: who wants to hear of it is remembered in the model, what
happens comes over the bus, waits in the durable queue, and is delivered by one of the methods.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from quay.auth.seals import Seals
from quay.database import Database, Transaction
from quay.events import Bus
from quay.interfaces import INotificationMethod
from quay.model import bell, notification, queue
from quay.model.notification import Notification, NotificationInvalid
from quay.notifications.intake import Intake
from quay.notifications.methods import ABSENT, NotDelivered
from quay.notifications.notice import Place, options
from quay.notifications.postman import SECRET, Postman, enqueue_test
from quay.worker import Budget

__all__ = ["Draft", "NotDelivered", "Notifications", "Place"]

DAY_MS: Final = 86_400_000
KEEP_DELIVERIES_MS: Final = 30 * DAY_MS
KEEP_BELLS_MS: Final = 90 * DAY_MS
_BATCH: Final = 1000


@attrs.frozen(kw_only=True)
class Draft:
    """
    A notification that can be created. `secret` is what its receiver checks signatures with, to be shown once; None if
    nothing is signed. `sealed` is what is kept of it.
    """

    event: str
    method: str
    title: str | None
    config: Mapping[str, Any] = attrs.field(repr=False)
    event_config: Mapping[str, Any]
    secret: str | None = attrs.field(repr=False)
    sealed: str = attrs.field(repr=False)

    def create(self, txn: Transaction, repository_id: int) -> Notification:
        """Make it. Raises `NotificationInvalid` if the repository has too many."""
        return notification.create(
            txn,
            repository_id,
            event=self.event,
            method=self.method,
            title=self.title,
            config=self.config,
            event_config=self.event_config,
            secret=self.sealed,
        )


class Notifications(Service):
    """
    What the API and the workers need. While it runs, it listens to the bus. `wake` is called when there is something
    to deliver; whoever runs `deliver` as a worker sets it.
    """

    name = "notifications"

    def __init__(
        self,
        clock: IReactorTime,
        database: Database,
        bus: Bus,
        methods: Mapping[str, INotificationMethod],
        vault: Callable[[], Seals],
        place: Place,
    ) -> None:
        self._clock = clock
        self._database = database
        self._methods = methods
        self._vault = vault
        self._intake = Intake(clock, database, bus, lambda: self.wake())
        self._postman = Postman(clock, database, methods, vault, place)
        self.wake: Callable[[], object] = lambda: None

    def startService(self) -> None:
        super().startService()
        self._intake.startService()

    def stopService(self) -> Deferred[None]:
        """Fires when what has happened is in the queue."""
        super().stopService()
        return self._intake.stopService()

    async def draft(
        self,
        repository_id: int,
        *,
        event: str,
        method: str,
        config: Mapping[str, Any],
        event_config: Mapping[str, Any],
        title: str | None = None,
    ) -> Draft:
        """Look whether this can be a notification of the repository. Raises `NotificationInvalid`."""
        kept_options = options(event, event_config)
        way = self._methods.get(method)
        if way is None:
            known = ", ".join(self._methods)
            raise NotificationInvalid(
                ABSENT.get(method, f"{method[:80]!r} is not a method of notification; there are {known}.")
            )
        kept = await way.check(repository_id, config)
        raw = secrets.token_bytes(32) if way.signs else b""
        return Draft(
            event=event,
            method=method,
            title=title,
            config=kept,
            event_config=kept_options,
            secret=f"whsec_{base64.b64encode(raw).decode()}" if raw else None,
            sealed=self._vault().seal(SECRET, raw) if raw else "",
        )

    def test(self, txn: Transaction, target: Notification) -> None:
        """Let somebody be told of something made up."""
        enqueue_test(txn, target)
        txn.after_commit(lambda: self.wake())

    async def deliver(self, time: Budget) -> None:
        """The work of a worker: deliver what is due."""
        await self._postman.work(time)

    async def forget(self, time: Budget) -> None:
        """The work of a worker: forget what is so old that nobody asks for it."""
        now_ms = int(self._clock.seconds() * 1000)
        await self._database.write(queue.prune, now_ms - KEEP_DELIVERIES_MS)
        while await self._database.write(notification.prune, now_ms - KEEP_DELIVERIES_MS, _BATCH) and not time.spent:
            pass
        while await self._database.write(bell.prune, now_ms - KEEP_BELLS_MS, _BATCH) and not time.spent:
            pass
