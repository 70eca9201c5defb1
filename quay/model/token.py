"""
The tokens of a user, as a list of what there is: for applications, for programs, for scripts. No secret is in it.
"""

from __future__ import annotations

from typing import Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import credential as table
from quay.database.schema import oauth_application as applications

MOST: Final = 10_000


@attrs.frozen
class Token:
    """A token of the kind `app` or `oauth`; `application` is the name of the one that it was given to."""

    uuid: str
    kind: str
    title: str
    scope: str | None
    application: str | None
    created_ms: int
    last_used_ms: int | None
    expires_ms: int | None


def of_user(txn: Transaction, user_id: int) -> list[Token]:
    """The tokens with which somebody acts as this user, the oldest first, expired ones too."""
    columns = [table.c[field.name] for field in attrs.fields(Token) if field.name != "application"]
    statement = (
        sa.select(*columns, applications.c.name.label("application"))
        .outerjoin_from(table, applications, table.c.application_id == applications.c.id)
        .where(table.c.namespace_id == user_id, table.c.kind.in_(("app", "oauth")))
        .order_by(table.c.id)
        .limit(MOST)
    )
    return [Token(**row._asdict()) for row in txn.execute(statement)]
