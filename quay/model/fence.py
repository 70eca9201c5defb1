"""
The fence around what a backup still has to copy: while one stands, no blob is forgotten, and so none loses its bytes.

A backup puts up a fence, then takes its snapshot of the database, copies the bytes that this names, and takes the fence
down. Bytes are removed only after a transaction of `condemn_unlinked` (see `quay.model.condemned`), and such a one
either was over when the fence went up, so that the snapshot does not name its blobs; or comes after it, sees it, and
passes its blobs by, for a later run. What is condemned because it has rotted is not held back: it is no loss to a copy.

A fence that nobody holds any more lapses `HELD_S` after it was held last. One that would stand for longer than a fence
can was put up by a clock that was wrong, and does not count.
"""

from __future__ import annotations

from typing import Final
from uuid import uuid4

import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import take_turns
from quay.database.schema import setting

HELD_S: Final = 3600
"""So long a fence stands by itself: more than the clocks of nodes may differ, and than a backup may be interrupted."""
FARTHEST_S: Final = 24 * 3600

PREFIX: Final = "fence:"
"""Before the name of a fence among the settings."""
_TURN: Final = "quay fence"
_KEY: Final = setting.c.key == sa.bindparam("named")
_FENCES: Final = sa.select(setting.c.key, setting.c.value).where(setting.c.key.startswith(PREFIX))


def put_up(txn: Transaction) -> str:
    """A new fence, for `hold` and `take_down`. Waits until everybody who is about to forget blobs has done so."""
    take_turns(txn.connection, _TURN, alone=True)
    for key in [row.key for row in txn.execute(_FENCES) if not _is_standing(row.value, txn.now_ms)]:
        txn.execute(sa.delete(setting).where(_KEY), {"named": key})
    name = str(uuid4())
    txn.execute(sa.insert(setting).values(key=f"{PREFIX}{name}", value=str(_until(txn))))
    return name


def hold(txn: Transaction, name: str) -> bool:
    """Let it stand for another `HELD_S` seconds; False if it has fallen."""
    row = txn.execute(sa.select(setting.c.value).where(_KEY), {"named": f"{PREFIX}{name}"}).first()
    if row is None or not _is_standing(row.value, txn.now_ms):
        return False
    raised = sa.update(setting).where(_KEY).values(value=str(_until(txn)))
    return txn.execute(raised, {"named": f"{PREFIX}{name}"}).rowcount == 1


def take_down(txn: Transaction, name: str) -> None:
    """It is needed no longer."""
    txn.execute(sa.delete(setting).where(_KEY), {"named": f"{PREFIX}{name}"})


def stands(txn: Transaction) -> bool:
    """Whether any fence stands: for a transaction that is about to forget blobs, until whose end none is put up."""
    take_turns(txn.connection, _TURN, alone=False)
    return is_standing(txn)


def is_standing(txn: Transaction) -> bool:
    """Whether any fence stands at this moment."""
    return any(_is_standing(row.value, txn.now_ms) for row in txn.execute(_FENCES))


def _is_standing(until_ms: str, now_ms: int) -> bool:
    return now_ms < int(until_ms) <= now_ms + FARTHEST_S * 1000


def _until(txn: Transaction) -> int:
    return txn.now_ms + HELD_S * 1000
