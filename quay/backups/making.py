"""
Making a backup: the fence goes up, the database is copied as it is at one moment, then every blob that it places
somewhere, and the small files; what is complete and durable gets its name at last.

A backup that is interrupted leaves what it has, for the next one to take over; one that fails leaves nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from quay import __version__, faults
from quay.backups.copying import Copying, Earlier, require_room
from quay.backups.fenced import fenced
from quay.backups.files import gather
from quay.backups.folder import Folder
from quay.backups.record import LIST, BackupFailed, File, Record, Verified, line_of
from quay.database import Database, Transaction
from quay.database.migrations import status_of
from quay.database.snapshot import SnapshotFailed, size_of, snapshot
from quay.interfaces import IPool
from quay.model import backup as rows
from quay.model import holdings
from quay.registry.blobs import Stores
from quay.threads import interruptible


@attrs.frozen
class Made:
    """A complete backup: where it is, and what it says of itself."""

    path: Path
    record: Record

    def __str__(self) -> str:
        record = self.record
        blobs = f"{record.blobs} blobs of {record.size} bytes, of which {record.copied} were copied"
        lost = f"; {record.lost} blobs could not be had" if record.lost else ""
        return (
            f"{self.path}: {record.held['tags']} tags in {record.held['repositories']} repositories; "
            f"{blobs if record.holds_blobs else 'no blobs'}{lost}."
        )


@attrs.frozen(kw_only=True)
class Origin:
    """
    What is copied: the database, and its address; the stores, and for people, where each is; the files of the data
    directory but for what is `passed_by`, and the configuration.
    """

    database: Database
    url: str = attrs.field(repr=False)
    stores: Stores
    storage: Mapping[str, str]
    data: Path
    passed_by: Sequence[Path]
    configuration: Path | None

    def refuse(self, directory: Path) -> None:
        """Raises `BackupFailed` for a directory of backups that would become a part of what is copied."""
        places = [self.data, *(Path(place) for place in self.storage.values() if place)]
        if directory == self.data or any(directory.is_relative_to(place) for place in places[1:]):
            raise BackupFailed(f"{directory} is where the registry itself keeps its data: name a directory elsewhere.")

    @property
    def engine(self) -> str:
        """`sqlite` or `postgresql`."""
        return "sqlite" if self.url.startswith("sqlite") else "postgresql"


@attrs.frozen
class Found:
    """What a database was found to have at the moment at which it was copied; `size` is that of its blobs, in bytes."""

    schema: int
    blobs: int
    size: int
    uploads: int
    held: Mapping[str, int]


class Backup:
    """
    One backup into `folder`, made with the threads of `pool`; `say` is told a sentence now and then. `done` of `total`
    bytes are in it so far.
    """

    def __init__(
        self,
        origin: Origin,
        folder: Folder,
        pool: IPool,
        clock: IReactorTime,
        say: Callable[[str], object],
        *,
        with_blobs: bool = True,
    ) -> None:
        self._origin = origin
        self._folder = folder
        self._pool = pool
        self._clock = clock
        self._say = say
        self._with_blobs = with_blobs
        self._copying: Copying | None = None
        self.total = 0

    @property
    def done(self) -> int:
        return self._copying.done if self._copying is not None else 0

    async def run(self) -> Made:
        """Make it. Raises `BackupFailed`, `BackupUnderWay`."""
        self._origin.refuse(self._folder.root)
        await self._pool.run(self._folder.acquire)
        try:
            return await fenced(self._origin.database, self._clock, self._run)
        except (OSError, SnapshotFailed) as error:
            raise BackupFailed(f"The backup could not be made in {self._folder.root}: {_why(error)}") from error
        finally:
            self._folder.release()

    async def _run(self) -> Made:
        begun = self._clock.seconds()
        installation = await self._origin.database.write(rows.installation)
        draft = await self._pool.run(self._begin, datetime.fromtimestamp(begun, UTC))
        try:
            record = await self._fill(draft, installation, begun)
            await self._pool.run(record.write, draft)
            faults.point("backup.sealed")
            path = await self._pool.run(self._folder.publish, draft)
        except CancelledError:
            raise  # what is there already, the next backup need not copy
        except BaseException:
            await self._pool.run(self._folder.remove, draft)
            raise
        faults.point("backup.published")
        for remains in await self._pool.run(self._folder.remains):
            await interruptible(self._pool, _removed, self._folder, remains)
        return Made(path, record)

    def _begin(self, now: datetime) -> Path:
        self._folder.finish_removals()
        return self._folder.begin(now)

    async def _fill(self, draft: Path, installation: str, begun: float) -> Record:
        found, database = await self._copy_database(draft)
        faults.point("backup.snapshot")
        earlier = await self._pool.run(_earlier, self._folder, installation, draft)
        copying = self._copying = Copying(draft, self._origin.stores, earlier, self._pool, self._say)
        if self._with_blobs:
            self.total = found.size
            self._say(f"{found.blobs} blobs of {found.size} bytes, as the database is now.")
            await copying.run()
        faults.point("backup.copied")
        return Record(
            name=draft.stem,
            installation=installation,
            version=__version__,
            made_ms=int(begun * 1000),
            seconds=round(self._clock.seconds() - begun, 3),
            engine=self._origin.engine,
            schema=found.schema,
            data=str(self._origin.data),
            storage=dict(self._origin.storage),
            database=database,
            listing=await self._pool.run(described, draft, LIST),
            files=await self._pool.run(self._gather, draft),
            holds_blobs=self._with_blobs,
            blobs=found.blobs,
            size=found.size,
            copied=copying.copied,
            lost=copying.lost,
            missing=copying.missing,
            uploads=found.uploads,
            held=found.held,
        )

    async def _copy_database(self, draft: Path) -> tuple[Found, File]:
        name = "database.sqlite" if self._origin.engine == "sqlite" else "database.dump"
        size = await self._pool.run(size_of, self._origin.url)
        await self._pool.run(require_room, draft, size, "The database may")
        found = await interruptible(self._pool, _snapshot, self._origin.url, draft / name)
        return found, await self._pool.run(described, draft, name)

    def _gather(self, draft: Path) -> Sequence[File]:
        origin = self._origin
        passed_by = [*origin.passed_by, self._folder.root]
        return gather(draft, origin.data, origin.configuration, passed_by, self._say)


def described(root: Path, name: str) -> File:
    """The file `name` as the record of a backup has it. Reads all of it."""
    with (root / name).open("rb") as file:
        return File(name, os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _snapshot(stop: Event, url: str, target: Path) -> Found:
    def look(txn: Transaction) -> Found:
        return _listed(txn, target.with_name(LIST))

    return snapshot(url, target, look, stop)


def _listed(txn: Transaction, listing: Path) -> Found:
    """Write the list of blobs, durably, and count what else there is."""
    blobs = size = 0
    with os.fdopen(os.open(listing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for placed in rows.placed(txn):
            file.write(line_of(placed))
            blobs += 1
            size += placed.size
        file.flush()
        os.fsync(file.fileno())
    all_held = holdings.holdings(txn)
    held = {name: getattr(all_held, name) for name in ("repositories", "tags", "manifests", "users", "organizations")}
    return Found(status_of(txn.connection).schema, blobs, size, rows.uploads(txn), held)


def _earlier(folder: Folder, installation: str, draft: Path) -> Earlier:
    """Where blobs are already: in the latest backup of this installation, and in what others could not complete."""
    records = folder.records()
    ours = [path for path, record in records if record.installation == installation and record.holds_blobs]
    found = [verified for path, _ in records if (verified := Verified.read(path)) is not None]
    damaged = frozenset(digest for verified in found for digest in verified.damaged)
    return Earlier([*ours[-1:], *(path for path in folder.remains() if path != draft)], damaged)


def _removed(stop: Event, folder: Folder, path: Path) -> None:
    folder.remove(path, stop)


def _why(error: OSError | SnapshotFailed) -> str:
    return f"{error.strerror}. Look at that disk." if isinstance(error, OSError) else str(error)
