"""
Teams: the parts of an organization, each with a role in it, whose members are users and robots of the organization.

An organization is administered by the members of its teams with the role admin. No change that is made here leaves one
without an enabled user among them: nobody could undo that.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import insert_or_ignore, lock
from quay.database.schema import namespace, permission, team, team_member

TeamRole = Literal["admin", "creator", "member"]

MOST: Final = 1000
"""So many teams an organization may have: whoever looks at it gets them all."""

_TEAM_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_TEAM_NAME_LIMIT: Final = 255


class TeamInvalid(Exception):
    """A team, or a member of one, that cannot be; or a change after which nobody could administer the organization."""


class TeamTaken(Exception):
    """The organization has a team of this name."""


@attrs.frozen
class Team:
    """A team. `repositories` counts the grants to it; what it may do by its role is not among them."""

    id: int
    organization_id: int
    name: str
    role: TeamRole
    description: str
    members: int
    repositories: int


@attrs.frozen
class Member:
    """A user or a robot in a team."""

    id: int
    name: str
    kind: Literal["user", "robot"]


_SELECT: Final[sa.Select[Any]] = sa.select(
    team.c.id,
    team.c.organization_id,
    team.c.name,
    team.c.role,
    team.c.description,
    sa.select(sa.func.count()).where(team_member.c.team_id == team.c.id).scalar_subquery().label("members"),
    sa.select(sa.func.count()).where(permission.c.team_id == team.c.id).scalar_subquery().label("repositories"),
)


def find(txn: Transaction, organization_id: int, name: str) -> Team | None:
    """The team of this name in the organization."""
    row = txn.execute(_SELECT.where(team.c.organization_id == organization_id, team.c.name == name)).first()
    return Team(**row._asdict()) if row else None


def of_organization(txn: Transaction, organization_id: int) -> list[Team]:
    """The teams of the organization, the oldest first."""
    rows = txn.execute(_SELECT.where(team.c.organization_id == organization_id).order_by(team.c.id).limit(MOST))
    return [Team(**row._asdict()) for row in rows]


def ids_of_member(txn: Transaction, organization_id: int, member_id: int) -> frozenset[int]:
    """The numbers of those teams of the organization that somebody is in."""
    statement = (
        sa.select(team.c.id)
        .join(team_member, team_member.c.team_id == team.c.id)
        .where(team.c.organization_id == organization_id, team_member.c.member_id == member_id)
    )
    return frozenset(txn.execute(statement).scalars())


def members(txn: Transaction, team_id: int, *, after: str = "", limit: int) -> list[Member]:
    """Who is in the team, in order of name, from the one past `after`."""
    statement = (
        sa.select(namespace.c.id, namespace.c.name, namespace.c.kind)
        .join(team_member, team_member.c.member_id == namespace.c.id)
        .where(team_member.c.team_id == team_id, namespace.c.name > after)
    )
    return [Member(**row._asdict()) for row in txn.execute(statement.order_by(namespace.c.name).limit(limit))]


# --- changing -----------------------------------------------------------------------------------------------------


def create(txn: Transaction, organization_id: int, name: str, role: TeamRole, *, description: str = "") -> int:
    """A new, empty team of the organization; gives its number. Raises `TeamInvalid`, `TeamTaken`."""
    if not 2 <= len(name) <= _TEAM_NAME_LIMIT or _TEAM_NAME.fullmatch(name) is None:
        raise TeamInvalid(
            f"A team cannot be called {name[:_TEAM_NAME_LIMIT]!r}: use 2 to 255 of a-z, 0-9, '.', '_', '-'."
        )
    kind = txn.execute(sa.select(namespace.c.kind).where(namespace.c.id == organization_id)).scalar()
    if kind != "organization":
        raise TeamInvalid(f"The team {name!r} needs an organization: users have no teams.")
    _check_room(txn, organization_id)
    values = {"organization_id": organization_id, "name": name, "role": role, "description": description}
    made = txn.execute(insert_or_ignore(txn.dialect, team).values(**values).returning(team.c.id)).scalar()
    if made is None:
        raise TeamTaken(f"The organization has a team {name!r} already.")
    return int(made)


def describe(txn: Transaction, team_id: int, description: str) -> None:
    """Say what the team is for."""
    txn.execute(sa.update(team).where(team.c.id == team_id).values(description=description))


def set_role(txn: Transaction, team_id: int, role: TeamRole) -> None:
    """What the members may do in the organization from now on. Raises `TeamInvalid`."""
    organization_id = _administration(txn, team_id)
    txn.execute(sa.update(team).where(team.c.id == team_id).values(role=role))
    _check_administered(txn, organization_id)


def delete(txn: Transaction, team_id: int) -> None:
    """Remove the team with what was granted to it; its members stay what else they are. Raises `TeamInvalid`."""
    organization_id = _administration(txn, team_id)
    txn.execute(sa.delete(team).where(team.c.id == team_id))
    _check_administered(txn, organization_id)


def add_member(txn: Transaction, team_id: int, member_id: int) -> bool:
    """
    Make a user, or a robot of the same organization, a member of the team; False if he was one. Raises `TeamInvalid`.
    """
    organization_id = txn.execute(sa.select(team.c.organization_id).where(team.c.id == team_id)).scalar()
    member = txn.execute(sa.select(namespace.c.kind, namespace.c.owner_id).where(namespace.c.id == member_id)).first()
    if organization_id is None or member is None:
        raise TeamInvalid("There is no such team, or nobody like this to join it.")
    if member.kind != "user" and (member.kind != "robot" or member.owner_id != organization_id):
        raise TeamInvalid("A team can have users and robots of its own organization as members, and nobody else.")
    joins = insert_or_ignore(txn.dialect, team_member).values(team_id=team_id, member_id=member_id)
    joined = txn.execute(joins.returning(team_member.c.member_id)).first() is not None
    txn.changed("member", member_id)
    return joined


def remove_member(txn: Transaction, team_id: int, member_id: int) -> bool:
    """Take somebody out of the team; False if he was not in it. Raises `TeamInvalid`."""
    organization_id = _administration(txn, team_id)
    condition = sa.and_(team_member.c.team_id == team_id, team_member.c.member_id == member_id)
    gone = txn.execute(sa.delete(team_member).where(condition)).rowcount
    txn.changed("member", member_id)
    _check_administered(txn, organization_id if gone else None)
    return gone > 0


def remove_from_all(txn: Transaction, organization_id: int, member_id: int) -> bool:
    """Take somebody out of all teams of the organization; False if he was in none. Raises `TeamInvalid`."""
    _lock_administration(txn, organization_id)
    all_teams = sa.select(team.c.id).where(team.c.organization_id == organization_id)
    condition = sa.and_(team_member.c.team_id.in_(all_teams), team_member.c.member_id == member_id)
    gone = txn.execute(sa.delete(team_member).where(condition)).rowcount
    txn.changed("member", member_id)
    _check_administered(txn, organization_id if gone else None)
    return gone > 0


def _check_room(txn: Transaction, organization_id: int) -> None:
    count = sa.select(sa.func.count()).where(team.c.organization_id == organization_id)
    if txn.execute(count).scalar_one() >= MOST:
        raise TeamInvalid(f"The organization has {MOST} teams, and cannot have more: delete one that is not needed.")


# --- who administers ----------------------------------------------------------------------------------------------
#
# Two administrators may remove each other at once. Each change that could end somebody's administration locks the
# teams that administer, so that the second one is judged by what the first has left.


def _administration(txn: Transaction, team_id: int) -> int | None:
    """The organization of the team, locked, if the team administers it."""
    statement = sa.select(team.c.organization_id).where(team.c.id == team_id, team.c.role == "admin")
    organization_id = txn.execute(statement).scalar()
    if organization_id is not None:
        _lock_administration(txn, organization_id)
    return organization_id


def _lock_administration(txn: Transaction, organization_id: int) -> None:
    administering = sa.select(team.c.id).where(team.c.organization_id == organization_id, team.c.role == "admin")
    txn.execute(lock(administering.order_by(team.c.id))).all()


_ADMINISTRATORS: Final[sa.Select[Any]] = (
    sa.select(namespace.c.id)
    .join(team_member, team_member.c.member_id == namespace.c.id)
    .join(team, team.c.id == team_member.c.team_id)
    .where(team.c.role == "admin", namespace.c.kind == "user", namespace.c.enabled)
)


def _check_administered(txn: Transaction, organization_id: int | None) -> None:
    if organization_id is None:
        return
    if txn.execute(_ADMINISTRATORS.where(team.c.organization_id == organization_id).limit(1)).first() is None:
        raise TeamInvalid(
            "Nobody could administer the organization any more: make another user a member of a team with the role "
            "admin first."
        )
