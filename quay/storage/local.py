"""Blobs in a directory of this machine, or in one that several machines share; `quay.storage.layout` shows it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from threading import get_ident
from typing import Final, Self, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from quay.interfaces import IBlobSource, IBlobStore, IBlobUpload, IFileKeeper, IFileSlice, ILinkable, IPool
from quay.oci.reference import HEX_LENGTHS, Digest
from quay.storage import BlobMissing, StorageMisconfigured, UploadBusy, UploadMissing
from quay.storage.files import NOT_LINKED, keep_file
from quay.storage.intake import DirectUpload
from quay.storage.layout import Layout, Medium, sync_directory
from quay.storage.partial import PartialFile, write_all
from quay.storage.upload import Budget, is_upload_id
from quay.threads import shielded

R = TypeVar("R")

NAMES_AT_ONCE: Final = 256
PROBE: Final = b"What is written here can be read again.\n"

log = Logger()


@implementer(IBlobSource, IFileSlice)
class FileSlice:
    """A blob that is open for reading; `close` waits for the reads that are under way."""

    def __init__(self, medium: Medium, fd: int) -> None:
        self.size = os.fstat(fd).st_size
        self._medium = medium
        self._fd = fd
        self._reading = 0
        self._closed = False

    def fileno(self) -> int:
        return self._fd

    def read(self, offset: int, count: int) -> Deferred[bytes]:
        """Raises ValueError after `close`: by then the descriptor may be another file's."""
        if self._closed:
            raise ValueError("This blob was read after it was closed: open it again.")
        self._reading += 1
        work = self._medium.run("read a blob", os.pread, self._fd, count, offset)
        return shielded(work.addBoth(self._done))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._close_if_idle()

    def _done(self, result: R) -> R:
        self._reading -= 1
        self._close_if_idle()
        return result

    def _close_if_idle(self) -> None:
        if self._closed and not self._reading:
            # In a thread: closing the last descriptor of a deleted blob frees its space on the disk.
            self._medium.run("close a blob", os.close, self._fd).addErrback(_warn)


