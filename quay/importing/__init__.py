"""
Imports: what another registry, the directory of one, or another Quay has, comes into this one.

A tag comes when all that it names is here: until then the tags are what they were, and what was fetched before a crash
is not fetched again. What cannot come is told by name with its reason, and does not keep the rest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from fnmatch import fnmatchcase
from typing import Final

import attrs

from quay.database import Database
from quay.importing.carrying import Carrier, NoRoom, Room
from quay.importing.parallel import each, listed
from quay.importing.places import Places
from quay.importing.report import Tally
from quay.importing.source import TROUBLE, Source
from quay.importing.trees import Reader, Tree
from quay.interfaces import IPool
from quay.model import content
from quay.model import tag as tags
from quay.model.repository import Repository
from quay.oci.errors import RegistryError, Unavailable
from quay.oci.media_types import INDEXES
from quay.oci.reference import Digest, Tag
from quay.registry import Registry
from quay.storage import StorageError, StorageFull

__all__ = ["Choice", "Importer", "NoRoom", "Room", "Tally"]

REPOSITORIES_AT_ONCE: Final = 2
TAGS_AT_ONCE: Final = 4
REFERRERS_LIMIT: Final = 1_000
"""So many may refer to one image, at any remove."""

REFUSALS: Final = (*TROUBLE, RegistryError, StorageError)
"""Why one thing does not come, while others may."""
ENDS: Final = (StorageFull, Unavailable)
"""Why nothing more can come."""


@attrs.frozen
class Choice:
    """
    What is to come: repositories and tags by globs, where none means all; manifests without a tag, too, if `untagged`;
    and what refers to images (signatures, for instance), if `referrers`. With `replace`, tags that are here and name
    something else move; else they stay.
    """

    repositories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    untagged: bool = False
    referrers: bool = True
    replace: bool = True

    @property
    def names(self) -> tuple[str, ...] | None:
        """The repositories, if they are all named: then nobody needs a list of them."""
        named = self.repositories and not any(set(name) & set("*?[") for name in self.repositories)
        return self.repositories if named else None

    def takes(self, repository: str) -> bool:
        return not self.repositories or any(fnmatchcase(repository, glob) for glob in self.repositories)

    def takes_tag(self, tag: str) -> bool:
        return not self.tags or any(fnmatchcase(tag, glob) for glob in self.tags)


@attrs.frozen
class _Filling:
    """A repository of the source, what it is called here, and what there is of it here: nothing, on a dry run."""

    source: str
    label: str
    target: Repository | None
    reader: Reader


class Importer:
    """Brings what is chosen of `source`. With `dry`, it only looks. What it does stands in `tally` at any time."""

    def __init__(
        self,
        source: Source,
        registry: Registry,
        database: Database,
        places: Places,
        pool: IPool,
        room: Room,
        *,
        dry: bool = False,
    ) -> None:
        self.tally = Tally()
        self._source = source
        self._registry = registry
        self._database = database
        self._places = places
        self._pool = pool
        self._dry = dry
        self._targets: set[int] = set()
        self._carrier = Carrier(source, registry.blobs, self._targets, room, self.tally)
        self._planned: set[Digest] = set()

    async def run(self, choice: Choice) -> Tally:
        """
        Bring it. Raises `TROUBLE` if the source cannot be listed, `NoRoom` and what `ENDS` lists; whatever else does
        not come stands in the tally.
        """

        async def fill(name: str) -> None:
            await self._fill(name, choice)

        await each(self._chosen(choice), fill, REPOSITORIES_AT_ONCE)
        self.tally.doing = ""
        return self.tally

    async def _chosen(self, choice: Choice) -> AsyncIterator[str]:
        if choice.names is not None:
            for name in choice.names:
                yield name
            return
        async for name in self._source.repositories():
            if choice.takes(name):
                yield name

    # --- one repository

    async def _fill(self, name: str, choice: Choice) -> None:
        try:
            filling = await self._begun(name)
        except REFUSALS as why:
            self.tally.problem(name, why)
            return
        before = self.tally.tags

        async def bring(tag: str) -> None:
            await self._tag(filling, tag, choice)

        async def bring_untagged(digest: Digest) -> None:
            await self._untagged(filling, digest)

        try:
            await each(_filtered(self._source.tags(name), choice), bring, TAGS_AT_ONCE)
            if choice.untagged:
                await each(listed(await self._source.untagged(name)), bring_untagged, TAGS_AT_ONCE)
        except TROUBLE as why:
            self.tally.problem(name, why)
        self.tally.repositories += self.tally.tags > before

    async def _begun(self, name: str) -> _Filling:
        here = self._places.name(name)
        target = await (self._places.find(here) if self._dry else self._places.make(here))
        if target is not None:
            self._targets.add(target.id)
        return _Filling(name, str(here), target, Reader(self._source, name, self._pool))

    # --- one tag

    async def _tag(self, filling: _Filling, spelled: str, choice: Choice) -> None:
        label = f"{filling.label}:{spelled}"
        self.tally.doing = label
        try:
            tag = Tag.parse(spelled)
            held = await self._held(filling, tag)
            told = await self._source.resolve(filling.source, tag)
            if held is None or held != told:
                told = await self._fetch(filling, tag, held, choice)
            else:
                self.tally.same += 1
            if choice.referrers and told is not None:
                await self._referrers(filling, told, label)
        except ENDS:
            raise
        except REFUSALS as why:
            self.tally.problem(label, _sentence(why))

    async def _held(self, filling: _Filling, tag: Tag) -> Digest | None:
        if filling.target is None:
            return None
        row = await self._database.read(tags.resolve_tag, filling.target.id, tag)
        return None if row is None else row.digest

    async def _fetch(self, filling: _Filling, tag: Tag, held: Digest | None, choice: Choice) -> Digest | None:
        """Bring the tag; gives what it is then, None if it stays what it was."""
        tree = await filling.reader.read(tag)
        if held == tree.root.digest:
            self.tally.same += 1
            return held
        if held is not None and not choice.replace:
            self.tally.problem(f"{filling.label}:{tag}", f"It is {held} here, and stays so.")
            return None
        if held is not None:
            self.tally.note(f"{filling.label}:{tag} is {held} here, and {'would move' if self._dry else 'moved'}.")
        await self._bring(filling, tree, tag)
        self.tally.tags += 1
        return tree.root.digest

    async def _untagged(self, filling: _Filling, digest: Digest) -> None:
        if await self._has(filling, digest):
            return
        try:
            await self._bring(filling, await filling.reader.read(digest), digest)
            self.tally.untagged += 1
        except ENDS:
            raise
        except REFUSALS as why:
            self.tally.problem(f"{filling.label}@{digest}", _sentence(why))

    async def _bring(self, filling: _Filling, tree: Tree, reference: Digest | Tag) -> None:
        if self._dry or filling.target is None:
            await self._plan(filling, tree)
            return
        target, manifests, caller = filling.target, self._registry.manifests, self._places.caller
        for blob in await self._carrier.missing(tree, target):
            self.tally.total += blob.size
        await self._carrier.carry(filling.source, tree, target)
        for manifest in tree.manifests.values():
            under = reference if manifest is tree.root else manifest.digest
            await manifests.put(caller, target, under, manifest.media_type, manifest.raw)
            self.tally.manifests += 1

    async def _plan(self, filling: _Filling, tree: Tree) -> None:
        self.tally.manifests += len(tree.manifests)
        for blob in await self._carrier.missing(tree, filling.target):
            if blob.digest in self._planned:
                self.tally.here += blob.size
                continue
            self._planned.add(blob.digest)
            self.tally.blobs += 1
            self.tally.total += blob.size or await self._source.size(filling.source, blob.digest)

    # --- what refers to it

    async def _referrers(self, filling: _Filling, digest: Digest, label: str) -> None:
        """Bring what refers to a manifest, and what refers to that; one that cannot come does not keep the others."""
        ahead = [digest, *await self._children(filling, digest)]
        seen = set(ahead)
        while ahead and len(seen) < REFERRERS_LIMIT:
            for one in await self._source.referrers(filling.source, ahead.pop()):
                if one not in seen:
                    seen.add(one)
                    ahead.append(one)
                    await self._referrer(filling, one, label)

    async def _children(self, filling: _Filling, digest: Digest) -> list[Digest]:
        """The children of an index that is here: each of them may be referred to as well."""
        stored = None
        if filling.target is not None:
            stored = await self._database.read(content.manifest, filling.target.id, digest)
        if stored is None or stored.media_type not in INDEXES:
            return []
        return [child.digest for child in (await self._registry.manifests.parsed(stored)).manifests]

    async def _referrer(self, filling: _Filling, digest: Digest, label: str) -> None:
        if await self._has(filling, digest):
            return
        try:
            await self._bring(filling, await filling.reader.read(digest), digest)
        except ENDS:
            raise
        except REFUSALS as why:
            self.tally.problem(f"{filling.label}@{digest}, which refers to {label}", _sentence(why))

    async def _has(self, filling: _Filling, digest: Digest) -> bool:
        if filling.target is None:
            return False
        return await self._database.read(content.manifest, filling.target.id, digest) is not None


def _sentence(why: Exception) -> str:
    advice = getattr(why, "advice", "")
    return f"{why} {advice}".strip() if isinstance(why, RegistryError) else str(why)


async def _filtered(found: AsyncIterator[str], choice: Choice) -> AsyncIterator[str]:
    async for tag in found:
        if choice.takes_tag(tag):
            yield tag
