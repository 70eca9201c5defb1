"""
Prototypes: an organization's default permissions, which each new repository of it begins with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import namespace, team, team_member
from quay.database.schema import prototype as table
from quay.model.permission import GrantInvalid, Role, check_grantee, check_team, grant_all

if TYPE_CHECKING:
    from quay.model.repository import Repository


MOST: Final = 1000
"""So many an organization may have: each new repository begins with all of them."""


@attrs.frozen
class Party:
    """A user or robot that a prototype speaks of. `member`: in a team of the organization, or a robot of it."""

    name: str
    robot: bool
    member: bool


@attrs.frozen
class Prototype:
    """
    What `delegate` gets, a user or robot, or else the team named `delegate_team`, on each new repository that
    `activating` makes, or whoever makes it.
    """

    uuid: str
    role: Role
    activating: Party | None
    delegate: Party | None
    delegate_team: str | None


def of_organization(txn: Transaction, organization_id: int) -> list[Prototype]:
    """The prototypes of the organization, the oldest first."""
    return [_made(row) for row in txn.execute(_of(organization_id).order_by(table.c.id).limit(MOST))]


def find(txn: Transaction, organization_id: int, uuid: str) -> Prototype | None:
    """The prototype `uuid` of the organization."""
    row = txn.execute(_of(organization_id).where(table.c.uuid == uuid)).first()
    return None if row is None else _made(row)


def create(
    txn: Transaction,
    organization_id: int,
    *,
    activating_id: int | None = None,
    delegate_id: int | None = None,
    delegate_team_id: int | None = None,
    role: Role,
) -> str:
    """
    From now on, a new repository of the organization (only one that `activating_id` makes, if given) grants `role`
    to the delegate, a user or robot or a team of the organization. Gives the prototype's uuid. Raises `GrantInvalid`.
    """
    if (delegate_id is None) == (delegate_team_id is None):
        raise GrantInvalid("A default role is given either to a user or robot, or to a team.")
    if delegate_id is not None:
        check_grantee(txn, delegate_id)
    if delegate_team_id is not None:
        check_team(txn, delegate_team_id, organization_id)
    _check_room(txn, organization_id)
    uuid = str(uuid4())
    statement = sa.insert(table).values(
        uuid=uuid,
        organization_id=organization_id,
        activating_id=activating_id,
        delegate_id=delegate_id,
        delegate_team_id=delegate_team_id,
        role=str(role),
    )
    txn.execute(statement)
    return uuid


def set_role(txn: Transaction, organization_id: int, uuid: str, role: Role) -> None:
    """What the delegate gets from now on; repositories that there are stay as they are."""
    mine = sa.and_(table.c.organization_id == organization_id, table.c.uuid == uuid)
    txn.execute(sa.update(table).where(mine).values(role=str(role)))


def delete(txn: Transaction, organization_id: int, uuid: str) -> None:
    """Remove it; repositories that there are stay as they are."""
    txn.execute(sa.delete(table).where(table.c.organization_id == organization_id, table.c.uuid == uuid))


def delete_for(txn: Transaction, organization_id: int, delegate_id: int) -> None:
    """Remove all those of the organization that give this user or robot something."""
    txn.execute(sa.delete(table).where(table.c.organization_id == organization_id, table.c.delegate_id == delegate_id))


def apply(txn: Transaction, repository: Repository, creator_id: int | None) -> None:
    """
    Grant what the organization's prototypes say for a repository that `creator_id` made. For one delegate, a
    prototype for this creator goes before one for everybody; the creator's own role is not lessened.
    """
    applies = sa.or_(table.c.activating_id.is_(None), table.c.activating_id == creator_id)
    statement = sa.select(table).where(table.c.organization_id == repository.namespace_id, applies)
    roles = {}
    for row in sorted(txn.execute(statement), key=lambda row: (row.activating_id is not None, Role.parse(row.role))):
        roles[row.delegate_id, row.delegate_team_id] = Role.parse(row.role)
    roles.pop((creator_id, None), None)
    grant_all(txn, repository, roles)


def _check_room(txn: Transaction, organization_id: int) -> None:
    count = sa.select(sa.func.count()).where(table.c.organization_id == organization_id)
    if txn.execute(count).scalar_one() >= MOST:
        raise GrantInvalid(f"The organization has {MOST} default permissions, and cannot have more: delete some first.")


_ACTIVATING: Final = namespace.alias("activating")
_DELEGATE: Final = namespace.alias("delegate")


def _is_member(party: sa.FromClause) -> sa.ColumnElement[bool]:
    joined = sa.select(team_member.c.member_id).join(team, team.c.id == team_member.c.team_id)
    in_a_team = joined.where(team_member.c.member_id == party.c.id, team.c.organization_id == table.c.organization_id)
    return sa.or_(party.c.owner_id == table.c.organization_id, sa.exists(in_a_team.correlate(party, table)))


_SELECT: Final[Any] = (
    sa.select(
        table.c.uuid,
        table.c.role,
        _ACTIVATING.c.name.label("activating_name"),
        _ACTIVATING.c.kind.label("activating_kind"),
        _is_member(_ACTIVATING).label("activating_member"),
        _DELEGATE.c.name.label("delegate_name"),
        _DELEGATE.c.kind.label("delegate_kind"),
        _is_member(_DELEGATE).label("delegate_member"),
        team.c.name.label("delegate_team"),
    )
    .join_from(table, _ACTIVATING, table.c.activating_id == _ACTIVATING.c.id, isouter=True)
    .join(_DELEGATE, table.c.delegate_id == _DELEGATE.c.id, isouter=True)
    .join(team, table.c.delegate_team_id == team.c.id, isouter=True)
)


def _of(organization_id: int) -> sa.Select[Any]:
    found: sa.Select[Any] = _SELECT.where(table.c.organization_id == organization_id)
    return found


def _made(row: Any) -> Prototype:
    return Prototype(
        uuid=row.uuid,
        role=Role.parse(row.role),
        activating=_party(row.activating_name, row.activating_kind, row.activating_member),
        delegate=_party(row.delegate_name, row.delegate_kind, row.delegate_member),
        delegate_team=row.delegate_team,
    )


def _party(name: str | None, kind: str, member: bool) -> Party | None:
    return None if name is None else Party(name, kind == "robot", bool(member))
