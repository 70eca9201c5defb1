"""
Permissions: who may do what with a repository, and where its rights come from — a grant to a user or robot, a grant
to a team, the ownership of the namespace, or the repository being public.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Literal
from uuid import uuid4

import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import insert_or_ignore, upsert
from quay.database.schema import namespace, permission, prototype, repository, team, team_member

if TYPE_CHECKING:
    from quay.model.repository import Repository

TeamRole = Literal["admin", "creator", "member"]

_TEAM_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_TEAM_NAME_LIMIT: Final = 255


class Role(IntEnum):
    """What one may do with a repository; a greater role can do all that a lesser one can."""

    READ = 1
    WRITE = 2
    ADMIN = 3

    @classmethod
    def parse(cls, text: str) -> Role:
        """The role that `text` (`read`, `write`, `admin`) names. Raises `GrantInvalid`."""
        for each in cls:
            if text == str(each):
                return each
        raise GrantInvalid(f"{text[:40]!r} is no role: a role is read, write or admin.")

    def __str__(self) -> str:
        return self.name.lower()


class GrantInvalid(Exception):
    """Rights that cannot be given: to somebody who is not there, or who belongs elsewhere."""


class TeamInvalid(Exception):
    """A team, or a member of one, that cannot be."""


class TeamTaken(Exception):
    """The organization has a team of this name."""


# --- what somebody may do -----------------------------------------------------------------------------------------


def role(txn: Transaction, repository: Repository, holder_id: int | None) -> Role | None:
    """
    The greatest role that the user or robot `holder_id` (None: nobody in particular) has on `repository`; None if it
    has none. Says nothing about who is enabled.
    """
    everybody = Role.READ if repository.public else None
    if holder_id is None:
        return everybody
    if holder_id == repository.namespace_id:
        return Role.ADMIN
    rows = txn.execute(_ROLES, {"repository": repository.id, "owner": repository.namespace_id, "holder": holder_id})
    return max((Role.parse(name) for name in rows.scalars()), default=everybody)


_HOLDER: Final = sa.bindparam("holder", type_=sa.BigInteger)
_REPOSITORY: Final = sa.bindparam("repository", type_=sa.BigInteger)
_OWNER: Final = sa.bindparam("owner", type_=sa.BigInteger)

_MEMBERSHIP: Final = sa.select(team_member.c.team_id).where(team_member.c.member_id == _HOLDER)
_ROLES: Final = sa.union_all(
    sa.select(permission.c.role).where(permission.c.repository_id == _REPOSITORY, permission.c.grantee_id == _HOLDER),
    sa.select(permission.c.role).where(
        permission.c.repository_id == _REPOSITORY, permission.c.team_id.in_(_MEMBERSHIP)
    ),
    sa.select(team.c.role).where(team.c.organization_id == _OWNER, team.c.role == "admin", team.c.id.in_(_MEMBERSHIP)),
)


def may_create(txn: Transaction, namespace_id: int, holder_id: int) -> bool:
    """
    Whether `holder_id` may make repositories in the namespace: a user in its own, a member (also a robot) of a team
    with the role admin or creator in that of the organization.
    """
    creators = sa.select(team.c.id).where(
        team.c.organization_id == _OWNER, team.c.role.in_(("admin", "creator")), team.c.id.in_(_MEMBERSHIP)
    )
    oneself = sa.and_(namespace.c.kind == "user", namespace.c.id == _HOLDER)
    statement = sa.select(namespace.c.id).where(namespace.c.id == _OWNER, sa.or_(oneself, sa.exists(creators)))
    return txn.execute(statement, {"owner": namespace_id, "holder": holder_id}).first() is not None


def administers(txn: Transaction, namespace_id: int, holder_id: int) -> bool:
    """Whether `holder_id` has the role admin on all repositories of the namespace, those to come included."""
    administrators = sa.select(team.c.id).where(
        team.c.organization_id == _OWNER, team.c.role == "admin", team.c.id.in_(_MEMBERSHIP)
    )
    rows = txn.execute(administrators.limit(1), {"owner": namespace_id, "holder": holder_id})
    return holder_id == namespace_id or rows.first() is not None


def is_member(txn: Transaction, organization_id: int, holder_id: int) -> bool:
    """Whether `holder_id` is in a team of the organization, or a robot of it."""
    teams = sa.select(team.c.id).where(team.c.organization_id == _OWNER, team.c.id.in_(_MEMBERSHIP))
    robots = sa.select(namespace.c.id).where(namespace.c.owner_id == _OWNER, namespace.c.id == _HOLDER)
    statement = sa.union_all(teams, robots).limit(1)
    return txn.execute(statement, {"owner": organization_id, "holder": holder_id}).first() is not None


# --- grants -------------------------------------------------------------------------------------------------------


def grant(
    txn: Transaction, repository_id: int, *, grantee_id: int | None = None, team_id: int | None = None, role: Role
) -> None:
    """
    Give a user or robot, or a team of the repository's organization, exactly this role. Raises `GrantInvalid`.
    """
    name, owner_id = _named(txn, repository_id)
    if grantee_id is not None and team_id is None:
        _check_grantee(txn, grantee_id)
        key, delegate = "grantee_id", grantee_id
    elif team_id is not None and grantee_id is None:
        _check_team(txn, team_id, owner_id)
        key, delegate = "team_id", team_id
    else:
        raise GrantInvalid("A role is given either to a user or robot, or to a team.")
    values = {"repository_id": repository_id, "repository_name": name, key: delegate, "role": str(role)}
    txn.execute(upsert(txn.dialect, permission, "repository_id", key, update=("role",)).values(**values))
    txn.changed("permission", repository_id)


def revoke(txn: Transaction, repository_id: int, *, grantee_id: int | None = None, team_id: int | None = None) -> bool:
    """Take back what `grant` gave; False if there was nothing."""
    one = permission.c.grantee_id == grantee_id if team_id is None else permission.c.team_id == team_id
    gone = txn.execute(sa.delete(permission).where(permission.c.repository_id == repository_id, one)).rowcount
    txn.changed("permission", repository_id)
    return gone > 0


def _named(txn: Transaction, repository_id: int) -> tuple[str, int]:
    statement = sa.select(repository.c.name, repository.c.namespace_id).where(repository.c.id == repository_id)
    row = txn.execute(statement).first()
    if row is None:
        raise GrantInvalid("There is no such repository any more.")
    return row.name, row.namespace_id


def _check_grantee(txn: Transaction, grantee_id: int) -> None:
    kind = txn.execute(sa.select(namespace.c.kind).where(namespace.c.id == grantee_id)).scalar()
    if kind not in ("user", "robot"):
        raise GrantInvalid("A role on a repository can be given to users, robots and teams, and this is none of them.")


def _check_team(txn: Transaction, team_id: int, organization_id: int) -> None:
    owner = txn.execute(sa.select(team.c.organization_id).where(team.c.id == team_id)).scalar()
    if owner != organization_id:
        raise GrantInvalid("The team does not belong to the organization.")


# --- teams --------------------------------------------------------------------------------------------------------


def create_team(txn: Transaction, organization_id: int, name: str, role: TeamRole) -> int:
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


# --- prototypes ---------------------------------------------------------------------------------------------------


def create_prototype(
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
        _check_grantee(txn, delegate_id)
    if delegate_team_id is not None:
        _check_team(txn, delegate_team_id, organization_id)
    uuid = str(uuid4())
    statement = sa.insert(prototype).values(
        uuid=uuid,
        organization_id=organization_id,
        activating_id=activating_id,
        delegate_id=delegate_id,
        delegate_team_id=delegate_team_id,
        role=str(role),
    )
    txn.execute(statement)
    return uuid


def apply_prototypes(txn: Transaction, repository: Repository, creator_id: int | None) -> None:
    """
    Grant what the organization's prototypes say for a repository that `creator_id` made. For one delegate, a
    prototype for this creator goes before one for everybody; the creator's own role is not lessened.
    """
    applies = sa.or_(prototype.c.activating_id.is_(None), prototype.c.activating_id == creator_id)
    statement = sa.select(prototype).where(prototype.c.organization_id == repository.namespace_id, applies)
    delegates = {}
    for row in sorted(txn.execute(statement), key=lambda row: (row.activating_id is not None, Role.parse(row.role))):
        delegates[row.delegate_id, row.delegate_team_id] = Role.parse(row.role)
    for (grantee_id, team_id), given in delegates.items():
        if grantee_id is None or grantee_id != creator_id:
            grant(txn, repository.id, grantee_id=grantee_id, team_id=team_id, role=given)
