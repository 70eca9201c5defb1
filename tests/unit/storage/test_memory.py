"""A dict of blobs: its limit."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from quay.oci.reference import Digest
from quay.storage import StorageFull
from quay.storage.memory import MemoryBlobs


class LimitTests(TestCase):
    async def test_no_more_than_the_limit(self) -> None:
        """Blobs and uploads together stay below the limit; what is thrown away makes room."""
        store = MemoryBlobs("small", limit=10)
        first = await store.begin("first", "sha256")
        first.write(b"123456")
        await first.commit(Digest.of(b"123456"))
        second = await store.begin("second", "sha256")
        second.write(b"12345")
        error = await self.assertFailure(second.flushed(), StorageFull)
        self.assertEqual(error.location, "small")
        await self.assertFailure(second.commit(Digest.of(b"12345")), StorageFull)
        await second.cancel()
        await store.delete(Digest.of(b"123456"))
        third = await store.begin("third", "sha256")
        third.write(b"1234567890")
        self.assertEqual(await third.flushed(), 10)

    async def test_stale_by_its_clock(self) -> None:
        """An upload is as old as its last byte, by the clock that the store was given."""
        now = [1000.0]
        store = MemoryBlobs(now=lambda: now[0])
        upload = await store.begin("one", "sha256")
        now[0] = 2000.0
        upload.write(b"x")
        await upload.flushed()
        self.assertEqual(await store.stale_uploads(2000.0), [])
        self.assertEqual(await store.stale_uploads(2000.1), ["one"])
