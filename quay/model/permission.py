"""
Permissions: who may do what with a repository, and where its rights come from — a grant to a user or robot, a grant
to a team, the ownership of the namespace, or the repository being public.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import upsert
from quay.database.prepared import Prepared
from quay.database.schema import namespace, permission, repository, team, team_member
from quay.oci.reference import RepositoryName

if TYPE_CHECKING:
    from quay.model.repository import Repository


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


# --- what somebody may do -----------------------------------------------------------------------------------------


def role(txn: Transaction, repository: Repository, holder_id: int | None) -> Role | None:
    """
    The greatest role that the user or robot `holder_id` (None: nobody in particular) has on `repository`; None if it
    has none. Says nothing about who is enabled.
    """
    everybody = Role.READ if repository.public else None
    return everybody if holder_id is None else max(roles(txn, repository, holder_id), default=everybody)


def roles(txn: Transaction, repository: Repository, holder_id: int) -> list[Role]:
    """The roles that `holder_id` has himself: as the owner, by grants to him and to his teams, as an administrator."""
    if holder_id == repository.namespace_id:
        return [Role.ADMIN]
    rows = txn.execute(_ROLES, {"repository": repository.id, "owner": repository.namespace_id, "holder": holder_id})
    return [Role.parse(name) for name in rows.scalars()]


_HOLDER: Final = sa.bindparam("holder", type_=sa.BigInteger)
_REPOSITORY: Final = sa.bindparam("repository", type_=sa.BigInteger)
_OWNER: Final = sa.bindparam("owner", type_=sa.BigInteger)

_MEMBERSHIP: Final = sa.select(team_member.c.team_id).where(team_member.c.member_id == _HOLDER)
_ON_IT: Final = sa.select(permission.c.role).where(permission.c.repository_id == _REPOSITORY)
_ROLES: Final = Prepared(
    sa.union_all(
        _ON_IT.where(permission.c.grantee_id == _HOLDER),
        _ON_IT.where(permission.c.team_id.in_(_MEMBERSHIP)),
        sa.select(team.c.role).where(
            team.c.organization_id == _OWNER, team.c.role == "admin", team.c.id.in_(_MEMBERSHIP)
        ),
    )
)


def readable(holder_id: int | None) -> sa.ColumnElement[bool]:
    """The condition on the table `repository` under which `role` finds a role for `holder_id`."""
    if holder_id is None:
        return repository.c.public
    teams = sa.select(team_member.c.team_id).where(team_member.c.member_id == holder_id)
    on_it = sa.exists().where(permission.c.repository_id == repository.c.id)
    administered = sa.select(team.c.organization_id).where(team.c.role == "admin", team.c.id.in_(teams))
    return sa.or_(
        repository.c.public,
        repository.c.namespace_id == holder_id,
        repository.c.namespace_id.in_(administered),
        on_it.where(permission.c.grantee_id == holder_id),  # two questions: each has an index of its own
        on_it.where(permission.c.team_id.in_(teams)),
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
        check_grantee(txn, grantee_id)
        key, delegate = "grantee_id", grantee_id
    elif team_id is not None and grantee_id is None:
        check_team(txn, team_id, owner_id)
        key, delegate = "team_id", team_id
    else:
        raise GrantInvalid("A role is given either to a user or robot, or to a team.")
    values = {"repository_id": repository_id, "repository_name": name, key: delegate, "role": str(role)}
    txn.execute(upsert(txn.dialect, permission, "repository_id", key, update=("role",)).values(**values))
    txn.changed("permission", repository_id)


def grant_all(txn: Transaction, repository: Repository, roles: Mapping[tuple[int | None, int | None], Role]) -> None:
    """
    Give each of these (a user or robot, and None; or None, and a team) exactly this role, all at once: of whom nobody
    has to be asked any more whether they could be given one.
    """
    for place, key in enumerate(("grantee_id", "team_id")):
        common = {"repository_id": repository.id, "repository_name": str(repository.name)}
        rows = [common | {key: who[place], "role": str(role)} for who, role in roles.items() if who[place] is not None]
        if rows:
            txn.execute(upsert(txn.dialect, permission, "repository_id", key, update=("role",)), rows)
    txn.changed("permission", repository.id)


def revoke(txn: Transaction, repository_id: int, *, grantee_id: int | None = None, team_id: int | None = None) -> bool:
    """Take back what `grant` gave; False if there was nothing."""
    one = permission.c.grantee_id == grantee_id if team_id is None else permission.c.team_id == team_id
    gone = txn.execute(sa.delete(permission).where(permission.c.repository_id == repository_id, one)).rowcount
    txn.changed("permission", repository_id)
    return gone > 0


def revoke_all(txn: Transaction, namespace_id: int, grantee_id: int) -> None:
    """Take back all that a user or robot was given on repositories of this namespace."""
    mine = sa.select(repository.c.id).where(repository.c.namespace_id == namespace_id)
    given = sa.and_(permission.c.grantee_id == grantee_id, permission.c.repository_id.in_(mine))
    for repository_id in txn.execute(
        sa.delete(permission).where(given).returning(permission.c.repository_id)
    ).scalars():
        txn.changed("permission", repository_id)


@attrs.frozen
class Granted:
    """A role on a repository."""

    repository: RepositoryName
    public: bool
    role: Role


def granted(
    txn: Transaction, *, grantee_id: int | None = None, team_id: int | None = None, after: str = "", limit: int
) -> list[Granted]:
    """What a user or robot, or a team, was given, in order of the repository's name, from the one past `after`."""
    one = permission.c.grantee_id == grantee_id if team_id is None else permission.c.team_id == team_id
    statement = (
        sa.select(permission.c.repository_name, repository.c.public, permission.c.role)
        .join(repository, repository.c.id == permission.c.repository_id)
        .where(one, permission.c.repository_name > after)
        .order_by(permission.c.repository_name)
        .limit(limit)
    )
    return [
        Granted(RepositoryName(*row.repository_name.split("/", 1)), row.public, Role.parse(row.role))
        for row in txn.execute(statement)
    ]


def _named(txn: Transaction, repository_id: int) -> tuple[str, int]:
    """Its name, which it keeps until the transaction ends, and its namespace."""
    statement = sa.select(repository.c.name, repository.c.namespace_id).where(repository.c.id == repository_id)
    row = txn.execute(statement.with_for_update(read=True, key_share=True)).first()
    if row is None:
        raise GrantInvalid("There is no such repository any more.")
    return row.name, row.namespace_id


def check_grantee(txn: Transaction, grantee_id: int) -> None:
    """Raises `GrantInvalid` unless this is a user or a robot."""
    kind = txn.execute(sa.select(namespace.c.kind).where(namespace.c.id == grantee_id)).scalar()
    if kind not in ("user", "robot"):
        raise GrantInvalid("A role on a repository can be given to users, robots and teams, and this is none of them.")


def check_team(txn: Transaction, team_id: int, organization_id: int) -> None:
    """Raises `GrantInvalid` unless the team is one of this organization's."""
    owner = txn.execute(sa.select(team.c.organization_id).where(team.c.id == team_id)).scalar()
    if owner != organization_id:
        raise GrantInvalid("The team does not belong to the organization.")
