"""
Service keys: the public halves of the keys with which the processes of this installation, and services that an operator
has approved, sign their tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

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
    """A public key; tokens signed with it are good while it is approved and has not expired."""

    kid: str
    service: str
    jwk: Mapping[str, Any]
    created_ms: int
    approved_ms: int | None
    expires_ms: int | None


COLUMNS: Final = tuple(table.c[field.name] for field in attrs.fields(ServiceKey))


def publish(
    txn: Transaction, kid: str, service: str, jwk: Mapping[str, Any], expires_ms: int | None, approved: bool
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
    row["approved_ms"] = txn.now_ms if approved else None
    statement = upsert(txn.dialect, table, "kid", update=("expires_ms",)).values(**row).returning(*COLUMNS)
    made = ServiceKey(**txn.execute(statement).one()._asdict())
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


def prune(txn: Transaction) -> int:
    """Forget the keys that have expired; gives their number."""
    gone = txn.execute(sa.delete(table).where(table.c.expires_ms <= txn.now_ms).returning(table.c.kid)).scalars().all()
    for kid in gone:
        txn.changed("key", kid)
    return len(gone)
