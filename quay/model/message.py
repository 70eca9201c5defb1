"""
Messages: what everybody who uses the registry should read, such as that it will be down on Sunday.
"""

from __future__ import annotations

from typing import Final, Literal
from uuid import uuid4

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import message as table

Severity = Literal["info", "warning", "error"]
MediaType = Literal["text/plain", "text/markdown"]

MOST: Final = 100
"""So many messages there may be: everybody is shown all of them."""


class MessagesFull(Exception):
    """There are as many messages as anybody might read."""


@attrs.frozen
class Message:
    """One message."""

    uuid: str
    content: str
    media_type: MediaType
    severity: Severity


_COLUMNS: Final = tuple(table.c[field.name] for field in attrs.fields(Message))


def messages(txn: Transaction) -> list[Message]:
    """All of them, the oldest first."""
    rows = txn.execute(sa.select(*_COLUMNS).order_by(table.c.id).limit(MOST))
    return [Message(**row._asdict()) for row in rows]


def create(txn: Transaction, content: str, media_type: MediaType, severity: Severity) -> Message:
    """A new message. Raises `MessagesFull`."""
    if txn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() >= MOST:
        raise MessagesFull(f"There are {MOST} messages already: delete one that nobody needs any more.")
    made = Message(str(uuid4()), content, media_type, severity)
    txn.execute(sa.insert(table).values(created_ms=txn.now_ms, **attrs.asdict(made)))
    return made


def delete(txn: Transaction, uuid: str) -> bool:
    """Take a message away; False if there is none with this uuid."""
    return txn.execute(sa.delete(table).where(table.c.uuid == uuid)).rowcount > 0
