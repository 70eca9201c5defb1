"""
One call of the API, as handlers get it: who calls, what the path named, and what there is to work with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from quay.auth import Portal, scopes
from quay.auth.passwords import Passwords
from quay.auth.principal import Principal
from quay.auth.seals import Seals
from quay.auth.sessions import Sessions
from quay.auth.totp import SecondFactors
from quay.bundles import Bundles
from quay.config import Config
from quay.database import Database, Transaction
from quay.egress import Egress
from quay.interfaces import IPool
from quay.model import audit
from quay.model.namespace import Namespace
from quay.model.permission import Role
from quay.model.repository import Repository
from quay.notifications import Notifications
from quay.registry import Registry
from quay.registry.caller import Caller
from quay.tasks import Tasks
from quay.web.api.identity import Identity
from quay.web.api.needs import Found
from quay.web.health import Checkup
from quay.web.request import RegistryRequest
from quay.web.respond import Addresses
from quay.web.signin import SignIn
from quay.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")


@attrs.frozen(kw_only=True)
class Means:
    """What handlers work with. `seals` protects what is handed out, `vault` what is stored."""

    clock: IReactorTime
    config: Config
    database: Database
    registry: Registry
    portal: Portal
    passwords: Passwords
    sessions: Sessions
    second_factors: SecondFactors
    sign_in: SignIn
    seals: Seals
    vault: Seals
    tasks: Tasks
    addresses: Addresses
    notifications: Notifications
    egress: Egress
    bundles: Bundles
    cpu: IPool
    disk: IPool
    checkup: Checkup
    workers: Sequence[Worker] = ()

    def work_now(self, name: str) -> None:
        """Let the worker of this name, if this node has one, begin at once."""
        for worker in self.workers:
            if worker.name == name:
                worker.run_now()


@attrs.frozen
class Call:
    """Who calls, with what the need of the route found in the path."""

    means: Means
    request: RegistryRequest
    identity: Identity
    found: Found

    @property
    def caller(self) -> Caller:
        return self.identity.caller

    @property
    def principal(self) -> Principal:
        return self.identity.principal

    @property
    def repository(self) -> Repository:
        """The repository in the path."""
        assert self.found.repository is not None, "the need of this route finds a repository"
        return self.found.repository

    @property
    def role(self) -> Role:
        """The caller's role on it, within what his credentials are for."""
        assert self.found.role is not None, "the need of this route finds a repository"
        return self.found.role

    @property
    def organization(self) -> Namespace:
        """The organization in the path."""
        assert self.found.organization is not None, "the need of this route finds an organization"
        return self.found.organization

    @property
    def user(self) -> Namespace:
        """The user who calls."""
        assert self.found.user is not None, "the need of this route finds an account"
        return self.found.user

    def permits(self, scope: str) -> bool:
        """Whether the caller's credentials may be used for what takes `scope`."""
        return scopes.permits(self.principal, scope)

    @property
    def reader_id(self) -> int | None:
        """Whose repositories the caller's credentials let him see, beside the public ones; None for nobody's."""
        return self.principal.namespace_id if self.permits("repo:read") else None

    @property
    def base(self) -> str:
        """The URL of this server as the client reaches it, without a slash at the end."""
        return self.means.addresses.external_url(self.request)

    def read(self, work: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        """As `Database.read`."""
        return self.means.database.read(work, *args, **kwargs)

    def write(self, work: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        """As `Database.write`. The unit of work also calls `record`: what was done and that it was done are one."""
        return self.means.database.write(work, *args, **kwargs)

    def record(
        self,
        txn: Transaction,
        kind: str,
        *,
        repository: Repository | None = None,
        namespace: Namespace | None = None,
        **details: Any,
    ) -> None:
        """
        Put into the audit log, in the transaction that does it, that the caller did this: to `repository`, else to
        `namespace` (by default, what the path named). `details` are Quay's for the kind, and no secrets.
        """
        repository = repository or (self.found.repository if namespace is None else None)
        owner_id = namespace.id if namespace is not None else self._owner(repository)
        about = namespace or self.found.organization
        if repository is not None:
            details = {"namespace": repository.name.namespace, "repo": repository.name.path} | details
        elif about is not None and about.kind == "organization":
            details = {"namespace": about.name} | details
        principal = self.principal
        if principal.kind not in ("user", "anonymous"):
            details = {"auth": principal.kind} | details
        entry = audit.Entry(
            kind=kind,
            namespace_id=owner_id,
            repository_id=None if repository is None else repository.id,
            performer_id=principal.namespace_id,
            performer="" if principal.kind == "anonymous" else principal.name,
            ip=self.caller.ip,
            details=details,
        )
        audit.append(txn, [entry])

    def _owner(self, repository: Repository | None) -> int | None:
        if repository is not None:
            return repository.namespace_id
        named = self.found.organization or self.found.user
        return None if named is None else named.id
