"""
The durable work queue: what must happen even if this process does not live to do it.

An item is claimed for a while with a new random `claim`. Whoever holds it goes on by compare-and-swap on that value,
so a holder whose claim ran out, and whose item somebody else has taken, can neither prolong nor complete nor fail it.
An item that is not completed in time is there again for the next one, as often as it has attempts; the last holder has
none left to lose, and an item without attempts stays as a record until it is pruned.

Names of queues are paths, such as `notification/devtable`. Source: Quay's work queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import work

ATTEMPTS: Final = 5
RETRY_AFTER_S: Final = 300


@attrs.frozen
class Item:
    """An item in the hands of the one who claimed it. `attempts_left` counts those that follow this one."""

    id: int
    queue: str
    body: Mapping[str, Any]
    claim: str
    attempts_left: int


_NOW: Final = sa.bindparam("now", type_=sa.BigInteger())
_HELD: Final = (work.c.id == sa.bindparam("item"), work.c.claim == sa.bindparam("holder"))
_NEXT: Final = (
    sa.select(work.c.id)
    .where(
        work.c.queue == sa.bindparam("from_queue"),
        work.c.available_ms <= _NOW,
        work.c.attempts_left > sa.literal_column("0"),  # as in the partial index
    )
    .order_by(work.c.available_ms, work.c.id)
    .limit(sa.literal_column("1"))
    .with_for_update(skip_locked=True)
)
_CLAIM: Final = (
    sa.update(work)
    .where(work.c.id == _NEXT.scalar_subquery())
    .values(
        claim=sa.bindparam("holder"),
        available_ms=sa.bindparam("until"),
        attempts_left=work.c.attempts_left - 1,
    )
    .returning(*(work.c[field.name] for field in attrs.fields(Item)))
)
_EXTEND: Final = sa.update(work).where(*_HELD).values(available_ms=sa.bindparam("until"))
_DONE: Final = sa.delete(work).where(*_HELD)
_FAIL: Final = (
    sa.update(work)
    .where(*_HELD)
    .values(
        claim=None,
        available_ms=sa.bindparam("until"),
        attempts_left=work.c.attempts_left + sa.bindparam("restored", type_=sa.Integer()),
    )
)
_PRUNE: Final = sa.delete(work).where(
    work.c.attempts_left == 0, work.c.available_ms < sa.bindparam("before", type_=sa.BigInteger())
)


def put(
    txn: Transaction,
    queue: str,
    body: Mapping[str, Any],
    *,
    available_after_s: int = 0,
    attempts: int = ATTEMPTS,
) -> int:
    """Add an item, to be claimed in `available_after_s` seconds at the earliest, `attempts` times at most; its id."""
    row = {
        "queue": queue,
        "body": dict(body),
        "available_ms": txn.now_ms + available_after_s * 1000,
        "attempts_left": attempts,
        "created_ms": txn.now_ms,
    }
    added: int = txn.execute(sa.insert(work).returning(work.c.id), row).scalar_one()
    return added


def claim(txn: Transaction, queue: str, hold_s: int) -> Item | None:
    """The item that has been available for longest, for `hold_s` seconds; None if there is none."""
    parameters = {"from_queue": queue, "now": txn.now_ms, "until": _in(txn, hold_s), "holder": str(uuid4())}
    row = txn.execute(_CLAIM, parameters).first()
    return None if row is None else Item(**row._mapping)


def extend(txn: Transaction, item: Item, hold_s: int) -> bool:
    """Hold the item for `hold_s` seconds from now; False if somebody else has it, or it is gone."""
    return _held(txn, _EXTEND, item, until=_in(txn, hold_s))


def done(txn: Transaction, item: Item) -> bool:
    """The work is done: forget the item. False if somebody else has it, or it is gone."""
    return _held(txn, _DONE, item)


def fail(txn: Transaction, item: Item, retry_after_s: int = RETRY_AFTER_S, *, restore: bool = False) -> bool:
    """
    Give the item back for another attempt in `retry_after_s` seconds; `restore`: this one does not count, because the
    item is not at fault. False if somebody else has it, or it is gone.
    """
    return _held(txn, _FAIL, item, until=_in(txn, retry_after_s), restored=int(restore))


def prune(txn: Transaction, before_ms: int) -> int:
    """Forget the items that have no attempts left and were last held before `before_ms`; how many they were."""
    return txn.execute(_PRUNE, {"before": before_ms}).rowcount


def _held(txn: Transaction, statement: sa.Executable, item: Item, **values: int) -> bool:
    return txn.execute(statement, {"item": item.id, "holder": item.claim, **values}).rowcount == 1


def _in(txn: Transaction, seconds: int) -> int:
    return txn.now_ms + seconds * 1000
