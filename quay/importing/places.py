"""
Where what is imported goes: names as this registry has them, and the namespaces and repositories that have to be made.
"""

from __future__ import annotations

import attrs

from quay.database import Database, Transaction
from quay.events import Bus, RepositoryCreated
from quay.importing.source import SourceError
from quay.model import audit, namespace, repository
from quay.model.namespace import Namespace, NamespaceInvalid, NamespaceTaken
from quay.model.repository import Repository, RepositoryInvalid, RepositoryTaken
from quay.oci.errors import NameInvalid
from quay.oci.reference import RepositoryName
from quay.registry.caller import Caller
from quay.registry.policy import Policy

AGENT = "quay import"


@attrs.frozen
class Places:
    """
    Names and makes what has to be there. All goes `below` a namespace, if one is given; what is made is `public` or
    not, and belongs to `caller`, who does it all. `anywhere` also fills repositories that take no pushes.
    """

    database: Database
    policy: Policy
    bus: Bus
    caller: Caller
    below: str | None = None
    public: bool = False
    anywhere: bool = False

    def name(self, spelled: str) -> RepositoryName:
        """What a repository of the source is called here. Raises `NameInvalid`."""
        text = spelled if self.below is None else f"{self.below}/{spelled}"
        name = RepositoryName.parse(text, self.policy.library_namespace)
        if not self.policy.nested_names and "/" in name.path:
            raise NameInvalid(f"{name} has more than two segments, and this registry does not take such names.")
        try:
            namespace.check_name(name.namespace)
        except NamespaceInvalid as unfit:
            raise NameInvalid(f"{unfit} Import it below another namespace.") from None
        return name

    async def find(self, name: RepositoryName) -> Repository | None:
        """The repository, if it is there. Raises `SourceError` if nothing may come into it."""
        found = await self.database.read(repository.find, name)
        if found is not None:
            self._check(found)
        return found

    def _check(self, found: Repository) -> None:
        if found.kind != "image":
            raise SourceError(f"{found.name} is an application repository here: it holds no images.")
        if self.anywhere:
            return
        if found.state != "normal":
            raise SourceError(f"{found.name} takes no pushes here: it is {found.state.replace('_', ' ')}.")
        if not found.namespace_enabled:
            raise SourceError(f"The namespace {found.name.namespace} is disabled here.")

    async def make(self, name: RepositoryName) -> Repository:
        """The repository, made with its namespace if it is not there. Raises `SourceError`."""
        found = await self.find(name)
        if found is not None:
            return found
        try:
            made = await self.database.write(self._make, name)
        except (NamespaceInvalid, NamespaceTaken, RepositoryInvalid, RepositoryTaken) as unfit:
            raise SourceError(str(unfit)) from None
        self.bus.publish(RepositoryCreated.by(self.caller, made))
        return made

    @property
    def _owner(self) -> int:
        owner = self.caller.principal.namespace_id
        assert owner is not None, "whoever imports is a user"
        return owner

    def _make(self, txn: Transaction, name: RepositoryName) -> Repository:
        holder = namespace.find(txn, name.namespace) or self._organization(txn, name.namespace)
        return repository.create(txn, name, namespace_id=holder.id, creator_id=self._owner, public=self.public)

    def _organization(self, txn: Transaction, name: str) -> Namespace:
        made = namespace.create_organization(txn, name, owner_id=self._owner, time_machine_s=self.policy.time_machine_s)
        entry = audit.Entry(
            kind="org_create",
            namespace_id=made.id,
            performer_id=self._owner,
            performer=self.caller.principal.name,
            details={"namespace": name, "auth": AGENT},
        )
        audit.append(txn, [entry])
        return made
