"""
The data directory into which a backup is restored: a note that keeps everybody out until that is done, and what was
there before, which is moved aside, and back if it fails. Everything here waits for the disk.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from uuid import uuid4

import attrs

from quay.backups.copying import require_room
from quay.backups.files import OF_THE_MACHINE, REPLACED
from quay.backups.record import SEAL, BackupFailed, Record
from quay.files import sync, write_whole
from quay.lock import RESTORING


@attrs.define
class Note:
    """Of which backup it is, by its seal; where what was there has gone; and what is done."""

    seal: str
    replaced: str
    moved: bool = False
    loaded: bool = False


class Site:
    """
    The data directory `data`, into which the backup `root` goes: over what is there only with `force`. `resumed`: that
    had been begun before.
    """

    def __init__(self, data: Path, root: Path, say: Callable[[str], object], *, force: bool) -> None:
        self.data = data
        self._root = root
        self._say = say
        self._force = force
        self.note = Note("", "")
        self.resumed = False

    def begin(self, record: Record) -> None:
        """Note what is being done. Raises `BackupFailed` if there is something in the way."""
        seal = (self._root / SEAL).read_text(encoding="ascii").split()[0]
        before = self._read_note()
        if before is not None and (before.seal == seal):
            self.note, self.resumed = before, True
            self._say("A restoration of this backup was cut short here: it goes on.")
            return
        if before is not None and not self._force:
            raise BackupFailed(
                f"Another backup was being restored into {self.data}, and that was cut short: run that 'quay restore' "
                "again, or begin anew with --force."
            )
        occupied = [path.name for path in self._occupants()]
        if occupied and not self._force:
            raise BackupFailed(
                f"{self.data} is not empty: it has {', '.join(occupied[:5])}. Name another directory with --data, or "
                "say --force, and what is there is moved aside."
            )
        require_room(self.data, record.database.size, "The database may")
        self.note = Note(seal, f"{REPLACED}{record.name}-{uuid4().hex[:8]}")
        self.keep_note()

    def _read_note(self) -> Note | None:
        try:
            return Note(**json.loads((self.data / RESTORING).read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return Note("", "")

    def keep_note(self) -> None:
        write_whole(self.data / RESTORING, json.dumps(attrs.asdict(self.note)).encode())

    def _occupants(self) -> Iterator[Path]:
        """What a restoration replaces: not what belongs to the machine, nor logs, nor the backup itself."""
        ours = self._root.resolve()
        for path in sorted(self.data.iterdir()):
            kept = path.name in OF_THE_MACHINE or path.name.startswith((".", REPLACED)) or path.suffix == ".log"
            if not kept and path.resolve() not in (ours, *ours.parents):
                yield path

    def move_aside(self) -> None:
        """Move away what is there, or the rest of it."""
        if self.note.moved:
            return
        aside = self.data / self.note.replaced
        for path in list(self._occupants()):
            aside.mkdir(mode=0o700, exist_ok=True)
            path.rename(aside / path.name)
        sync(self.data)
        self.note.moved = True
        self.keep_note()

    def undo(self) -> None:
        """Remove what was restored, and move back what was there before."""
        aside = self.data / self.note.replaced
        if self.note.moved:
            for path in list(self._occupants()):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            self.note.moved = False  # whatever there is from now on was there before
            self.keep_note()
        if aside.is_dir():
            for path in list(aside.iterdir()):
                path.rename(self.data / path.name)
            aside.rmdir()
        (self.data / RESTORING).unlink()
        sync(self.data)

    def done(self) -> None:
        """Whoever wants to may use it: everything that was put there is durable."""
        sync(self.data)
        (self.data / RESTORING).unlink()
        sync(self.data)

    def give_to_owner(self, places: Iterable[Path]) -> None:
        """Where root restores for somebody else, everything is his: the owner of the data directory's."""
        owner = self.data.stat()
        if os.geteuid() or not owner.st_uid:
            return
        for place in (self.data, *places):
            for directory, _, names in os.walk(place):
                for path in (Path(directory), *(Path(directory, name) for name in names)):
                    os.lchown(path, owner.st_uid, owner.st_gid)
