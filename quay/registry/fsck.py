"""
The check: rows against bytes, both ways, and rows against each other, in pages and beside a running server.

What is found is what this registry takes care never to make: a placement without its bytes or with another size, bytes
without a row, a tag without its manifest, a manifest that is not what its digest says, whose rows do not name what its
bytes do, or without its links. `repair` takes away what is wrong and restores what can be: good bytes without a row
that a repository lacks, because its storage was not there when somebody looked, are placed again. A blob whose bytes
are nowhere remains a problem until it is pushed again. Everything that is condemned on the way is under the protocol
of `quay.model.condemned`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from quay.database import Database
from quay.interfaces import IBlobStore, IPool
from quay.model import condemned, inspection
from quay.model.condemned import Condemned
from quay.model.inspection import PAGE, Loose, Placed
from quay.oci.reference import Digest
from quay.registry.blobs import Stores
from quay.registry.scrub import matches, set_aside
from quay.storage import StorageFailed

PATIENCE_S: Final = 3.0
"""Bytes that have no row after so long are not those of a push under way, as a rule."""


class Check:
    """
    Looks, says a sentence for every problem, and mends it if `repair`. `found` and `mended` count these, `looked` the
    rows of blobs, and then the blobs in the storage. Hashes in `pool`.
    """

    def __init__(
        self,
        database: Database,
        stores: Stores,
        pool: IPool,
        clock: IReactorTime,
        say: Callable[[str], object],
        *,
        repair: bool,
    ) -> None:
        self._database = database
        self._stores = stores
        self._pool = pool
        self._clock = clock
        self._say = say
        self._repair = repair
        self.found = self.mended = self.looked = 0

    async def run(self) -> int:
        """Look at everything; returns how many problems remain."""
        for store in self._stores.by_location.values():
            self._say(f"Comparing the rows of {store.location} with its bytes.")
            await self._check_placements(store)
            await self._check_bytes(store)
        self._say("Comparing the rows with each other.")
        await self._check_loose(inspection.loose_tags, inspection.drop_tag)
        await self._check_loose(inspection.torn_manifests, inspection.drop_manifest)
        await self._check_loose(inspection.nameless_blobs, inspection.name_again)
        await self._check_loose(inspection.loose_manifests, inspection.link_again)
        await self._check_loose(inspection.unheld_blobs, inspection.beyond_us)
        return self.found - self.mended

    def _problem(self, sentence: str) -> None:
        self.found += 1
        self._say(sentence)

    # --- rows, then bytes

    async def _check_placements(self, store: IBlobStore) -> None:
        after = 0
        while page := await self._database.read(inspection.placements, store.location, after):
            for placed in page:
                await self._check_placement(store, placed)
                self.looked += 1
            after = page[-1].id

    async def _check_placement(self, store: IBlobStore, placed: Placed) -> None:
        size = await store.stat(placed.digest)
        if size == placed.size or not await self._is_placed(store, placed):
            return
        held = "are missing" if size is None else f"are {size}, not {placed.size}"
        self._problem(f"The bytes of {placed.digest} at {store.location} {held}.")

        async def is_good(held: Condemned) -> bool:
            return await store.stat(placed.digest) == placed.size

        if self._repair:
            self.mended += await set_aside(self._database, store, placed.digest, is_good)

    async def _is_placed(self, store: IBlobStore, placed: Placed) -> bool:
        """Still: it may have been collected since the page was read."""
        rows = await self._database.read(inspection.placements, store.location, placed.id - 1)
        return bool(rows) and rows[0].digest == placed.digest

    # --- bytes, then rows

    async def _check_bytes(self, store: IBlobStore) -> None:
        batch: list[Digest] = []
        async for digest in store.walk():
            batch.append(digest)
            if len(batch) == PAGE:
                await self._check_batch(store, batch)
                batch = []
        await self._check_batch(store, batch)

    async def _check_batch(self, store: IBlobStore, batch: list[Digest]) -> None:
        self.looked += len(batch)
        suspects = await self._database.read(inspection.strays, store.location, batch)
        if not suspects:
            return
        await deferLater(self._clock, PATIENCE_S)
        for digest in await self._database.read(inspection.strays, store.location, suspects):
            if await store.stat(digest) is not None:
                self._problem(f"{store.location} holds {digest}, which no row places there.")
                if self._repair:
                    self.mended += await self._settle(store, digest)

    async def _settle(self, store: IBlobStore, digest: Digest) -> bool:
        """Place bytes again that a repository lacks and that are good; leave unreadable ones, remove all others."""
        lacking = await self._database.read(inspection.is_lacking, digest)
        try:
            good = lacking and await matches(store, digest, self._pool)
        except StorageFailed as error:
            self._say(f"{digest} is left where it is: {error}")
            return False
        held = await self._database.write(condemned.condemn_stray, digest, store.location)
        if held is None:
            return False
        if good and await store.stat(digest) is not None and await self._database.write(condemned.reinstate, held):
            return True
        await store.delete(digest)
        await self._database.write(condemned.gone, [held])
        return True

    # --- rows

    async def _check_loose(self, look: Look, mend: Callable[..., bool]) -> None:
        after: int | None = 0
        while after is not None:
            loose, after = await self._database.read(look, after)
            for one in loose:
                self._problem(one.sentence)
                if self._repair:
                    self.mended += await self._database.write(mend, one)


Look = Callable[..., tuple[list[Loose], int | None]]
