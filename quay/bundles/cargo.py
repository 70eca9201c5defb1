"""
What there is to load from a shelf, and under which names it is to come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import attrs

from quay.bundles.closure import Gatherer
from quay.bundles.shelf import Shelf
from quay.bundles.waybill import Shipment, Waybill
from quay.interfaces import IPool
from quay.oci import archive
from quay.oci.archive import Saved
from quay.oci.manifest import MANIFEST_LIMIT
from quay.oci.reference import Digest, RepositoryName, Tag


@attrs.frozen
class Named:
    """What somebody calls an archive that has no name: a repository, and a tag, or those that it has."""

    repository: RepositoryName
    tag: Tag | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """`acme/web` or `acme/web:1.0`; a registry in front is left out. Raises `NameInvalid`, `TagInvalid`."""
        first, slash, rest = text.partition("/")
        if slash and (first == "localhost" or "." in first or ":" in first):
            text = rest
        repository, colon, tag = text.partition("@")[0].partition(":")
        return cls(RepositoryName.parse(repository), Tag.parse(tag) if colon else None)


@attrs.frozen
class Docked:
    """An image as docker saved it: it gets its manifest when it comes in."""

    repository: RepositoryName
    tags: tuple[Tag, ...]
    saved: Saved


@attrs.frozen
class Cargo:
    """
    What there is to load. `waybill` is that of a bundle, `signer` whoever signed it ("" for nobody who is known);
    `missing` are the numbers of volumes that are not here.
    """

    shelf: Shelf
    shipments: tuple[Shipment, ...] = ()
    docked: tuple[Docked, ...] = ()
    waybill: Waybill | None = None
    signer: str = ""
    missing: tuple[int, ...] = ()
    volumes: int = 1

    @property
    def blobs(self) -> Mapping[Digest, int]:
        """The blobs that are here or should be, with their sizes."""
        if self.waybill is not None:
            return self.waybill.blobs
        return {digest: self.shelf.size(digest) for digest in self.shelf.blobs}

    @property
    def loose(self) -> int:
        """The bytes of what has no digest yet: the layers of images that docker saved."""
        names = {name for one in self.docked for name in (one.saved.config, *one.saved.layers)}
        extents = [self.shelf.extent(name) for name in names if not name.startswith(archive.BLOBS)]
        return sum(extent.size for extent in extents if extent is not None)

    @property
    def held(self) -> Mapping[Digest, int]:
        """The blobs that the far side is said to have."""
        return {} if self.waybill is None else self.waybill.held

    def gatherer(self, cpu: IPool) -> Gatherer:
        """Gathers what belongs to a shipment."""

        async def read(digest: Digest) -> bytes | None:
            return await self.shelf.blob(digest, MANIFEST_LIMIT)

        return Gatherer(read, cpu, lambda digest: digest in self.shelf.blobs or digest in self.held)
