"""What every `IBlobStore` promises, asked of each of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from quay.interfaces import IBlobSource, IBlobStore, IBlobUpload, IDirectIntake, IPool
from quay.oci.reference import Digest
from quay.storage import BlobMissing, DigestMismatch, UploadBusy, UploadMissing
from quay.storage.local import LocalBlobs
from quay.storage.memory import MemoryBlobs
from quay.storage.upload import HIGH, Budget
from quay.threads import ImmediatePool, Pool

CHUNK = 65536
HELLO = b"hello, registry"
DIGEST = Digest.of(HELLO)
MIB = 1024 * 1024
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # memory: a store makes hundreds of directories


@implementer(IPushProducer)
class Body:
    """Writes `data` in chunks, as fast as it is let; notes how often it is paused and what `budget` holds meanwhile."""

    def __init__(self, data: bytes, consumer: Any, budget: Budget) -> None:
        self.chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
        self.consumer = consumer
        self.budget = budget
        self.pauses = self.most = 0
        self.paused = True
        consumer.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self.paused = False
        while self.chunks and not self.paused:
            self.consumer.write(self.chunks.pop(0))
            self.most = max(self.most, self.budget.held)
        if not self.chunks and self.consumer is not None:
            consumer, self.consumer = self.consumer, None
            consumer.unregisterProducer()

    def pauseProducing(self) -> None:
        self.pauses += not self.paused
        self.paused = True

    def stopProducing(self) -> None:
        raise AssertionError("an upload pauses its producer, it does not stop it")


class BlobStoreContract(TestCase):
    """The promises. A provider says in `make_store` how it comes to be: empty at first, and the same ever after."""

    __test__ = False

    def make_store(self) -> Any:
        raise NotImplementedError

    def setUp(self) -> None:
        self.budget = Budget()
        self.store = self.make_store()

    async def push(self, data: bytes, upload_id: str = "push", algorithm: str = "sha256") -> Digest:
        upload = await self.store.begin(upload_id, algorithm)
        upload.write(data)
        digest = Digest.of(data, algorithm)
        self.assertEqual(await upload.commit(digest), len(data))
        return digest

    async def pull(self, digest: Digest) -> bytes:
        source = await self.store.open(digest)
        try:
            return await source.read(0, source.size)
        finally:
            source.close()

    async def refused(self, error: type[Exception], waiting: Any) -> Any:
        return await self.assertFailure(waiting, error)

    async def walked(self) -> set[Digest]:
        return {digest async for digest in self.store.walk()}

    # --- a blob

    async def test_interfaces(self) -> None:
        """A store, its uploads and its sources provide what they say they provide."""
        verifyObject(IBlobStore, self.store)
        verifyObject(IBlobUpload, await self.store.begin("verified", "sha256"))
        verifyObject(IBlobSource, await self.store.open(await self.push(HELLO)))

    async def test_what_is_pushed_can_be_pulled(self) -> None:
        """Bytes that were committed are the blob of their digest, with their size."""
        self.assertEqual(await self.push(HELLO), DIGEST)
        self.assertEqual(await self.store.stat(DIGEST), len(HELLO))
        self.assertEqual(await self.pull(DIGEST), HELLO)

    async def test_unknown_blob(self) -> None:
        """A blob that is not here has no size, cannot be opened, and can be deleted."""
        self.assertIsNone(await self.store.stat(DIGEST))
        error = await self.refused(BlobMissing, self.store.open(DIGEST))
        self.assertEqual((error.location, error.digest), ("here", DIGEST))
        await self.store.delete(DIGEST)

    async def test_empty_blob(self) -> None:
        """No bytes are a blob too."""
        digest = await self.push(b"")
        self.assertEqual(await self.store.stat(digest), 0)
        self.assertEqual(await self.pull(digest), b"")

    async def test_a_few_bytes_in_one_step(self) -> None:
        """`keep` makes a blob of bytes that are there as a whole, the empty one too, and leaves no upload."""
        for data in (b"", b"a few bytes"):
            await self.store.keep(Digest.of(data), data)
            self.assertEqual(await self.store.stat(Digest.of(data)), len(data))
            source = await self.store.open(Digest.of(data))
            self.assertEqual(await source.read(0, 100), data)
            source.close()
        self.assertEqual(await self.store.stale_uploads(time.time() + 1000), [])

    async def test_a_few_bytes_of_another_digest(self) -> None:
        """`keep` refuses bytes that have another digest, by any algorithm, and nothing of them stays."""
        for wrong in (Digest.of(b"other"), Digest.of(b"other", "sha512")):
            await self.assertFailure(self.store.keep(wrong, b"a few bytes"), DigestMismatch)
            self.assertIsNone(await self.store.stat(wrong))
        self.assertEqual(await self.store.stale_uploads(time.time() + 1000), [])

    async def test_sha512(self) -> None:
        """An upload that is hashed with sha512 on arrival becomes a sha512 blob."""
        digest = await self.push(HELLO, algorithm="sha512")
        self.assertEqual(await self.pull(digest), HELLO)
        self.assertEqual(await self.walked(), {digest})

    async def test_another_algorithm_than_announced(self) -> None:
        """The digest of a commit decides on the algorithm, whatever the bytes were hashed with on arrival."""
        for expected, announced in (("sha512", "sha256"), ("sha256", "sha512")):
            upload = await self.store.begin(f"as-{announced}", announced)
            upload.write(HELLO)
            digest = Digest.of(HELLO, expected)
            await upload.commit(digest)
            self.assertEqual(await self.pull(digest), HELLO)

    async def test_parts_of_a_blob(self) -> None:
        """A source gives the bytes from an offset, and fewer than asked for only at the end."""
        source = await self.store.open(await self.push(HELLO))
        self.assertEqual(source.size, len(HELLO))
        self.assertEqual(await source.read(7, 3), b"reg")
        self.assertEqual(await source.read(7, 1000), b"registry")
        self.assertEqual(await source.read(1000, 1), b"")
        source.close()

    async def test_source_is_closed_once(self) -> None:
        """After `close` nothing is read any more, and closing again does no harm."""
        source = await self.store.open(await self.push(HELLO))
        source.close()
        source.close()
        self.assertRaises(ValueError, source.read, 0, 1)

    async def test_deletion_spares_open_sources(self) -> None:
        """A blob that is deleted while it is read can be read to its end, and not be opened again."""
        source = await self.store.open(await self.push(HELLO))
        await self.store.delete(DIGEST)
        self.assertEqual(await source.read(0, 100), HELLO)
        source.close()
        await self.refused(BlobMissing, self.store.open(DIGEST))

    async def test_quarantine(self) -> None:
        """A blob that was set aside is found by nothing, and a push brings it back; twice does no harm."""
        await self.push(HELLO)
        for _ in range(2):
            await self.store.quarantine(DIGEST)
        self.assertIsNone(await self.store.stat(DIGEST))
        self.assertEqual(await self.walked(), set())
        await self.refused(BlobMissing, self.store.open(DIGEST))
        await self.push(HELLO, "again")
        self.assertEqual(await self.store.stat(DIGEST), len(HELLO))

    async def test_walk(self) -> None:
        """`walk` meets every blob, and no upload."""
        self.assertEqual(await self.walked(), set())
        digests = {await self.push(b"%d" % n, f"walk-{n}") for n in range(20)}
        (await self.store.begin("unfinished", "sha256")).write(HELLO)
        self.assertEqual(await self.walked(), digests)
        await self.store.delete(digests.pop())
        self.assertEqual(await self.walked(), digests)

    async def test_check(self) -> None:
        """A store that works says so, and leaves nothing behind."""
        await gatherResults([self.store.check() for _ in range(4)])
        self.assertEqual(await self.store.stale_uploads(time.time() + 60), [])
        self.assertEqual(await self.walked(), set())

    # --- an upload

    async def test_offsets(self) -> None:
        """`offset` counts what was received; `flushed` fires with it when the medium has it."""
        upload = await self.store.begin("offsets", "sha256")
        self.assertEqual((upload.offset, await upload.flushed()), (0, 0))
        upload.write(b"abc")
        self.assertEqual(upload.offset, 3)
        self.assertEqual(await upload.flushed(), 3)
        upload.write(b"de")
        self.assertEqual(await upload.flushed(), 5)
        await upload.commit(Digest.of(b"abcde"))
        self.assertEqual(await self.pull(Digest.of(b"abcde")), b"abcde")

    async def test_wrong_digest_leaves_nothing(self) -> None:
        """Bytes with another digest become nothing at all; the right digest works afterwards."""
        upload = await self.store.begin("wrong", "sha256")
        upload.write(b"something else")
        error = await self.refused(DigestMismatch, upload.commit(DIGEST))
        self.assertEqual((error.expected, error.actual), (DIGEST, Digest.of(b"something else")))
        self.assertEqual(await self.walked(), set())
        self.assertIsNone(await self.store.stat(DIGEST))
        self.assertEqual(await self.store.stale_uploads(time.time() + 60), [])
        await self.refused(UploadMissing, self.store.resume("wrong"))
        await self.push(HELLO, "wrong")

    async def test_wrong_digest_spares_the_blob_that_is_there(self) -> None:
        """A push that lies about its digest does not touch the blob it claims to be."""
        await self.push(HELLO)
        upload = await self.store.begin("liar", "sha256")
        upload.write(b"hello, attacker")
        await self.refused(DigestMismatch, upload.commit(DIGEST))
        self.assertEqual(await self.pull(DIGEST), HELLO)

    async def test_suspend_and_resume(self) -> None:
        """A suspended upload goes on where it was, as often as need be, and ends with the right digest."""
        upload = await self.store.begin("paused", "sha256")
        for n, part in enumerate((b"hello", b", ", b"registry")):
            upload.write(part)
            await upload.suspend()
            upload = await self.store.resume("paused")
            self.assertEqual(upload.offset, len(HELLO) if n == 2 else (5, 7)[n])
        await upload.commit(DIGEST)
        self.assertEqual(await self.pull(DIGEST), HELLO)

    async def test_resume_without_a_byte(self) -> None:
        """An upload that has not received anything can be resumed."""
        await (await self.store.begin("nothing", "sha256")).suspend()
        upload = await self.store.resume("nothing")
        self.assertEqual(upload.offset, 0)
        upload.write(HELLO)
        await upload.commit(DIGEST)

    async def test_resumed_upload_takes_sha512(self) -> None:
        """A resumed upload can become a blob of either algorithm."""
        upload = await self.store.begin("long", "sha512")
        upload.write(HELLO[:5])
        await upload.suspend()
        upload = await self.store.resume("long")
        upload.write(HELLO[5:])
        await upload.commit(Digest.of(HELLO, "sha512"))
        self.assertEqual(await self.pull(Digest.of(HELLO, "sha512")), HELLO)

    async def test_one_writer(self) -> None:
        """An upload that is open cannot be opened a second time; nor does discarding it take it from its writer."""
        upload = await self.store.begin("mine", "sha256")
        upload.write(HELLO)
        await upload.flushed()
        await self.refused(UploadBusy, self.store.resume("mine"))
        await self.refused(UploadBusy, self.store.begin("mine", "sha256"))
        await self.store.discard("mine")
        await upload.commit(DIGEST)
        self.assertEqual(await self.pull(DIGEST), HELLO)

    async def test_begin_clears_what_was_left(self) -> None:
        """`begin` gives an empty upload, though an earlier one of this id was left behind."""
        upload = await self.store.begin("again", "sha256")
        upload.write(b"left behind")
        await upload.suspend()
        self.assertEqual(await self.push(HELLO, "again"), DIGEST)
        self.assertEqual(await self.pull(DIGEST), HELLO)

    async def test_cancel(self) -> None:
        """A cancelled upload is gone; cancelling or suspending again does no harm."""
        upload = await self.store.begin("cancelled", "sha256")
        upload.write(HELLO * MIB)
        await upload.cancel()
        await upload.cancel()
        await upload.suspend()
        await self.refused(UploadMissing, self.store.resume("cancelled"))
        await self.refused(UploadMissing, upload.commit(DIGEST))
        self.assertEqual(await self.store.stale_uploads(time.time() + 60), [])
        self.assertEqual(self.budget.held, 0)

    async def test_nothing_is_taken_after_the_end(self) -> None:
        """After a commit the upload is over: what is written is dropped, and asking says so."""
        upload = await self.store.begin("over", "sha256")
        upload.write(HELLO)
        await upload.commit(DIGEST)
        upload.write(b"more")
        await self.refused(UploadMissing, upload.flushed())
        await self.refused(UploadMissing, upload.commit(DIGEST))
        await upload.suspend()
        await upload.cancel()
        await self.refused(UploadMissing, self.store.resume("over"))
        self.assertEqual(await self.pull(DIGEST), HELLO)

    async def test_discard(self) -> None:
        """A suspended upload can be forgotten; so can one that is not there."""
        await (await self.store.begin("forgotten", "sha256")).suspend()
        await self.store.discard("forgotten")
        await self.store.discard("forgotten")
        await self.refused(UploadMissing, self.store.resume("forgotten"))

    async def test_stale_uploads(self) -> None:
        """Uploads are stale when their last byte came before a time."""
        upload = await self.store.begin("old", "sha256")
        upload.write(HELLO)
        await upload.suspend()
        self.assertEqual(await self.store.stale_uploads(time.time() - 60), [])
        self.assertEqual(await self.store.stale_uploads(time.time() + 60), ["old"])

    async def test_hostile_upload_ids(self) -> None:
        """An id that means something to a file system is no upload's."""
        for hostile in ("..", ".", "", "../blobs", "a/b", "a\0b", "a\n", "/etc/passwd", "a" * 65, "ü", "a.b", "a b"):
            await self.refused(UploadMissing, self.store.begin(hostile, "sha256"))
            await self.refused(UploadMissing, self.store.resume(hostile))
            await self.store.discard(hostile)
        await self.push(HELLO, "0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ")

    # --- many bytes, many clients

    async def test_large_blob_in_bounded_memory(self) -> None:
        """However fast the bytes come, an upload holds a few segments of them; their order is kept."""
        data = hashlib.shake_128(b"any bytes, but not the same again and again").digest(20 * MIB)
        upload = await self.store.begin("large", "sha256")
        body = Body(data, upload, self.budget)
        while body.chunks:
            await upload.flushed()
        self.assertEqual(await upload.commit(Digest.of(data)), len(data))
        self.assertLess(body.most, HIGH + 2 * CHUNK)
        self.assertEqual(self.budget.held, 0)
        self.check_pauses(body.pauses)
        self.assertEqual(await self.pull(Digest.of(data)), data)

    def check_pauses(self, pauses: int) -> None:
        """A medium that takes everything at once pauses nobody."""

    async def test_same_digest_at_once(self) -> None:
        """Of two uploads of the same blob one is aborted near its end: the other succeeds, and one blob is here."""
        first = await self.store.begin("first", "sha256")
        second = await self.store.begin("second", "sha256")
        first.write(HELLO)
        second.write(HELLO[:-1])
        await second.flushed()
        await gatherResults([first.commit(DIGEST), second.cancel()])
        self.assertEqual(await self.walked(), {DIGEST})
        self.assertEqual(await self.pull(DIGEST), HELLO)

    async def test_same_digest_twice(self) -> None:
        """Two uploads of the same blob both succeed, at once or one after the other, and one blob is here."""
        uploads = [await self.store.begin(f"twin-{n}", "sha256") for n in range(4)]
        for upload in uploads:
            upload.write(HELLO)
        self.assertEqual(await gatherResults([upload.commit(DIGEST) for upload in uploads]), [len(HELLO)] * 4)
        await self.push(HELLO)
        self.assertEqual(await self.walked(), {DIGEST})

    async def test_commit_against_delete(self) -> None:
        """A blob that is pushed and deleted at once is here whole or not at all; neither side fails."""
        for n in range(20):
            upload = await self.store.begin(f"race-{n}", "sha256")
            upload.write(HELLO)
            await gatherResults([upload.commit(DIGEST), self.store.delete(DIGEST)])
            self.assertIn(await self.store.stat(DIGEST), (None, len(HELLO)))

    async def test_callers_may_be_cancelled(self) -> None:
        """A client that hangs up cancels its waiting, not the work: the upload stays whole and can be gone on with."""
        upload = await self.store.begin("hung-up", "sha256")
        upload.write(HELLO[:5])
        waiting = upload.flushed()
        waiting.addErrback(lambda failure: failure.trap(CancelledError))
        waiting.cancel()
        await waiting
        await upload.suspend()
        upload = await self.store.resume("hung-up")
        self.assertEqual(upload.offset, 5)
        upload.write(HELLO[5:])
        waiting = upload.commit(DIGEST)
        waiting.addErrback(lambda failure: failure.trap(CancelledError))
        waiting.cancel()
        await upload.suspend()
        self.assertEqual(await self.pull(DIGEST), HELLO)


