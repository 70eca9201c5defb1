"""
Archives on their way out: what belongs into one, and its bytes, which are made as they are read.

Nothing is written anywhere: an archive is its members' heads and the blobs where they lie. Its length is known before
its first byte, and its bytes are the same each time, so that a broken download can go on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from typing import Any, Final, Literal

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from quay.interfaces import IBlobSource
from quay.model.content import StoredManifest
from quay.model.repository import Repository
from quay.oci import archive
from quay.oci.archive import Part
from quay.oci.errors import BlobUnknown, InvalidRequest, ManifestUnknown
from quay.oci.manifest import Descriptor, Kind, Manifest
from quay.oci.reference import Digest, Tag
from quay.oci.tar import CLOSING, filled, head
from quay.registry.blobs import Blobs, unknown
from quay.registry.manifests import IMAGE_CONFIGS, Manifests

Format = Literal["docker", "oci"]

MANIFESTS_LIMIT: Final = 32 * 1024 * 1024
"""Bytes of manifests in one archive, which are held in memory while it is sent."""
PARTS_LIMIT: Final = 20_000
NESTING_LIMIT: Final = 8
REFERRERS_AT_ONCE: Final = 100
ATTESTED: Final = "vnd.docker.reference.digest"
"""The annotation with which BuildKit says of which image in an index another child tells something."""


class NotForArchives(InvalidRequest):
    """What the tag names cannot be in an archive of this format."""


@attrs.frozen
class Wanted:
    """
    What somebody asks for: the manifest behind `reference`, called `image` (`registry/team/app`) in the archive. Of an
    index, a docker archive has the image for `platform`; an OCI layout has all of them, or only those for `platforms`
    where these are given, with what refers to them if `referrers`.
    """

    repository: Repository
    reference: Digest | Tag
    image: str
    format: Format
    platform: str = "linux/amd64"
    referrers: bool = False
    platforms: frozenset[str] = frozenset()

    @property
    def names(self) -> dict[str, str]:
        """What an index says of the image."""
        if isinstance(self.reference, Digest):
            return {}
        return {archive.IMAGE_NAME: f"{self.image}:{self.reference}", archive.REF_NAME: str(self.reference)}


class Packing:
    """
    Finds out what belongs into one archive. Raises `BlobUnknown`, `ManifestUnknown`, `NotForArchives`. `absent` says of
    what an index names, and the archive has not got, why.
    """

    def __init__(self, blobs: Blobs, manifests: Manifests, wanted: Wanted) -> None:
        self._blobs = blobs
        self._manifests = manifests
        self._wanted = wanted
        self._contents: dict[Digest, bytes | int] = {}
        self._room = MANIFESTS_LIMIT
        self.absent: dict[Digest, str] = {}

    async def parts(self, stored: StoredManifest) -> list[Part]:
        """The members of the archive for the manifest `stored`."""
        if self._wanted.format == "docker":
            return await self._docker(stored)
        images = [self._described(stored, self._wanted.names)]
        for referrer in await self._include(stored, NESTING_LIMIT):
            images.append(self._described(referrer, {}))
        return archive.layout(images, self._contents)

    @staticmethod
    def _described(stored: StoredManifest, names: dict[str, str]) -> dict[str, Any]:
        return archive.described(stored.digest, stored.media_type, len(stored.content), names)

    async def _docker(self, stored: StoredManifest) -> list[Part]:
        stored, manifest = await self._image(stored)
        config, layers = manifest.config, manifest.layers
        if config is None or config.media_type not in IMAGE_CONFIGS:
            raise self._unfit("is no image")
        if any(layer.is_foreign for layer in layers):
            raise self._unfit("has layers that no registry may give away")
        self._take(stored)
        for blob in manifest.blobs():
            await self._measure(blob)
        names = self._wanted.names
        saved = archive.saved_as(
            config.digest, [names[archive.IMAGE_NAME]] if names else [], [layer.digest for layer in layers]
        )
        return archive.layout([self._described(stored, names)], self._contents, saved)

    async def _image(self, stored: StoredManifest) -> tuple[StoredManifest, Manifest]:
        """The image that this is, or that an index has for the platform."""
        manifest = await self._parsed(stored)
        for _ in range(NESTING_LIMIT):
            if not manifest.is_index:
                break
            stored = await self._manifests.find(self._wanted.repository, self._chosen(manifest).digest)
            manifest = await self._parsed(stored)
        return stored, manifest

    def _chosen(self, index: Manifest) -> Descriptor:
        platforms = [_spelled(child) for child in index.manifests]
        matching = [
            child
            for child, platform in zip(index.manifests, platforms, strict=True)
            if platform == self._wanted.platform or platform.startswith(f"{self._wanted.platform}/")
        ]
        if matching:
            return matching[0]
        if len(index.manifests) == 1:
            return index.manifests[0]
        offered = ", ".join(dict.fromkeys(one for one in platforms if one and "unknown" not in one)) or "none"
        raise NotForArchives(
            f"{self._wanted.reference} has no image for {self._wanted.platform[:80]}; it has them for {offered[:800]}.",
            advice="Choose with the parameter `platform`, or take all of them as an OCI layout (format=oci).",
        )

    async def _include(self, stored: StoredManifest, depth: int) -> list[StoredManifest]:
        """Take all that belongs to `stored`; what refers to that, if it is wanted, is returned, and taken too."""
        if stored.digest in self._contents:
            return []
        self._take(stored)
        manifest = await self._parsed(stored)
        for blob in manifest.blobs():
            await self._measure(blob)
        found = await self._referrers(stored) if self._wanted.referrers and depth else []
        for child in self._wanted_of(manifest) if depth else ():
            part = await self._found(child.digest)
            if part is not None:
                found += await self._include(part, depth - 1)
            elif not await self._is_blob(child):
                self.absent[child.digest] = "this registry has not got it"
        return found

    async def _is_blob(self, child: Descriptor) -> bool:
        """Whether an index names a plain blob here, as the caches of BuildKit do; it is taken then."""
        try:
            await self._measure(child)
        except BlobUnknown:
            return False
        return True

    def _wanted_of(self, index: Manifest) -> list[Descriptor]:
        """The children for the platforms that are wanted, and what is said of these."""
        platforms = self._wanted.platforms
        if not platforms:
            return list(index.manifests)
        chosen = {one.digest for one in index.manifests if not platforms.isdisjoint(_spellings(one))}
        about = {one.digest for one in index.manifests if one.annotations.get(ATTESTED) in chosen}
        plain = {one.digest for one in index.manifests if not _spelled(one)}
        wanted = chosen | about | plain
        self.absent |= {one.digest: f"it is for {_spelled(one)}" for one in index.manifests if one.digest not in wanted}
        return [one for one in index.manifests if one.digest in wanted]

    async def _referrers(self, stored: StoredManifest) -> list[StoredManifest]:
        found: list[StoredManifest] = []
        after: int | None = 0
        while after is not None:
            page = await self._manifests.referrers(
                self._wanted.repository, stored.digest, artifact_type=None, after=after, limit=REFERRERS_AT_ONCE
            )
            for digest in archive.listed_in(page.index):
                referrer = await self._found(digest)
                if referrer is not None and referrer.digest not in self._contents:
                    found += [referrer, *await self._include(referrer, NESTING_LIMIT // 2)]
            after = page.after
        return found

    async def _found(self, digest: Digest) -> StoredManifest | None:
        """The manifest, if the repository has it: an index may name more than that."""
        try:
            return await self._manifests.find(self._wanted.repository, digest)
        except ManifestUnknown:
            return None

    async def _parsed(self, stored: StoredManifest) -> Manifest:
        manifest = await self._manifests.parsed(stored)
        if manifest.kind is Kind.SCHEMA1:
            raise self._unfit("is an image of schema 1, which clients stopped to push in 2016")
        return manifest

    def _take(self, stored: StoredManifest) -> None:
        self._room -= len(stored.content)
        if self._room < 0:
            raise self._unfit(f"has more than {MANIFESTS_LIMIT} bytes of manifests")
        self._keep(stored.digest, stored.content)

    async def _measure(self, descriptor: Descriptor) -> None:
        if descriptor.digest not in self._contents:
            blob = await self._blobs.stat(self._wanted.repository, descriptor.digest)
            if not blob.locations:
                raise unknown(self._wanted.repository, descriptor.digest)
            self._keep(descriptor.digest, blob.size)

    def _keep(self, digest: Digest, content: bytes | int) -> None:
        self._contents[digest] = content
        if len(self._contents) > PARTS_LIMIT:
            raise self._unfit(f"has more than {PARTS_LIMIT} parts")

    def _unfit(self, why: str) -> NotForArchives:
        wanted = self._wanted
        what = f"{wanted.repository.name} {wanted.reference}"
        return NotForArchives(
            f"{what} {why}: that is not for an archive of the format {wanted.format}.",
            advice="Copy it with skopeo or oras." if wanted.format == "oci" else "Ask for format=oci, or copy it.",
        )


def _spellings(descriptor: Descriptor) -> list[str]:
    """A platform with its variant, and without: whoever asks for `linux/arm` means all of them."""
    whole = _spelled(descriptor)
    return [whole, "/".join(whole.split("/")[:2])] if whole else []


def _spelled(descriptor: Descriptor) -> str:
    """A platform as people write it: `linux/arm/v7`."""
    platform = descriptor.platform
    if platform is None:
        return ""
    return "/".join(filter(None, (platform.os, platform.architecture, platform.variant)))


Open = Callable[[Digest], Awaitable[IBlobSource]]


@implementer(IBlobSource)
class ArchiveSource:
    """The bytes of an archive of these parts; `open` opens a blob, and one is open at a time."""

    def __init__(self, parts: Sequence[Part], open: Open) -> None:
        self._parts = parts
        self._open = open
        self._starts = list(accumulate(map(_length, parts), initial=0))
        self.size = self._starts[-1] + len(CLOSING)
        self._held: tuple[Digest, IBlobSource] | None = None

    def read(self, offset: int, count: int) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self._read(offset, min(count, self.size - offset)))

    async def _read(self, offset: int, count: int) -> bytes:
        pieces: list[bytes] = []
        while count > 0:
            piece = await self._piece(offset, count)
            pieces.append(piece)
            offset += len(piece)
            count -= len(piece)
        return b"".join(pieces)

    async def _piece(self, offset: int, count: int) -> bytes:
        """Some of the bytes from `offset`, one at least."""
        number = bisect_right(self._starts, offset) - 1
        if number >= len(self._parts):
            return bytes(count)
        part, offset = self._parts[number], offset - self._starts[number]
        start = _head(part)
        if offset < len(start):
            return start[offset : offset + count]
        offset -= len(start)
        if offset >= part.size:
            return bytes(min(count, filled(part.size) - offset))
        count = min(count, part.size - offset)
        if isinstance(part.content, Digest):
            return await self._of_blob(part.content, part.start + offset, count)
        return (part.content or b"")[offset : offset + count]

    async def _of_blob(self, digest: Digest, offset: int, count: int) -> bytes:
        if self._held is None or self._held[0] != digest:
            self.close()
            self._held = (digest, await self._open(digest))
        piece: bytes = await self._held[1].read(offset, count)
        if not piece:
            raise EOFError(f"the blob {digest} ended too early, at {offset}")
        return piece

    def close(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held[1].close()


def _length(part: Part) -> int:
    """How many bytes of the archive the part takes."""
    return len(_head(part)) + filled(part.size)


def _head(part: Part) -> bytes:
    return head(part.name, part.size, directory=part.content is None)
