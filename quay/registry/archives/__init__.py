"""
Archives of images: a tag as a tar file, and tags from a tar file, for those who carry images where no network is.
"""

from __future__ import annotations

import attrs

from quay.interfaces import IBlobSource
from quay.oci.reference import Digest
from quay.registry.archives.outgoing import ArchiveSource, Packing, Wanted
from quay.registry.blobs import Blobs
from quay.registry.manifests import Manifests

__all__ = ["Archives", "Wanted"]


@attrs.frozen
class Archives:
    """What may be done with archives, once access has been granted."""

    _blobs: Blobs
    _manifests: Manifests

    async def pack(self, wanted: Wanted) -> IBlobSource:
        """
        The archive that is wanted, for the caller to close: nothing of it is read before it is asked for. Raises
        `ManifestUnknown`, `TagExpired`, `BlobUnknown`; `NotForArchives` for what no archive of this format can have.
        """
        stored = await self._manifests.find(wanted.repository, wanted.reference)
        parts = await Packing(self._blobs, self._manifests, wanted).parts(stored)

        async def open_blob(digest: Digest) -> IBlobSource:
            return (await self._blobs.open(wanted.repository, digest))[1]

        return ArchiveSource(parts, open_blob)
