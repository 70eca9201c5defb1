"""
Repositories, and the catalog: the names that somebody may see, in byte order, a page at the cost of a page.

Source: OCI Distribution Specification 1.1 "Pull" (names); Docker Registry HTTP API V2 "Listing Repositories".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from quay.database import Transaction
from quay.database.engines import insert_or_ignore
from quay.database.prepared import Prepared
from quay.database.schema import credential, namespace, permission, team, team_member
from quay.database.schema import repository as table
from quay.model import prototype, words
from quay.model.credential import revoke_where
from quay.model.namespace import hold
from quay.model.permission import Role, grant
from quay.model.reachability import lock
from quay.model.removal import GONE
from quay.oci.reference import NAME_LIMIT, RepositoryName

State = Literal["normal", "read_only", "mirror"]
Kind = Literal["image", "application"]
Source: TypeAlias = tuple[Prepared, Mapping[str, Any]]


class RepositoryInvalid(Exception):
    """A repository that cannot be: too long a name, or a namespace that is not its own."""


class RepositoryTaken(Exception):
    """There is a repository of this name."""


@attrs.frozen
class Repository:
    """A repository, with what its namespace says about it."""

    id: int
    namespace_id: int
    name: RepositoryName
    kind: Kind
    state: State
    public: bool
    trust_enabled: bool
    mirror_robot_id: int | None
    namespace_enabled: bool
    time_machine_s: int


_SELECT: Final = sa.select(
    table.c.id,
    table.c.namespace_id,
    table.c.name,
    table.c.kind,
    table.c.state,
    table.c.public,
    table.c.trust_enabled,
    table.c.mirror_robot_id,
    namespace.c.enabled,
    namespace.c.time_machine_s,
).join_from(table, namespace, table.c.namespace_id == namespace.c.id)
"""What a `Repository` is made of, in order."""

_NAMED: Final = Prepared(_SELECT.where(table.c.name == sa.bindparam("called")))
_NUMBERED: Final = Prepared(_SELECT.where(table.c.id == sa.bindparam("number")))


def find(txn: Transaction, name: RepositoryName) -> Repository | None:
    """The repository of this name."""
    return _one(txn, _NAMED, {"called": str(name)})


def by_id(txn: Transaction, repository_id: int) -> Repository | None:
    """The repository with this number."""
    return _one(txn, _NUMBERED, {"number": repository_id})


def _one(txn: Transaction, statement: Prepared, parameters: dict[str, Any]) -> Repository | None:
    row = txn.execute(statement, parameters).first()
    if row is None:
        return None
    number, namespace_id, name, *others = row
    return Repository(number, namespace_id, RepositoryName(*name.split("/", 1)), *others)


def create(
    txn: Transaction,
    name: RepositoryName,
    *,
    namespace_id: int,
    creator_id: int | None,
    public: bool,
    description: str = "",
    kind: Kind = "image",
) -> Repository:
    """
    A new repository in its namespace. Its creator, if there is one, administers it; the prototypes of its
    organization apply. Raises `RepositoryInvalid`, and `RepositoryTaken` also when somebody else was faster.
    """
    _check(txn, name, namespace_id)
    row = {
        "namespace_id": namespace_id,
        "path": name.path,
        "name": str(name),
        "kind": kind,
        "public": public,
        "description": description,
        "created_ms": txn.now_ms,
    }
    made = txn.execute(insert_or_ignore(txn.dialect, table).values(**row).returning(table.c.id)).scalar()
    if made is None:
        raise RepositoryTaken(f"There is a repository {name} already.")
    return _furnished(txn, _named(txn, made), creator_id)


def _named(txn: Transaction, repository_id: int) -> Repository:
    """It has got its name in this transaction."""
    words.index(txn, repository_id)
    named = by_id(txn, repository_id)
    assert named is not None, "it was changed in this transaction"
    txn.changed("repository", str(named.name))
    return named


def _furnished(txn: Transaction, made: Repository, creator_id: int | None) -> Repository:
    """Give whoever made it, and whom the organization says, their roles."""
    if creator_id is not None and creator_id != made.namespace_id:
        grant(txn, made.id, grantee_id=creator_id, role=Role.ADMIN)
    prototype.apply(txn, made, creator_id)
    return made


def _check(txn: Transaction, name: RepositoryName, namespace_id: int) -> None:
    if len(str(name)) > NAME_LIMIT:
        raise RepositoryInvalid(f"The repository name {name} has more than {NAME_LIMIT} characters: shorten it.")
    owner = hold(txn, namespace_id)
    if owner is None or owner.kind == "robot" or owner.name != name.namespace:
        raise RepositoryInvalid(f"The repository {name} cannot be made in a namespace that is not {name.namespace!r}.")


def set_state(txn: Transaction, repository_id: int, state: State) -> None:
    """Who may push from now on: everybody with the right (normal), nobody, or the mirror robot."""
    _change(txn, repository_id, sa.update(table).values(state=state))


def set_mirror(txn: Transaction, repository_id: int, robot_id: int) -> None:
    """Make it a mirror, to which this robot alone may push from now on."""
    _change(txn, repository_id, sa.update(table).values(state="mirror", mirror_robot_id=robot_id))


def set_trust(txn: Transaction, repository_id: int, enabled: bool) -> None:
    """Say to clients that its tags are signed, or that they are not."""
    _change(txn, repository_id, sa.update(table).values(trust_enabled=enabled))


def set_public(txn: Transaction, repository_id: int, public: bool) -> None:
    """Let everybody pull, or only those with a role."""
    _change(txn, repository_id, sa.update(table).values(public=public))


def describe(txn: Transaction, repository_id: int, description: str) -> None:
    """Say what it is for: in Markdown, for people."""
    _change(txn, repository_id, sa.update(table).values(description=description))
    words.index(txn, repository_id)


def rename(
    txn: Transaction, found: Repository, name: RepositoryName, *, namespace_id: int, mover_id: int | None
) -> Repository:
    """
    Call the repository `name` from now on; there is nothing under the old name then. In another namespace it is as if
    `mover_id` had made it there: he administers it, the teams of the old one have no role on it any more, and the
    prototypes of the new one apply. Raises as `create`, and `NameUnknown`.
    """
    _check(txn, name, namespace_id)
    found = _locked(txn, found.id)
    values = {"name": str(name), "path": name.path, "namespace_id": namespace_id}
    try:
        with txn.savepoint():
            txn.execute(sa.update(table).where(table.c.id == found.id).values(**values))
    except IntegrityError:
        raise RepositoryTaken(f"There is a repository {name} already.") from None
    grants = permission.c.repository_id == found.id
    if namespace_id != found.namespace_id:
        txn.execute(sa.delete(permission).where(grants, permission.c.team_id.is_not(None)))
    txn.execute(sa.update(permission).where(grants).values(repository_name=str(name)))
    txn.changed("repository", str(found.name))
    txn.changed("permission", found.id)
    renamed = _named(txn, found.id)
    return renamed if namespace_id == found.namespace_id else _furnished(txn, renamed, mover_id)


def _locked(txn: Transaction, repository_id: int) -> Repository:
    """As it is now: it may have been renamed since somebody found it."""
    lock(txn, repository_id)
    found = by_id(txn, repository_id)
    assert found is not None, "it has just been locked"
    return found


def delete(txn: Transaction, repository_id: int) -> bool:
    """
    Remove it with its tags, manifests, links and tokens; the blobs stay until nothing links them. False if it was gone.
    """
    revoke_where(txn, credential.c.repository_id == repository_id)
    return _change(txn, repository_id, sa.delete(table))


def _change(txn: Transaction, repository_id: int, statement: sa.Update | sa.Delete) -> bool:
    name = txn.execute(statement.where(table.c.id == repository_id).returning(table.c.name)).scalar()
    if name is None:
        return False
    txn.changed("repository", name)
    txn.changed("permission", repository_id)
    return True


# --- the catalog --------------------------------------------------------------------------------------------------
#
# What somebody sees is the union of a few sets: the public ones, those in the namespaces he administers, those granted
# to him, those granted to each of his teams. Each set is a range of an index that has the names in order, so each gives
# its part of the page by reading no more rows than the page has, wherever the page begins and however many repositories
# there are that he cannot see. The parts are merged here: Python orders strings as both engines order these names.


def catalog(
    txn: Transaction,
    holder_id: int | None,
    *,
    public: bool,
    everything: bool = False,
    within: str | None = None,
    after: str | None = None,
    limit: int,
) -> list[str]:
    """
    At most `limit` names past `after` of repositories on which `holder_id` has a role, of the public ones as well if
    `public`, of all there are if `everything`; in byte order. With `within`, only those in the namespace of this name.
    """
    first, before = _bounds(within) if within is not None else ("", GONE)
    past = max((after or "").partition("\x00")[0], first)  # no name has a NUL, so past it is past what is before it
    page = {"past": past, "before": before, "most": max(limit, 0)}
    names: set[str] = set()
    for statement, its in catalog_sources(txn, holder_id, page, public=public, everything=everything):
        names.update(txn.execute(statement, its).scalars())
    return sorted(names)[: max(limit, 0)]


def _page(name: sa.Column[str], *which: sa.ColumnElement[bool]) -> Prepared:
    """The first names past one and before another, of those of which `which` is true."""
    some = sa.select(name).where(*which, name > sa.bindparam("past"), name < sa.bindparam("before"))
    return Prepared(some.order_by(name).limit(sa.bindparam("most", type_=sa.Integer())))


_ALL: Final = _page(table.c.name)
_PUBLIC: Final = _page(table.c.name, table.c.public)
_GRANTED: Final = _page(permission.c.repository_name, permission.c.grantee_id == sa.bindparam("holder"))
_OF_TEAM: Final = _page(permission.c.repository_name, permission.c.team_id == sa.bindparam("team"))


def catalog_sources(
    txn: Transaction, holder_id: int | None, page: Mapping[str, Any], *, public: bool, everything: bool = False
) -> Iterator[Source]:
    """What gives a page of each of the sets whose union is the catalog of `holder_id`."""
    if everything:
        yield _ALL, page
        return
    if public:
        yield _PUBLIC, page
    if holder_id is not None:
        yield from _sources_of(txn, holder_id, page)


def _sources_of(txn: Transaction, holder_id: int, page: Mapping[str, Any]) -> Iterator[Source]:
    yield _GRANTED, {**page, "holder": holder_id}
    administered = set(txn.execute(_OWN, {"holder": holder_id}).scalars())
    for membership in txn.execute(_TEAMS, {"holder": holder_id}):
        if membership.role == "admin":
            administered.add(membership.name)
        else:
            yield _OF_TEAM, {**page, "team": membership.team_id}
    for name in administered:
        first, last = _bounds(name)
        yield _ALL, {**page, "past": max(page["past"], first), "before": min(page["before"], last)}


_OWN: Final = Prepared(
    sa.select(namespace.c.name).where(namespace.c.id == sa.bindparam("holder"), namespace.c.kind == "user")
)
_TEAMS: Final = Prepared(
    sa.select(team_member.c.team_id, team.c.role, namespace.c.name)
    .join_from(team_member, team, team_member.c.team_id == team.c.id)
    .join(namespace, team.c.organization_id == namespace.c.id)
    .where(team_member.c.member_id == sa.bindparam("holder"))
)


def _bounds(name: str) -> tuple[str, str]:
    """What all names in the namespace `name` lie between: `name/`, and what follows the slash in ASCII, a zero."""
    return f"{name}/", f"{name}0"
