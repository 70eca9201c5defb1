"""
The directory of all backups: which are complete, whose turn it is to make one, and how one is made and removed so that
what bears the name of a backup is a whole one. Everything here waits for the disk.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Final

from quay.backups.record import SEAL, BackupFailed, Record
from quay.files import make_directory, sync
from quay.storage.layout import Layout

_STAMP: Final = "%Y-%m-%dT%H-%M-%SZ"  # a colon is no part of a name on every file system
_NAME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ")
LENGTH: Final = 20
PARTIAL: Final = ".partial"
REMOVED: Final = ".removed"
LOCK: Final = "lock"


class BackupUnderWay(BackupFailed):
    """Somebody is making one in this directory."""


class Folder:
    """The backups in the directory `root`, which is made when the first of them is."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock: int | None = None

    # --- looking

    def complete(self) -> list[Path]:
        """The backups that were completed, the oldest first. Raises `BackupFailed`."""
        return [path for path in self._named("") if os.access(path / SEAL, os.R_OK)]

    def records(self) -> list[tuple[Path, Record]]:
        """The same, with what they say of themselves, without those that cannot say it."""
        found = []
        for path in self.complete():
            try:
                found.append((path, Record.read(path)))
            except BackupFailed:
                continue
        return found

    def remains(self) -> list[Path]:
        """What is left of backups whose making was cut short: for whoever has the lock."""
        return self._named(PARTIAL)

    def _named(self, suffix: str) -> list[Path]:
        try:
            paths = sorted(self.root.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BackupFailed(f"The directory of backups {self.root} cannot be read: {error.strerror}.") from error
        return [path for path in paths if path.name[LENGTH:] == suffix and _NAME.fullmatch(path.name[:LENGTH])]

    # --- making

    def acquire(self) -> None:
        """Be the only one to make and remove backups here, until `release`. Raises `BackupUnderWay`, `BackupFailed`."""
        try:
            make_directory(self.root)
            descriptor = os.open(self.root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BackupFailed(
                f"The directory of backups {self.root} cannot be used: {error.strerror}. Let this user write to it, or "
                "name another one."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise BackupUnderWay(f"Another backup is being made in {self.root}: wait until it is done.") from None
        self._lock = descriptor

    def release(self) -> None:
        """Let others make backups here."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def begin(self, now: datetime) -> Path:
        """A new, empty directory for a backup of this second, or of the next one that has none."""
        while any(self.root.glob(f"{now.astimezone(UTC):{_STAMP}}*")):
            now += timedelta(seconds=1)
        draft = self.root / f"{now.astimezone(UTC):{_STAMP}}{PARTIAL}"
        draft.mkdir(mode=0o700)
        sync(self.root)
        return draft

    def publish(self, draft: Path) -> Path:
        """Give a backup, all of which is durable, its name; where root makes it, it is the directory's owner's."""
        self._give_to_owner(draft)
        sync(draft)
        done = draft.rename(self.root / draft.stem)
        sync(self.root)
        return done

    def _give_to_owner(self, draft: Path) -> None:
        """All but what is the storage's, too: who owns that must not change."""
        owner = self.root.stat()
        if os.geteuid() or not owner.st_uid:
            return
        for path in (self.root / LOCK, draft, *draft.rglob("*")):
            if path.is_dir() or path.lstat().st_nlink == 1:
                os.lchown(path, owner.st_uid, owner.st_gid)

    # --- removing

    def remove(self, path: Path, stop: Event | None = None) -> None:
        """
        Remove a backup, or what is left of one: it loses its name first. If `stop` is set, `finish_removals` has to go
        on with it.
        """
        doomed = path if path.suffix == REMOVED else path.rename(path.with_name(path.name + REMOVED))
        for fan in Layout("backups", doomed).fans():  # the bulk of it, piece by piece
            if stop is not None and stop.is_set():
                return
            shutil.rmtree(fan, ignore_errors=True)
        shutil.rmtree(doomed)

    def finish_removals(self) -> None:
        """Remove what was about to be removed when somebody was cut short: for whoever has the lock."""
        for path in [*self._named(REMOVED), *self._named(PARTIAL + REMOVED)]:
            self.remove(path)


def moment_of(path: Path) -> datetime:
    """When the backup at this path was begun."""
    return datetime.strptime(path.name[:LENGTH], _STAMP).replace(tzinfo=UTC)
