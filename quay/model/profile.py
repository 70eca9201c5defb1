"""
Profiles: what a user, an organization or a robot says of itself, and nothing else depends on. Not everybody has one, so
everybody begins with an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict, Unpack

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import upsert
from quay.database.schema import profile as table

LIMIT: Final = 255
"""Characters of each text."""


@attrs.frozen(kw_only=True)
class Profile:
    """`invoice_email`: whether invoices are to be sent. `metadata` is any JSON object that a robot's owner keeps."""

    given_name: str | None = None
    family_name: str | None = None
    company: str | None = None
    location: str | None = None
    invoice_email: bool = False
    invoice_email_address: str | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict)


class Changes(TypedDict, total=False):
    """What `update` changes; what is not in it stays."""

    given_name: str | None
    family_name: str | None
    company: str | None
    location: str | None
    invoice_email: bool
    invoice_email_address: str | None
    metadata: Mapping[str, Any]


_COLUMNS: Final = tuple(table.c[field.name] for field in attrs.fields(Profile))


def get(txn: Transaction, namespace_id: int) -> Profile:
    """The profile of this namespace."""
    row = txn.execute(sa.select(*_COLUMNS).where(table.c.namespace_id == namespace_id)).first()
    return Profile() if row is None else Profile(**row._asdict())


def update(txn: Transaction, namespace_id: int, **changes: Unpack[Changes]) -> None:
    """Change these parts of the profile. Nothing that a cache holds depends on it: no change is announced."""
    if changes:
        statement = upsert(txn.dialect, table, "namespace_id", update=tuple(changes))
        txn.execute(statement.values(namespace_id=namespace_id, **changes))
