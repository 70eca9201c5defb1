"""
Another registry as a source: pulled from, over the network.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from quay.importing.source import Found, Moved, SourceError
from quay.model.repository import Repository
from quay.oci.descriptor import Descriptor
from quay.oci.reference import Digest, Tag
from quay.registry.client import RegistryClient, RemoteMissing, RemoteRefused
from quay.registry.uploads import Uploads

SECRET: Final = "password of an import"  # noqa: S105  what it is sealed for, while a job waits
OWNER: Final = "$import"
"""Whose uploads these are: no principal is called so, so nobody else can go on with them."""


class RemoteSource:
    """
    The registry behind `client`, whose blobs come through `uploads`; with a `quay_token`, its repositories are listed
    through Quay's API.
    """

    takes_room = True

    def __init__(self, client: RegistryClient, uploads: Uploads, quay_token: str | None = None) -> None:
        self._client = client
        self._uploads = uploads
        self._quay_token = quay_token

    async def repositories(self) -> AsyncIterator[str]:
        token = self._quay_token
        try:
            async for name in self._client.repositories() if token is None else self._client.quay_repositories(token):
                yield name
        except (RemoteRefused, RemoteMissing) as why:
            raise SourceError(
                f"{why} Without a catalog nobody knows which repositories there are: name each with --repository, or "
                "give credentials of somebody who may see the catalog."
            ) from None

    def tags(self, repository: str) -> AsyncIterator[str]:
        return self._client.tags(repository)

    async def untagged(self, repository: str) -> list[Digest]:
        raise SourceError("A registry lists no manifests without a tag: they come only with what names them.")

    async def resolve(self, repository: str, tag: Tag) -> Digest | None:
        return await self._client.resolve(repository, tag)

    async def manifest(self, repository: str, reference: Digest | Tag) -> Found:
        found = await self._client.manifest(repository, reference)
        return Found(found.media_type, found.content, found.digest)

    async def referrers(self, repository: str, digest: Digest) -> list[Digest]:
        return await self._client.referrers(repository, digest)

    async def size(self, repository: str, digest: Digest) -> int:
        return await self._client.size(repository, digest)

    async def bring(self, repository: str, blob: Descriptor, target: Repository, moved: Moved) -> None:
        size = blob.size or await self._client.size(repository, blob.digest)
        download = self._client.blob(repository, blob.digest, size, moved)
        await self._uploads.receive_whole(target, OWNER, blob.digest, download)
