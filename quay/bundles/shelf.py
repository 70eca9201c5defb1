"""
What lies in the files that somebody brought: members of tar files, read where they lie, in whatever order.

The files are volumes of a bundle, archives of images, or directories of these; a compressed one is unpacked beside
first. Nothing is laid out under a name that an archive says, and no name leads anywhere: it is a key of a table. What
is damaged is remarked, and what is whole is used: each blob is hashed when it is taken.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Final, Self

from quay.bundles.extents import Extent, Span
from quay.bundles.scanning import Scanned, scanned
from quay.bundles.volumes import piece_at
from quay.bundles.waybill import BundleInvalid
from quay.interfaces import IPool
from quay.oci import archive
from quay.oci.errors import DigestInvalid
from quay.oci.reference import Digest
from quay.oci.tar import ArchiveInvalid

READ_BYTES: Final = 1024 * 1024
LINKS_LIMIT: Final = 8


class Shelf:
    """
    What the files have: `blobs` by digest, which of them are `cut` into pieces, and all `members` by name. `files` are
    those that were found, and `remarks` say what is wrong with them.
    """

    def __init__(self, pool: IPool, files: Sequence[Scanned]) -> None:
        self._pool = pool
        self.files = files
        self.members: dict[str, Extent] = {}
        self._links: dict[str, str] = {}
        self.blobs: dict[Digest, tuple[Extent, ...]] = {}
        self.remarks = [one.damage for one in files if one.damage]
        self._spare: list[Path] = []
        pieces: dict[Digest, dict[int, Extent]] = {}
        for file in files:
            self._links |= file.links
            for name, extent in file.members.items():
                self._put(name, extent, pieces)
        self.cut = pieces.keys() - self.blobs.keys()
        for digest in self.cut:
            self.blobs[digest] = tuple(pieces[digest][start] for start in sorted(pieces[digest]))

    def _put(self, name: str, extent: Extent, pieces: dict[Digest, dict[int, Extent]]) -> None:
        try:
            digest, cut = archive.digest_at(name), piece_at(name)
        except (ArchiveInvalid, BundleInvalid, DigestInvalid) as error:
            self.remarks.append(f"{extent.path.name}: {error.message}")
            return
        if digest is not None:
            self.blobs.setdefault(digest, (extent,))
        elif cut is not None:
            pieces.setdefault(cut[0], {}).setdefault(cut[1], extent)
        self.members.setdefault(name, extent)

    @classmethod
    async def of(cls, paths: Iterable[Path], pool: IPool, cpu: IPool, scratch: Path) -> Self:
        """
        What `paths` have, files and directories; `scratch` is a directory for what has to be unpacked. Raises
        `ArchiveInvalid` for what is neither tar nor a layout, `FileUnreadable`, `NoRoom`.
        """
        spare: list[Path] = []
        try:
            found = await scanned(paths, pool, cpu, scratch, spare)
        except BaseException:
            for file in spare:
                file.unlink(missing_ok=True)
            raise
        made: Self = await pool.run(cls, pool, found)
        made._spare = spare
        return made

    async def close(self) -> None:
        """Remove what was unpacked."""
        for file in self._spare:
            await self._pool.run(file.unlink, missing_ok=True)

    def size(self, digest: Digest) -> int:
        """The bytes of a blob, or of as many of its pieces as are here; 0 for one that is not."""
        return sum(extent.size for extent in self.blobs.get(digest, ()))

    def extent(self, name: str) -> Extent | None:
        """Where the member of this name lies, perhaps by links."""
        for _ in range(LINKS_LIMIT):
            if name in self.members or name not in self._links:
                break
            name = self._links[name]
        return self.members.get(name)

    async def document(self, name: str, limit: int) -> bytes | None:
        """A member as a whole; None if there is none. Raises `BundleInvalid` if it has more than `limit` bytes."""
        extent = self.extent(name)
        return None if extent is None else await self._whole(name, (extent,), limit)

    async def blob(self, digest: Digest, limit: int) -> bytes | None:
        """A small blob, proved; None if it is not here. Raises `BundleInvalid` for one that is larger or damaged."""
        if digest not in self.blobs:
            return None
        content = await self._whole(digest, self.blobs[digest], limit)
        if Digest.of(content, digest.algorithm) != digest:
            file = self.blobs[digest][0].path.name
            raise BundleInvalid(f"{file} is damaged: {digest} has other bytes there.", advice="Copy it again.")
        return content

    async def _whole(self, name: str, extents: Sequence[Extent], limit: int) -> bytes:
        size = sum(extent.size for extent in extents)
        if size > limit:
            raise BundleInvalid(f"{name[:160]} has {size} bytes; at most {limit} are read.")
        return b"".join([piece async for piece in self.pieces(extents)])

    async def pieces(self, extents: Sequence[Extent]) -> AsyncIterator[bytes]:
        """The bytes of these, one after the other."""
        for extent in extents:
            source = Span(self._pool, extent)
            try:
                for offset in range(0, extent.size, READ_BYTES):
                    yield await source.read(offset, READ_BYTES)
            finally:
                source.close()
