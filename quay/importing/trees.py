"""
A manifest with all that belongs to it: read from a source, looked at as a push would be, and bounded.
"""

from __future__ import annotations

from typing import Final

import attrs

from quay.importing.source import Origin, SourceError, SourceMissing
from quay.interfaces import IPool
from quay.oci.descriptor import Descriptor
from quay.oci.manifest import Manifest, parse
from quay.oci.reference import Digest, Tag
from quay.oci.shape import is_known
from quay.registry.client import RemoteMissing

MANIFESTS_LIMIT: Final = 5_000
MEMORY_LIMIT: Final = 32 * 1024 * 1024
"""Bytes of the manifests of one tree, which are held until it is here."""
REMEMBERED: Final = 64 * 1024 * 1024
"""Bytes of manifests that are remembered between looking and bringing."""
NESTING_LIMIT: Final = 8
INLINE_LIMIT: Final = 64 * 1024
"""Up to this size, a manifest is parsed in the reactor: it takes less than the hop to a thread and back."""

MISSING: Final = (SourceMissing, RemoteMissing)


@attrs.define
class Tree:
    """
    `root` and what it names: `manifests`, the root last, in an order in which they can be pushed; the `blobs` that
    these need, and those that others hold for them (`foreign`), which the source may have all the same. `absent` are
    children that are no manifests of the source.
    """

    root: Manifest
    manifests: dict[Digest, Manifest] = attrs.field(factory=dict)
    blobs: dict[Digest, Descriptor] = attrs.field(factory=dict)
    foreign: dict[Digest, Descriptor] = attrs.field(factory=dict)
    absent: list[Digest] = attrs.field(factory=list)


class Memory:
    """
    Manifests that have been read, as many as fit, and what refers to what: who looks first, and brings then, asks once.
    """

    def __init__(self, room: int = REMEMBERED) -> None:
        self._room = room
        self._kept: dict[tuple[str, str], Manifest] = {}
        self.referrers: dict[tuple[str, Digest], list[Digest]] = {}

    def get(self, repository: str, reference: str) -> Manifest | None:
        return self._kept.get((repository, reference))

    def keep(self, repository: str, reference: str, manifest: Manifest) -> None:
        if self._room >= len(manifest.raw):
            self._room -= len(manifest.raw)
            self._kept[repository, reference] = manifest


class Reader:
    """Reads trees of one repository of a source; `pool` parses what is large."""

    def __init__(self, source: Origin, repository: str, pool: IPool, memory: Memory) -> None:
        self._source = source
        self._repository = repository
        self._pool = pool
        self._memory = memory

    async def read(self, reference: Digest | Tag) -> Tree:
        """The tree of a tag or manifest. Raises `TROUBLE`, and what `parse` raises."""
        root = await self._manifest(reference)
        tree = Tree(root)
        await self._add(tree, root, NESTING_LIMIT)
        return tree

    async def _add(self, tree: Tree, manifest: Manifest, depth: int) -> None:
        for child in manifest.manifests if depth else ():
            if child.digest not in tree.manifests and child.digest != tree.root.digest:
                await self._add_child(tree, child, depth - 1)
        held = sum(len(one.raw) for one in tree.manifests.values())
        if len(tree.manifests) >= MANIFESTS_LIMIT or held + len(manifest.raw) > MEMORY_LIMIT:
            raise SourceError(
                f"It names more than {MANIFESTS_LIMIT} manifests, or more than {MEMORY_LIMIT} bytes of them."
            )
        tree.manifests[manifest.digest] = manifest
        tree.blobs.update({blob.digest: blob for blob in manifest.blobs()})
        tree.foreign.update({blob.digest: blob for blob in manifest.layers if blob.is_foreign})

    async def _add_child(self, tree: Tree, child: Descriptor, depth: int) -> None:
        """A child that is not there is no manifest here either: a sparse index, or a cache that names plain blobs."""
        try:
            found = await self._manifest(child.digest)
        except MISSING:
            tree.absent.append(child.digest)
            tree.foreign[child.digest] = child
            return
        await self._add(tree, found, depth)

    async def _manifest(self, reference: Digest | Tag) -> Manifest:
        known = self._memory.get(self._repository, reference)
        if known is None:
            known = await self._read(reference)
            self._memory.keep(self._repository, reference, known)
        return known

    async def _read(self, reference: Digest | Tag) -> Manifest:
        found = await self._source.manifest(self._repository, reference)
        media_type = found.media_type if is_known(found.media_type) else ""
        if len(found.content) <= INLINE_LIMIT and b'"signatures"' not in found.content:
            return parse(found.content, media_type, digest=found.digest)
        return await self._pool.run(parse, found.content, media_type, digest=found.digest)