class LocalOnThreads(BlobStoreContract):
    """A directory, real threads and the real reactor."""

    __test__ = True

    def make_pool(self) -> IPool:
        pool = Pool(reactor, "blobs", 4)
        pool.startService()
        self.addCleanup(pool.stopService)
        return pool

    def make_store(self) -> Any:
        if not hasattr(self, "root"):
            self.root = Path(mkdtemp(dir=SCRATCH))
            self.addCleanup(shutil.rmtree, self.root)
        return LocalBlobs("here", self.root, self.make_pool(), self.budget)

    def check_pauses(self, pauses: int) -> None:
        self.assertGreater(pauses, 0)

    async def test_resume_in_another_process(self) -> None:
        """A new store in the same place goes on with the uploads, and has the blobs, of the one before."""
        await self.push(b"earlier", "earlier")
        upload = await self.store.begin("survivor", "sha256")
        upload.write(HELLO[:5])
        await upload.suspend()
        self.store = self.make_store()
        upload = await self.store.resume("survivor")
        self.assertEqual(upload.offset, 5)
        upload.write(HELLO[5:])
        await upload.commit(DIGEST)
        self.assertEqual(await self.walked(), {DIGEST, Digest.of(b"earlier")})

    async def test_direct_intake(self) -> None:
        """A thread of the store fetches bytes from where they are, in its turn, until there are no more."""
        parts = [os.urandom(size) for size in (5, MIB, 3)]
        rest = list(parts[1:])

        def fill(buffer: memoryview) -> int:
            piece = rest.pop(0) if rest else b""
            count = min(len(piece), len(buffer))
            if count < len(piece):
                rest.insert(0, piece[count:])
            buffer[:count] = piece[:count]
            return count

        upload = await self.store.begin("direct", "sha256")
        self.assertTrue(verifyObject(IDirectIntake, upload))
        upload.write(parts[0])
        await upload.fetch(fill, 2 * MIB)
        digest = Digest.of(b"".join(parts))
        self.assertEqual(await upload.commit(digest), MIB + 8)
        self.assertEqual(await self.pull(digest), b"".join(parts))


class LocalAtOnce(LocalOnThreads):
    """A directory, without threads: every call is over when it returns."""

    def make_pool(self) -> IPool:
        return ImmediatePool()

    def check_pauses(self, pauses: int) -> None:
        self.assertEqual(pauses, 0)


class Memory(BlobStoreContract):
    """A dict."""

    __test__ = True

    def make_store(self) -> Any:
        return MemoryBlobs("here", budget=self.budget)
