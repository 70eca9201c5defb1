"""
Archives of images: a tag as a tar file, and tags from a tar file, for those who carry images where no network is.
"""

from __future__ import annotations

import attrs

from quay.interfaces import IBlobSource, IPool
from quay.model.repository import Repository
from quay.oci.reference import Digest, Tag
from quay.registry.archives.incoming import Intake
from quay.registry.archives.outgoing import ArchiveSource, Packing, Wanted
from quay.registry.archives.packed import unpacked
from quay.registry.archives.publishing import Publishing, Taken
from quay.registry.archives.stream import Inlet
from quay.registry.blobs import Blobs
from quay.registry.caller import Caller
from quay.registry.manifests import Manifests
from quay.registry.policy import Policy
from quay.registry.uploads import Body, Uploads
from quay.tasks import Tasks

__all__ = ["Archives", "Taken", "Wanted"]


@attrs.frozen
class Archives:
    """What may be done with archives, once access has been granted."""

    _blobs: Blobs
    _manifests: Manifests
    _uploads: Uploads
    _policy: Policy
    _cpu: IPool
    _tasks: Tasks

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

    async def take(self, caller: Caller, repository: Repository, body: Body, tag: Tag | None = None) -> Taken:
        """
        Push the images of the archive in `body`, under the tags that it names, or its one image as `tag`. A tag is made
        when all of the archive has come and holds together: until then, and after a failure, the repository has the
        tags that it had. Raises `ArchiveInvalid`, `BlobTooLarge`, and what `Manifests.put` raises.
        """
        inlet = Inlet(body)
        try:
            intake = Intake(self._uploads, self._policy, self._cpu, self._tasks, repository)
            contents = await intake.read(unpacked(inlet.pieces(), self._cpu))
        finally:
            inlet.close()
        return await Publishing(self._blobs, self._manifests, caller, repository, contents).publish(tag)
