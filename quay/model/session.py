"""
Sessions: browsers in which somebody is logged in. A session is found by its secret, which is in a cookie; what it is
listed by is its uuid. Announces `("session", id)` for one that ends.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import namespace as users
from quay.database.schema import session as table
from quay.model import namespace
from quay.model.namespace import Namespace
from quay.model.secret import fresh, hashed

SECRET_LENGTH: Final = 64


@attrs.frozen
class Session:
    """A session and whose it is. `fresh_ms` is when he last showed his password."""

    id: int
    uuid: str
    user: Namespace
    ip: str
    user_agent: str
    created_ms: int
    seen_ms: int
    fresh_ms: int
    expires_ms: int


def begin(txn: Transaction, user_id: int, *, ip: str, user_agent: str, lifetime_s: int) -> tuple[Session, str]:
    """A new session of this user, and its secret."""
    secret = fresh(SECRET_LENGTH)
    row = {
        "uuid": str(uuid4()),
        "user_id": user_id,
        "secret_hash": hashed(secret),
        "ip": ip[:64],
        "user_agent": user_agent[:255],
        "created_ms": txn.now_ms,
        "seen_ms": txn.now_ms,
        "fresh_ms": txn.now_ms,
        "expires_ms": txn.now_ms + lifetime_s * 1000,
    }
    txn.execute(sa.insert(table).values(**row))
    begun = find(txn, secret)
    assert begun is not None, "it was inserted in this transaction"
    return begun, secret


def find(txn: Transaction, secret: str) -> Session | None:
    """The session with this secret, if it has not expired, and its user is not disabled and still a user."""
    alive = (table.c.expires_ms > txn.now_ms, users.c.enabled, users.c.kind == "user")
    return next(iter(_sessions(txn, table.c.secret_hash == hashed(secret), *alive)), None)


def of_user(txn: Transaction, user_id: int, limit: int = 100) -> list[Session]:
    """The sessions of this user that have not expired, the last seen first."""
    mine = _sessions(txn, table.c.user_id == user_id, table.c.expires_ms > txn.now_ms)
    return sorted(mine, key=lambda session: session.seen_ms, reverse=True)[:limit]


def seen(txn: Transaction, session_id: int, *, lifetime_s: int) -> None:
    """Remember that it was in use just now; it lasts for `lifetime_s` from now."""
    values = {"seen_ms": txn.now_ms, "expires_ms": txn.now_ms + lifetime_s * 1000}
    txn.execute(sa.update(table).where(table.c.id == session_id).values(**values))


def freshen(txn: Transaction, session_id: int) -> None:
    """Remember that its user showed his password just now."""
    txn.execute(sa.update(table).where(table.c.id == session_id).values(fresh_ms=txn.now_ms))


def end(txn: Transaction, user_id: int, uuid: str) -> bool:
    """End a session of this user; False if he has none with this uuid."""
    return _end(txn, table.c.user_id == user_id, table.c.uuid == uuid)


def end_all(txn: Transaction, user_id: int, *, but: int | None = None) -> bool:
    """End all sessions of this user but the one with the number `but`; False if there were none."""
    return _end(txn, table.c.user_id == user_id, sa.true() if but is None else table.c.id != but)


def reap(txn: Transaction, limit: int = 1000) -> int:
    """Forget sessions that have expired, at most `limit`; how many they were."""
    expired = sa.select(table.c.id).where(table.c.expires_ms <= txn.now_ms).order_by(table.c.expires_ms).limit(limit)
    return txn.execute(sa.delete(table).where(table.c.id.in_(expired))).rowcount


def _end(txn: Transaction, *conditions: sa.ColumnElement[bool]) -> bool:
    ended = txn.execute(sa.delete(table).where(*conditions).returning(table.c.id)).scalars().all()
    for session_id in ended:
        txn.changed("session", session_id)
    return bool(ended)


_SELECT: Final[sa.Select[Any]] = sa.select(
    table.c.id.label("session_id"),
    table.c.uuid.label("session_uuid"),
    table.c.ip,
    table.c.user_agent,
    table.c.created_ms,
    table.c.seen_ms,
    table.c.fresh_ms,
    table.c.expires_ms,
    *namespace.COLUMNS,
).join_from(table, users, table.c.user_id == users.c.id)


def _sessions(txn: Transaction, *conditions: sa.ColumnElement[bool]) -> list[Session]:
    return [
        Session(
            id=row.session_id,
            uuid=row.session_uuid,
            user=Namespace(*row[-len(namespace.COLUMNS) :]),
            ip=row.ip,
            user_agent=row.user_agent,
            created_ms=row.created_ms,
            seen_ms=row.seen_ms,
            fresh_ms=row.fresh_ms,
            expires_ms=row.expires_ms,
        )
        for row in txn.execute(_SELECT.where(*conditions))
    ]
