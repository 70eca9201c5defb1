"""
Everybody there is, as whoever administers the installation sees them: users and organizations, in order of name.
"""

from __future__ import annotations

from typing import Final, Literal

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import namespace as table

Kind = Literal["user", "organization"]


@attrs.frozen
class Account:
    """A user or an organization; `last_accessed_ms` is when a user, or a robot of his, was last here."""

    id: int
    name: str
    kind: Kind
    email: str | None
    enabled: bool
    verified: bool
    superuser: bool
    created_ms: int
    last_accessed_ms: int | None


_SELECT: Final = sa.select(*(table.c[field.name] for field in attrs.fields(Account)))


def accounts(txn: Transaction, kind: Kind, *, enabled_only: bool = False, after: str = "", limit: int) -> list[Account]:
    """At most `limit` accounts of this kind past the name `after`, in byte order of their names."""
    wanted = [table.c.kind == kind, table.c.name > after, *([table.c.enabled] if enabled_only else [])]
    rows = txn.execute(_SELECT.where(*wanted).order_by(table.c.name).limit(limit))
    return [Account(**row._asdict()) for row in rows]


def account(txn: Transaction, kind: Kind, name: str) -> Account | None:
    """The account of this kind and name."""
    row = txn.execute(_SELECT.where(table.c.kind == kind, table.c.name == name)).first()
    return Account(**row._asdict()) if row else None
