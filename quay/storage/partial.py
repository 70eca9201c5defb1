"""
The file of an upload to a local store, until it is a blob.

It becomes a blob when its bytes have the digest and are on the medium: compare, fdatasync, rename, fsync of the
directory. It takes the place of an older blob, so that pushing a blob again heals it. An open upload holds a lock on
its file: no two requests, processes or machines write to one upload.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from uuid import uuid4

from twisted.internet.defer import Deferred

from quay import faults
from quay.oci.reference import Digest
from quay.storage import DigestMismatch, UploadBusy, UploadMissing
from quay.storage.intake import BUFFER, Fill, pieces
from quay.storage.layout import Layout, Medium, sync_directory
from quay.storage.writeback import start_writeback

if TYPE_CHECKING:
    from hashlib import _Hash


WRITEBACK: Final = 8 * 1024 * 1024
"""So many bytes of an upload are asked onto the medium at a time, before its end."""


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`, which the medium may take in pieces."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def rehash(fd: int, algorithm: str) -> _Hash:
    """The hash of a whole file, ready to go on, whatever its size, in a quarter of a mebibyte."""
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, "rb", buffering=0, closefd=False) as file:
        return hashlib.file_digest(file, algorithm)


@contextlib.contextmanager
def closed_on_failure(fd: int) -> Iterator[None]:
    """Close `fd` if what follows fails, and only then."""
    try:
        yield
    except BaseException:
        os.close(fd)
        raise


class PartialFile:
    """
    The file of an upload, open and locked: a `Partial` (see `quay.storage.upload`).

    Only whoever has the lock may rename or remove the file, so the name stands for this file as long as it is open.
    """

    size = 0
    _hurried = 0

    def __init__(self, medium: Medium, layout: Layout, upload_id: str, flags: int = 0) -> None:
        """Open it; `flags` are added to those of open(2). Raises `UploadBusy`, `UploadMissing`, OSError."""
        self._medium = medium
        self._layout = layout
        self._upload_id = upload_id
        self._path = layout.upload(upload_id)
        self._hash: _Hash = hashlib.sha256()
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | flags, 0o600)
        with closed_on_failure(self._fd):
            self._lock()

    @classmethod
    def begun(cls, medium: Medium, layout: Layout, upload_id: str, algorithm: str) -> Self:
        """A new and empty one; what a crash may have left under this id is gone."""
        partial = layout.made(cls, medium, layout, upload_id, os.O_CREAT)
        with closed_on_failure(partial._fd):
            os.ftruncate(partial._fd, 0)
            faults.point("upload.created")
            partial._hash = hashlib.new(algorithm)
        return partial

    @classmethod
    def resumed(cls, medium: Medium, layout: Layout, upload_id: str) -> Self:
        """The one that is there, with what it really holds."""
        try:
            partial = cls(medium, layout, upload_id)
        except FileNotFoundError as error:
            raise UploadMissing(layout.location, upload_id) from error
        with closed_on_failure(partial._fd):
            partial._hash = rehash(partial._fd, "sha256")
            partial.size = partial._hurried = os.fstat(partial._fd).st_size
        return partial

    @classmethod
    def keep(cls, medium: Medium, layout: Layout, digest: Digest, data: bytes) -> None:
        """One that comes whole, and is the blob `digest` when this returns. In a thread."""
        cls.begun(medium, layout, str(uuid4()), digest.algorithm)._place(digest, data)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UploadBusy(self._layout.location, self._upload_id) from error
        if not self._has_its_name():
            raise UploadMissing(self._layout.location, self._upload_id)  # it ended after we had opened it

    def _has_its_name(self) -> bool:
        try:
            return os.path.samestat(self._path.lstat(), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    # --- the Partial

    def append(self, segment: Sequence[bytes]) -> Deferred[None]:
        self._hurry()
        return self._medium.run("write an upload", self._append, segment)

    def fetch(self, segment: Sequence[bytes], fill: Fill, most: int) -> Deferred[int]:
        self._hurry()
        return self._medium.run("write an upload", self._fetch, segment, fill, most)

    def place(self, digest: Digest) -> Deferred[None]:
        return self._medium.run("keep a blob", self._place, digest)

    def close(self) -> Deferred[None]:
        return self._medium.run("close an upload", os.close, self._fd)

    def discard(self) -> Deferred[None]:
        return self._medium.run("remove an upload", self._discard)

    def _hurry(self) -> None:
        """Let another thread have the medium begin with what is there: the wait for it at the end is the shorter."""
        if self.size - self._hurried >= WRITEBACK:
            with contextlib.suppress(OSError):  # a hint: there may be no descriptor left to give it with
                asked = self._medium.run("write an upload", start_writeback, *self._unhurried())
                asked.addErrback(lambda _: None)  # fsync tells

    def _unhurried(self) -> tuple[int, int, int]:
        """What is not on its way to the medium, as `start_writeback` takes it, which is to be called now."""
        first, self._hurried = self._hurried, self.size
        return os.dup(self._fd), first, self.size - first

    # --- in a thread

    def _append(self, segment: Sequence[bytes]) -> None:
        self._add(b"".join(segment))  # once: each call without the interpreter's lock has to wait to get it back

    def _fetch(self, segment: Sequence[bytes], fill: Fill, most: int) -> int:
        if segment:
            self._append(segment)
        before = self.size
        for piece in pieces(fill, most):
            self._add(piece)
        taken = self.size - before
        if taken < most // 2 and self.size - self._hurried >= BUFFER:
            with contextlib.suppress(OSError):  # a hint: the client pauses, or that was all
                start_writeback(*self._unhurried())
        return taken

    def _add(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        faults.point("upload.hashed")
        write_all(self._fd, data)
        self.size += len(data)
        faults.point("upload.written")

    def _place(self, digest: Digest, last: bytes = b"") -> None:
        try:
            if last:
                self._append([last])
            self._compare(digest)
            self._keep(self._layout.blob(digest))
        except BaseException:
            # After a failed fdatasync nobody knows what the medium holds: this upload cannot be gone on with.
            with contextlib.suppress(OSError):
                self._unlink()
            raise
        finally:
            os.close(self._fd)

    def _compare(self, digest: Digest) -> None:
        same = self._hash.name == digest.algorithm and os.fstat(self._fd).st_size == self.size
        hasher = self._hash if same else rehash(self._fd, digest.algorithm)
        actual = Digest(f"{digest.algorithm}:{hasher.hexdigest()}")
        if actual != digest:
            raise DigestMismatch(digest, actual)

    def _keep(self, final: Path) -> None:
        faults.point("blob.before-fsync")
        os.fdatasync(self._fd)
        faults.point("blob.after-fsync")
        self._layout.made(self._path.rename, final)
        faults.point("blob.after-rename")
        sync_directory(final.parent)
        faults.point("blob.after-dirsync")

    def _discard(self) -> None:
        try:
            self._unlink()
        finally:
            os.close(self._fd)
        faults.point("upload.discarded")

    def _unlink(self) -> None:
        if self._has_its_name():  # after the rename, the next upload may have it
            self._path.unlink()
