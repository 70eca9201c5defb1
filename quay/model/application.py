"""
OAuth applications: programs that act for users who let them, each of an organization.

An application is found by its client id, which is public; it proves itself with its secret, of which the hash is kept.
Source: RFC 6749 section 2; Quay's OAuth applications.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Any, Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import credential as tokens
from quay.database.schema import namespace
from quay.database.schema import oauth_application as table
from quay.model import credential
from quay.model.secret import fresh, hashed

CLIENT_ID_LENGTH: Final = 20
SECRET_LENGTH: Final = 40


@attrs.frozen
class Application:
    """An application, without its secret. `redirect_uri` is where its users come back to."""

    id: int
    client_id: str
    organization_id: int
    organization: str
    name: str
    description: str
    application_uri: str
    redirect_uri: str
    avatar_email: str | None


_SELECT: Final[sa.Select[Any]] = sa.select(
    table.c.id,
    table.c.client_id,
    table.c.organization_id,
    namespace.c.name.label("organization"),
    table.c.name,
    table.c.description,
    table.c.application_uri,
    table.c.redirect_uri,
    table.c.avatar_email,
).join_from(table, namespace, table.c.organization_id == namespace.c.id)


def create(
    txn: Transaction,
    organization_id: int,
    name: str,
    *,
    client_id: str | None = None,
    secret: str | None = None,
    **fields: Any,
) -> tuple[Application, str]:
    """
    A new application of the organization, and its secret, which is a fresh one unless it is given, as the client id;
    `fields` are those of `Application`.
    """
    client_id, secret = client_id or fresh(CLIENT_ID_LENGTH), secret or fresh(SECRET_LENGTH)
    row = {
        "client_id": client_id,
        "organization_id": organization_id,
        "secret_hash": hashed(secret),
        "name": name,
        "created_ms": txn.now_ms,
        **fields,
    }
    txn.execute(sa.insert(table).values(**row))
    made = find(txn, client_id)
    assert made is not None, "it was inserted in this transaction"
    return made, secret


def find(txn: Transaction, client_id: str) -> Application | None:
    """The application with this client id, whosever it is, if its organization is not disabled."""
    return _one(txn, table.c.client_id == client_id, namespace.c.enabled)


def is_taken(txn: Transaction, client_id: str) -> bool:
    """Whether there is an application with this client id, whosever it is."""
    return _one(txn, table.c.client_id == client_id) is not None


def of_organization(txn: Transaction, organization_id: int, client_id: str) -> Application | None:
    """The application of this organization with this client id."""
    return _one(txn, table.c.client_id == client_id, table.c.organization_id == organization_id)


def all_of(txn: Transaction, organization_id: int, limit: int = 1000) -> list[Application]:
    """The applications of an organization, in the order in which they were made."""
    mine = _SELECT.where(table.c.organization_id == organization_id).order_by(table.c.id).limit(limit)
    return [Application(**row._mapping) for row in txn.execute(mine)]


def by_ids(txn: Transaction, ids: Iterable[int]) -> dict[int, Application]:
    """The applications with these numbers, by their numbers."""
    found = txn.execute(_SELECT.where(table.c.id.in_(sorted(ids))))
    return {row.id: Application(**row._mapping) for row in found}


def change(txn: Transaction, application_id: int, **fields: Any) -> None:
    """Change some of the fields of `Application`."""
    txn.execute(sa.update(table).where(table.c.id == application_id).values(**fields))


def reset_secret(txn: Transaction, application_id: int) -> str:
    """Give it a new secret, its only one from now on; gives the secret."""
    secret = fresh(SECRET_LENGTH)
    change(txn, application_id, secret_hash=hashed(secret))
    return secret


def delete(txn: Transaction, application_id: int) -> None:
    """Remove it, with all that users allowed it; its tokens are worthless at once."""
    credential.revoke_where(txn, tokens.c.application_id == application_id)
    txn.execute(sa.delete(table).where(table.c.id == application_id))


def is_secret(txn: Transaction, application_id: int, secret: str) -> bool:
    """Whether this is its secret."""
    kept = txn.execute(sa.select(table.c.secret_hash).where(table.c.id == application_id)).scalar()
    return kept is not None and hmac.compare_digest(kept, hashed(secret))


def _one(txn: Transaction, *conditions: sa.ColumnElement[bool]) -> Application | None:
    row = txn.execute(_SELECT.where(*conditions)).first()
    return None if row is None else Application(**row._mapping)