@implementer(IBlobStore, IFileKeeper, ILinkable)
class LocalBlobs:
    """The blobs below `root`, which is made when it is first needed; `pool` waits for the disk."""

    def __init__(self, location: str, root: Path, pool: IPool, budget: Budget | None = None) -> None:
        self.location = location
        self._layout = Layout(location, root)
        self._medium = Medium(location, pool)
        self._budget = budget or Budget()

    @classmethod
    def from_options(cls, location: str, options: Mapping[str, object], pool: IPool, budget: Budget | None) -> Self:
        """`options`: `storage_path`, an absolute directory. Raises `StorageMisconfigured`."""
        path = options.get("storage_path")
        if set(options) != {"storage_path"} or not isinstance(path, str) or not Path(path).is_absolute():
            raise StorageMisconfigured(
                location,
                f"The storage location {location!r} (LocalStorage) takes exactly one option, storage_path, an absolute "
                f"directory; it has {', '.join(sorted(options)) or 'none'}.",
            )
        return cls(location, Path(path), pool, budget)

    # --- uploads

    def begin(self, upload_id: str, algorithm: str) -> Deferred[IBlobUpload]:
        return self._open_upload("begin an upload", PartialFile.begun, upload_id, algorithm)

    def resume(self, upload_id: str) -> Deferred[IBlobUpload]:
        return self._open_upload("resume an upload", PartialFile.resumed, upload_id)

    def _open_upload(self, doing: str, opening: Callable[..., PartialFile], *args: str) -> Deferred[IBlobUpload]:
        opened = shielded(self._medium.run(doing, opening, self._medium, self._layout, *args), PartialFile.close)

        def started(partial: PartialFile) -> IBlobUpload:
            return DirectUpload(self.location, args[0], partial, self._budget, partial.size)

        return opened.addCallback(started)

    def discard(self, upload_id: str) -> Deferred[None]:
        def remove() -> None:
            with contextlib.suppress(UploadMissing, UploadBusy, FileNotFoundError):
                PartialFile(self._medium, self._layout, upload_id)._discard()

        return self._medium.run("remove an upload", remove)

    def stale_uploads(self, before: float) -> Deferred[list[str]]:
        def list_stale() -> list[str]:
            with contextlib.suppress(FileNotFoundError), os.scandir(self._layout.uploads) as entries:
                return [entry.name for entry in entries if is_upload_id(entry.name) and _is_older(entry, before)]
            return []

        return self._medium.run("list its uploads", list_stale)

    # --- blobs

    def keep(self, digest: Digest, data: bytes) -> Deferred[None]:
        return self._medium.run("keep a blob", PartialFile.keep, self._medium, self._layout, digest, data)

    def keep_file(self, digest: Digest, path: Path) -> Deferred[int]:
        return self._medium.run("keep a file", self._layout.made, keep_file, self._medium, self._layout, digest, path)

    def stat(self, digest: Digest) -> Deferred[int | None]:
        def measure() -> int | None:
            try:
                return self._layout.blob(digest).stat().st_size
            except FileNotFoundError:
                return None

        return self._medium.run("look for a blob", measure)

    def open(self, digest: Digest) -> Deferred[IBlobSource]:
        def open_blob() -> IBlobSource:
            try:
                fd = os.open(self._layout.blob(digest), os.O_RDONLY | os.O_NOFOLLOW)
            except FileNotFoundError as error:
                raise BlobMissing(self.location, digest) from error
            return FileSlice(self._medium, fd)

        return shielded(self._medium.run("open a blob", open_blob), lambda source: source.close())

    def link(self, digest: Digest, target: Path) -> Deferred[bool]:
        def name_again() -> bool:
            try:
                os.link(self._layout.blob(digest), target, follow_symlinks=False)
            except FileNotFoundError as error:
                raise BlobMissing(self.location, digest) from error
            except OSError as error:
                if error.errno in NOT_LINKED:
                    return False
                raise
            return True

        return self._medium.run("link a blob", name_again)

    def delete(self, digest: Digest) -> Deferred[None]:
        def remove() -> None:
            self._layout.blob(digest).unlink(missing_ok=True)

        return self._medium.run("delete a blob", remove)

    def quarantine(self, digest: Digest) -> Deferred[None]:
        def move() -> None:
            path = self._layout.blob(digest)
            self._layout.quarantine.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                path.rename(self._layout.quarantine / f"{digest.algorithm}-{digest.hex}")
                sync_directory(path.parent)

        return self._medium.run("set a blob aside", self._layout.made, move)

    async def walk(self) -> AsyncIterator[Digest]:
        for fan in self._layout.fans():
            names = _names(fan)
            while batch := await self._medium.run("list its blobs", list, islice(names, NAMES_AT_ONCE)):
                for name in batch:
                    yield Digest(f"{fan.parent.name}:{name}")

    # --- health

    def check(self) -> Deferred[None]:
        return self._medium.run("write and read a probe", self._layout.made, self._probe)

    def _probe(self) -> None:
        # Its name is that of an upload: one that a crash leaves behind is reaped like any other.
        path = self._layout.upload(f"probe-{os.getpid()}-{get_ident()}")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            write_all(fd, PROBE)
            os.fsync(fd)
            if os.pread(fd, len(PROBE) + 1, 0) != PROBE:
                raise OSError(errno.EIO, "another text was read than was written")
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)


def _is_older(entry: os.DirEntry[str], before: float) -> bool:
    try:
        return entry.stat(follow_symlinks=False).st_mtime < before
    except FileNotFoundError:
        return False  # it ended while we were looking


def _names(fan: Path) -> Iterator[str]:
    """The hex digits of the blobs in `fan`; a file that is none does not count."""
    blob = re.compile(rf"{fan.name}[0-9a-f]{{{HEX_LENGTHS[fan.parent.name] - 2}}}")
    with contextlib.suppress(FileNotFoundError), os.scandir(fan) as entries:
        yield from (entry.name for entry in entries if blob.fullmatch(entry.name))


def _warn(failure: Failure) -> None:
    log.warn("{why}", why=failure.getErrorMessage())
