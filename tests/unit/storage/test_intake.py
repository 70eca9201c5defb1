"""Bytes that a store takes for itself: in their turn, of any size, and with the failures of all others."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from quay.interfaces import IDirectIntake
from quay.oci.reference import Digest
from quay.storage import StorageFull, UploadMissing, partial
from quay.storage.intake import BUFFER, pieces
from quay.storage.local import LocalBlobs
from tests.unit.storage.test_local import HeldPool, LocalTestCase, failing


def from_bytes(data: bytes) -> Callable[[memoryview], int]:
    """What gives `data`, as much of it at a time as it is let."""
    rest = memoryview(data)

    def fill(buffer: memoryview) -> int:
        nonlocal rest
        count = min(len(buffer), len(rest))
        buffer[:count], rest = rest[:count], rest[count:]
        return count

    return fill


class DirectUploadTests(LocalTestCase):
    async def begun(self) -> Any:
        upload = await self.store.begin("direct", "sha256")
        verifyObject(IDirectIntake, upload)
        return upload

    async def test_written_and_fetched(self) -> None:
        """Bytes that are written and bytes that are fetched follow each other as they were asked for."""
        upload = await self.begun()
        fetched = os.urandom(2 * BUFFER + 7)
        upload.write(b"first")
        await upload.fetch(from_bytes(fetched), 10 * BUFFER)
        upload.write(b"last")
        self.assertEqual(await upload.flushed(), len(fetched) + 9)
        digest = Digest.of(b"first" + fetched + b"last")
        self.assertEqual(await upload.commit(digest), len(fetched) + 9)

    async def test_at_most(self) -> None:
        """Not a byte more than was asked for is fetched, wherever that is in a buffer."""
        for most in (1, BUFFER - 1, BUFFER, BUFFER + 1):
            fill = from_bytes(bytes(2 * BUFFER))
            self.assertEqual(sum(map(len, pieces(fill, most))), most)

    async def test_suspended_and_resumed(self) -> None:
        """What was fetched is there for whoever goes on with the upload."""
        upload = await self.begun()
        await upload.fetch(from_bytes(b"hello, "), 100)
        await upload.suspend()
        upload = await self.store.resume("direct")
        self.assertEqual(upload.offset, 7)
        await upload.fetch(from_bytes(b"registry"), 100)
        await upload.commit(Digest.of(b"hello, registry"))
        self.assertEqual(await self.pull(), b"hello, registry")

    async def test_no_space(self) -> None:
        """A full disk ends the upload as it does when bytes are written: all who ask are told."""
        upload = await self.begun()
        stopped = upload.stopped()
        with failing("write", errno.ENOSPC, after=1):
            await upload.fetch(from_bytes(bytes(2 * BUFFER)), 10 * BUFFER)
        self.assertIsInstance(await stopped, StorageFull)
        await self.assertFailure(upload.flushed(), StorageFull)
        self.assertIsNone(upload.fetch(from_bytes(b"more"), 100))
        await upload.suspend()
        self.assertEqual((await self.store.resume("direct")).offset, BUFFER)

    async def test_a_source_that_fails(self) -> None:
        """Whatever goes wrong where the bytes come from is no reason to call them complete."""
        upload = await self.begun()

        def fill(buffer: memoryview) -> int:
            raise ZeroDivisionError

        await upload.fetch(fill, 100)
        await self.assertFailure(upload.commit(Digest.of(b"")), ZeroDivisionError)
        await upload.cancel()

    async def test_cancelled_while_it_fetches(self) -> None:
        """An upload is cancelled after its thread has ended, and what that had fetched is gone."""
        pool = HeldPool()
        self.store = LocalBlobs("here", self.root, pool)
        begun = self.store.begin("direct", "sha256")
        pool.go_on()
        upload = await begun
        fetched = upload.fetch(from_bytes(b"in vain"), 100)
        cancelled = upload.cancel()
        self.assertIsInstance(cancelled, Deferred)
        self.assertFalse(cancelled.called)
        pool.go_on()
        await fetched
        pool.go_on()
        await cancelled
        self.assertEqual(self.uploads(), [])
        await self.assertFailure(upload.flushed(), UploadMissing)

    async def test_the_end_is_on_its_way(self) -> None:
        """The medium is asked to begin with a large blob before its end: the commit has the less to wait for."""
        asked: list[tuple[int, int]] = []

        def note(fd: int, offset: int, count: int) -> None:
            os.close(fd)
            asked.append((offset, count))

        self.patch(partial, "start_writeback", note)
        upload = await self.begun()
        await upload.fetch(from_bytes(bytes(2 * BUFFER)), 100 * BUFFER)
        self.assertEqual(asked, [(0, 2 * BUFFER)])
        await upload.cancel()
