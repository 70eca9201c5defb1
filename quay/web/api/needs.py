"""
What a route needs of whoever asks. A route cannot be declared without it, and it is looked at before anything else of
the request: whoever has no right learns neither whether his request makes sense nor what there is.

A need also finds what the path names: the repository, the organization, the account. So no handler gets a thing
without its owner's leave. Source: Quay's permissions; its security matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

import attrs

from quay.auth import scopes
from quay.auth.principal import Principal
from quay.database import Transaction
from quay.model import namespace, permission, team
from quay.model import repository as repositories
from quay.model.namespace import Namespace
from quay.model.permission import Role
from quay.model.repository import Repository
from quay.oci.reference import RepositoryName
from quay.registry.access import Access
from quay.web.api.errors import ApiError, Forbidden, NotFound, NotImplementedHere, ReadOnly

Path = Mapping[str, Any]
"""The parameters in the path of a request."""


@attrs.frozen
class Found:
    """What the path names; `role` is the caller's on the repository, within what his credentials are for."""

    repository: Repository | None = None
    role: Role | None = None
    organization: Namespace | None = None
    user: Namespace | None = None


class Need(Protocol):
    """
    `scope` is what an OAuth token must have for it, `takes` the path parameters that it looks up. With `anonymous`,
    also nobody in particular may ask, even where FEATURE_ANONYMOUS_ACCESS is off.
    """

    @property
    def scope(self) -> str | None: ...
    @property
    def takes(self) -> frozenset[str]: ...
    @property
    def anonymous(self) -> bool: ...

    def admit(self, txn: Transaction, principal: Principal, access: Access, path: Path) -> Found:
        """What the path names, if `principal` may. Raises `Forbidden`, `NotFound` and the like."""
        ...


@attrs.frozen
class _Anybody:
    scope: str | None = None
    takes: frozenset[str] = frozenset()
    anonymous: bool = False

    def admit(self, txn: Transaction, principal: Principal, access: Access, path: Path) -> Found:
        return Found()


anybody: Final[Need] = _Anybody()
"""No right at all; FEATURE_ANONYMOUS_ACCESS still counts."""

anonymous_too: Final[Need] = _Anybody(anonymous=True)
"""No right at all, and nobody is asked who he is: what one needs to log in."""


@attrs.frozen
class _Holder:
    scope: str | None
    takes: frozenset[str] = frozenset()
    anonymous: bool = False

    def admit(self, txn: Transaction, principal: Principal, access: Access, path: Path) -> Found:
        _require(principal, self.scope)
        return Found()


def holder(scope: str | None = None) -> Need:
    """Anybody who is somebody, a robot too, with credentials that are good for `scope`."""
    return _Holder(scope)


@attrs.frozen
class _Account:
    scope: str | None
    takes: frozenset[str] = frozenset()
    anonymous: bool = False

    def admit(self, txn: Transaction, principal: Principal, access: Access, path: Path) -> Found:
        _require(principal, self.scope)
        if principal.kind not in ("user", "app_token", "oauth_token") or principal.namespace_id is None:
            raise Forbidden(f"{principal.name} is not a user: this is for the accounts of people.")
        return Found(user=namespace.by_id(txn, principal.namespace_id))


def account(scope: Literal["user:read", "user:admin"] = "user:admin") -> Need:
    """A user, for what belongs to his own account; no robot. Finds him."""
    return _Account(scope)


@attrs.frozen
class _Superuser:
    scope: str | None = "super:user"
    takes: frozenset[str] = frozenset()
    anonymous: bool = False

    def admit(self, txn: Transaction, principal: Principal, access: Access, path: Path) -> Found:
        _require(principal, self.scope)
        if not principal.superuser:
            raise Forbidden(f"{principal.name} is not a superuser of this registry.")
        return Found()


superuser: Final[Need] = _Superuser()
"""Somebody who administers the whole registry."""

_SCOPE_OF: Final = {Role.READ: "repo:read", Role.WRITE: "repo:write", Role.ADMIN: "repo:admin"}


@attrs.frozen
class _Repository:
    role: Role
    writable: bool
    images: bool
    gone: bool
    takes: frozenset[str] = frozenset({"repository"})
    anonymous: bool = False

    @property
    def scope(self) -> str | None:
        return _SCOPE_OF[self.role]

    def admit(self, txn: Transaction, principal: Principal, access: Access, path: Path) -> Found:
        name: RepositoryName = path["repository"]
        found = repositories.find(txn, name)
        if found is None:
            return self._missing(txn, principal, name)
        role = access.role(txn, principal, found)
        if role is None:
            raise _unseen(principal, name)
        if role < self.role:
            raise Forbidden(f"{principal.name} may not {_VERBS[self.role]} {name}.")
        self._check_state(found)
        return Found(repository=found, role=role)

    def _missing(self, txn: Transaction, principal: Principal, name: RepositoryName) -> Found:
        """Only who administers a namespace is told what is not in it."""
        owner = namespace.find(txn, name.namespace)
        holds = principal.namespace_id is not None and scopes.permits(principal, self.scope or "")
        if owner is None or not holds or not permission.administers(txn, owner.id, principal.namespace_id or 0):
            raise _unseen(principal, name)
        if self.gone:
            return Found()
        raise NotFound(f"There is no repository {name}.")

    def _check_state(self, found: Repository) -> None:
        if self.images and found.kind != "image":
            raise NotImplementedHere(f"{found.name} is an application repository: it holds no images.")
        if self.writable and found.state != "normal":
            state = "read-only" if found.state == "read_only" else "a mirror"
            raise ReadOnly(f"The repository {found.name} is {state}: nothing in it can be changed by hand.")


