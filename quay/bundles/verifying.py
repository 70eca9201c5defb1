"""
Whether cargo is whole: every byte as it was written, every volume here, and for every tag all that it needs, or what
the far side is said to have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from quay.bundles.cargo import Cargo
from quay.bundles.extents import Extent, FileUnreadable
from quay.bundles.loading import Progress
from quay.bundles.scanning import Scanned
from quay.bundles.volumes import SUMS
from quay.bundles.waybill import Referrer, Shipment
from quay.interfaces import IPool
from quay.oci import archive
from quay.oci.errors import RegistryError
from quay.oci.reference import Digest

SUMS_LIMIT: Final = 32 * 1024 * 1024


class Verification:
    """Looks at `cargo`, and says what is wrong with it: `problems`, in sentences."""

    def __init__(self, cargo: Cargo, pool: IPool, cpu: IPool, progress: Progress) -> None:
        self._cargo = cargo
        self._pool = pool
        self._cpu = cpu
        self._progress = progress
        self.problems: list[str] = []

    async def run(self) -> Sequence[str]:
        """All that is wrong."""
        shelf = self._cargo.shelf
        for remark in shelf.remarks:
            self._tell(remark)
        for number in self._cargo.missing:
            self._tell(f"Volume {number} of {self._cargo.volumes} is missing.")
        self._progress.total = sum(extent.size for file in shelf.files for extent in file.members.values())
        self._progress.total += sum(map(shelf.size, shelf.cut))
        for file in shelf.files:
            await self._file(file)
        for digest in shelf.cut:
            await self._blob(digest, shelf.blobs[digest])
        for shipment in self._cargo.shipments:
            await self._shipment(shipment)
        self._progress.done = self._progress.total
        return self.problems

    def _tell(self, problem: str) -> None:
        self.problems.append(problem)
        self._progress.say(problem)

    async def _file(self, file: Scanned) -> None:
        """The checksums of a volume, and the digests of the blobs that are whole in it."""
        sums = await self._sums(file)
        for name, extent in file.members.items():
            if name == SUMS:
                continue
            digest = _digest_at(name)
            told = await self._hashed((extent,), digest.algorithm if digest is not None else "sha256")
            if digest is not None and told != digest.hex:
                self._tell(f"{file.path.name} is damaged: {digest} has other bytes there. Copy it again.")
            elif sums is not None and digest is None and sums.get(name) != told:
                self._tell(f"{file.path.name} is damaged: {name[:160]} has other bytes than when it was written.")
        for name in sorted(set(sums or ()) - set(file.members))[:20]:
            self._tell(f"{file.path.name} is damaged: {name[:160]} is missing in it.")

    async def _sums(self, file: Scanned) -> Mapping[str, str] | None:
        """The checksums that a volume has; None for what is no volume."""
        if self._cargo.waybill is None:
            return None
        extent = file.members.get(SUMS)
        if extent is None or extent.size > SUMS_LIMIT:
            if not file.damage:
                self._tell(f"{file.path.name} has no checksums.")
            return None
        raw = b"".join([piece async for piece in self._cargo.shelf.pieces((extent,))])
        lines = [line.split("  ", 1) for line in raw.decode("utf-8", "replace").splitlines()]
        return {line[1]: line[0] for line in lines if len(line) == 2}

    async def _hashed(self, extents: Sequence[Extent], algorithm: str) -> str:
        """The hash of these, one after the other, in hex."""
        hashing = hashlib.new(algorithm)
        try:
            async for piece in self._cargo.shelf.pieces(extents):
                await self._cpu.run(hashing.update, piece)
                self._progress.done += len(piece)
        except FileUnreadable as error:
            self._tell(error.message)
        return hashing.hexdigest()

    async def _blob(self, digest: Digest, extents: Sequence[Extent]) -> None:
        """A blob that is cut: its pieces together."""
        expected = self._cargo.blobs.get(digest)
        if expected is not None and self._cargo.shelf.size(digest) != expected:
            return  # what is missing of it is told with the tags that need it
        if await self._hashed(extents, digest.algorithm) != digest.hex:
            names = ", ".join(dict.fromkeys(extent.path.name for extent in extents))
            self._tell(f"{digest} is damaged in {names}.")

    async def _shipment(self, shipment: Shipment) -> None:
        cargo = self._cargo
        roots = [Referrer(shipment.digest, shipment.media_type), *shipment.referrers]
        try:
            closure = await cargo.gatherer(self._cpu).gather(roots)
        except RegistryError as error:
            self._tell(f"{shipment.name}: {error.message}")
            return
        for digest, size in closure.blobs.items():
            if digest not in cargo.held and cargo.shelf.size(digest) != size:
                self._tell(f"{shipment.name} needs {digest}, which is not here.")
        declared = {} if cargo.waybill is None else cargo.waybill.absent
        for digest in closure.absent:
            if cargo.waybill is not None and digest not in declared:
                self._tell(f"{shipment.name} needs the manifest {digest}, which is not here.")


def _digest_at(name: str) -> Digest | None:
    try:
        return archive.digest_at(name)
    except RegistryError:
        return None
