"""
Whom to tell of what happens in a repository, and each attempt to do so.

Three attempts in a row that fail end a notification until somebody resets it; one that succeeds forgets the failures
before it. Source: Quay's repository notifications.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import uuid4

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.prepared import Prepared
from quay.database.schema import delivery
from quay.database.schema import notification as table

FAILURES: Final = 3
"""So many failures in a row end it."""

MOST: Final = 100
"""So many may a repository have: each of them is told of each push."""

OUTCOME_LIMIT: Final = 255


class NotificationInvalid(Exception):
    """A notification that cannot be: of something that never happens, or in a way that leads nowhere."""


@attrs.frozen(kw_only=True)
class Notification:
    """
    Who hears of `event`, and how. `config` is what the method needs to know, which may be a secret like the URL of a
    Slack channel; `secret` signs what is sent, and is sealed, or empty if the method signs nothing.
    """

    id: int
    uuid: str
    repository_id: int
    event: str
    method: str
    title: str | None
    config: Mapping[str, Any] = attrs.field(repr=False)
    event_config: Mapping[str, Any] = attrs.field(repr=False)
    secret: str = attrs.field(repr=False)
    failures: int
    created_ms: int

    @property
    def ended(self) -> bool:
        """Whether it has failed too often."""
        return self.failures >= FAILURES


@attrs.frozen(kw_only=True)
class Attempt:
    """One attempt to tell of the occurrence `event_uuid`: the status that came back, or why there is none."""

    event_uuid: str
    attempt: int
    delivered: bool
    outcome: str
    took_ms: int


@attrs.frozen
class Delivery:
    """An attempt as the log has it."""

    id: int
    at_ms: int
    made: Attempt


_SELECT: Final = sa.select(*table.c)
_OF_REPOSITORY: Final = _SELECT.where(table.c.repository_id == sa.bindparam("repository")).order_by(table.c.id)
_ONE: Final = _SELECT.where(table.c.uuid == sa.bindparam("one"), table.c.repository_id == sa.bindparam("repository"))
_WANTED: Final = Prepared(
    sa.select(table.c.id, table.c.repository_id)
    .where(
        table.c.repository_id.in_(sa.bindparam("repositories", expanding=True)),
        table.c.event == sa.bindparam("of_event"),
        table.c.failures < FAILURES,
    )
    .order_by(table.c.id)
)
_DELIVERIES: Final = (
    sa.select(*delivery.c)
    .where(delivery.c.notification_id == sa.bindparam("notification"), delivery.c.id < sa.bindparam("before"))
    .order_by(delivery.c.id.desc())
    .limit(sa.bindparam("most", type_=sa.Integer()))
)


def create(
    txn: Transaction,
    repository_id: int,
    *,
    event: str,
    method: str,
    title: str | None,
    config: Mapping[str, Any],
    event_config: Mapping[str, Any],
    secret: str,
) -> Notification:
    """A new notification; `secret` is sealed already. Raises `NotificationInvalid` if there are too many."""
    count = sa.select(sa.func.count()).where(table.c.repository_id == repository_id)
    if txn.execute(count).scalar_one() >= MOST:
        raise NotificationInvalid(f"The repository has {MOST} notifications, and cannot have more: delete some first.")
    row: dict[str, Any] = {
        "uuid": str(uuid4()),
        "repository_id": repository_id,
        "event": event,
        "method": method,
        "title": title,
        "config": dict(config),
        "event_config": dict(event_config),
        "secret": secret,
        "created_ms": txn.now_ms,
    }
    made = txn.execute(sa.insert(table).values(**row).returning(table.c.id)).scalar_one()
    return Notification(id=made, failures=0, **row)


def of_repository(txn: Transaction, repository_id: int) -> list[Notification]:
    """All of a repository's, the oldest first."""
    return [Notification(**row._mapping) for row in txn.execute(_OF_REPOSITORY, {"repository": repository_id})]


def find(txn: Transaction, repository_id: int, uuid: str) -> Notification | None:
    """The notification `uuid` of this repository."""
    row = txn.execute(_ONE, {"repository": repository_id, "one": uuid}).first()
    return None if row is None else Notification(**row._mapping)


def by_id(txn: Transaction, notification_id: int) -> Notification | None:
    """The notification with this number."""
    row = txn.execute(_SELECT.where(table.c.id == notification_id)).first()
    return None if row is None else Notification(**row._mapping)


def delete(txn: Transaction, repository_id: int, uuid: str) -> Notification | None:
    """Remove it with the log of its deliveries; gives what it was, None if it was not there."""
    found = find(txn, repository_id, uuid)
    if found is not None:
        txn.execute(sa.delete(table).where(table.c.id == found.id))
    return found


def reset(txn: Transaction, repository_id: int, uuid: str) -> Notification | None:
    """Forget its failures, so that it goes on; gives what it was before, None if it is not there."""
    found = find(txn, repository_id, uuid)
    if found is not None:
        txn.execute(sa.update(table).where(table.c.id == found.id).values(failures=0))
    return found


def wanted(txn: Transaction, repository_ids: Collection[int], event: str) -> dict[int, list[int]]:
    """Which notifications want to hear of `event` in these repositories: their numbers, by repository."""
    found: dict[int, list[int]] = {}
    for row in txn.execute(_WANTED, {"repositories": list(repository_ids), "of_event": event}):
        found.setdefault(row.repository_id, []).append(row.id)
    return found


def attempted(txn: Transaction, notification_id: int, made: Attempt) -> None:
    """Put an attempt on record; nothing if the notification is gone."""
    failures = sa.literal(0) if made.delivered else table.c.failures + 1
    counted = sa.update(table).where(table.c.id == notification_id).values(failures=failures)
    if txn.execute(counted).rowcount:
        values = attrs.asdict(made) | {"outcome": made.outcome[:OUTCOME_LIMIT]}
        txn.execute(sa.insert(delivery).values(notification_id=notification_id, at_ms=txn.now_ms, **values))


def deliveries(txn: Transaction, notification_id: int, *, before_id: int | None = None, limit: int) -> list[Delivery]:
    """The attempts of a notification, the latest first. The next page is `before_id` the last one."""
    parameters = {"notification": notification_id, "before": before_id or 2**63 - 1, "most": limit}
    return [_delivery(row) for row in txn.execute(_DELIVERIES, parameters)]


def prune(txn: Transaction, before_ms: int, limit: int) -> int:
    """Forget at most `limit` attempts that were made before `before_ms`; how many they were."""
    old = sa.select(delivery.c.id).where(delivery.c.at_ms < before_ms).order_by(delivery.c.at_ms).limit(limit)
    return txn.execute(sa.delete(delivery).where(delivery.c.id.in_(old.scalar_subquery()))).rowcount


def _delivery(row: sa.Row[Any]) -> Delivery:
    made = Attempt(
        event_uuid=row.event_uuid,
        attempt=row.attempt,
        delivered=row.delivered,
        outcome=row.outcome,
        took_ms=row.took_ms,
    )
    return Delivery(row.id, row.at_ms, made)
