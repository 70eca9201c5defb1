"""
The database of a backup, put where a server opens it: the last step of a restoration, which makes it one. Everything
here waits for the disk, or for PostgreSQL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from threading import Event

from quay import faults
from quay.backups.copying import CHUNK, Sink
from quay.backups.record import File, changed
from quay.database import once
from quay.database.engines import open_engine
from quay.database.migrations import migrate
from quay.database.snapshot import load
from quay.files import make_directory, sync
from quay.model.backup import settle_restored
from quay.oci.reference import Digest


def load_dump(stop: Event, root: Path, file: File, url: str) -> None:
    """Load the dump of a backup into an empty PostgreSQL database. Raises `SnapshotFailed`, `BackupDamaged`."""
    path = file.at(root)
    with path.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() != file.sha256:
            raise changed(path)
    load(url, path, stop)


def settle(url: str, missing: Collection[Digest]) -> None:
    """What is not true any more is forgotten; a backup of an older version becomes one of this, which keeps no copy."""
    engine = open_engine(url)
    try:
        migrate(engine, copied=False)
    finally:
        engine.dispose()
    once(url, settle_restored, missing)


def place_file(root: Path, file: File, target: Path, missing: Collection[Digest], aside: str) -> None:
    """
    Put the SQLite database of the backup `root` at `target`, at once, when all is well in it. An old one there, and
    what lies beside it, gets the name with `aside` behind it.
    """
    draft = target.with_name(f".{target.name}.restored")
    make_directory(target.parent)
    draft.unlink(missing_ok=True)
    _copy(file, root, draft)
    settle(f"sqlite:///{draft}", missing)
    for suffix in ("-wal", "-shm", ""):
        old = target.with_name(target.name + suffix)
        if old.exists():
            old.rename(target.with_name(f"{target.name}.{aside}{suffix}"))
    faults.point("restore.settled")
    draft.rename(target)
    sync(target.parent)


def _copy(file: File, root: Path, draft: Path) -> None:
    sink = Sink(draft, "sha256")
    try:
        with file.at(root).open("rb") as source:
            while data := source.read(CHUNK):
                sink.write(data)
        if not sink.commit(Digest(f"sha256:{file.sha256}")):
            raise changed(file.at(root))
    finally:
        sink.discard()
