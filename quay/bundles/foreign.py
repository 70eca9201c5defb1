"""
What other tools made of images: OCI layouts, what docker saved, what skopeo wrote to a directory.

Source: OCI Image Specification 1.1 "Image Layout"; containerd's annotations of exported images; Docker Image
Specification 1.2; containers/image, "dir:".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from quay.bundles.cargo import Cargo, Docked, Named
from quay.bundles.shelf import Shelf
from quay.bundles.waybill import CONTAINERS, MEMBERS, TAGS_LIMIT, BundleInvalid, Referrer, Shipment
from quay.interfaces import IPool
from quay.oci import archive
from quay.oci.archive import Saved
from quay.oci.descriptor import Descriptor
from quay.oci.document import load
from quay.oci.errors import ManifestInvalid, NameInvalid, TagInvalid
from quay.oci.media_types import OCI_MANIFEST
from quay.oci.reference import Digest, RepositoryName, Tag


@attrs.frozen
class _Listed:
    """An image in the index of a layout, with as much of its name as that has."""

    descriptor: Descriptor
    repository: RepositoryName | None
    tag: Tag | None


def _read_index(raw: bytes) -> list[_Listed]:
    index = load(raw, archive.INDEX_JSON, containers=CONTAINERS, members=MEMBERS)
    return [_listed(Descriptor.read(node)) for node in index.children("manifests", TAGS_LIMIT)]


async def layout_cargo(shelf: Shelf, index: bytes, cpu: IPool, named: Named | None) -> Cargo:
    """
    The images of an OCI layout with this `index`; what has no name, and refers to one that has, comes with it. Raises
    `BundleInvalid`, `ManifestInvalid`.
    """
    cargo = Cargo(shelf)
    listed: Sequence[_Listed] = await cpu.run(_read_index, index)
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


async def docker_cargo(shelf: Shelf, manifest: bytes, cpu: IPool, named: Named | None) -> Cargo:
    """What docker saved, with this `manifest.json`. Raises `BundleInvalid`, `ManifestInvalid`, `ArchiveInvalid`."""
    return Cargo(shelf, docked=tuple(_docked(await cpu.run(archive.read_saved, manifest), named)))


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


def directory_cargo(shelf: Shelf, manifest: bytes, named: Named | None) -> Cargo:
    """What skopeo wrote to a directory: one image, which is called nothing there. Raises `BundleInvalid`."""
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
