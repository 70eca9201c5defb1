"""
Credentials: the secrets of machines — of robots, applications, OAuth clients, and tokens for one repository.

What is kept of them is said in `quay.model.secret`; the secret itself is in no value, row or error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal
from uuid import uuid4

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import lock
from quay.database.prepared import Prepared
from quay.database.schema import credential as table
from quay.database.schema import namespace as holder
from quay.model import namespace
from quay.model.namespace import Namespace
from quay.model.permission import Role
from quay.model.reachability import batches
from quay.model.secret import fresh, hashed

Kind = Literal["robot", "app", "oauth", "access"]

SECRET_LENGTH: Final = {"robot": 64, "app": 120, "oauth": 80, "access": 64}
HOLDERS: Final = {"robot": ("robot",), "app": ("user",), "oauth": ("user",), "access": ("user", "organization")}
"""Who can hold one."""


class CredentialInvalid(Exception):
    """A credential that cannot be, such as a robot's for somebody who is no robot."""


@attrs.frozen
class Credential:
    """A secret that somebody holds, without the secret. `owner_enabled`: its holder, and a robot's owner, are."""

    id: int
    uuid: str
    namespace: Namespace
    kind: Kind
    repository_id: int | None
    role: Role | None
    scope: str | None
    expires_ms: int | None
    owner_enabled: bool


def create(
    txn: Transaction,
    namespace_id: int,
    kind: Kind,
    *,
    title: str = "",
    secret: str | None = None,
    expires_ms: int | None = None,
    repository_id: int | None = None,
    role: Role | None = None,
    scope: str | None = None,
    application_id: int | None = None,
    creator_id: int | None = None,
) -> tuple[Credential, str]:
    """
    A new credential, and its secret (a fresh one unless given). `creator_id` is who made it, if not its holder. Raises
    `CredentialInvalid`.
    """
    secret = secret or fresh(SECRET_LENGTH[kind])
    _check(txn, namespace_id, kind)
    row = {
        "uuid": str(uuid4()),
        "namespace_id": namespace_id,
        "kind": kind,
        "title": title,
        "secret_hash": hashed(secret),
        "repository_id": repository_id,
        "role": str(role) if role else None,
        "scope": scope,
        "application_id": application_id,
        "creator_id": creator_id,
        "created_ms": txn.now_ms,
        "expires_ms": expires_ms,
    }
    made = txn.execute(sa.insert(table).values(**row).returning(table.c.id)).scalar_one()
    txn.changed("credential", made)
    found = _one(txn, _NUMBERED, {"number": made})
    assert found is not None, "it was inserted in this transaction"
    return found, secret


def find(txn: Transaction, kind: Kind | Sequence[Kind], secret: str) -> Credential | None:
    """
    The credential of this kind, or one of these, with this secret, if it has not expired. Whether its holder is
    enabled, it says.
    """
    kinds = [kind] if isinstance(kind, str) else kind
    return _one(txn, _SHOWN, {"hashed": hashed(secret), "kinds": kinds, "now": txn.now_ms})


def expiry(txn: Transaction, uuid: str) -> int | None:
    """When the credential with this uuid expires, in milliseconds since the epoch; None for never, or if it is gone."""
    found: int | None = txn.execute(sa.select(table.c.expires_ms).where(table.c.uuid == uuid)).scalar()
    return found


def replace_robot_token(txn: Transaction, robot_id: int, secret: str | None = None) -> str:
    """Give the robot a new token, its only one from now on; gives the token."""
    txn.execute(lock(sa.select(holder.c.id).where(holder.c.id == robot_id)))  # of two that come at once, one is right
    revoke_where(txn, table.c.namespace_id == robot_id, table.c.kind == "robot")
    return create(txn, robot_id, "robot", secret=secret)[1]


def revoke(txn: Transaction, namespace_id: int, uuid: str) -> bool:
    """Make a credential of this holder worthless; False if this holder has none with this uuid."""
    return revoke_where(txn, table.c.namespace_id == namespace_id, table.c.uuid == uuid)


def touch(txn: Transaction, ids: Iterable[int], now_ms: int) -> None:
    """Remember that these credentials were in use at `now_ms`."""
    for some in batches(sorted(ids)):
        txn.execute(sa.update(table).where(table.c.id.in_(some)).values(last_used_ms=now_ms))


def revoke_where(txn: Transaction, *conditions: sa.ColumnElement[bool]) -> bool:
    """Make every credential of which this is true worthless; False if there is none."""
    gone = txn.execute(sa.delete(table).where(*conditions).returning(table.c.id)).scalars().all()
    for credential_id in gone:
        txn.changed("credential", credential_id)
    return bool(gone)


_OWNER: Final = holder.alias("owner")
_SELECT: Final = (
    sa.select(
        table.c.id.label("credential_id"),
        table.c.uuid.label("credential_uuid"),
        table.c.kind.label("credential_kind"),
        table.c.repository_id,
        table.c.role,
        table.c.scope,
        table.c.expires_ms,
        sa.and_(holder.c.enabled, sa.func.coalesce(_OWNER.c.enabled, sa.true())).label("owner_enabled"),
        *namespace.COLUMNS,
    )
    .join_from(table, holder, table.c.namespace_id == holder.c.id)
    .outerjoin(_OWNER, holder.c.owner_id == _OWNER.c.id)
)


_NUMBERED: Final = Prepared(_SELECT.where(table.c.id == sa.bindparam("number")))
_SHOWN: Final = Prepared(
    _SELECT.where(
        table.c.secret_hash == sa.bindparam("hashed"),
        table.c.kind.in_(sa.bindparam("kinds", expanding=True)),
        sa.or_(table.c.expires_ms.is_(None), table.c.expires_ms > sa.bindparam("now", type_=sa.BigInteger())),
    )
)


def _one(txn: Transaction, statement: Prepared, parameters: dict[str, Any]) -> Credential | None:
    row = txn.execute(statement, parameters).first()
    if row is None:
        return None
    return Credential(
        id=row.credential_id,
        uuid=row.credential_uuid,
        namespace=Namespace(*row[-len(namespace.COLUMNS) :]),
        kind=row.credential_kind,
        repository_id=row.repository_id,
        role=Role.parse(row.role) if row.role else None,
        scope=row.scope,
        expires_ms=row.expires_ms,
        owner_enabled=bool(row.owner_enabled),
    )


def _check(txn: Transaction, namespace_id: int, kind: Kind) -> None:
    found = namespace.hold(txn, namespace_id)
    if found is None:
        raise CredentialInvalid("There is nobody to hold this credential.")
    if found.kind not in HOLDERS[kind]:
        raise CredentialInvalid(f"{found.name} is a {found.kind} and cannot hold a credential of the kind {kind!r}.")