def _unseen(principal: Principal, name: RepositoryName) -> Forbidden:
    """What somebody is told of a repository that he may not see, and of one that there is not: the same."""
    return Forbidden(f"{principal.name} may not see {name}, or there is no such repository.")


_VERBS: Final = {Role.READ: "see", Role.WRITE: "change", Role.ADMIN: "administer"}


def repository(role: Role, *, writable: bool = False, images: bool = False, gone: bool = False) -> Need:
    """
    This role on the repository that the path calls `repository`. `writable`: not while it is read-only or a mirror;
    `images`: not on one that holds something else; `gone`: who administers its namespace may ask, though it is not
    there.
    """
    return _Repository(role, writable, images, gone)


@attrs.frozen
class _Organization:
    level: Literal["anybody", "member", "creator", "admin"]
    takes: frozenset[str] = frozenset({"orgname"})
    anonymous: bool = False

    @property
    def scope(self) -> str | None:
        return {"anybody": None, "member": "user:read", "creator": "repo:create", "admin": "org:admin"}[self.level]

    def admit(self, txn: Transaction, principal: Principal, access: Access, path: Path) -> Found:
        found = organization_named(txn, path["orgname"])
        if self.level != "anybody":
            if not _holds(principal, self.scope or ""):
                raise _without(principal, self.scope)
            if not _is(txn, principal, found, self.level):
                raise Forbidden(f"{principal.name} is no {self.level} of {found.name}.")
        return Found(organization=found)


@attrs.frozen
class _Team:
    scope: str | None = "org:admin"
    takes: frozenset[str] = frozenset({"orgname"})
    anonymous: bool = False

    def admit(self, txn: Transaction, principal: Principal, access: Access, path: Path) -> Found:
        found, name = organization_named(txn, path["orgname"]), path["teamname"]
        seen = team.find(txn, found.id, name)
        superuser = principal.superuser and scopes.permits(principal, "super:user")
        inside = seen is not None and _holds(principal, "user:read") and _joined(txn, principal, found, seen.id)
        if not (superuser or inside or is_administrator(txn, principal, found)):
            raise Forbidden(f"{principal.name} is not in the team {name[:80]} of {found.name}, nor administers it.")
        return Found(organization=found)


a_look_at_a_team: Final[Need] = _Team()
"""To see the team that the path calls `teamname`: its members may, and whoever administers its organization."""


def is_administrator(txn: Transaction, principal: Principal, organization: Namespace) -> bool:
    """Whether `principal` administers the organization, with credentials that are good for it."""
    return scopes.permits(principal, "org:admin") and _is(txn, principal, organization, "admin")


def is_member(txn: Transaction, principal: Principal, organization: Namespace) -> bool:
    """Whether `principal` belongs to the organization, with credentials that may tell."""
    return _holds(principal, "user:read") and _is(txn, principal, organization, "member")


def _joined(txn: Transaction, principal: Principal, organization: Namespace, team_id: int) -> bool:
    return team_id in team.ids_of_member(txn, organization.id, principal.namespace_id or 0)


def _holds(principal: Principal, scope: str) -> bool:
    """Whether the credentials are good for `scope`; those that administer organizations are good for all of theirs."""
    return scopes.permits(principal, "org:admin") or scopes.permits(principal, scope)


def organization_named(txn: Transaction, name: str) -> Namespace:
    """The organization of this name. Raises `NotFound`."""
    found = namespace.find(txn, name)
    if found is None or found.kind != "organization":
        raise NotFound(f"There is no organization {name[:80]!r}.")
    return found


def _is(txn: Transaction, principal: Principal, organization: Namespace, level: str) -> bool:
    if principal.namespace_id is None:
        return False
    if level == "admin":
        return permission.administers(txn, organization.id, principal.namespace_id)
    if level == "creator":
        return permission.may_create(txn, organization.id, principal.namespace_id)
    return permission.is_member(txn, organization.id, principal.namespace_id)


def organization(level: Literal["anybody", "member", "creator", "admin"] = "admin") -> Need:
    """This standing in the organization that the path calls `orgname`; `anybody`: only that there is one."""
    return _Organization(level)


@attrs.frozen
class _AnyOf:
    needs: tuple[Need, ...]

    @property
    def scope(self) -> str | None:
        return self.needs[0].scope

    @property
    def takes(self) -> frozenset[str]:
        return frozenset().union(*(need.takes for need in self.needs))

    @property
    def anonymous(self) -> bool:
        return any(need.anonymous for need in self.needs)

    def admit(self, txn: Transaction, principal: Principal, access: Access, path: Path) -> Found:
        refused: ApiError | None = None
        for need in self.needs:
            try:
                return need.admit(txn, principal, access, path)
            except Forbidden as error:
                refused = refused or error
        assert refused is not None, "there is one need at least"
        raise refused


def any_of(*needs: Need) -> Need:
    """One of these; the first one is what whoever has none of them is told about."""
    return _AnyOf(needs)


def _require(principal: Principal, scope: str | None) -> None:
    if principal.kind == "anonymous" or (scope is not None and not scopes.permits(principal, scope)):
        raise _without(principal, scope)


def _without(principal: Principal, scope: str | None) -> Forbidden:
    return Forbidden(f"{principal.name} shows credentials that may not be used for this: it takes the scope {scope}.")
