"""
Who may do what to a repository: the roles of the model, narrowed by what the credential is for and by the state the
repository is in; and repositories that come into being by the first push.

Actions are those of the token protocol: `pull`, `push`, `delete`, `*` (administration). A role gives
its actions and those of the lesser roles. Source: Docker Registry v2 token scope documentation; Quay's `/v2/auth`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import attrs

from quay.auth.principal import ACTIONS, Principal
from quay.database import Database, Transaction
from quay.events import Bus, RepositoryCreated
from quay.model import namespace, permission, repository
from quay.model.namespace import Namespace, NamespaceInvalid, NamespaceTaken
from quay.model.permission import Role
from quay.model.repository import Repository, RepositoryInvalid, RepositoryTaken
from quay.oci.errors import Denied, NameInvalid, Unsupported
from quay.oci.reference import RepositoryName
from quay.registry.caller import Caller
from quay.registry.policy import Policy

NEEDS: Final = {"pull": Role.READ, "push": Role.WRITE, "delete": Role.WRITE, "*": Role.ADMIN}
SCOPES: Final = {"repo:read": Role.READ, "repo:write": Role.WRITE, "repo:admin": Role.ADMIN}
"""The greatest role that an OAuth token may use. `repo:create` is none of these: it opens only what it makes."""
MAKERS: Final = ("user", "robot", "app_token", "oauth_token")


@attrs.frozen
class Granted:
    """The actions that somebody may do; `repository_id` is the number of the repository, None if there is none."""

    actions: frozenset[str]
    repository_id: int | None = None


@attrs.frozen
class _Answer:
    granted: frozenset[str]
    found: Repository | None = None
    missing: bool = False
    """The repository does not exist, and this principal might make it by pushing."""
    made: Repository | None = None


class Access:
    """Answers for principals whose rights stand in the database (a bearer token carries its own)."""

    def __init__(self, database: Database, policy: Policy, bus: Bus) -> None:
        self._database = database
        self._policy = policy
        self._bus = bus

    async def grant(self, caller: Caller, name: RepositoryName, wanted: Iterable[str]) -> frozenset[str]:
        """The actions that `grant_on` gives."""
        return (await self.grant_on(caller, name, wanted)).actions

    async def grant_on(self, caller: Caller, name: RepositoryName, wanted: Iterable[str]) -> Granted:
        """
        Those of the actions in `wanted` that the caller may do to `name`. A push to a repository that does not exist
        makes it, if the caller may; who administers its namespace may ask for it, and learns that it is not there.
        Raises `Denied` for a disabled namespace, `Unsupported` for a repository that
        holds no images, `NameInvalid` for a name that this registry does not take.
        """
        actions = frozenset(wanted) & frozenset(ACTIONS)
        answer = await self._database.read(self._answer, caller.principal, name, actions)
        if answer.missing and "push" in actions:
            self._check_new(name)
            answer = await self._made(caller.principal, name, actions)
            if answer.made is not None:
                self._bus.publish(RepositoryCreated.by(caller, answer.made))
        return Granted(answer.granted, None if answer.found is None else answer.found.id)

    async def _made(self, principal: Principal, name: RepositoryName, actions: frozenset[str]) -> _Answer:
        try:
            return await self._database.write(self._make, principal, name, actions)
        except (NamespaceTaken, RepositoryTaken):  # by somebody who was faster, and has committed by now
            return await self._database.write(self._make, principal, name, actions)
        except (NamespaceInvalid, RepositoryInvalid) as unfit:
            raise NameInvalid(str(unfit), advice="Push to a repository with another name.") from unfit

    async def for_superuser(self, caller: Caller, name: RepositoryName) -> Repository:
        """
        The repository `name`, for a superuser to push to, whatever his roles: it is made if it is not there, and so is
        an organization for it, which is his. Raises `Denied` for whoever is no superuser and for what nobody may push
        to, `Unsupported`, `NameInvalid`.
        """
        if not caller.principal.superuser or caller.principal.namespace_id is None:
            raise Denied(f"{caller.principal.name} is no superuser of this registry.", advice="Ask one to do it.")
        try:
            answer = await self._database.write(self._own, caller.principal, name)
        except (NamespaceTaken, RepositoryTaken):  # by somebody who was faster, and has committed by now
            answer = await self._database.write(self._own, caller.principal, name)
        except (NamespaceInvalid, RepositoryInvalid) as unfit:
            raise NameInvalid(str(unfit), advice="Push to a repository with another name.") from unfit
        assert answer.found is not None, "it was there, or has been made"
        if answer.made is not None:
            self._bus.publish(RepositoryCreated.by(caller, answer.made))
        return answer.found

    def _check_new(self, name: RepositoryName) -> None:
        if not self._policy.nested_names and "/" in name.path:
            raise NameInvalid(
                f"{name} has more than two segments, and this registry does not take such names.",
                advice="Push to namespace/repository, or set FEATURE_EXTENDED_REPOSITORY_NAMES.",
            )

    def state_allows(self, principal: Principal, found: Repository) -> Callable[[str], bool]:
        """Which actions the state that the repository is in leaves to `principal`, whatever his role; no waiting."""
        if self._policy.read_only or found.state == "read_only":
            return lambda action: action == "pull"
        if found.state == "mirror":
            mirrors = principal.namespace_id is not None and principal.namespace_id == found.mirror_robot_id
            return lambda action: action == "pull" or (action in ("push", "delete") and mirrors)
        return lambda action: True

    # --- units of work

    def _answer(self, txn: Transaction, principal: Principal, name: RepositoryName, actions: frozenset[str]) -> _Answer:
        found = repository.find(txn, name)
        if found is not None:
            return _Answer(self._allowed(txn, principal, found, actions), found)
        holder = namespace.find(txn, name.namespace)
        if holder is not None and not holder.enabled:
            raise _disabled(name)
        granted = actions & {"pull"} if holder is not None and _administers(txn, principal, holder.id) else frozenset()
        return _Answer(granted, missing=principal.kind in MAKERS and not self._policy.read_only)

    def _make(self, txn: Transaction, principal: Principal, name: RepositoryName, actions: frozenset[str]) -> _Answer:
        found = repository.find(txn, name)
        if found is not None:  # somebody was faster
            return _Answer(self._allowed(txn, principal, found, actions), found)
        holder = self._holder(txn, principal, name)
        if holder is None or not _may_make(txn, principal, holder):
            return _Answer(frozenset())
        made = repository.create(
            txn,
            name,
            namespace_id=holder,
            creator_id=principal.namespace_id,
            public=not self._policy.private_on_push,
        )
        granted = self._allowed(txn, principal, made, actions) | _made_for(principal, actions)
        return _Answer(granted, made, made=made)

    def _own(self, txn: Transaction, principal: Principal, name: RepositoryName) -> _Answer:
        found, made = repository.find(txn, name), None
        if found is None:
            self._check_new(name)
            holder = namespace.find(txn, name.namespace)
            if holder is None and name.namespace in self._policy.super_users:
                raise NameInvalid(
                    f"The name {name.namespace} is kept for whoever the configuration means by it.",
                    advice="Push to another namespace.",
                )
            if holder is None:
                holder = self._new_organization(txn, principal, name)
            creator = principal.namespace_id if _administers(txn, principal, holder.id) else None
            made = found = repository.create(
                txn, name, namespace_id=holder.id, creator_id=creator, public=not self._policy.private_on_push
            )
        if not found.namespace_enabled:
            raise _disabled(name)
        if self._policy.read_only or found.kind != "image" or found.state != "normal":
            raise Unsupported(
                f"Nothing can be pushed to {name} now: the registry or the repository is read-only, or is a mirror, or "
                "holds no images.",
                advice="Change the state of the repository, or choose another one.",
            )
        return _Answer(frozenset(), found, made=made)

    def _new_organization(self, txn: Transaction, principal: Principal, name: RepositoryName) -> Namespace:
        assert principal.namespace_id is not None, "a superuser is a user"
        return namespace.create_organization(
            txn, name.namespace, owner_id=principal.namespace_id, time_machine_s=self._policy.time_machine_s
        )

    def _holder(self, txn: Transaction, principal: Principal, name: RepositoryName) -> int | None:
        found = namespace.find(txn, name.namespace)
        if found is not None:
            return found.id
        if not self._policy.namespace_on_push or principal.kind != "user" or principal.namespace_id is None:
            return None
        if self._policy.organizations_by_superusers and not principal.superuser:
            return None
        if name.namespace in self._policy.super_users:  # it is kept for whoever the configuration means
            return None
        return self._new_organization(txn, principal, name).id

    def _allowed(
        self, txn: Transaction, principal: Principal, found: Repository, actions: frozenset[str]
    ) -> frozenset[str]:
        if not found.namespace_enabled:
            raise _disabled(found.name)
        role = self.role(txn, principal, found)
        if role is not None and found.kind != "image":  # to everybody else, it does not exist
            raise Unsupported(
                f"{found.name} is an application repository: it holds no container images.",
                advice="Push images to a repository of their own.",
            )
        allowed = {action for action in actions if role is not None and role >= NEEDS[action]}
        return frozenset(filter(self.state_allows(principal, found), allowed))

    def role(self, txn: Transaction, principal: Principal, found: Repository) -> Role | None:
        """The role that `principal` may use on the repository `found`, whatever state that is in; None for none."""
        public = Role.READ if found.public else None
        if principal.kind == "anonymous":
            return public if self._policy.anonymous_pulls else None
        if principal.kind == "access_token":
            return principal.role if principal.repository_id == found.id else public
        role = permission.role(txn, found, principal.namespace_id)
        if principal.kind == "oauth_token":
            limit = max((SCOPES[s] for s in principal.scopes or () if s in SCOPES), default=None)
            return public if role is None or limit is None else min(role, limit)
        return role


def _may_make(txn: Transaction, principal: Principal, namespace_id: int) -> bool:
    if principal.kind == "oauth_token" and not (principal.scopes or frozenset()) & {"repo:create", "repo:admin"}:
        return False
    return principal.namespace_id is not None and permission.may_create(txn, namespace_id, principal.namespace_id)


def _administers(txn: Transaction, principal: Principal, namespace_id: int) -> bool:
    holder = principal.namespace_id if principal.kind in ("user", "robot", "app_token") else None
    return holder is not None and permission.administers(txn, namespace_id, holder)


def _made_for(principal: Principal, actions: frozenset[str]) -> frozenset[str]:
    """What the maker of a repository may do to it by having made it: an OAuth token may have no other right."""
    return actions & {"pull", "push"} if principal.kind == "oauth_token" else frozenset()


def _disabled(name: RepositoryName) -> Denied:
    return Denied(
        f"The namespace {name.namespace} is disabled: nothing can be pulled from it or pushed to it.",
        advice="Ask a superuser of this registry to enable it.",
        namespace=name.namespace,
    )
