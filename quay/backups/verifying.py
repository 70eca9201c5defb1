"""
Verifying a backup: everything is read again, and compared with what the backup says of itself and with what its
database names. Nothing of the installation is needed for that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import IO

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from quay.backups.copying import CHUNK
from quay.backups.record import LIST, NAMED, BackupDamaged, File, Record, Verified, batch, place_of, read_lines
from quay.database.migrations import status_of
from quay.database.schema import SCHEMA
from quay.database.snapshot import SnapshotFailed, has_programs, is_dump, is_sound, reading
from quay.interfaces import IPool
from quay.model import backup as rows
from quay.model.backup import Placed
from quay.oci.reference import Digest


class Verification:
    """
    Reads the backup `root` in `pool`, at most `rate` bytes a second if there is one; `say` is told a sentence for every
    problem. `done` of `total` bytes of blobs have been read.
    """

    def __init__(
        self,
        root: Path,
        pool: IPool,
        clock: IReactorTime,
        say: Callable[[str], object],
        *,
        rate: float | None = None,
    ) -> None:
        self._root = root
        self._pool = pool
        self._clock = clock
        self._say = say
        self._rate = rate
        self._damaged: list[Digest] = []
        self.done = self.total = self.problems = 0

    async def run(self) -> Record:
        """
        Read all of it; afterwards `problems` says how many there are, and so does a note beside the backup, where that
        can be written. Raises `BackupDamaged` if it does not even say what it is, and `BackupFailed`.
        """
        record = await self._pool.run(Record.read, self._root)
        self.total = record.size if record.holds_blobs else 0
        for file in (record.database, record.listing, *record.files):
            await self._look_at_file(file, record)
        await self._pool.run(self._look_at_database, record)
        if record.holds_blobs:
            await self._look_at_blobs()
        await self._pool.run(self._note)
        return record

    @property
    def verdict(self) -> str:
        """What came of it, in a sentence."""
        if self.problems:
            return f"{self._root} has {self.problems} problems: make a new backup, and look after the disk it is on."
        return f"{self._root} is good: {self.done} bytes of blobs and everything else were read again."

    def _problem(self, sentence: str) -> None:
        self.problems += 1
        if self.problems <= NAMED:
            self._say(sentence)

    # --- files and the database

    async def _look_at_file(self, file: File, record: Record) -> None:
        path = file.at(self._root)
        found = await self._hashed(path, "sha256")
        if found is None:
            self._problem(f"{path} is missing, or cannot be read.")
        elif found != (file.sha256, file.size):
            self._problem(f"{path} is not what it was when the backup was made.")

    def _look_at_database(self, record: Record) -> None:
        path = record.database.at(self._root)
        if record.engine == "sqlite":
            self._look_at_sqlite(path)
        elif has_programs() and not is_dump(path):
            self._problem(f"{path} is no dump that pg_restore could read.")

    def _look_at_sqlite(self, path: Path) -> None:
        try:
            if not is_sound(path):
                self._problem(f"{path} is not sound: SQLite finds pages of it out of order.")
            with reading(path) as txn:
                found = status_of(txn.connection)
                if found.too_new or not found.schema:
                    self._problem(
                        f"{path} has schema {found.schema}, and this version knows {SCHEMA}: use a newer one."
                    )
                    return
                self._compare(rows.placed(txn))
        except SnapshotFailed as error:
            self._problem(str(error))

    def _compare(self, named: Iterator[Placed]) -> None:
        """Whether the list of blobs is what the rows say."""
        try:
            with (self._root / LIST).open("rb") as listing:
                for one, other in zip_longest(named, read_lines(listing)):
                    if one != other:
                        found = one or other
                        self._problem(f"The list of blobs is not what the database says, from {found.digest} on.")
                        return
        except (OSError, BackupDamaged) as error:
            self._problem(f"The list of blobs cannot be read: {error}")

    # --- blobs

    async def _look_at_blobs(self) -> None:
        try:
            listing = await self._pool.run((self._root / LIST).open, "rb")
        except OSError:
            return  # that has been said
        try:
            lines = read_lines(listing)
            while found := await self._pool.run(batch, lines):
                for placed in found:
                    await self._look_at_blob(placed)
        except BackupDamaged as error:
            self._problem(str(error))
        finally:
            listing.close()

    async def _look_at_blob(self, placed: Placed) -> None:
        found = await self._hashed(place_of(self._root, placed.digest), placed.digest.algorithm, counted=True)
        if found == (placed.digest.hex, placed.size):
            return
        how = "is missing" if found is None else "is damaged"
        self._problem(f"The blob {placed.digest} {how}.")
        if len(self._damaged) < NAMED:
            self._damaged.append(placed.digest)

    async def _hashed(self, path: Path, algorithm: str, *, counted: bool = False) -> tuple[str, int] | None:
        """The digest in hexadecimal, and the size; None if it cannot be read."""
        hasher, size = hashlib.new(algorithm), 0
        try:
            file = await self._pool.run(_opened, path)
        except OSError:
            return None
        try:
            while read := await self._pool.run(_feed, file, hasher):
                size += read
                self.done += read if counted else 0
                if self._rate is not None:
                    await deferLater(self._clock, read / self._rate)
        except OSError:
            return None
        finally:
            file.close()
        return hasher.hexdigest(), size

    def _note(self) -> None:
        found = Verified(ms=int(self._clock.seconds() * 1000), problems=self.problems, damaged=self._damaged)
        try:
            found.write(self._root)
        except OSError as error:
            self._say(f"That it was verified could not be noted beside it: {error.strerror}.")


def _opened(path: Path) -> IO[bytes]:
    """A plain file, and no other."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def _feed(file: IO[bytes], hasher: hashlib._Hash) -> int:
    data = file.read(CHUNK)
    hasher.update(data)
    return len(data)
