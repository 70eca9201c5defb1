"""
Files of the depot over a connection: taken in as they come, and given out from wherever a reader goes on.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred
from zope.interface import implementer

from quay.bundles.depot import DRAFT
from quay.bundles.extents import check_room
from quay.bundles.waybill import BundleInvalid
from quay.interfaces import IBlobSource, IFileSlice, IPool
from quay.registry.archives.stream import Inlet
from quay.registry.uploads import Body

CHECK_BYTES: Final = 64 * 1024 * 1024
"""So often it is looked whether the disk still has room."""


async def received(body: Body, path: Path, pool: IPool, *, limit: int | None = None) -> int:
    """
    Make the body the file `path`, as a whole; gives its size. Raises `NoRoom`, `BundleInvalid` beyond `limit` bytes,
    and what the body fails with: there is nothing of it then.
    """
    inlet = Inlet(body)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}{DRAFT}")
    try:
        await pool.run(_prepare, draft, body.length or 0)
        written = 0
        async for piece in inlet.pieces():
            if limit is not None and written + len(piece) > limit:
                raise BundleInvalid(f"It has more than {limit} bytes.")
            if written // CHECK_BYTES < (written + len(piece)) // CHECK_BYTES:
                await pool.run(check_room, path.parent, 0)
            await pool.run(_append, draft, piece)
            written += len(piece)
        await pool.run(_complete, draft, path)
    except BaseException:
        await pool.run(draft.unlink, missing_ok=True)
        raise
    finally:
        inlet.close()
    return written


async def sent(path: Path, pool: IPool) -> StoredFile:
    """The file, open for reading; for the caller to close."""
    return StoredFile(pool, await pool.run(os.open, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))


@implementer(IBlobSource, IFileSlice)
class StoredFile:
    """A file that is open for reading, by one reader: he closes it when no read is under way."""

    def __init__(self, pool: IPool, fd: int) -> None:
        self.size = os.fstat(fd).st_size
        self._pool = pool
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def read(self, offset: int, count: int) -> Deferred[bytes]:
        """As the seam promises."""
        read: Deferred[bytes] = self._pool.run(os.pread, self._fd, count, offset)
        return read

    def close(self) -> None:
        self._pool.run(os.close, self._fd)


def _prepare(draft: Path, size: int) -> None:
    draft.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_room(draft.parent, size)
    draft.touch(mode=0o600, exist_ok=False)


def _append(draft: Path, piece: bytes) -> None:
    with draft.open("ab") as file:
        file.write(piece)


def _complete(draft: Path, path: Path) -> None:
    with draft.open("rb+") as file:
        os.fsync(file.fileno())
    draft.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
