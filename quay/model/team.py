"""
Teams: the parts of an organization, each with a role in it, whose members are users and robots of the organization.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import insert_or_ignore
from quay.database.schema import namespace, team, team_member

TeamRole = Literal["admin", "creator", "member"]

_TEAM_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_TEAM_NAME_LIMIT: Final = 255


class TeamInvalid(Exception):
    """A team, or a member of one, that cannot be."""


class TeamTaken(Exception):
    """The organization has a team of this name."""


def create(txn: Transaction, organization_id: int, name: str, role: TeamRole) -> int:
    """A new, empty team of the organization; gives its number. Raises `TeamInvalid`, `TeamTaken`."""
    if not 2 <= len(name) <= _TEAM_NAME_LIMIT or _TEAM_NAME.fullmatch(name) is None:
        raise TeamInvalid(
            f"A team cannot be called {name[:_TEAM_NAME_LIMIT]!r}: use 2 to 255 of a-z, 0-9, '.', '_', '-'."
        )
    kind = txn.execute(sa.select(namespace.c.kind).where(namespace.c.id == organization_id)).scalar()
    if kind != "organization":
        raise TeamInvalid(f"The team {name!r} needs an organization: users have no teams.")
    values = {"organization_id": organization_id, "name": name, "role": role}
    made = txn.execute(insert_or_ignore(txn.dialect, team).values(**values).returning(team.c.id)).scalar()
    if made is None:
        raise TeamTaken(f"The organization has a team {name!r} already.")
    return int(made)


def add_member(txn: Transaction, team_id: int, member_id: int) -> None:
    """Make a user, or a robot of the same organization, a member of the team. Raises `TeamInvalid`."""
    organization_id = txn.execute(sa.select(team.c.organization_id).where(team.c.id == team_id)).scalar()
    member = txn.execute(sa.select(namespace.c.kind, namespace.c.owner_id).where(namespace.c.id == member_id)).first()
    if organization_id is None or member is None:
        raise TeamInvalid("There is no such team, or nobody like this to join it.")
    if member.kind == "organization" or (member.kind == "robot" and member.owner_id != organization_id):
        raise TeamInvalid("A team can have users and robots of its own organization as members, and nobody else.")
    txn.execute(insert_or_ignore(txn.dialect, team_member).values(team_id=team_id, member_id=member_id))
    txn.changed("member", member_id)


def remove_member(txn: Transaction, team_id: int, member_id: int) -> bool:
    """Take somebody out of the team; False if he was not in it."""
    condition = sa.and_(team_member.c.team_id == team_id, team_member.c.member_id == member_id)
    gone = txn.execute(sa.delete(team_member).where(condition)).rowcount
    txn.changed("member", member_id)
    return gone > 0
