"""
Blobs on their way from a source into our stores: each once, a few at a time, and never into the last of the space.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from twisted.internet.defer import DeferredLock, DeferredSemaphore

from quay.importing.parallel import each, listed
from quay.importing.report import Tally
from quay.importing.source import TROUBLE, Origin
from quay.importing.trees import Tree
from quay.model.repository import Repository
from quay.oci.descriptor import Descriptor
from quay.oci.reference import Digest
from quay.oci.schema1 import EMPTY_LAYER_DIGEST
from quay.registry.blobs import Blobs

AT_ONCE: Final = 4
MB: Final = 1_000_000
FLOOR: Final = 512 * 1024 * 1024
"""Bytes that an import leaves free: the database and others need some, too."""


ELSEWHERE: Final = "Layers that others keep, and the source has not got, stay where they are."
ABSENT: Final = "Some indexes name manifests that the source has not got: these indexes come without them."


class NoRoom(Exception):
    """The storage has no room for what comes next: nothing more is imported."""


class Room:
    """How much may come: `free` says how many bytes the storage has left, or None where that cannot be known."""

    def __init__(self, free: Callable[[], Awaitable[int | None]]) -> None:
        self._free = free
        self._coming = 0

    async def check(self, size: int) -> None:
        """See that there is room for `size` bytes, beside all that are coming. Raises `NoRoom`."""
        free = await self._free()
        if size and free is not None and free - self._coming - size < FLOOR:
            raise NoRoom(
                f"The storage has {free // MB} MB left, {size // MB} MB are to come, and {FLOOR // MB} MB are to stay "
                "free. Make room, and begin again: what is here is not fetched twice."
            )

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Room for `size` bytes, while they come. Raises `NoRoom`."""
        await self.check(size)
        self._coming += size
        try:
            yield
        finally:
            self._coming -= size


class Carrier:
    """
    Brings the blobs of trees. What one of the repositories `targets` has, which an import fills, the others get from
    there; what anybody else here has is fetched all the same, because the source may only pretend to have it.
    """

    def __init__(self, source: Origin, blobs: Blobs, targets: set[int], room: Room, tally: Tally) -> None:
        self._source = source
        self._blobs = blobs
        self._targets = targets
        self._room = room
        self._tally = tally
        self._slots = DeferredSemaphore(AT_ONCE)
        self._turns: dict[Digest, DeferredLock] = {}

    async def missing(self, tree: Tree, target: Repository | None) -> list[Descriptor]:
        """Which blobs of the tree would have to be fetched for `target`, None if that is not there yet."""
        wanted = [blob for blob in tree.blobs.values() if blob.digest != EMPTY_LAYER_DIGEST]
        held = self._targets if target is None else self._targets | {target.id}
        return [blob for blob in wanted if await self._blobs.among(blob.digest, held) is None]

    async def carry(self, repository: str, tree: Tree, target: Repository) -> None:
        """Make all blobs of the tree blobs of `target`. Raises what sources, stores and uploads raise, and `NoRoom`."""

        async def needed(blob: Descriptor) -> None:
            await self._have(repository, blob, target)

        async def welcome(blob: Descriptor) -> None:
            try:
                await self._have(repository, blob, target)
            except TROUBLE:
                self._tally.note(ABSENT if blob.digest in tree.absent else ELSEWHERE)

        wanted = [blob for blob in tree.blobs.values() if blob.digest != EMPTY_LAYER_DIGEST]  # everybody has that one
        await each(listed(wanted), needed, AT_ONCE)
        await each(listed(tree.foreign.values()), welcome, AT_ONCE)

    async def _have(self, repository: str, blob: Descriptor, target: Repository) -> None:
        async with self._turn(blob.digest):
            if await self._blobs.mount(target, blob.digest, target.id) is not None:
                return
            other = await self._blobs.among(blob.digest, self._targets)
            if other is not None and await self._blobs.mount(target, blob.digest, other) is not None:
                self._tally.here += blob.size
                return
            async with self._slots:
                size = blob.size or await self._source.size(repository, blob.digest)
                async with self._room.taken(size if self._source.takes_room else 0):
                    await self._source.bring(repository, blob, target, self._tally.came)
            self._tally.blobs += 1

    @asynccontextmanager
    async def _turn(self, digest: Digest) -> AsyncIterator[None]:
        """One at a time with this blob: whoever comes second finds it here."""
        lock = self._turns.setdefault(digest, DeferredLock())
        async with lock:
            yield
        if not lock.locked and self._turns.get(digest) is lock:
            del self._turns[digest]
