"""
Blobs as a repository sees them: reachable only through a link of that repository, wherever the bytes lie.

Source: OCI Distribution Specification 1.1, "Pulling blobs", "Mounting a blob
from another repository", "Deleting blobs".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from quay import faults
from quay.database import Database
from quay.interfaces import IBlobSource, IBlobStore, IFileKeeper
from quay.model import blob as rows
from quay.model.blob import Blob
from quay.model.condemned import BytesInDoubt
from quay.model.repository import Repository
from quay.oci.errors import BlobUnknown, Unavailable
from quay.oci.reference import Digest
from quay.oci.schema1 import EMPTY_LAYER, EMPTY_LAYER_DIGEST
from quay.registry.cache import Cache
from quay.registry.policy import Policy
from quay.storage import BlobMissing, StorageFailed

log = Logger()

RETRY_S: Final = 0.1
PATIENCE: Final = 30
"""How often a push looks again for bytes that are being removed, every `RETRY_S` seconds."""


@attrs.frozen
class Stores:
    """The blob stores by location; `preferred` takes what is pushed, the others are read when it has not got a blob."""

    by_location: Mapping[str, IBlobStore]
    preferred: str

    @property
    def target(self) -> IBlobStore:
        return self.by_location[self.preferred]

    def holding(self, locations: Iterable[str]) -> list[IBlobStore]:
        """The stores among `locations`, the preferred one first."""
        known = [location for location in locations if location in self.by_location]
        return [self.by_location[location] for location in sorted(known, key=lambda one: one != self.preferred)]


class Blobs:
    """What may be done with the blobs of a repository, once access has been granted."""

    def __init__(self, database: Database, stores: Stores, cache: Cache, policy: Policy, clock: IReactorTime) -> None:
        self._database = database
        self._stores = stores
        self._cache = cache
        self._policy = policy
        self._clock = clock

    async def stat(self, repository: Repository, digest: Digest) -> Blob:
        """The blob `digest` of this repository. Raises `BlobUnknown`."""

        async def read() -> Blob | None:
            return await self._database.read(rows.blob, repository.id, digest)

        found: Blob | None = await self._cache.load(("blob", repository.id, digest), read)
        if found is None and digest == EMPTY_LAYER_DIGEST:
            return await self.hold(repository, EMPTY_LAYER)
        if found is None:
            raise unknown(repository, digest)
        return found

    async def open(self, repository: Repository, digest: Digest) -> tuple[Blob, IBlobSource]:
        """
        The blob and its bytes, for the caller to close. Raises `BlobUnknown`; `Unavailable` when the repository has
        the blob and no store can give it.
        """
        blob = await self.stat(repository, digest)
        for store in self._stores.holding(blob.locations):
            source = await self._open(store, blob)
            if source is not None:
                return blob, source
        raise Unavailable(
            f"The blob {digest} of {repository.name} is on record, but its bytes cannot be read now.",
            advice="The administrator finds the reason in the server's log; pushing the blob again heals it.",
            headers={"Retry-After": "30"},
        )

    async def _open(self, store: IBlobStore, blob: Blob) -> IBlobSource | None:
        try:
            source = await store.open(blob.digest)
        except (BlobMissing, StorageFailed):
            log.failure("{location} cannot give {digest}", location=store.location, digest=blob.digest)
            return None
        if source.size == blob.size:
            return source
        source.close()
        log.error(
            "{location} holds {found} bytes of {digest}, which has {size}",
            location=store.location,
            found=source.size,
            digest=blob.digest,
            size=blob.size,
        )
        return None

    async def read(self, repository: Repository, digest: Digest, limit: int) -> bytes | None:
        """The whole of a small blob; None if it is larger than `limit` bytes. Raises as `open`."""
        blob, source = await self.open(repository, digest)
        try:
            return await source.read(0, blob.size) if blob.size <= limit else None
        finally:
            source.close()

    async def hold(self, repository: Repository, data: bytes, *, identity: str = "") -> Blob:
        """Make `data`, a few bytes that the server itself knows, a blob of this repository."""
        digest = Digest.of(data)
        store = self._stores.target
        seen_ms = int(self._clock.seconds() * 1000)
        await store.keep(digest, data)  # also where it is: whether its name is durable, nobody can see
        return await self._link(repository, store, digest, len(data), seen_ms)

    async def hold_file(self, repository: Repository, digest: Digest, path: Path) -> Blob | None:
        """
        Make the file `path` of this machine a blob of this repository, as it lies there; None if no store here can. It
        must not be written to afterwards. Raises `DigestMismatch`, `StorageFailed`.
        """
        store = self._stores.target
        if not IFileKeeper.providedBy(store):
            return None
        seen_ms = int(self._clock.seconds() * 1000)
        size = await IFileKeeper(store).keep_file(digest, path)
        return await self._link(repository, store, digest, size, seen_ms)

    async def _link(self, repository: Repository, store: IBlobStore, digest: Digest, size: int, seen_ms: int) -> Blob:
        async def link(digest: Digest, **seen: Any) -> Blob:
            return await self._database.write(
                rows.link_blob, repository.id, digest, size, store.location, lease_s=self._policy.upload_s, **seen
            )

        return await linked(self._clock, store, digest, seen_ms, link)

    async def mount(self, target: Repository, digest: Digest, source_id: int) -> Blob | None:
        """Link the blob of the repository `source_id` into `target`; None if the source has not got it."""
        return await self._database.write(rows.mount_blob, source_id, target.id, digest, lease_s=self._policy.upload_s)

    async def source_for(
        self, digest: Digest, holder_id: int | None, names: Collection[str] | None
    ) -> Repository | None:
        """
        A repository that has the blob and that the holder may read; among `names`, to which his token confines him,
        or among all.
        """
        return await self._database.read(rows.readable_source, digest, holder_id=holder_id, names=names)

    async def adopt(self, target: Repository, digest: Digest) -> Blob | None:
        """
        Link the blob into `target` from any repository, for whoever administers all of them; None if none has it.
        """
        return await self._database.write(rows.adopt_blob, target.id, digest, lease_s=self._policy.upload_s)

    async def among(self, digest: Digest, repository_ids: Collection[int]) -> int | None:
        """One of these repositories that has the blob."""
        return await self._database.read(rows.linked_among, digest, repository_ids)

    async def delete(self, repository: Repository, digest: Digest) -> None:
        """Unlink the blob from this repository. Raises `BlobUnknown`; `Denied` while a manifest needs it."""
        if not await self._database.write(rows.unlink_blob, repository.id, digest):
            raise unknown(repository, digest)
        faults.point("blob.unlinked")


async def linked(
    clock: IReactorTime, store: IBlobStore, digest: Digest, seen_ms: int, link: Callable[..., Awaitable[Blob]]
) -> Blob:
    """
    What `link(digest, seen_ms=…, verified=…)` gives, a transaction with `link_blob` for bytes that were in place at
    `seen_ms`. Where somebody is removing these bytes, it waits for that, and looks whether they are still there.
    Raises `BytesInDoubt` if they are not.
    """
    verified = ""
    for _ in range(PATIENCE):
        try:
            return await link(digest, seen_ms=seen_ms, verified=verified)
        except BytesInDoubt as found:
            doubt = found
        if doubt.gone:
            seen_ms, verified = int(clock.seconds() * 1000), doubt.claim
            if await store.stat(digest) is None:
                break
        else:
            await deferLater(clock, RETRY_S)
    raise doubt


def unknown(repository: Repository, digest: Digest) -> BlobUnknown:
    return BlobUnknown(
        f"The repository {repository.name} has no blob {digest}.",
        advice="Push the blob to this repository, or mount it from one that has it.",
        digest=digest,
    )
