"""
The directories of a local store, and the disk they are on.

    <root>/blobs/<algorithm>/<first two hex digits>/<hex>     a blob: complete, durable, never written again
    <root>/uploads/<upload id>                                an upload: what has arrived so far
    <root>/quarantine/<algorithm>-<hex>                       a blob that had rotted, for somebody to look at
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import attrs
from twisted.internet.defer import Deferred

from quay.files import make_directory
from quay.interfaces import IPool
from quay.oci.reference import HEX_LENGTHS, Digest
from quay.storage import StorageFailed, UploadMissing, refusal
from quay.storage.upload import is_upload_id

P = ParamSpec("P")
R = TypeVar("R")


@attrs.frozen
class Medium:
    """The disk below a location, asked in the threads of a pool; what it refuses becomes a sentence."""

    location: str
    pool: IPool

    def run(self, doing: str, f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        """
        Call `f` in a thread; where it raises OSError or MemoryError, `StorageFull` or `StorageFailed` say it could not
        `doing`.
        """

        def ask() -> R:
            try:
                return f(*args, **kwargs)
            except OSError as error:
                raise refusal(self.location, doing, error) from error
            except MemoryError as error:
                raise StorageFailed(self.location, doing, errno.ENOMEM) from error

        return self.pool.run(ask)


@attrs.frozen
class Layout:
    """Where things lie below `root`. Everything here but the names waits for the disk."""

    location: str
    root: Path

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    def upload(self, upload_id: str) -> Path:
        """Raises `UploadMissing` for an id that could name anything else than a file in `uploads`."""
        if not is_upload_id(upload_id):
            raise UploadMissing(self.location, upload_id)
        return self.uploads / upload_id

    def blob(self, digest: Digest) -> Path:
        """Raises `DigestInvalid` for a `Digest` that nobody has parsed: here it becomes a path."""
        digest = Digest.parse(digest)
        return self.root / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex

    def fans(self) -> Iterator[Path]:
        """The directories in which blobs lie."""
        return (self.root / "blobs" / algorithm / f"{n:02x}" for algorithm in HEX_LENGTHS for n in range(256))

    def make(self) -> None:
        """Make the directories that are missing, durably: `uploads` comes last, and stands for all of them."""
        make_directory(self.root)
        for directory in (self.root / "blobs", *(self.root / "blobs" / algorithm for algorithm in HEX_LENGTHS)):
            directory.mkdir(mode=0o700, exist_ok=True)
        for fan in self.fans():
            fan.mkdir(mode=0o700, exist_ok=True)
        for algorithm in HEX_LENGTHS:
            sync_directory(self.root / "blobs" / algorithm)
        sync_directory(self.root / "blobs")
        self.uploads.mkdir(mode=0o700, exist_ok=True)
        sync_directory(self.root)

    def made(self, f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `f`, and once more after `make` if a directory was missing."""
        try:
            return f(*args, **kwargs)
        except FileNotFoundError:
            self.make()
            return f(*args, **kwargs)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
