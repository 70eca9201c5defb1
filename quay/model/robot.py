"""
Robots: accounts of machines, which belong to a user or an organization and are found through it.

A robot's token is a credential (`quay.model.credential`): it is kept as a hash, so whoever makes or regenerates it sees
it once, and nobody afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import namespace as table
from quay.database.schema import profile, repository
from quay.model import credential, namespace, removal
from quay.model import profile as profiles
from quay.model.namespace import Namespace, NamespaceInvalid


@attrs.frozen
class Robot:
    """A robot; `name` is `owner+short`, `metadata` any JSON object that its owner keeps with it."""

    id: int
    name: str
    description: str
    created_ms: int
    last_accessed_ms: int | None
    metadata: Mapping[str, Any]


_SELECT: Final[sa.Select[Any]] = sa.select(
    table.c.id,
    table.c.name,
    table.c.description,
    table.c.created_ms,
    table.c.last_accessed_ms,
    profile.c.metadata,
).join_from(table, profile, profile.c.namespace_id == table.c.id, isouter=True)


def find(txn: Transaction, owner: Namespace, short: str) -> Robot | None:
    """The robot that its owner calls `short`."""
    mine = sa.and_(table.c.owner_id == owner.id, table.c.name == f"{owner.name}+{short}")
    row = txn.execute(_SELECT.where(mine)).first()
    return None if row is None else _made(row)


def of_owner(txn: Transaction, owner: Namespace, *, after: str = "", limit: int) -> list[Robot]:
    """The robots of this owner, and of nobody whose name looks alike, in order of name, from the one past `after`."""
    mine = _SELECT.where(table.c.owner_id == owner.id, table.c.name > after)
    return [_made(row) for row in txn.execute(mine.order_by(table.c.name).limit(limit))]


def create(
    txn: Transaction, owner: Namespace, short: str, *, description: str = "", metadata: Mapping[str, Any] | None = None
) -> tuple[Robot, str]:
    """A new robot, and its token. Raises `NamespaceInvalid`, `NamespaceTaken`."""
    made = namespace.create_robot(txn, owner.id, short, description=description)
    if metadata:
        profiles.update(txn, made.id, metadata=metadata)
    token = credential.replace_robot_token(txn, made.id)
    return _made(txn.execute(_SELECT.where(table.c.id == made.id)).one()), token


def delete(txn: Transaction, robot_id: int) -> None:
    """Remove the robot with all its rights. Raises `NamespaceInvalid` for one that fills mirrors."""
    mirrored = sa.select(repository.c.name).where(
        repository.c.mirror_robot_id == robot_id, repository.c.state == "mirror"
    )
    name = txn.execute(mirrored.limit(1)).scalar()
    if name is not None:
        raise NamespaceInvalid(
            f"The robot fills the mirror {name} and cannot be deleted: give the mirror another robot, or end it, first."
        )
    removal.begin(txn, robot_id)


def _made(row: Any) -> Robot:
    return Robot(**row._asdict() | {"metadata": row.metadata or {}})
