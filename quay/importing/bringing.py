"""
One repository that is being filled: trees of manifests come into it, and what refers to them.
"""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.defer import DeferredLock

from quay.database import Database
from quay.importing.carrying import Carrier, Room
from quay.importing.places import Places
from quay.importing.report import Tally
from quay.importing.source import TROUBLE, Origin
from quay.importing.trees import Memory, Reader, Tree
from quay.interfaces import IPool
from quay.model import content
from quay.model.repository import Repository
from quay.oci.errors import RegistryError, Unavailable
from quay.oci.media_types import INDEXES
from quay.oci.reference import Digest, RepositoryName, Tag
from quay.registry import Registry
from quay.registry.caller import Caller
from quay.storage import StorageError, StorageFull

REFERRERS_LIMIT: Final = 1_000
"""So many may refer to one image, at any remove."""

REMEMBERED: Final = 100_000
"""Of so many manifests it is remembered what refers to them, between looking and bringing."""

REFUSALS: Final = (*TROUBLE, RegistryError, StorageError)
"""Why one thing does not come, while others may."""
ENDS: Final = (StorageFull, Unavailable)
"""Why nothing more can come."""


@attrs.define(eq=False)
class Filling:
    """
    A repository that the source calls `source`, and its `name` here; `target` is None until there is something in it.
    `tags` counts those that came, or would.
    """

    source: str
    name: RepositoryName
    target: Repository | None
    reader: Reader
    tags: int = 0
    turn: DeferredLock = attrs.field(factory=DeferredLock)

    @property
    def label(self) -> str:
        """The name, as it is told."""
        return str(self.name)


class Bringer:
    """
    Brings trees of `source` to `places`. With `dry`, it only looks. What comes is counted in `tally`; `memory` has what
    somebody has looked at before.
    """

    def __init__(
        self,
        source: Origin,
        registry: Registry,
        database: Database,
        places: Places,
        pool: IPool,
        room: Room,
        *,
        dry: bool = False,
        memory: Memory | None = None,
    ) -> None:
        self.tally = Tally()
        self._source = source
        self.dry = dry
        self._registry = registry
        self._database = database
        self._places = places
        self._pool = pool
        self._memory = memory or Memory()
        self._targets: set[int] = set()
        self._carrier = Carrier(source, registry.blobs, self._targets, room, self.tally)
        self._planned: dict[Digest, str] = {}

    @property
    def caller(self) -> Caller:
        """In whose name it is done."""
        return self._places.caller

    async def begun(self, name: str) -> Filling:
        """Begin to fill what the source calls `name`. Raises `REFUSALS`."""
        here = self._places.name(name)
        target = await self._places.find(here)
        if target is not None:
            self._targets.add(target.id)
        return Filling(name, here, target, Reader(self._source, name, self._pool, self._memory))

    async def _made(self, filling: Filling) -> Repository:
        """The repository, which is made when the first thing comes into it."""
        async with filling.turn:
            if filling.target is None:
                filling.target = await self._places.make(filling.name)
                self._targets.add(filling.target.id)
            return filling.target

    async def bring(self, filling: Filling, tree: Tree, reference: Digest | Tag) -> None:
        """Bring a tree, and call it so. Raises `REFUSALS`, `NoRoom`."""
        if self.dry:
            await self._plan(filling, tree)
            return
        target, manifests, caller = await self._made(filling), self._registry.manifests, self._places.caller
        await self._carrier.carry(filling.source, tree, target)
        for manifest in tree.manifests.values():
            under = reference if manifest is tree.root else manifest.digest
            await manifests.put(caller, target, under, manifest.media_type, manifest.raw)
            self.tally.manifests += 1

    async def _plan(self, filling: Filling, tree: Tree) -> None:
        self.tally.manifests += len(tree.manifests)
        for blob in await self._carrier.missing(tree, filling.target):
            if blob.digest in self._planned:
                self.tally.here += blob.size if self._planned[blob.digest] != filling.source else 0
                continue
            self._planned[blob.digest] = filling.source
            self.tally.blobs += 1
            self.tally.total += blob.size or await self._source.size(filling.source, blob.digest)

    # --- what refers to it

    async def referrers(self, filling: Filling, digest: Digest, label: str) -> None:
        """Bring what refers to a manifest, and what refers to that; one that cannot come does not keep the others."""
        ahead = [digest, *await self._children(filling, digest)]
        seen = set(ahead)
        while ahead and len(seen) < REFERRERS_LIMIT:
            for one in await self._told(filling, ahead.pop()):
                if one not in seen:
                    seen.add(one)
                    ahead.append(one)
                    await self._referrer(filling, one, label)

    async def _told(self, filling: Filling, digest: Digest) -> list[Digest]:
        """What the source says that refers to a manifest."""
        key = (filling.source, digest)
        found = self._memory.referrers.pop(key, None)
        if found is None:
            found = await self._source.referrers(filling.source, digest)
            if self.dry and len(self._memory.referrers) < REMEMBERED:
                self._memory.referrers[key] = found
        return found

    async def _children(self, filling: Filling, digest: Digest) -> list[Digest]:
        """The children of an index that is here: each of them may be referred to as well."""
        stored = None
        if filling.target is not None:
            stored = await self._database.read(content.manifest, filling.target.id, digest)
        if stored is None or stored.media_type not in INDEXES:
            return []
        return [child.digest for child in (await self._registry.manifests.parsed(stored)).manifests]

    async def _referrer(self, filling: Filling, digest: Digest, label: str) -> None:
        if await self.has(filling, digest):
            return
        try:
            await self.bring(filling, await filling.reader.read(digest), digest)
        except ENDS:
            raise
        except REFUSALS as why:
            self.tally.problem(f"{filling.label}@{digest}, which refers to {label}", sentence(why))

    async def has(self, filling: Filling, digest: Digest) -> bool:
        """Whether a manifest is here, and in sight."""
        if filling.target is None:
            return False
        return await self._database.read(content.manifest, filling.target.id, digest) is not None


def sentence(why: Exception) -> str:
    """Why something did not come."""
    advice = getattr(why, "advice", "")
    return f"{why} {advice}".strip() if isinstance(why, RegistryError) else str(why)
