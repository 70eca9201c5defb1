"""
What we promise: the use-cases of the registry, where rows and bytes meet.

`Registry` is what the web gets: each part answers for one noun, and knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from quay.database import Database
from quay.model import repository as repositories
from quay.model.repository import Repository
from quay.oci.errors import Denied, NameUnknown
from quay.oci.reference import RepositoryName
from quay.registry.access import Access
from quay.registry.archives import Archives
from quay.registry.blobs import Blobs
from quay.registry.cache import Cache
from quay.registry.caller import Caller
from quay.registry.manifests import Manifests
from quay.registry.policy import Policy
from quay.registry.uploads import Uploads


@attrs.frozen
class Registry:
    """The registry's parts, and the repositories themselves."""

    database: Database
    cache: Cache
    policy: Policy
    access: Access
    blobs: Blobs
    uploads: Uploads
    manifests: Manifests
    archives: Archives

    def check_open(self, action: str) -> None:
        """Raises `Denied` where this registry does not let anybody do `action`, whoever he is."""
        if self.policy.read_only and action != "pull":
            raise Denied(
                "This registry is read-only now: nothing is pushed to it or deleted from it.",
                advice="Pulls go on. Try again when its administrator has ended that.",
            )

    def known(self, name: RepositoryName) -> Repository | None:
        """What `find` would give, if that takes no waiting."""
        found: Repository | None = self.cache.get(("repository", str(name)))
        return found if found is not None and found.namespace_enabled else None

    async def find(self, name: RepositoryName) -> Repository:
        """The repository `name`. Raises `NameUnknown`; `Denied` where its namespace is disabled."""

        async def read() -> Repository | None:
            return await self.database.read(repositories.find, name)

        found: Repository | None = await self.cache.load(("repository", str(name)), read)
        if found is None:
            raise NameUnknown(
                f"There is no repository {name}.",
                advice="Check the spelling; the first push makes a repository, if you may push to its namespace.",
                repository=name,
            )
        if not found.namespace_enabled:
            raise Denied(
                f"The namespace {name.namespace} is disabled.", advice="Ask a superuser of this registry to enable it."
            )
        return found

    async def catalog(self, caller: Caller, *, after: str | None, limit: int) -> list[str]:
        """The next `limit` repositories after the name `after` that the caller may pull from, in byte order."""
        principal = caller.principal
        holder = principal.namespace_id if principal.kind in ("user", "robot", "app_token") else None
        return await self.database.read(
            repositories.catalog, holder, public=self.policy.public_catalog, after=after, limit=limit
        )

    async def is_public(self, names: Iterable[RepositoryName]) -> bool:
        """Whether all of these exist and may be pulled by anybody."""
        found = [await self.find(name) for name in names]
        return self.policy.anonymous_pulls and all(one.public for one in found)
