"""
What the bell in the console rings for: something that a user, every administrator of an organization, or every member
of a team should know. Each of them dismisses it for himself.

Source: Quay's user notifications.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import insert_or_ignore
from quay.database.schema import bell as table
from quay.database.schema import bell_dismissed, namespace, team, team_member
from quay.model import permission
from quay.model.repository import Repository

DEPTH: Final = 10_000
"""Nobody pages further back than this."""


@attrs.frozen(kw_only=True)
class Bell:
    """One thing to know. `organization` is the name of the one whose administrators or team it is for."""

    id: int
    uuid: str
    kind: str
    details: Mapping[str, Any]
    created_ms: int
    organization: str | None
    dismissed: bool


@attrs.frozen
class Audience:
    """Who hears a bell: a user, the administrators of an organization, or a team."""

    target_id: int | None = None
    team_id: int | None = None


_USER: Final = sa.bindparam("user", type_=sa.BigInteger)
_TEAMS: Final = sa.select(team_member.c.team_id).where(team_member.c.member_id == _USER)
_ADMINISTERED: Final = sa.select(team.c.organization_id).where(team.c.role == "admin", team.c.id.in_(_TEAMS))
_MINE: Final = sa.or_(table.c.target_id == _USER, table.c.target_id.in_(_ADMINISTERED), table.c.team_id.in_(_TEAMS))
_DISMISSED: Final = sa.exists().where(bell_dismissed.c.bell_id == table.c.id, bell_dismissed.c.user_id == _USER)
_OWNER: Final = (
    sa.select(namespace.c.name)
    .where(
        namespace.c.kind == "organization",
        namespace.c.id
        == sa.func.coalesce(
            table.c.target_id, sa.select(team.c.organization_id).where(team.c.id == table.c.team_id).scalar_subquery()
        ),
    )
    .scalar_subquery()
)
_SELECT: Final = sa.select(
    table.c.id,
    table.c.uuid,
    table.c.kind,
    table.c.details,
    table.c.created_ms,
    _OWNER.label("organization"),
    _DISMISSED.label("dismissed"),
).where(_MINE)
_PAGE: Final = (
    _SELECT.where(sa.not_(_DISMISSED))
    .order_by(table.c.id.desc())
    .limit(sa.bindparam("most", type_=sa.Integer()))
    .offset(sa.bindparam("skipped", type_=sa.Integer()))
)
_ONE: Final = _SELECT.where(table.c.uuid == sa.bindparam("one"))


def ring(
    txn: Transaction,
    kind: str,
    details: Mapping[str, Any],
    audience: Audience,
    *,
    lookup_path: str | None = None,
) -> str:
    """
    Tell them; gives the uuid. By its `lookup_path`, which several may share, it is found when it has become needless:
    see `silence`.
    """
    uuid = str(uuid4())
    row: dict[str, Any] = {
        "uuid": uuid,
        "target_id": audience.target_id,
        "team_id": audience.team_id,
        "kind": kind,
        "details": dict(details),
        "lookup_path": lookup_path,
        "created_ms": txn.now_ms,
    }
    txn.execute(sa.insert(table).values(**row))
    return uuid


def audience(txn: Transaction, repository: Repository, kind: str, name: str) -> Audience | None:
    """
    Who may be told of what happens in a repository, by Quay's names: a `user` who may pull from it, the organization
    (`org`) that owns it, a `team` of that organization. None for anybody else.
    """
    if kind == "team":
        statement = sa.select(team.c.id).where(team.c.organization_id == repository.namespace_id, team.c.name == name)
        found = txn.execute(statement).scalar()
        return None if found is None else Audience(team_id=found)
    wanted = {"user": "user", "org": "organization"}.get(kind)
    one = sa.select(namespace.c.id).where(namespace.c.name == name, namespace.c.kind == wanted, namespace.c.enabled)
    target_id = txn.execute(one).scalar()
    if target_id is None:
        return None
    may_know = target_id == repository.namespace_id or (
        kind == "user" and permission.role(txn, repository, target_id) is not None
    )
    return Audience(target_id=target_id) if may_know else None


def page(txn: Transaction, user_id: int, *, skip: int = 0, limit: int) -> list[Bell]:
    """What a user should know and has not dismissed, the latest first, without the first `skip`."""
    parameters = {"user": user_id, "skipped": min(skip, DEPTH), "most": limit}
    return [Bell(**row._mapping) for row in txn.execute(_PAGE, parameters)]


def find(txn: Transaction, user_id: int, uuid: str) -> Bell | None:
    """The bell `uuid`, if it is for this user; also one that he has dismissed."""
    row = txn.execute(_ONE, {"user": user_id, "one": uuid}).first()
    return None if row is None else Bell(**row._mapping)


def dismiss(txn: Transaction, user_id: int, uuid: str, dismissed: bool = True) -> Bell | None:
    """Say that a user does not want to hear it again, or does; gives the bell, None if it is not for him."""
    found = find(txn, user_id, uuid)
    if found is None:
        return None
    if dismissed:
        statement = insert_or_ignore(txn.dialect, bell_dismissed).values(bell_id=found.id, user_id=user_id)
        txn.execute(statement)
    else:
        mark = sa.and_(bell_dismissed.c.bell_id == found.id, bell_dismissed.c.user_id == user_id)
        txn.execute(sa.delete(bell_dismissed).where(mark))
    return attrs.evolve(found, dismissed=dismissed)


def silence(txn: Transaction, lookup_path: str) -> int:
    """Remove what was rung with this path, for everybody; how many they were."""
    return txn.execute(sa.delete(table).where(table.c.lookup_path == lookup_path)).rowcount


def prune(txn: Transaction, before_ms: int, limit: int) -> int:
    """Remove at most `limit` that were rung before `before_ms`; how many they were."""
    old = sa.select(table.c.id).where(table.c.created_ms < before_ms).order_by(table.c.created_ms).limit(limit)
    return txn.execute(sa.delete(table).where(table.c.id.in_(old.scalar_subquery()))).rowcount
