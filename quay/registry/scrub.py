"""
The scrub: every blob is read and hashed again, slowly, and one whose bytes have changed is set aside.

Whoever pulls it is then told that it cannot be read, and whoever asks whether it is there, that it is not: so the next
push of it heals it. A blob that its medium cannot read is no better than one that has rotted, if the medium is well
otherwise. Under the protocol of `quay.model.condemned`, a blob that is pushed again meanwhile stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from quay.database import Database
from quay.interfaces import IBlobStore, IPool
from quay.model import condemned, inspection
from quay.model.condemned import Condemned
from quay.oci.reference import Digest
from quay.registry.blobs import Stores
from quay.storage import BlobMissing, StorageFailed

log = Logger()

CHUNK: Final = 1024 * 1024
PROLONG_EVERY: Final = 16
"""Chunks after which a claim is prolonged: well before it runs out, at a megabyte a second."""


class Scrub:
    """Hashes in `pool`, at most `rate` bytes a second; `say` is told a sentence now and then."""

    def __init__(
        self,
        database: Database,
        stores: Stores,
        pool: IPool,
        clock: IReactorTime,
        say: Callable[[str], object],
        *,
        rate: float,
    ) -> None:
        self._database = database
        self._stores = stores
        self._pool = pool
        self._clock = clock
        self._say = say
        self._rate = rate
        self.looked = self.bytes = self.rotten = 0
        self._settled = 0
        self._after: dict[str, int] = {}  # in each location, the last row that was looked at

    @property
    def cursor(self) -> dict[str, Any]:
        """How far it is, as JSON: what `resume` takes. A blob that is being read is not counted yet."""
        return {"after": dict(self._after), "looked": self.looked, "bytes": self._settled, "rotten": self.rotten}

    def resume(self, cursor: Mapping[str, Any]) -> None:
        """Go on where another one was; an empty cursor is the beginning."""
        self._after = dict(cursor.get("after", {}))
        self.looked, self.rotten = cursor.get("looked", 0), cursor.get("rotten", 0)
        self.bytes = self._settled = cursor.get("bytes", 0)

    async def run(self) -> int:
        """Go through all blobs of all locations; returns how many had rotted."""
        for store in self._stores.by_location.values():
            while page := await self._database.read(
                inspection.placements, store.location, self._after.get(store.location, 0)
            ):
                for placed in page:
                    await self._look(store, placed.digest)
                    self.looked += 1
                    self._after[store.location], self._settled = placed.id, self.bytes
                self._say(f"{self.looked} blobs of {self.bytes} bytes were read again, {self.rotten} had rotted.")
        return self.rotten

    async def _look(self, store: IBlobStore, digest: Digest) -> None:
        if await self._is_good(store, digest):
            return

        async def is_good(held: Condemned) -> bool:
            return await self._is_good(store, digest, held)

        if await set_aside(self._database, store, digest, is_good):
            self.rotten += 1
            log.error("{digest} at {location} had rotted", digest=digest, location=store.location)
            self._say(f"{digest} at {store.location} had rotted, and was set aside: push it again to heal it.")

    async def _is_good(self, store: IBlobStore, digest: Digest, held: Condemned | None = None) -> bool:
        """Whether its bytes have this digest; `held` is prolonged meanwhile."""

        async def rest(number: int, count: int) -> None:
            self.bytes += count
            if held is not None and number % PROLONG_EVERY == 0:
                await self._database.write(condemned.prolong, held)
            await deferLater(self._clock, count / self._rate)

        try:
            return await matches(store, digest, self._pool, rest)
        except StorageFailed as error:
            await store.check()  # if it fails, too, it is the medium, and no blob of it is to blame
            self._say(f"{digest}: {error}")
            return False


async def _at_once(number: int, count: int) -> None:
    """Do nothing between two pieces."""


async def matches(
    store: IBlobStore, digest: Digest, pool: IPool, rest: Callable[[int, int], Awaitable[None]] = _at_once
) -> bool:
    """Whether its bytes have this digest. After each piece, `rest` is told which it was, from 1 on, and its bytes."""
    try:
        source = await store.open(digest)
    except BlobMissing:
        return False
    try:
        hasher = hashlib.new(digest.algorithm)
        for number, start in enumerate(range(0, source.size, CHUNK), 1):
            data = await source.read(start, CHUNK)
            await pool.run(hasher.update, data)
            await rest(number, len(data))
    finally:
        source.close()
    return hasher.hexdigest() == digest.hex


async def set_aside(
    database: Database, store: IBlobStore, digest: Digest, is_good: Callable[[Condemned], Awaitable[bool]]
) -> bool:
    """
    Take bytes that are no good, or missing, out of the way; True if that was done. `is_good` looks at them once more
    when no push can link them.
    """
    held = await database.write(condemned.condemn, digest, store.location)
    if held is None:
        return False
    try:
        good = await is_good(held)
    except Exception:
        await database.write(condemned.reinstate, held)  # nothing was proven: left open, it would be garbage
        raise
    if good:
        await database.write(condemned.reinstate, held)
        return False
    if not await database.write(condemned.prolong, held):
        return False
    await store.quarantine(digest)
    await database.write(condemned.gone, [held])
    return True
