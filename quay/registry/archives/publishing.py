"""
What an archive brought becomes manifests and tags: as it has them, or, where docker had none, made from its configs.

Every manifest is looked at before the first is pushed, and tags come last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from quay.model.repository import Repository
from quay.oci import archive
from quay.oci.archive import Layer, Listed, Saved
from quay.oci.errors import BlobUnknown
from quay.oci.manifest import MANIFEST_LIMIT, Manifest, parse
from quay.oci.reference import Digest, Tag
from quay.oci.tar import ArchiveInvalid
from quay.registry.archives.incoming import Contents
from quay.registry.blobs import Blobs
from quay.registry.caller import Caller
from quay.registry.manifests import Manifests

MANIFESTS_LIMIT: Final = 5_000
"""How many manifests one archive may bring."""
MEMORY_LIMIT: Final = 32 * 1024 * 1024
"""Bytes of these, which are held until the last one is pushed."""
NESTING_LIMIT: Final = 8


@attrs.frozen
class Taken:
    """What came of an archive: tags, the digests of what they are, and how much of it was blobs."""

    tags: tuple[Tag, ...]
    digests: tuple[Digest, ...]
    blobs: int
    bytes: int


@attrs.frozen
class _Image:
    """A manifest that is to be pushed, and as what."""

    manifest: Manifest
    tags: tuple[Tag, ...] = ()


class Publishing:
    """Pushes to `repository` what `contents` has."""

    def __init__(
        self, blobs: Blobs, manifests: Manifests, caller: Caller, repository: Repository, contents: Contents
    ) -> None:
        self._blobs = blobs
        self._manifests = manifests
        self._caller = caller
        self._repository = repository
        self._contents = contents
        self._pushed: dict[Digest, Manifest] = {}  # in the order in which they can be pushed
        self._room = MEMORY_LIMIT

    async def publish(self, tag: Tag | None) -> Taken:
        """
        Push everything, with the tags that the archive names, or its one image as `tag`. Raises `ArchiveInvalid`, and
        what `Manifests.put` raises.
        """
        images = _named(await self._images(), tag)
        tagged = {image.manifest.digest: image.tags for image in images if image.tags}
        for digest, manifest in self._pushed.items():
            if digest not in tagged:
                await self._put(manifest, digest)
        for image in images:
            if image.tags:
                await self._put(image.manifest, *image.tags)
        tags = tuple(one for image in images for one in image.tags)
        digests = tuple(dict.fromkeys(image.manifest.digest for image in images))
        return Taken(tags, digests, self._contents.count, self._contents.bytes)

    async def _put(self, manifest: Manifest, reference: Digest | Tag, *more: Tag) -> None:
        await self._manifests.put(self._caller, self._repository, reference, manifest.media_type, manifest.raw, more)

    async def _images(self) -> list[_Image]:
        documents = self._contents.documents
        listed = archive.read_index(documents[archive.INDEX_JSON]) if archive.INDEX_JSON in documents else []
        if listed:
            return [await self._listed(one) for one in listed]
        if archive.MANIFEST_JSON in documents:
            return [await self._saved(one) for one in archive.read_saved(documents[archive.MANIFEST_JSON])]
        raise ArchiveInvalid(
            "The archive has neither an index.json nor a manifest.json: it is no archive of images.",
            advice="Make it with docker save, podman save or skopeo copy; engines before 1.10 made another kind.",
        )

    # --- an OCI layout

    async def _listed(self, listed: Listed) -> _Image:
        named = listed.descriptor
        manifest = await self._collect(named.digest, named.media_type, NESTING_LIMIT)
        if manifest is None:
            raise ArchiveInvalid(
                f"The index.json of the archive lists {named.digest}, which is not in it.",
                advice="A part of the archive is missing: make it again.",
            )
        return _Image(manifest, listed.tags)

    async def _collect(self, digest: Digest, media_type: str, depth: int) -> Manifest | None:
        """The manifest `digest`, which is to be pushed after all that it names; None if the archive has not got it."""
        if digest in self._pushed:
            return self._pushed[digest]
        if digest not in self._contents.blobs:
            return None
        manifest = parse(await self._read(digest), media_type, digest=digest)
        for child in manifest.manifests if depth else ():
            await self._collect(child.digest, child.media_type, depth - 1)
        await self._include(manifest)
        return manifest

    async def _read(self, digest: Digest) -> bytes:
        raw = await self._blobs.read(self._repository, digest, MANIFEST_LIMIT)
        if raw is None:
            raise ArchiveInvalid(f"The archive has the manifest {digest}, which is larger than {MANIFEST_LIMIT} bytes.")
        return raw

    async def _include(self, manifest: Manifest) -> None:
        self._room -= len(manifest.raw)
        if self._room < 0 or len(self._pushed) >= MANIFESTS_LIMIT:
            raise ArchiveInvalid(
                f"The archive has more than {MANIFESTS_LIMIT} manifests, or more than {MEMORY_LIMIT} bytes of them.",
                advice="Put fewer images into one archive.",
            )
        for blob in manifest.blobs():
            await self._check_blob(blob.digest)
        self._pushed[manifest.digest] = manifest

    async def _check_blob(self, digest: Digest) -> None:
        """Whether the repository has what a manifest names, from this archive or before."""
        try:
            await self._blobs.stat(self._repository, digest)
        except BlobUnknown as error:
            raise ArchiveInvalid(
                f"An image of this archive needs {digest}, which is neither in it nor in {self._repository.name}.",
                advice="A part of the archive is missing: make it again.",
            ) from error

    # --- what docker saved

    async def _saved(self, saved: Saved) -> _Image:
        config = await self._config(self._contents.resolved(saved.config))
        layers = [self._layer(self._contents.resolved(name)) for name in saved.layers]
        media_type, raw = archive.manifest_of(config, layers)
        await self._blobs.hold(self._repository, config)
        manifest = parse(raw, media_type)
        await self._include(manifest)
        return _Image(manifest, saved.tags)

    async def _config(self, name: str) -> bytes:
        digest = archive.digest_at(name)
        if digest is not None and digest in self._contents.blobs:
            return await self._read(digest)
        if name not in self._contents.documents:
            raise _missing(name)
        config = self._contents.documents[name]
        promised = name.rpartition("/")[2].removesuffix(".json").removeprefix("sha256:")
        if len(promised) == 64 and promised != Digest.of(config).hex:
            raise ArchiveInvalid(
                f"The archive is damaged: its config {name[:160]!r} has other bytes than its name says.",
                advice="Save the image again.",
            )
        return config

    def _layer(self, name: str) -> Layer:
        digest = archive.digest_at(name)
        found = self._contents.layers.get(name) if digest is None else self._contents.blobs.get(digest)
        if found is None:
            raise _missing(name)
        return found


def _missing(name: str) -> ArchiveInvalid:
    return ArchiveInvalid(
        f"The manifest.json of the archive names {name[:160]!r}, which is not in it.",
        advice="A part of the archive is missing: save the image again.",
    )


def _named(images: Sequence[_Image], tag: Tag | None) -> list[_Image]:
    """The images, each once, with all their tags. Raises `ArchiveInvalid` where it is not clear which to tag."""
    images = _once(images)
    if tag is not None:
        mains = [image for image in images if image.manifest.subject is None]
        if len(mains) != 1:
            raise ArchiveInvalid(
                f"The archive has {len(mains)} images, so they cannot all be called {tag}.",
                advice="Leave the parameter `tag` out: each image has the tags then that the archive names.",
            )
        return [attrs.evolve(image, tags=(tag,) if image is mains[0] else image.tags) for image in images]
    if not any(image.tags for image in images):
        raise ArchiveInvalid("The archive names no tag.", advice="Say with the parameter `tag` which one to make.")
    _check_clash(images)
    return images


def _once(images: Iterable[_Image]) -> list[_Image]:
    found: dict[Digest, _Image] = {}
    for image in images:
        before = found.get(image.manifest.digest, image)
        found[image.manifest.digest] = attrs.evolve(image, tags=tuple(dict.fromkeys((*before.tags, *image.tags))))
    return list(found.values())


def _check_clash(images: Sequence[_Image]) -> None:
    owners: dict[Tag, Digest] = {}
    for image in images:
        for tag in image.tags:
            if owners.setdefault(tag, image.manifest.digest) != image.manifest.digest:
                raise ArchiveInvalid(
                    f"The archive has several images with the tag {tag}, and a repository can have one.",
                    advice="Save the images into an archive each, and send them to repositories of their own.",
                )
