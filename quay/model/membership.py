"""
Who belongs to an organization, and by what: its members are in a team of it, its collaborators have only a role on a
repository of it.

Both may be many, with many teams and repositories each, so lists come in pages of a bounded size, each at a bounded
number of queries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Literal

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import namespace, permission, team, team_member
from quay.model import prototype
from quay.model import team as teams
from quay.model.namespace import Namespace
from quay.model.permission import revoke_all

PEOPLE: Final = 1000
"""So many a page has at most."""
ENTRIES: Final = 2500
"""So many teams and repositories those on one page have altogether, unless the first has more: some 300 kB of JSON."""
REPOSITORIES: Final = 1000
"""So many of the repositories of one of them are named."""


@attrs.frozen
class Holdings:
    """The names of somebody's teams, and the paths of the repositories on which he himself was given a role."""

    teams: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()


@attrs.frozen
class Person:
    """Somebody who belongs to an organization."""

    id: int
    name: str
    kind: Literal["user", "robot"]
    holdings: Holdings


def members(txn: Transaction, organization: Namespace, *, after: str = "") -> tuple[list[Person], bool]:
    """A page of the users in teams of the organization, in order of name past `after`; and whether there are more."""
    return _page(txn, organization, namespace.c.id.in_(_members_of(organization)), after)


def collaborators(txn: Transaction, organization: Namespace, *, after: str = "") -> tuple[list[Person], bool]:
    """As `members`, of those users who have a role on a repository but are in no team."""
    granted = sa.select(permission.c.grantee_id).where(permission.c.grantee_id.is_not(None), *_below(organization))
    outside = namespace.c.id.not_in(_members_of(organization))
    return _page(txn, organization, sa.and_(namespace.c.id.in_(granted), outside), after)


def member(txn: Transaction, organization: Namespace, found: Namespace) -> Person | None:
    """What the organization knows of a user in one of its teams, or of a robot of its own; None for anybody else."""
    if found.kind not in ("user", "robot"):
        return None
    held = holdings(txn, organization, [found.id])[found.id]
    if not held.teams and found.owner_id != organization.id:
        return None
    return Person(found.id, found.name, "robot" if found.kind == "robot" else "user", held)


def remove(txn: Transaction, organization: Namespace, member_id: int) -> bool:
    """
    Take somebody out of all teams, take back what he was given on repositories, and what he would be given on new
    ones; False if he was no member. Raises `TeamInvalid` if nobody could administer the organization any more.
    """
    if not teams.remove_from_all(txn, organization.id, member_id):
        return False
    revoke_all(txn, organization.id, member_id)
    prototype.delete_for(txn, organization.id, member_id)
    return True


def holdings(
    txn: Transaction, organization: Namespace, holder_ids: Collection[int], *, everywhere: bool = False
) -> Mapping[int, Holdings]:
    """
    What each of these has in the organization (or, of a user's robots, in his namespace), in order of name; with
    `everywhere`, also the repositories of others.
    """
    in_teams = (
        sa.select(team_member.c.member_id, team.c.name)
        .join(team, team.c.id == team_member.c.team_id)
        .where(team.c.organization_id == organization.id, team_member.c.member_id.in_(holder_ids))
        .order_by(team.c.name)
    )
    roles = _granted(holder_ids, () if everywhere else _below(organization))
    joined, granted = _by_holder(txn.execute(in_teams)), _by_holder(txn.execute(roles))
    return {
        holder_id: Holdings(
            tuple(joined.get(holder_id, ())), tuple(name.split("/", 1)[1] for name in granted.get(holder_id, ()))
        )
        for holder_id in holder_ids
    }


def _granted(holder_ids: Collection[int], conditions: Iterable[sa.ColumnElement[bool]]) -> sa.Select[Any]:
    """Numbers of holders with the names of their first so many repositories, in order."""
    place = sa.func.row_number().over(partition_by=permission.c.grantee_id, order_by=permission.c.repository_name)
    placed = (
        sa.select(permission.c.grantee_id, permission.c.repository_name, place.label("place"))
        .where(permission.c.grantee_id.in_(holder_ids), *conditions)
        .subquery()
    )
    found = sa.select(placed.c.grantee_id, placed.c.repository_name).where(placed.c.place <= REPOSITORIES)
    return found.order_by(placed.c.repository_name)


def _by_holder(rows: Iterable[Any]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for holder_id, name in rows:
        found.setdefault(holder_id, []).append(name)
    return found


def _members_of(organization: Namespace) -> sa.Select[Any]:
    joined = sa.select(team_member.c.member_id).join(team, team.c.id == team_member.c.team_id)
    return joined.where(team.c.organization_id == organization.id)


def _below(organization: Namespace) -> tuple[sa.ColumnElement[bool], ...]:
    """Grants on its repositories: their names lie between `name/` and what follows the slash in ASCII, a zero."""
    name = permission.c.repository_name
    return name > f"{organization.name}/", name < f"{organization.name}0"


def _page(
    txn: Transaction, organization: Namespace, belongs: sa.ColumnElement[bool], after: str
) -> tuple[list[Person], bool]:
    in_teams = _members_of(organization).where(team_member.c.member_id == namespace.c.id)
    granted = sa.select(permission.c.id).where(permission.c.grantee_id == namespace.c.id, *_below(organization))
    statement = sa.select(
        namespace.c.id,
        namespace.c.name,
        in_teams.with_only_columns(sa.func.count()).scalar_subquery().label("teams"),
        granted.with_only_columns(sa.func.count()).scalar_subquery().label("repositories"),
    ).where(belongs, namespace.c.kind == "user", namespace.c.name > after)
    found = txn.execute(statement.order_by(namespace.c.name).limit(PEOPLE + 1)).all()
    sizes = (row.teams + min(row.repositories, REPOSITORIES) for row in found)
    kept = found[: min(affordable(sizes), PEOPLE)]
    held = holdings(txn, organization, [row.id for row in kept])
    return [Person(row.id, row.name, "user", held[row.id]) for row in kept], len(kept) < len(found)


def affordable(sizes: Iterable[int]) -> int:
    """How many make a page, if the first, the second and so on have so many teams and repositories: one at least."""
    entries = count = 0
    for size in sizes:
        entries += size
        if count and entries > ENTRIES:
            break
        count += 1
    return count
