"""
App-specific tokens: what users make for programs that should not know their passwords. A token is a credential of the
kind `app`; this is what is seen of it afterwards, and the secret is not.
"""

from __future__ import annotations

from typing import Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import credential as table
from quay.database.schema import namespace
from quay.model import credential


@attrs.frozen
class AppToken:
    """A token of the user `holder`; without `expires_ms` it is good until somebody revokes it."""

    id: int
    uuid: str
    title: str
    holder: str
    created_ms: int
    last_used_ms: int | None
    expires_ms: int | None


_SELECT: Final = (
    sa.select(
        table.c.id,
        table.c.uuid,
        table.c.title,
        namespace.c.name.label("holder"),
        table.c.created_ms,
        table.c.last_used_ms,
        table.c.expires_ms,
    )
    .join_from(table, namespace, table.c.namespace_id == namespace.c.id)
    .where(table.c.kind == "app")
)


def create(txn: Transaction, user_id: int, title: str, *, expires_ms: int | None) -> tuple[AppToken, str]:
    """A new token, and its secret, which is not to be had again."""
    made, secret = credential.create(txn, user_id, "app", title=title, expires_ms=expires_ms)
    found = find(txn, user_id, made.uuid)
    assert found is not None, "it was inserted in this transaction"
    return found, secret


def find(txn: Transaction, user_id: int, uuid: str) -> AppToken | None:
    """This user's token with this uuid, expired or not."""
    row = txn.execute(_SELECT.where(table.c.namespace_id == user_id, table.c.uuid == uuid)).first()
    return AppToken(**row._asdict()) if row else None


def revoke(txn: Transaction, user_id: int, token: AppToken) -> None:
    """Make this user's token worthless."""
    credential.revoke(txn, user_id, token.uuid)


def tokens(
    txn: Transaction, user_id: int | None = None, *, expires_by_ms: int | None = None, after: int = 0, limit: int
) -> list[AppToken]:
    """
    The user's tokens, or everybody's, the oldest first, from the one past the number `after`; with `expires_by_ms` only
    those that are good now and will not be then.
    """
    wanted = [table.c.id > after]
    if user_id is not None:
        wanted.append(table.c.namespace_id == user_id)
    if expires_by_ms is not None:
        wanted.append(table.c.expires_ms.between(txn.now_ms + 1, expires_by_ms))
    rows = txn.execute(_SELECT.where(*wanted).order_by(table.c.id).limit(limit))
    return [AppToken(**row._asdict()) for row in rows]


def forget_expired(txn: Transaction, expired_by_ms: int, limit: int) -> int:
    """Remove at most `limit` tokens that were not good any more at that time; says how many."""
    gone = sa.select(table.c.id).where(table.c.kind == "app", table.c.expires_ms <= expired_by_ms)
    ids = txn.execute(sa.delete(table).where(table.c.id.in_(gone.limit(limit))).returning(table.c.id)).scalars().all()
    for token_id in ids:
        txn.changed("credential", token_id)
    return len(ids)
