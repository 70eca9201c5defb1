"""
Exports of the audit log: a part of it that whoever has the secret may fetch, until it expires. It is no copy: the
entries are read when they are fetched.
"""

from __future__ import annotations

from typing import Final
from uuid import uuid4

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import log_export as table
from quay.model.logs import Selection
from quay.model.secret import fresh, hashed

LIFETIME_S: Final = 3600
SECRET_LENGTH: Final = 40


@attrs.frozen
class Export:
    """Which entries may be fetched under `uuid`, who asked for them, and until when."""

    uuid: str
    selection: Selection
    requester: str
    created_ms: int
    expires_ms: int


def create(txn: Transaction, selection: Selection, requester: str) -> tuple[Export, str]:
    """
    Let the entries of a namespace, a repository, or all, in a range of time be fetched for an hour; and the secret for
    it. Other conditions of the selection are not kept.
    """
    secret = fresh(SECRET_LENGTH)
    row = {
        "uuid": str(uuid4()),
        "secret_hash": hashed(secret),
        **{name: getattr(selection, name) for name in _SELECTED},
        "requester": requester,
        "created_ms": txn.now_ms,
        "expires_ms": txn.now_ms + LIFETIME_S * 1000,
    }
    made = txn.execute(sa.insert(table).values(**row).returning(*_COLUMNS)).one()
    return _export(made), secret


def find(txn: Transaction, uuid: str, secret: str) -> Export | None:
    """The export of this number, if this is its secret and it has not expired."""
    named = sa.select(*_COLUMNS).where(table.c.uuid == uuid, table.c.secret_hash == hashed(secret))
    row = txn.execute(named.where(table.c.expires_ms > txn.now_ms)).first()
    return None if row is None else _export(row)


def expire(txn: Transaction, most: int) -> bool:
    """Forget at most `most` that have expired; True if there may be others."""
    some = sa.select(table.c.uuid).where(table.c.expires_ms <= txn.now_ms).limit(most)
    return txn.execute(sa.delete(table).where(table.c.uuid.in_(some))).rowcount == most


_SELECTED: Final = ("namespace_id", "repository_id", "start_ms", "end_ms")
_COLUMNS: Final = tuple(table.c[name] for name in (*_SELECTED, "uuid", "requester", "created_ms", "expires_ms"))


def _export(row: sa.Row[tuple[object, ...]]) -> Export:
    values = dict(row._mapping)
    selection = Selection(**{name: values.pop(name) for name in _SELECTED})
    return Export(selection=selection, **values)
