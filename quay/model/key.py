"""
Service keys: the public halves of the keys with which the processes of this installation, and services that an operator
has approved, sign their tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict, Unpack

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import upsert
from quay.database.schema import service_key as table

PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""What only a private or symmetric JWK has (RFC 7518, section 6)."""


class KeyInvalid(Exception):
    """A key that must not be published."""


class KeyTaken(Exception):
    """Another service has published a key under this kid."""


@attrs.frozen
class ServiceKey:
    """
    A public key; tokens signed with it are good while it is approved and has not expired. `name` and `metadata` are
    what people say of it; `approval` is why it was approved, `approver` the name of who did, if a person did.
    """

    kid: str
    service: str
    name: str
    jwk: Mapping[str, Any]
    metadata: Mapping[str, Any]
    created_ms: int
    expires_ms: int | None
    rotation_s: int | None
    approved_ms: int | None
    approval: str | None
    approver: str | None
    approval_notes: str


COLUMNS: Final = tuple(table.c[field.name] for field in attrs.fields(ServiceKey))


AUTOMATIC: Final = "Automatic"
"""Why the keys of this installation are approved: nobody was asked."""


def publish(
    txn: Transaction,
    kid: str,
    service: str,
    jwk: Mapping[str, Any],
    expires_ms: int | None,
    approved: bool,
    *,
    name: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> ServiceKey:
    """
    Make a public key known; again with the same key to move its expiry. Raises `KeyInvalid` for one with a private
    part or a bad kid, and `KeyTaken` for a kid that stands for another key.
    """
    if not 0 < len(kid) <= 128 or not kid.isprintable():
        raise KeyInvalid("A kid has 1 to 128 printable characters.")
    if PRIVATE_MEMBERS & jwk.keys():
        raise KeyInvalid(f"The key {kid!r} has a private part, and only public keys are published.")
    old = find(txn, kid)
    if old is not None and (old.service, old.jwk) != (service, jwk):
        raise KeyTaken(f"The kid {kid!r} stands for another key, of the service {old.service!r}.")
    row = {"kid": kid, "service": service, "jwk": dict(jwk), "created_ms": txn.now_ms, "expires_ms": expires_ms}
    said = {"name": name, "metadata": dict(metadata or {})}
    approval = {"approved_ms": txn.now_ms, "approval": AUTOMATIC} if approved else {}
    statement = upsert(txn.dialect, table, "kid", update=("expires_ms",)).values(**row, **said, **approval)
    made = ServiceKey(**txn.execute(statement.returning(*COLUMNS)).one()._asdict())
    txn.changed("key", kid)
    return made


def active(txn: Transaction, service: str) -> list[ServiceKey]:
    """The approved keys of this service that have not expired, oldest first."""
    alive = sa.or_(table.c.expires_ms.is_(None), table.c.expires_ms > txn.now_ms)
    statement = sa.select(*COLUMNS).where(table.c.service == service, table.c.approved_ms.is_not(None), alive)
    return [ServiceKey(**row._asdict()) for row in txn.execute(statement.order_by(table.c.id))]


def find(txn: Transaction, kid: str) -> ServiceKey | None:
    """The key with this kid, approved or not, expired or not."""
    if not kid.isprintable():
        return None  # the header of somebody's token may say anything; PostgreSQL does not take everything
    row = txn.execute(sa.select(*COLUMNS).where(table.c.kid == kid)).first()
    return ServiceKey(**row._asdict()) if row else None


def keys(txn: Transaction, *, after: str = "", limit: int) -> list[ServiceKey]:
    """At most `limit` keys past the kid `after`, of all services, approved or not, in order of their kids."""
    statement = sa.select(*COLUMNS).where(table.c.kid > after).order_by(table.c.kid).limit(limit)
    return [ServiceKey(**row._asdict()) for row in txn.execute(statement)]


class Changes(TypedDict, total=False):
    """What `update` changes; what is not in it stays."""

    name: str
    metadata: Mapping[str, Any]
    expires_ms: int | None


def update(txn: Transaction, kid: str, **changes: Unpack[Changes]) -> ServiceKey | None:
    """Say something else of a key, or let it live longer or shorter; None if there is none with this kid."""
    return _change(txn, kid, **changes) if changes else find(txn, kid)


def approve(txn: Transaction, kid: str, *, approval: str, approver: str, notes: str) -> ServiceKey | None:
    """Let tokens be good that are signed with it; None if there is none with this kid, or if they are already."""
    values = {"approved_ms": txn.now_ms, "approval": approval, "approver": approver, "approval_notes": notes}
    return _change(txn, kid, table.c.approved_ms.is_(None), **values)


def delete(txn: Transaction, kid: str) -> bool:
    """From now on nothing is good that was signed with it; False if there is none with this kid."""
    if find(txn, kid) is None:
        return False
    txn.execute(sa.delete(table).where(table.c.kid == kid))
    txn.changed("key", kid)
    return True


def _change(txn: Transaction, kid: str, *conditions: sa.ColumnElement[bool], **values: Any) -> ServiceKey | None:
    if not kid.isprintable():
        return None
    statement = sa.update(table).where(table.c.kid == kid, *conditions).values(**values)
    row = txn.execute(statement.returning(*COLUMNS)).first()
    txn.changed("key", kid)
    return ServiceKey(**row._asdict()) if row else None


def prune(txn: Transaction) -> int:
    """Forget the keys that have expired; gives their number."""
    gone = txn.execute(sa.delete(table).where(table.c.expires_ms <= txn.now_ms).returning(table.c.kid)).scalars().all()
    for kid in gone:
        txn.changed("key", kid)
    return len(gone)
