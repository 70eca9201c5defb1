"""
Restoring a backup: into a data directory, a database and stores that are empty, or whose contents are moved aside.

All of it or nothing. While it is at work, and after a crash, a note in the data directory keeps everybody from using
it; the same command goes on where it was. What fails is undone, and what was moved aside comes back. Every byte is
hashed on the way, and blobs go through the stores, so these may be others than those of which the backup was made.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import IO
from uuid import uuid4

import attrs
from twisted.internet.defer import CancelledError

from quay import faults
from quay.backups.copying import CHUNK, Sink, require_room
from quay.backups.files import OF_THE_MACHINE, REPLACED
from quay.backups.record import (
    FILES,
    LIST,
    NAMED,
    SEAL,
    BackupDamaged,
    BackupFailed,
    File,
    Record,
    batch,
    place_of,
    read_lines,
)
from quay.config.surroundings import FILENAME
from quay.database import once
from quay.database.engines import open_engine
from quay.database.migrations import migrate
from quay.database.snapshot import load
from quay.files import sync, write_whole
from quay.interfaces import IBlobStore, IFileKeeper, IPool
from quay.lock import RESTORING, DataLock
from quay.model.backup import Placed, settle_restored
from quay.oci.reference import Digest
from quay.storage import DigestMismatch
from quay.threads import interruptible


@attrs.frozen(kw_only=True)
class Destination:
    """
    Where things go, by the configuration that holds after the restoration: the address of the database, and its file
    where it is one; the stores by location, and which of them were there before.
    """

    url: str = attrs.field(repr=False)
    file: Path | None
    stores: dict[str, IBlobStore]
    places: Sequence[Path]
    """The directories of those stores that have one."""


@attrs.define
class _Note:
    """What the note in the data directory says: of which backup, where what was there has gone, and what is done."""

    seal: str
    replaced: str
    moved: bool = False
    loaded: bool = False


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
        self._note = _Note("", "")
        self._resumed = False
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
            await self._pool.run(self._begin, record)
            await self._undone_if_it_fails(record)
            await self._pool.run((self._data / RESTORING).unlink)
        finally:
            lock.release()
        return record

    async def _undone_if_it_fails(self, record: Record) -> None:
        try:
            await self._restore(record)
        except CancelledError:
            raise
        except BaseException as error:
            await self._pool.run(self._undo)
            if isinstance(error, OSError):
                raise BackupFailed(f"{error.filename or self._data} could not be written: {error.strerror}.") from error
            raise

    async def _restore(self, record: Record) -> None:
        await self._pool.run(self._move_aside)
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
        await self._pool.run(self._own, target)

    # --- the directory

    def _begin(self, record: Record) -> None:
        """Note what is being done. Raises `BackupFailed` if there is something in the way."""
        seal = (self._root / SEAL).read_text(encoding="ascii").split()[0]
        before = self._read_note()
        if before is not None and (before.seal == seal):
            self._note, self._resumed = before, True
            self._say("A restoration of this backup was cut short here: it goes on.")
            return
        if before is not None and not self._force:
            raise BackupFailed(
                f"Another backup was being restored into {self._data}, and that was cut short: run that 'quay restore' "
                "again, or begin anew with --force."
            )
        occupied = [path.name for path in self._occupants()]
        if occupied and not self._force:
            raise BackupFailed(
                f"{self._data} is not empty: it has {', '.join(occupied[:5])}. Name another directory with --data, or "
                "say --force, and what is there is moved aside."
            )
        require_room(self._data, record.database.size, "The database may")
        self._note = _Note(seal, f"{REPLACED}{record.name}-{uuid4().hex[:8]}")
        self._keep_note()

    def _read_note(self) -> _Note | None:
        try:
            return _Note(**json.loads((self._data / RESTORING).read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return _Note("", "")

    def _keep_note(self) -> None:
        write_whole(self._data / RESTORING, json.dumps(attrs.asdict(self._note)).encode())

    def _occupants(self) -> Iterator[Path]:
        """What a restoration replaces: not what belongs to the machine, nor logs, nor the backup itself."""
        ours = self._root.resolve()
        for path in sorted(self._data.iterdir()):
            kept = path.name in OF_THE_MACHINE or path.name.startswith((".", REPLACED)) or path.suffix == ".log"
            if not kept and path.resolve() not in (ours, *ours.parents):
                yield path

    def _move_aside(self) -> None:
        if self._note.moved:
            return
        aside = self._data / self._note.replaced
        for path in list(self._occupants()):
            aside.mkdir(mode=0o700, exist_ok=True)
            path.rename(aside / path.name)
        sync(self._data)
        self._note.moved = True
        self._keep_note()

    def _undo(self) -> None:
        """Remove what was restored, and move back what was there before."""
        aside = self._data / self._note.replaced
        if self._note.moved:
            for path in list(self._occupants()):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if aside.is_dir():
            for path in list(aside.iterdir()):
                path.rename(self._data / path.name)
            aside.rmdir()
        (self._data / RESTORING).unlink()
        sync(self._data)

    def _place(self, file: File) -> None:
        """Put a file where it was; its bytes are hashed on the way."""
        name = file.at(Path()).relative_to(FILES)
        if self._given and name == Path(FILENAME):
            return
        content = self._bytes_of(file)
        write_whole(self._data / name, content)

    def _bytes_of(self, file: File) -> bytes:
        path = file.at(self._root)
        try:
            content = path.read_bytes() if path.stat().st_size == file.size else b""
        except OSError as error:
            raise BackupDamaged(f"{path} cannot be read: {error.strerror}.") from error
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise _changed(path)
        return content

    def _own(self, target: Destination) -> None:
        """Where root restores for somebody else, everything is his in the end: the owner of the data directory."""
        owner = self._data.stat()
        if os.geteuid() or not owner.st_uid:
            return
        for place in (self._data, *target.places):
            for directory, _, names in os.walk(place):
                for path in (Path(directory), *(Path(directory, name) for name in names)):
                    os.lchown(path, owner.st_uid, owner.st_gid)

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
        if not (self._resumed or self._force):
            self._check_stores(target)

    def _check_stores(self, target: Destination) -> None:
        for place in target.places:
            if any(place.glob("blobs/*/??/*")):
                raise BackupFailed(
                    f"The storage {place} has blobs in it, perhaps of a registry that is at work: give the "
                    "configuration another one, or say --force to add to what is there."
                )

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
            if self._resumed and await store.stat(placed.digest) == placed.size:
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
        if target.file is None:
            if not self._note.loaded:
                await self._pool.run(self._hash, record.database)
                await interruptible(self._pool, _load, target.url, record.database.at(self._root))
                self._note.loaded = True
                await self._pool.run(self._keep_note)
            await self._pool.run(self._settle_rows, target.url)
        else:
            await self._pool.run(self._restore_sqlite, record.database, target.file)

    def _settle_rows(self, url: str) -> None:
        """A backup of an older version becomes one of this: what it was before is in the backup."""
        engine = open_engine(url)
        try:
            migrate(engine, copied=False)
        finally:
            engine.dispose()
        once(url, settle_restored, self._missing)

    def _hash(self, file: File) -> None:
        with file.at(self._root).open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != file.sha256:
                raise _changed(file.at(self._root))

    def _restore_sqlite(self, file: File, target: Path) -> None:
        """The file gets its name when all is well in it; what lies beside an old one is not taken for its own."""
        draft = target.with_name(f".{target.name}.restored")
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        sink = Sink(draft, "sha256")
        try:
            with file.at(self._root).open("rb") as source:
                while data := source.read(CHUNK):
                    sink.write(data)
            if not sink.commit(Digest(f"sha256:{file.sha256}")):
                raise _changed(file.at(self._root))
        finally:
            sink.discard()
        self._settle_rows(f"sqlite:///{draft}")
        for beside in ("-wal", "-shm"):
            target.with_name(target.name + beside).unlink(missing_ok=True)
        if target.exists():
            target.rename(target.with_name(f"{target.name}.{self._note.replaced}"))
        faults.point("restore.settled")
        draft.rename(target)
        sync(target.parent)


def _load(stop: Event, url: str, dump: Path) -> None:
    load(url, dump, stop)


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _opened(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def _changed(path: Path) -> BackupDamaged:
    return BackupDamaged(f"{path} is not what it was when the backup was made: restore another one.")
