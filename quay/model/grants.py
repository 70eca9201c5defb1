"""
Who has which role on a repository by a grant: to list, look up and change; `quay.model.permission` says what follows.
"""

from __future__ import annotations

from typing import Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import namespace, permission, team, team_member
from quay.model.permission import Role
from quay.model.repository import Repository


@attrs.frozen
class Grant:
    """
    A role that was given to a user, a robot or a team. `member`: of the organization that the repository belongs to,
    None where it belongs to none.
    """

    id: int
    name: str
    role: Role
    robot: bool = False
    member: bool | None = None


_OF: Final = permission.c.repository_id == sa.bindparam("of", type_=sa.BigInteger)
_OWNER: Final = sa.bindparam("owner", type_=sa.BigInteger)
_MEMBER: Final = sa.or_(
    namespace.c.owner_id == _OWNER,
    sa.exists().where(
        team_member.c.member_id == namespace.c.id,
        team_member.c.team_id == team.c.id,
        team.c.organization_id == _OWNER,
    ),
)
_IS_ORGANIZATION: Final = sa.select(namespace.c.id).where(namespace.c.id == _OWNER, namespace.c.kind == "organization")
_USERS: Final = (
    sa.select(
        namespace.c.id,
        namespace.c.name,
        permission.c.role,
        (namespace.c.kind == "robot").label("robot"),
        sa.func.coalesce(_MEMBER, sa.false()).label("member"),
    )
    .join_from(permission, namespace, namespace.c.id == permission.c.grantee_id)
    .where(_OF)
    .order_by(namespace.c.name)
)
_TEAMS: Final = (
    sa.select(team.c.id, team.c.name, permission.c.role)
    .join_from(permission, team, team.c.id == permission.c.team_id)
    .where(_OF)
    .order_by(team.c.name)
)


def of_users(txn: Transaction, repository: Repository, name: str | None = None) -> list[Grant]:
    """The grants to users and robots, in order of name; only that to the one of this name, if it is given."""
    statement = _USERS if name is None else _USERS.where(namespace.c.name == name)
    owner = {"of": repository.id, "owner": repository.namespace_id}
    organization = txn.execute(_IS_ORGANIZATION, owner).first() is not None
    rows = txn.execute(statement, owner)
    return [
        Grant(row.id, row.name, Role.parse(row.role), row.robot, bool(row.member) if organization else None)
        for row in rows
    ]


def of_teams(txn: Transaction, repository: Repository, name: str | None = None) -> list[Grant]:
    """The grants to teams, in order of name; only that to the one of this name, if it is given."""
    statement = _TEAMS if name is None else _TEAMS.where(team.c.name == name)
    rows = txn.execute(statement, {"of": repository.id})
    return [Grant(row.id, row.name, Role.parse(row.role)) for row in rows]
