"""
The blobs of a backup: each gets one more name where an earlier backup or the storage has it on the same file system,
and is copied, and hashed on the way, where not.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import attrs
from twisted.logger import Logger

from quay.backups.record import LIST, NAMED, BackupFailed, batch, line_of, place_of, read_lines
from quay.files import sync
from quay.interfaces import IBlobSource, ILinkable, IPool
from quay.model.backup import Placed
from quay.oci.reference import Digest
from quay.registry.blobs import Stores
from quay.storage import BlobMissing, StorageFailed

CHUNK: Final = 4 * 1024 * 1024
SPARE: Final = 64 * 1024 * 1024
"""Bytes that a backup leaves free."""
_REST: Final = "rest"

log = Logger()


@attrs.frozen
class Earlier:
    """Where blobs may have been copied to before, and those of them that were found damaged."""

    roots: Sequence[Path] = ()
    damaged: frozenset[str] = frozenset()


class Copying:
    """
    Fills `draft` with the blobs of its list, out of `stores` or `earlier`, with the threads of `pool`. `done` counts
    bytes that are in it, and `copied` those of them that were copied; `lost` are blobs that could not be had, and
    `missing` the first of these.
    """

    def __init__(
        self, draft: Path, stores: Stores, earlier: Earlier, pool: IPool, say: Callable[[str], object]
    ) -> None:
        self._draft = draft
        self._stores = stores
        self._earlier = earlier
        self._pool = pool
        self._say = say
        self._fans: set[Path] = set()
        self.done = self.copied = self.lost = 0
        self.missing: list[Digest] = []

    async def run(self) -> None:
        """Have every blob there, durably. Raises `BackupFailed` if there is no room, and `OSError`."""
        run = self._pool.run
        listing = await run((self._draft / LIST).open, "rb")
        rest = await run((self._draft / _REST).open, "w+b")
        try:
            wanted = await self._link_all(read_lines(listing), rest)
            await run(require_room, self._draft, wanted, "The blobs that no earlier backup has")
            await run(rest.seek, 0)
            await self._copy_all(read_lines(rest))
        finally:
            listing.close()
            rest.close()
        await run(self._settle)

    # --- linking

    async def _link_all(self, lines: Iterator[Placed], rest: IO[bytes]) -> int:
        """Link what can be, and write the others into `rest`: how many bytes they have."""
        wanted = 0
        while found := await self._pool.run(batch, lines):
            unlinked = await self._link(found)
            wanted += sum(one.size for one in unlinked)
            await self._pool.run(rest.writelines, [line_of(one) for one in unlinked])
        return wanted

    async def _link(self, found: Sequence[Placed]) -> list[Placed]:
        """Link what can be; returns the rest."""
        rest = await self._pool.run(self._link_earlier, found)
        self.done += sum(one.size for one in found) - sum(one.size for one in rest)
        return [one for one in rest if not await self._link_stored(one)]

    def _link_earlier(self, found: Sequence[Placed]) -> list[Placed]:
        for placed in found:
            self._prepare(place_of(self._draft, placed.digest))
        return [one for one in found if not any(self._is_linked(root, one) for root in self._earlier.roots)]

    def _is_linked(self, root: Path, placed: Placed) -> bool:
        source = place_of(root, placed.digest)
        try:
            if placed.digest in self._earlier.damaged or source.lstat().st_size != placed.size:
                return False
            os.link(source, place_of(self._draft, placed.digest), follow_symlinks=False)
        except OSError:  # it is not there, or the file system knows no second names: then it is copied
            return False
        return True

    async def _link_stored(self, placed: Placed) -> bool:
        target = place_of(self._draft, placed.digest)
        for store in self._stores.holding(placed.locations):
            if not ILinkable.providedBy(store):
                continue
            try:
                linked = await ILinkable(store).link(placed.digest, target)
            except (BlobMissing, StorageFailed):
                continue
            if linked and await self._pool.run(_is_whole, target, placed.size):
                self.done += placed.size
                return True
        return False

    # --- copying

    async def _copy_all(self, lines: Iterator[Placed]) -> None:
        while found := await self._pool.run(batch, lines):
            for placed in found:
                await self._copy(placed)

    async def _copy(self, placed: Placed) -> None:
        for store in self._stores.holding(placed.locations):
            try:
                source = await store.open(placed.digest)
            except (BlobMissing, StorageFailed) as error:
                log.warn("{error}", error=error)
                continue
            try:
                if await self._written(source, placed):
                    return
            except StorageFailed as error:
                log.warn("{error}", error=error)
            finally:
                source.close()
        self.lost += 1
        if self.lost <= NAMED:
            self.missing.append(placed.digest)
            self._say(f"{placed.digest} cannot be had: it is missing or has rotted, and is not in the backup.")

    async def _written(self, source: IBlobSource, placed: Placed) -> bool:
        """Whether it is there now; it is not if the bytes are others than the digest says."""
        if source.size != placed.size:
            return False
        sink = await self._pool.run(Sink, place_of(self._draft, placed.digest), placed.digest.algorithm)
        before = self.done, self.copied
        try:
            for start in range(0, source.size, CHUNK):
                data = await source.read(start, CHUNK)
                await self._pool.run(sink.write, data)
                self.done += len(data)
                self.copied += len(data)
            if await self._pool.run(sink.commit, placed.digest):
                return True
        finally:
            await self._pool.run(sink.discard)
        self.done, self.copied = before
        return False

    # --- directories

    def _prepare(self, target: Path) -> None:
        if target.parent not in self._fans:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fans.add(target.parent)

    def _settle(self) -> None:
        """Make all names durable."""
        (self._draft / _REST).unlink()
        directories = {above for fan in self._fans for above in (fan, fan.parent, fan.parent.parent)}
        for directory in sorted(directories, reverse=True):
            sync(directory)


class Sink:
    """A new file at `target` that appears there whole and durable, with `commit`, or not at all. Waits for the disk."""

    def __init__(self, target: Path, algorithm: str) -> None:
        self._target = target
        self._draft = target.with_name(f".{target.name}")
        self._hasher = hashlib.new(algorithm)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(self._draft, flags, 0o600), "wb")

    def write(self, data: bytes) -> None:
        """Write and hash."""
        self._file.write(data)
        self._hasher.update(data)

    def commit(self, digest: Digest) -> bool:
        """Whether what was written is `digest`; then it is there."""
        if self._hasher.hexdigest() != digest.hex:
            return False
        self._file.flush()
        os.fsync(self._file.fileno())
        self._draft.rename(self._target)
        return True

    def discard(self) -> None:
        """Let go of it, and of what was not committed."""
        self._file.close()
        self._draft.unlink(missing_ok=True)


def require_room(directory: Path, wanted: int, what: str) -> None:
    """Raises `BackupFailed` unless `directory` has room for so many bytes, and some to spare. Waits for the disk."""
    free = shutil.disk_usage(directory).free
    if wanted + SPARE > free:
        raise BackupFailed(
            f"{what} take {wanted} bytes, and {directory} has {free} free: make room there, or use another disk."
        )


def _is_whole(target: Path, size: int) -> bool:
    if target.lstat().st_size == size:
        return True
    target.unlink()
    return False
