"""
All that belongs to some manifests, as far as it is at hand: what they name, and what that names.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import attrs

from quay.bundles.waybill import BundleInvalid, Referrer
from quay.interfaces import IPool
from quay.oci.errors import RegistryError
from quay.oci.manifest import Descriptor, Kind, Manifest, parse
from quay.oci.reference import Digest
from quay.oci.shape import is_known

MANIFESTS_LIMIT: Final = 5_000
MEMORY_LIMIT: Final = 32 * 1024 * 1024
"""Bytes of the manifests of one tag, with all that refers to it."""
NESTING_LIMIT: Final = 8


class ManifestMissing(BundleInvalid):
    """A manifest is not at hand."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(f"The manifest {digest} is missing.", advice="Have all volumes at hand.")
        self.digest = digest


Read = Callable[[Digest], Awaitable[bytes | None]]


@attrs.define
class Closure:
    """
    `manifests` in an order in which they can be pushed, what they name first; `blobs` with their sizes; and which
    manifests are `absent`, though an index names them.
    """

    manifests: dict[Digest, Manifest] = attrs.field(factory=dict, repr=False)
    blobs: dict[Digest, int] = attrs.field(factory=dict, repr=False)
    absent: list[Digest] = attrs.field(factory=list)


class Gatherer:
    """Gathers one closure: `read` gives the bytes of a manifest, proved, or None where it is not at hand."""

    def __init__(self, read: Read, cpu: IPool, has_blob: Callable[[Digest], bool]) -> None:
        self._read = read
        self._cpu = cpu
        self._has_blob = has_blob
        self._room = MEMORY_LIMIT
        self._found = Closure()

    async def gather(self, roots: Iterable[Referrer]) -> Closure:
        """What belongs to these. Raises `ManifestMissing` for one of them, `BundleInvalid` for too many."""
        for root in roots:
            if not await self._collect(root.digest, root.media_type, NESTING_LIMIT):
                raise ManifestMissing(root.digest)
        return self._found

    async def _collect(self, digest: Digest, media_type: str, depth: int) -> bool:
        if digest in self._found.manifests:
            return True
        raw = await self._read(digest)
        if raw is None:
            return False
        manifest = await self._parsed(raw, digest, media_type)
        for child in manifest.manifests if depth else ():
            await self._child(child, depth - 1)
        self._room -= len(raw)
        if self._room < 0 or len(self._found.manifests) >= MANIFESTS_LIMIT:
            raise BundleInvalid(
                f"One tag has more than {MANIFESTS_LIMIT} manifests, or more than {MEMORY_LIMIT} bytes of them."
            )
        self._found.blobs |= {blob.digest: blob.size for blob in manifest.blobs()}
        self._found.manifests[digest] = manifest
        return True

    async def _parsed(self, raw: bytes, digest: Digest, media_type: str) -> Manifest:
        try:
            manifest: Manifest = await self._cpu.run(parse, raw, media_type, digest=digest)
        except RegistryError as error:
            raise BundleInvalid(f"The manifest {digest} cannot be read: {error.message}") from error
        if manifest.kind is Kind.SCHEMA1:
            raise BundleInvalid(f"The manifest {digest} is of schema 1: that is not for bundles.")
        return manifest

    async def _child(self, child: Descriptor, depth: int) -> None:
        if not is_known(child.media_type) and self._has_blob(child.digest):
            self._found.blobs[child.digest] = child.size  # as the caches of BuildKit have them
        elif not await self._collect(child.digest, child.media_type, depth):
            self._found.absent.append(child.digest)
