"""A directory of blobs: what lies where, what a hostile or failing disk can do, and what a crash leaves behind."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest.mock import Mock, patch

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from quay.interfaces import IFileSlice, ILinkable, IPool
from quay.oci.errors import DigestInvalid
from quay.oci.reference import Digest
from quay.storage import BlobMissing, DigestMismatch, StorageFailed, StorageFull, UploadBusy, UploadMissing
from quay.storage.local import LocalBlobs
from quay.threads import ImmediatePool

HELLO = b"hello, registry"
DIGEST = Digest.of(HELLO)
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # memory: a store makes hundreds of directories

PUSH = """
import sys
from pathlib import Path
from twisted.internet.defer import Deferred
from quay import faults
from quay.oci.reference import Digest
from quay.storage.local import LocalBlobs
from quay.threads import ImmediatePool

async def push():
    upload = await LocalBlobs("here", Path(sys.argv[1]), ImmediatePool()).begin("crashed", "sha256")
    upload.write(b"hello, ")
    await upload.flushed()
    upload.write(b"registry")
    await upload.commit(Digest.of(b"hello, registry"))

faults.arm(sys.argv[2], int(sys.argv[3]))
Deferred.fromCoroutine(push())
"""


@implementer(IPool)
class HeldPool:
    """A pool whose threads begin, and answer, when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def run(self, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((done, lambda: f(*args, **kwargs)))
        return done

    def go_on(self) -> None:
        done, work = self.waiting.pop(0)
        done.callback(work())


def open_files(root: Path) -> int:
    """How many files below it this process has open; what else it has, others may close at any time."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was the one by which they are listed
            found += descriptor.readlink().is_relative_to(root.resolve())
    return found


@contextlib.contextmanager
def failing(call: str, number: int, after: int = 0) -> Iterator[None]:
    """Within, `os.<call>` fails with the error `number` once it has worked `after` times."""
    real, calls = getattr(os, call), iter(range(after))

    def sometimes(*args: Any, **kwargs: Any) -> Any:
        if next(calls, None) is None:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    with patch.object(os, call, sometimes):
        yield


def push_and_crash(root: Path, point: str, count: int) -> int:
    """The exit status of a process that pushes `HELLO` in two pieces, and dies at the `count`-th pass of `point`."""
    return subprocess.run([sys.executable, "-c", PUSH, str(root), point, str(count)], check=False).returncode


def mount_three_mebibytes(directory: Path) -> None:
    """Put a small file system there; skip the test where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(directory)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        raise SkipTest("mounting a small file system takes root")


class LocalTestCase(TestCase):
    def setUp(self) -> None:
        self.root = Path(mkdtemp(dir=SCRATCH)) / "storage"
        self.addCleanup(shutil.rmtree, self.root.parent)
        self.store = LocalBlobs("here", self.root, ImmediatePool())

    @property
    def blob(self) -> Path:
        return self.root / "blobs" / "sha256" / DIGEST.hex[:2] / DIGEST.hex

    async def push(self, data: bytes = HELLO, upload_id: str = "push") -> None:
        upload = await self.store.begin(upload_id, "sha256")
        upload.write(data)
        await upload.commit(Digest.of(data))

    async def pull(self) -> bytes:
        source = await self.store.open(DIGEST)
        self.addCleanup(source.close)
        return await source.read(0, source.size)

    def uploads(self) -> list[str]:
        return sorted(os.listdir(self.root / "uploads"))


class LinkTests(LocalTestCase):
    async def test_another_name(self) -> None:
        """A blob can have another name, under which it outlives its removal here; a second one in its place cannot."""
        verifyObject(ILinkable, self.store)
        await self.push()
        self.assertTrue(await self.store.link(DIGEST, self.root / "other"))
        self.assertTrue(self.blob.samefile(self.root / "other"))
        await self.assertFailure(self.store.link(DIGEST, self.root / "other"), StorageFailed)
        await self.store.delete(DIGEST)
        self.assertEqual((self.root / "other").read_bytes(), HELLO)
        await self.assertFailure(self.store.link(DIGEST, self.root / "third"), BlobMissing)

    async def test_another_file_system(self) -> None:
        """It says so where there cannot be one."""
        await self.push()
        elsewhere = Path(mkdtemp(dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, elsewhere)
        if os.stat(elsewhere).st_dev == os.stat(self.root).st_dev:
            raise SkipTest("there is no second file system")
        self.assertFalse(await self.store.link(DIGEST, elsewhere / "other"))


class LayoutTests(LocalTestCase):
    async def test_where_a_blob_lies(self) -> None:
        """A blob is a file named after its digest, in a directory named after its first two digits."""
        await self.push()
        self.assertEqual(self.blob.read_bytes(), HELLO)
        self.assertEqual(self.uploads(), [])

    async def test_nobody_else_may_look(self) -> None:
        """Files belong to the server alone, and so do directories."""
        await self.push()
        await self.store.begin("open", "sha256")
        for path in self.root.parent.rglob("*"):
            self.assertEqual(path.stat().st_mode & 0o777, 0o700 if path.is_dir() else 0o600, path)

    async def test_nothing_is_made_before_it_is_needed(self) -> None:
        """Looking into a store that has never been written to finds nothing and makes nothing."""
        self.assertIsNone(await self.store.stat(DIGEST))
        self.assertEqual(await self.store.stale_uploads(2e9), [])
        self.assertEqual([digest async for digest in self.store.walk()], [])
        await self.store.discard("none")
        await self.assertFailure(self.store.resume("none"), UploadMissing)
        self.assertFalse(self.root.exists())

    async def test_check_prepares_for_the_first_push(self) -> None:
        """After `check`, a push makes no directory any more."""
        await self.store.check()
        with failing("mkdir", errno.EROFS):
            await self.push()

    async def test_the_root_itself_is_durable(self) -> None:
        """The names of the root, and of what was missing above it, are synced: else a power cut takes all blobs."""
        root = self.root / "deep" / "deeper"
        synced = Mock()
        with patch("quay.files.sync", synced), patch("quay.storage.layout.sync_directory", synced):
            await LocalBlobs("here", root, ImmediatePool()).check()
        directories = [call.args[0] for call in synced.call_args_list]
        self.assertLess(directories.index(self.root), directories.index(root.parent))
        self.assertLess(directories.index(root.parent), directories.index(root))

    async def test_a_missing_directory_is_made_again(self) -> None:
        """A directory that somebody tidied away comes back when it is needed."""
        await self.store.check()
        shutil.rmtree(self.root / "blobs" / "sha256" / DIGEST.hex[:2])
        await self.push()
        shutil.rmtree(self.root)
        await self.push()
        self.assertEqual(await self.pull(), HELLO)

    async def test_foreign_files(self) -> None:
        """Files that are no blobs and no uploads are neither told of nor touched."""
        await self.push()
        foreign = [self.blob.parent / "notes.txt", self.blob.parent / ("0" * 64), self.root / "uploads" / ".nfs0001"]
        for path in foreign:
            path.write_bytes(b"mine")
        os.utime(foreign[2], (0, 0))
        self.assertEqual([digest async for digest in self.store.walk()], [DIGEST])
        self.assertEqual(await self.store.stale_uploads(1e9), [])

    async def test_unparsed_digests_are_no_paths(self) -> None:
        """A digest that nobody parsed is refused before it becomes a path."""
        for hostile in ("sha256:../../../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "0" * 32):
            for waiting in (self.store.stat(Digest(hostile)), self.store.open(Digest(hostile))):
                await self.assertFailure(waiting, DigestInvalid)
            await self.assertFailure(self.store.delete(Digest(hostile)), DigestInvalid)

    async def test_links_are_not_followed(self) -> None:
        """A symbolic link in the place of a blob or an upload is not a way out of the store."""
        await self.push()
        secret = self.root.parent / "secret"
        secret.write_bytes(HELLO)
        self.blob.unlink()
        self.blob.symlink_to(secret)
        (self.root / "uploads" / "link").symlink_to(secret)
        await self.assertFailure(self.store.open(DIGEST), StorageFailed)
        await self.assertFailure(self.store.resume("link"), StorageFailed)
        await self.assertFailure(self.store.begin("link", "sha256"), StorageFailed)
        self.assertEqual(secret.read_bytes(), HELLO)


class DurabilityTests(LocalTestCase):
    async def test_what_a_push_costs(self) -> None:
        """One fdatasync, one rename and one fsync of a directory, in this order, and no directory is made."""
        await self.store.check()
        calls: list[str] = []
        with contextlib.ExitStack() as stack:
            for name in ("fdatasync", "rename", "fsync", "mkdir"):
                real = getattr(os, name)
                noted = lambda *args, real=real, name=name: (calls.append(name), real(*args))[1]  # noqa: E731
                stack.enter_context(patch.object(os, name, noted))
            await self.push()
        self.assertEqual(calls, ["fdatasync", "rename", "fsync"])

    async def test_pushing_again_heals(self) -> None:
        """A blob whose bytes have rotted is replaced by the ones that are pushed; who reads it now is not disturbed."""
        await self.push()
        self.blob.write_bytes(b"Hello, registry")
        source = await self.store.open(DIGEST)
        await self.push()
        self.assertEqual(await self.pull(), HELLO)
        self.assertEqual(await source.read(0, 1), b"H")
        source.close()

    async def test_another_writer_is_found_out(self) -> None:
        """Bytes that somebody else wrote into an upload's file are hashed too: a blob has the digest of its name."""
        upload = await self.store.begin("shared", "sha256")
        upload.write(HELLO)
        await upload.flushed()
        with (self.root / "uploads" / "shared").open("ab") as file:
            file.write(b"!")
        await self.assertFailure(upload.commit(DIGEST), DigestMismatch)
        self.assertIsNone(await self.store.stat(DIGEST))

    async def test_an_upload_is_locked_against_other_processes(self) -> None:
        """The lock holds between stores and processes, and ends with them."""
        upload = await self.store.begin("locked", "sha256")
        elsewhere = LocalBlobs("here", self.root, ImmediatePool())
        error = await self.assertFailure(elsewhere.resume("locked"), UploadBusy)
        self.assertEqual(error.upload_id, "locked")
        await upload.suspend()
        await (await elsewhere.resume("locked")).cancel()

    async def test_an_upload_that_ends_while_it_is_opened(self) -> None:
        """Who opened an upload just before it became a blob does not get to write into the blob."""
        upload = await self.store.begin("race", "sha256")
        upload.write(HELLO)
        real = os.open

        def open_then_commit(path: Any, *args: Any) -> int:
            fd = real(path, *args)
            if Path(path).name == "race":
                with patch.object(os, "open", real):
                    self.successResultOf(upload.commit(DIGEST))
            return fd

        before = open_files(self.root)
        with patch.object(os, "open", open_then_commit):
            await self.assertFailure(self.store.begin("race", "sha256"), UploadMissing)
        self.assertEqual((self.blob.read_bytes(), open_files(self.root)), (HELLO, before - 1))

    async def test_every_crash_leaves_an_upload_or_a_blob(self) -> None:
        """A process that dies at any point of a push leaves an upload that can be resumed, or the whole blob."""
        points = ["upload.written", "blob.before-fsync", "blob.after-fsync", "blob.after-rename", "blob.after-dirsync"]
        for point, count in [("upload.written", 2), *((point, 1) for point in points)]:
            shutil.rmtree(self.root, ignore_errors=True)
            self.assertEqual(push_and_crash(self.root, point, count), -signal.SIGKILL, point)
            self.store = LocalBlobs("here", self.root, ImmediatePool())
            if await self.store.stat(DIGEST) is None:
                upload = await self.store.resume("crashed")
                upload.write(HELLO[upload.offset :])
                await upload.commit(DIGEST)
            self.assertEqual((await self.pull(), self.uploads()), (HELLO, []), point)


class FailingDiskTests(LocalTestCase):
    async def test_no_space_for_a_segment(self) -> None:
        """A full disk stops the upload with a sentence; what was held before can be resumed when there is space."""
        upload = await self.store.begin("full", "sha256")
        upload.write(HELLO[:5])
        await upload.flushed()
        for number, expected in ((errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageFailed)):
            with failing("write", number):
                upload.write(b"lost")
                error = await self.assertFailure(upload.flushed(), expected)
                self.assertEqual((error.errno, error.location), (number, "here"))
                await self.assertFailure(upload.commit(DIGEST), expected)
                await upload.suspend()
            upload = await self.store.resume("full")
            self.assertEqual(upload.offset, 5)
        upload.write(HELLO[5:])
        await upload.commit(DIGEST)
        self.assertEqual(await self.pull(), HELLO)

    async def test_half_a_segment(self) -> None:
        """A disk that takes bytes in pieces gets all of them; the part it took before it failed is what is resumed."""
        real = os.write
        with patch.object(os, "write", lambda fd, data: real(fd, data[:3])):
            await self.push()
            self.assertEqual(await self.pull(), HELLO)
            upload = await self.store.begin("half", "sha256")
            with failing("write", errno.ENOSPC, after=2):
                upload.write(HELLO)
                await self.assertFailure(upload.flushed(), StorageFull)
            await upload.suspend()
        upload = await self.store.resume("half")
        self.assertEqual(upload.offset, 6)
        upload.write(HELLO[6:])
        await upload.commit(DIGEST)

    async def test_a_commit_that_fails(self) -> None:
        """When the medium does not confirm, there is no blob before the rename, the upload is gone, no file is open."""
        await self.store.check()
        for call, number, expected in (
            ("fdatasync", errno.EIO, StorageFailed),
            ("fdatasync", errno.ENOSPC, StorageFull),
            ("rename", errno.EROFS, StorageFailed),
            ("fsync", errno.EIO, StorageFailed),
        ):
            before = open_files(self.root)
            upload = await self.store.begin("unconfirmed", "sha256")
            upload.write(HELLO)
            with failing(call, number):
                await self.assertFailure(upload.commit(DIGEST), expected)
            self.assertEqual((self.uploads(), open_files(self.root)), ([], before))
            self.assertEqual(self.blob.exists(), call == "fsync")
        await self.push()

    async def test_no_descriptors_left(self) -> None:
        """A process without descriptors refuses, and works again when there are some."""
        await self.push()
        with failing("open", errno.EMFILE):
            for waiting in (self.store.begin("none", "sha256"), self.store.resume("none"), self.store.open(DIGEST)):
                error = await self.assertFailure(waiting, StorageFailed)
                self.assertEqual(error.errno, errno.EMFILE)
        self.assertEqual(await self.pull(), HELLO)

    async def test_opening_an_upload_fails_half_way(self) -> None:
        """A file that was opened is closed again when what follows fails, and its lock is gone."""
        before = open_files(self.root)
        with failing("ftruncate", errno.EIO):
            await self.assertFailure(self.store.begin("half-open", "sha256"), StorageFailed)
        with failing("lseek", errno.EIO):
            await self.assertFailure(self.store.resume("half-open"), StorageFailed)
        await self.assertFailure(self.store.begin("half-open", "sha3"), ValueError)
        self.assertEqual(open_files(self.root), before)
        await (await self.store.resume("half-open")).cancel()

    async def test_an_unreadable_blob(self) -> None:
        """An error while reading says which location could not read."""
        await self.push()
        source = await self.store.open(DIGEST)
        with failing("pread", errno.EIO):
            error = await self.assertFailure(source.read(0, 1), StorageFailed)
        self.assertIn("'here' could not read a blob", str(error))
        source.close()

    async def test_check_finds_what_is_wrong(self) -> None:
        """`check` fails when the disk cannot be written, does not confirm, or reads something else than was written."""
        await self.store.check()
        for call, number in (("write", errno.ENOSPC), ("fsync", errno.EIO), ("open", errno.EROFS)):
            with failing(call, number):
                error = await self.assertFailure(self.store.check(), StorageFailed)
            self.assertEqual(error.errno, number)
        with patch.object(os, "pread", lambda *_: b"something else"):
            await self.assertFailure(self.store.check(), StorageFailed)
        self.assertEqual(self.uploads(), [])

    async def test_a_root_that_is_a_file(self) -> None:
        """A root that is no directory is a failure with a reason, and stays what it is."""
        self.root.write_bytes(b"not a directory")
        await self.assertFailure(self.store.check(), StorageFailed)
        self.assertEqual(self.root.read_bytes(), b"not a directory")

    async def test_a_disk_that_is_really_full(self) -> None:
        """On a small file system: the push is refused, reading goes on, and cancelling gives the space back."""
        self.root.mkdir()
        mount_three_mebibytes(self.root)
        self.addCleanup(subprocess.run, ["umount", "-l", str(self.root)], check=True)
        await self.push()
        upload = await self.store.begin("huge", "sha256")
        upload.write(bytes(4 * 1024 * 1024))
        await self.assertFailure(upload.flushed(), StorageFull)
        await self.assertFailure(self.store.check(), StorageFull)
        self.assertEqual(await self.pull(), HELLO)
        await upload.cancel()
        await self.store.check()
        await self.push(b"small again")


class CancellationTests(LocalTestCase):
    """Callers that leave while a thread works for them: nothing stays open behind them."""

    def setUp(self) -> None:
        super().setUp()
        self.pool = HeldPool()
        self.held = LocalBlobs("here", self.root, self.pool)

    def forsake(self, waiting: Deferred[Any]) -> None:
        """Cancel `waiting`, then let every thread end."""
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        while self.pool.waiting:
            self.pool.go_on()

    async def test_opening(self) -> None:
        """A blob, or an upload, that was opened for somebody who has left is closed."""
        await self.push()
        before = open_files(self.root)
        self.forsake(self.held.open(DIGEST))
        self.forsake(self.held.begin("forsaken", "sha256"))
        self.assertEqual(open_files(self.root), before)
        self.forsake(self.held.resume("forsaken"))
        self.assertEqual(open_files(self.root), before)
        await (await self.store.resume("forsaken")).cancel()

    async def test_a_source_closes_after_its_last_read(self) -> None:
        """`close`, and a cancelled read, leave the descriptor open until the thread that reads from it is done."""
        await self.push()
        opening = self.held.open(DIGEST)
        self.pool.go_on()
        source = self.successResultOf(opening)
        verifyObject(IFileSlice, source)
        os.fstat(source.fileno())
        first, second = source.read(0, 5), source.read(5, 5)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        source.close()
        self.pool.go_on()
        self.assertEqual(self.successResultOf(first), HELLO[:5])
        self.assertEqual(len(self.pool.waiting), 1)  # the second read, and nobody who closes
        self.pool.go_on()
        os.fstat(source.fileno())
        self.pool.go_on()
        self.assertRaises(OSError, os.fstat, source.fileno())
        self.assertEqual(self.pool.waiting, [])

    async def test_a_blob_that_went_missing(self) -> None:
        """A failure that nobody waits for any more is not an unhandled error."""
        waiting = self.held.open(DIGEST)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        done, work = self.pool.waiting.pop()
        self.assertRaises(BlobMissing, work)
        done.errback(BlobMissing("here", DIGEST))
        self.assertEqual(self.flushLoggedErrors(), [])
