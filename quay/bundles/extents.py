"""
Bytes of files that somebody brought, read where they lie, by threads; and whether a disk has room for more.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from quay.interfaces import IBlobSource, IPool
from quay.oci.errors import RegistryError

RESERVE: Final = 256 * 1024 * 1024
"""Bytes of a disk that are never filled."""


class FileUnreadable(RegistryError):
    """A file that was given cannot be read."""

    status = 400

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path} cannot be read: {error.strerror or error}.", advice="Copy it again, or let it be read."
        )


class NoRoom(RegistryError):
    """A disk has less room than something needs."""

    status = 507

    def __init__(self, where: Path, needed: int, free: int) -> None:
        super().__init__(
            f"{where} has {free} bytes free, and {needed} are needed, beside {RESERVE} that stay free.",
            advice="Free some space there, or choose another disk.",
            needed=needed,
            free=free,
        )


@attrs.frozen
class Extent:
    """Bytes of a file."""

    path: Path
    offset: int
    size: int


@implementer(IBlobSource)
class Span:
    """The bytes of an extent. It is one reader's: each read waits for the one before."""

    def __init__(self, pool: IPool, extent: Extent) -> None:
        self.size = extent.size
        self._pool = pool
        self._extent = extent
        self._fd: int | None = None

    def read(self, offset: int, count: int) -> Deferred[bytes]:
        """As the seam promises. Raises `FileUnreadable`; also for a file that ends too early."""
        read: Deferred[bytes] = self._pool.run(self._read, offset, min(count, self.size - offset))
        return read

    def _read(self, offset: int, count: int) -> bytes:
        path = self._extent.path
        try:
            if self._fd is None:
                self._fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            data = os.pread(self._fd, count, self._extent.offset + offset)
        except OSError as error:
            raise FileUnreadable(path, error) from error
        if len(data) < count:
            raise FileUnreadable(path, OSError(0, "it ends too early"))
        return data

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            self._pool.run(os.close, fd)


def check_room(where: Path, needed: int) -> None:
    """See that the disk below `where` has room for so many bytes. Waits for it. Raises `NoRoom`."""
    there = where
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed + RESERVE:
        raise NoRoom(where, needed, free)
