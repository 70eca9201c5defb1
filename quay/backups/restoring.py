"""
Restoring a backup: into a data directory, a database and stores that are empty, or whose contents are moved aside.

All of it or nothing. While it is at work, and after a crash, a note in the data directory keeps everybody from using
it; the same command goes on where it was. What fails is undone, and what was moved aside comes back. Every byte is
hashed on the way, and blobs go through the stores, so these may be others than those of which the backup was made.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO
from uuid import uuid4

import attrs
from twisted.internet.defer import CancelledError

from quay import faults
from quay.backups.copying import CHUNK, require_room
from quay.backups.database import load_dump, place_file, settle
from quay.backups.files import LARGEST
from quay.backups.record import (
    FILES,
    LIST,
    NAMED,
    BackupDamaged,
    BackupFailed,
    File,
    Record,
    batch,
    changed,
    place_of,
    read_lines,
)
from quay.backups.site import Site
from quay.config.surroundings import FILENAME
from quay.files import write_whole
from quay.interfaces import IBlobStore, IFileKeeper, IPool
from quay.lock import DataLock
from quay.model.backup import Placed
from quay.oci.reference import Digest
from quay.storage import DigestMismatch
from quay.threads import interruptible


@attrs.frozen(kw_only=True)
class Destination:
    """
    Where things go, by the configuration that holds after the restoration: the address of the database, and its file
    where it is one; and the stores by location.
    """

    url: str = attrs.field(repr=False)
    file: Path | None
    stores: dict[str, IBlobStore]
    places: Sequence[Path]
    """The directories of those stores that have one."""


class Restoration:
    """
    Puts the backup `root` into the data directory `data`, with the threads of `pool`. `settle` is called when the
    files of the backup are in place, and says where the rest goes; a configuration that is `given` is not replaced by
    that of the backup. `say` is told a sentence now and then. `done` of `total` bytes of blobs are in place.
    """

    def __init__(
        self,
        root: Path,
        data: Path,
        pool: IPool,
        settle: Callable[[], Destination],
        say: Callable[[str], object],
        *,
        given: bool = False,
        force: bool = False,
        skip_damaged: bool = False,
    ) -> None:
        self._root = root
        self._data = data
        self._pool = pool
        self._settle = settle
        self._say = say
        self._given = given
        self._force = force
        self._skip_damaged = skip_damaged
        self._lost: frozenset[str] = frozenset()
        self._missing: list[Digest] = []
        self._site = Site(data, root, say, force=force)
        self.done = self.total = 0

    @property
    def missing(self) -> Sequence[Digest]:
        """Blobs that the database names and the backup does not have."""
        return self._missing

    async def run(self) -> Record:
        """Restore it. Raises `BackupFailed`, `DataInUse`, and what keeps the database or a store from being used."""
        record = await self._pool.run(Record.read, self._root)
        self._lost = frozenset(record.missing)
        lock = DataLock(self._data, restoring=True)
        await self._pool.run(lock.acquire)
        try:
            await self._pool.run(self._site.begin, record)
            await self._undone_if_it_fails(record)
            await self._pool.run(self._site.done)
        finally:
            lock.release()
        return record

    async def _undone_if_it_fails(self, record: Record) -> None:
        try:
            await self._restore(record)
        except CancelledError:
            raise
        except BaseException as error:
            await self._pool.run(self._site.undo)
            if isinstance(error, OSError):
                raise BackupFailed(f"{error.filename or self._data} could not be written: {error.strerror}.") from error
            raise

    async def _restore(self, record: Record) -> None:
        await self._pool.run(self._site.move_aside)
        faults.point("restore.moved")
        for file in record.files:
            await self._pool.run(self._place, file)
        target = await self._pool.run(self._settle)
        await self._pool.run(self._check, record, target)
        if record.holds_blobs:
            self.total = record.size
            await self._restore_blobs(target)
        faults.point("restore.blobs")
        await self._restore_database(record, target)
        await self._pool.run(self._site.give_to_owner, target.places)

    # --- files

    def _place(self, file: File) -> None:
        """Put a file where it was; its bytes are hashed on the way."""
        try:
            name = file.at(Path()).relative_to(FILES)
        except ValueError:
            raise BackupDamaged(f"{self._root} has a file in the wrong place, {file.path[:200]!r}.") from None
        if self._given and name == Path(FILENAME):
            return
        content = self._bytes_of(file)
        write_whole(self._data / name, content)

    def _bytes_of(self, file: File) -> bytes:
        path = file.at(self._root)
        try:
            content = path.read_bytes() if path.stat().st_size == file.size <= LARGEST else b""
        except OSError as error:
            raise BackupDamaged(f"{path} cannot be read: {error.strerror}.") from error
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise changed(path)
        return content

    # --- what the configuration says

    def _check(self, record: Record, target: Destination) -> None:
        """Raises `BackupFailed` where the configuration leads to something else than the backup was made of."""
        engine = "postgresql" if target.file is None else "sqlite"
        if engine != record.engine:
            raise BackupFailed(
                f"The backup is of a registry on {record.engine}, and DB_URI names {engine}: set DB_URI (QUAY_DB_URI) "
                "to a new, empty database of that kind."
            )
        unknown = sorted(set(record.storage) - set(target.stores))
        if unknown:
            raise BackupFailed(
                f"Blobs of the backup were in the locations {', '.join(unknown)}, which the configuration does not "
                "have: give these names to locations in DISTRIBUTED_STORAGE_CONFIG, on whatever storage."
            )
        if target.file is not None and target.file.exists() and not self._force:
            raise BackupFailed(f"The database {target.file} exists: move it away, or say --force.")
        for place in target.places if not self._site.resumed else ():
            self._check_room(place, record)
            if self._force:
                continue
            if any(place.glob("blobs/*/??/*")):
                raise BackupFailed(
                    f"The storage {place} has blobs in it, perhaps of a registry that is at work: give the "
                    "configuration another one, or say --force to add to what is there."
                )

    def _check_room(self, place: Path, record: Record) -> None:
        """Blobs are linked on the file system of the backup, and copied to any other."""
        there = next(path for path in (place, *place.parents) if path.exists())
        if record.holds_blobs and there.stat().st_dev != self._root.stat().st_dev:
            require_room(there, record.size, "The blobs")

    # --- blobs

    async def _restore_blobs(self, target: Destination) -> None:
        listing = await self._pool.run((self._root / LIST).open, "rb")
        try:
            lines = read_lines(listing)
            while found := await self._pool.run(batch, lines):
                for placed in found:
                    await self._restore_blob(placed, target)
        finally:
            listing.close()

    async def _restore_blob(self, placed: Placed, target: Destination) -> None:
        for location in placed.locations:
            store = target.stores[location]
            if self._site.resumed and await store.stat(placed.digest) == placed.size:
                continue
            try:
                await self._keep(placed, store)
            except (OSError, DigestMismatch):  # what a store cannot do is no OSError
                self._lose(placed.digest)
                break
        self.done += placed.size

    async def _keep(self, placed: Placed, store: IBlobStore) -> None:
        """Where it can, the store takes the file of the backup as it is: nobody writes to either again."""
        path = place_of(self._root, placed.digest)
        if IFileKeeper.providedBy(store) and await self._pool.run(_is_file, path):
            await IFileKeeper(store).keep_file(placed.digest, path)
        else:
            await self._copy(placed, store)

    async def _copy(self, placed: Placed, store: IBlobStore) -> None:
        source: IO[bytes] = await self._pool.run(_opened, place_of(self._root, placed.digest))
        try:
            upload = await store.begin(str(uuid4()), placed.digest.algorithm)
            try:
                while data := await self._pool.run(source.read, CHUNK):
                    upload.write(data)
                    await upload.flushed()
            except BaseException:
                await upload.cancel()
                raise
            await upload.commit(placed.digest)
        finally:
            source.close()

    def _lose(self, digest: Digest) -> None:
        """A blob is not to be had. It is no surprise if it was not when the backup was made."""
        if not self._skip_damaged and digest not in self._lost:
            raise BackupDamaged(
                f"The blob {digest} is damaged in the backup, or cannot be read. Restore another one; or say "
                "--skip-damaged, and that blob is missing until it is pushed again."
            )
        self._missing.append(digest)
        if len(self._missing) <= NAMED:
            self._say(f"The blob {digest} is not in the backup: it is missing until it is pushed again.")

    # --- the database, at last

    async def _restore_database(self, record: Record, target: Destination) -> None:
        run, note = self._pool.run, self._site.note
        if target.file is not None:
            await run(place_file, self._root, record.database, target.file, self._missing, note.replaced)
            return
        if not note.loaded:
            await interruptible(self._pool, load_dump, self._root, record.database, target.url)
            note.loaded = True
            await run(self._site.keep_note)
        await run(settle, target.url, self._missing)


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _opened(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
