"""
What is on a shelf, and under which names it is to come: a bundle with its waybill, or what other tools made.

Only a bundle is signed. Whatever else there is (an OCI layout, as skopeo, hauler and others write it, an image that
skopeo wrote to a directory, what docker saved) is taken when somebody says that it may be unsigned: else whoever
changes a bundle on its way would only have to take its waybill out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Self

import attrs

from quay.bundles.closure import Gatherer
from quay.bundles.shelf import Scanned, Shelf
from quay.bundles.signing import SIGNED_LIMIT, PublicKey, Untrusted, opened
from quay.bundles.volumes import VOLUME, WAYBILL
from quay.bundles.waybill import CONTAINERS, MEMBERS, TAGS_LIMIT, BundleInvalid, Referrer, Shipment, Waybill
from quay.interfaces import IPool
from quay.oci import archive
from quay.oci.archive import Saved
from quay.oci.descriptor import Descriptor
from quay.oci.document import load
from quay.oci.errors import ManifestInvalid, NameInvalid, TagInvalid
from quay.oci.manifest import MANIFEST_LIMIT
from quay.oci.media_types import OCI_MANIFEST
from quay.oci.reference import Digest, RepositoryName, Tag

LABEL_LIMIT: Final = 1024
INDEX_LIMIT: Final = 32 * 1024 * 1024


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


async def cargo_of(
    shelf: Shelf, trusted: Mapping[str, PublicKey], cpu: IPool, *, unsigned: bool = False, named: Named | None = None
) -> Cargo:
    """
    What is on the shelf. `unsigned`: somebody said that it may be; `named`: what he calls an archive without a name.
    Raises `Untrusted`, `BundleInvalid` and the like.
    """
    raw = await shelf.document(WAYBILL, SIGNED_LIMIT)
    if raw is not None:
        return await _bundle(shelf, raw, trusted, cpu, unsigned)
    if not unsigned:
        raise Untrusted(
            "This is no bundle that is signed, but an archive that anybody may have made or changed.",
            advice="If you know where it comes from, say so: --accept-unsigned.",
        )
    index = await shelf.document(archive.INDEX_JSON, INDEX_LIMIT)
    if index is not None:
        found = await _layout(Cargo(shelf), await cpu.run(_read_index, index), cpu, named)
        if found.shipments:
            return found
    saved = await shelf.document(archive.MANIFEST_JSON, INDEX_LIMIT)
    if saved is None:
        raise BundleInvalid(
            "There is neither a bundle nor an archive of images in these files.",
            advice="Name the volumes of a bundle, an OCI layout, or what docker save made.",
        )
    if saved.lstrip().startswith(b"["):
        return Cargo(shelf, docked=tuple(_docked(await cpu.run(archive.read_saved, saved), named)))
    return _directory(shelf, saved, named)


# --- a bundle -----------------------------------------------------------------------------------------------------


async def _bundle(shelf: Shelf, raw: bytes, trusted: Mapping[str, PublicKey], cpu: IPool, unsigned: bool) -> Cargo:
    signed = await cpu.run(opened, "bundle", raw, trusted, unsigned=unsigned)
    waybill: Waybill = await cpu.run(Waybill.parse, signed.payload)
    numbers: dict[int, Scanned] = {}
    of = 1
    for file in shelf.files:
        number, of = await _label(shelf, file, waybill)
        if number in numbers:
            shelf.remarks.append(
                f"{file.path.name} and {numbers[number].path.name} are both volume {number}; the first one is used."
            )
        numbers.setdefault(number, file)
    missing = tuple(number for number in range(1, of + 1) if number not in numbers)
    return Cargo(shelf, waybill.shipments, (), waybill, signed.signer, missing, of)


async def _label(shelf: Shelf, file: Scanned, waybill: Waybill) -> tuple[int, int]:
    """Which volume this is, and of how many. Raises `BundleInvalid` for one of another bundle."""
    extent = file.members.get(VOLUME)
    if extent is None or extent.size > LABEL_LIMIT:
        raise BundleInvalid(f"{file.path.name} is no volume of a bundle.", advice="Name the volumes only.")
    try:
        told = json.loads(b"".join([piece async for piece in shelf.pieces((extent,))]))
        bundle, number, of = str(told["bundle"]), int(told["number"]), int(told["of"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BundleInvalid(f"{file.path.name} does not say which volume of a bundle it is.") from None
    if bundle != waybill.id:
        raise BundleInvalid(
            f"{file.path.name} belongs to the bundle {bundle[:80]}, and others here to {waybill.id}.",
            advice="Load one bundle at a time.",
        )
    if not 1 <= number <= of <= 999:
        raise BundleInvalid(f"{file.path.name} says that it is volume {number} of {of}: that cannot be.")
    return number, of


# --- what other tools made ----------------------------------------------------------------------------------------


@attrs.frozen
class _Listed:
    """An image in the index of a layout, with as much of its name as that has."""

    descriptor: Descriptor
    repository: RepositoryName | None
    tag: Tag | None


def _read_index(raw: bytes) -> list[_Listed]:
    index = load(raw, archive.INDEX_JSON, containers=CONTAINERS, members=MEMBERS)
    return [_listed(Descriptor.read(node)) for node in index.children("manifests", TAGS_LIMIT)]


async def _layout(cargo: Cargo, listed: Sequence[_Listed], cpu: IPool, named: Named | None) -> Cargo:
    """The images of an OCI layout; what has no name, and refers to one that has, comes with it."""
    subjects = await _subjects(cargo, [one.descriptor for one in listed if one.repository is None], cpu)
    mains = [one for one in listed if one.descriptor.digest not in subjects]
    nameless = sum(one.repository is None for one in mains)
    if named is not None:
        mains = _renamed(mains, named)
    elif nameless:
        cargo.shelf.remarks.append(f"{nameless} images have no name, and were left out: name one with --as.")
    found = [
        Shipment(one.repository, one.tag or Tag("latest"), one.descriptor.digest, one.descriptor.media_type)
        for one in mains
        if one.repository is not None
    ]
    _check_clash(found)
    whole = [attrs.evolve(one, referrers=await _referrers(cargo, one, subjects, cpu)) for one in found]
    return attrs.evolve(cargo, shipments=tuple(dict.fromkeys(whole)))


def _listed(one: Descriptor) -> _Listed:
    names = [one.annotations.get(key, "") for key in (archive.REF_NAME, archive.IMAGE_NAME)]
    whole = next((name for name in names if "/" in name or ":" in name), None)
    if whole is not None:
        named = _parsed_name(whole)
        return _Listed(one, named.repository, named.tag)
    try:
        return _Listed(one, None, Tag.parse(names[0]) if names[0] else None)
    except TagInvalid:
        return _Listed(one, None, None)


def _renamed(mains: Sequence[_Listed], named: Named) -> list[_Listed]:
    """The images as somebody calls them: one by name and tag, several by the repository only."""
    count = len({one.descriptor.digest for one in mains})
    if named.tag is None:
        return [attrs.evolve(one, repository=named.repository) for one in mains]
    if count != 1:
        raise BundleInvalid(
            f"There are {count} images here: they cannot all be {named.repository}:{named.tag}.",
            advice="Give a repository without a tag: each image keeps the tag that it has.",
        )
    return [_Listed(mains[0].descriptor, named.repository, named.tag)]


async def _subjects(cargo: Cargo, unnamed: Iterable[Descriptor], cpu: IPool) -> dict[Digest, tuple[Digest, str]]:
    """What each manifest without a name refers to, if it does, and its own media type."""
    found: dict[Digest, tuple[Digest, str]] = {}
    for one in unnamed:
        closure = await cargo.gatherer(cpu).gather([Referrer(one.digest, one.media_type)])
        subject = closure.manifests[one.digest].subject
        if subject is not None:
            found[one.digest] = (subject.digest, one.media_type)
    return found


async def _referrers(
    cargo: Cargo, one: Shipment, subjects: Mapping[Digest, tuple[Digest, str]], cpu: IPool
) -> tuple[Referrer, ...]:
    """What refers to any part of this, each after its subject."""
    if not subjects:
        return ()
    closure = await cargo.gatherer(cpu).gather([Referrer(one.digest, one.media_type)])
    parts, found = set(closure.manifests), dict[Digest, Referrer]()
    while True:
        more = [digest for digest, (of, _) in subjects.items() if of in parts and digest not in found]
        if not more:
            return tuple(found.values())
        found |= {digest: Referrer(digest, subjects[digest][1]) for digest in more}
        parts |= set(more)


def _parsed_name(name: str) -> Named:
    try:
        return Named.parse(name)
    except (NameInvalid, TagInvalid) as error:
        raise BundleInvalid(f"An image is called {name[:160]!r}: {error.message}", advice="Name it: --as.") from error


def _docked(images: Sequence[Saved], named: Named | None) -> Iterable[Docked]:
    for image in images:
        if named is not None:
            if named.tag is not None and len(images) != 1:
                raise BundleInvalid(f"There are {len(images)} images here: they cannot all be {named.tag}.")
            yield Docked(named.repository, (named.tag,) if named.tag else image.tags, image)
            continue
        if not image.names:
            raise BundleInvalid("The archive has an image without a name.", advice="Name it: --as REPOSITORY:TAG.")
        by_repository: dict[RepositoryName, list[Tag]] = {}
        for name in map(_parsed_name, image.names):
            by_repository.setdefault(name.repository, []).append(name.tag or Tag("latest"))
        for repository, tags in by_repository.items():
            yield Docked(repository, tuple(tags), image)


def _directory(shelf: Shelf, manifest: bytes, named: Named | None) -> Cargo:
    """What skopeo wrote to a directory: one image, which is called nothing there."""
    if named is None or named.tag is None:
        raise BundleInvalid("This image has no name.", advice="Name it: --as REPOSITORY:TAG.")
    digest = Digest.of(manifest)
    shelf.blobs[digest] = (shelf.members[archive.MANIFEST_JSON],)
    try:
        told = load(manifest, archive.MANIFEST_JSON).optional_media_type("mediaType")
    except ManifestInvalid as error:
        raise BundleInvalid(f"The manifest of this image cannot be read: {error.message}") from error
    return Cargo(shelf, (Shipment(named.repository, named.tag, digest, told or OCI_MANIFEST),))


def _check_clash(shipments: Iterable[Shipment]) -> None:
    owners: dict[str, Digest] = {}
    for one in shipments:
        if owners.setdefault(one.name, one.digest) != one.digest:
            raise BundleInvalid(f"Several images here are called {one.name}, so nobody knows which one is meant.")
