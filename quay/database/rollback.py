"""
A SQLite database as it was before a new version changed its schema, and the way back to that.

    <where the database is>/snapshots/<name>.schema-3.before-0.2.0.2026-11-27T02-00-00Z

A migration leaves such a copy before it changes anything, and keeps the latest of them. Going back loses what was
written since; what is given up is kept beside the copies, too, as `<name>.given-up.<time>`.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

import attrs

from quay import __version__
from quay.database.snapshot import SnapshotFailed, copy_file
from quay.files import sync

DIRECTORY: Final = "snapshots"
KEPT: Final = 3
SPARE: Final = 64 * 1024 * 1024
"""Bytes that a copy leaves free."""
_STAMP: Final = "%Y-%m-%dT%H-%M-%SZ"
_NAME: Final = re.compile(r"schema-(?P<schema>[0-9]+)\.before-(?P<version>.+)\.(?P<at>[0-9TZ-]{20})")


@attrs.frozen(order=True)
class Copy:
    """A database as it was `at` a moment, with `schema`, before the program of `version` migrated it."""

    at: datetime
    path: Path
    schema: int
    version: str


@attrs.frozen
class Lost:
    """What going back loses: entries of the audit log, the pushes among them, and blobs that were collected since."""

    entries: int
    pushes: int
    blobs: int


def copies(database: Path) -> list[Copy]:
    """The copies there are of this database, the latest first. Waits for the disk."""
    return sorted(_copies(database), reverse=True)


def _copies(database: Path) -> Iterator[Copy]:
    for path in (database.parent / DIRECTORY).glob(f"{database.name}.schema-*"):
        found = _NAME.fullmatch(path.name.removeprefix(f"{database.name}."))
        if found is not None:
            at = datetime.strptime(found["at"], _STAMP).replace(tzinfo=UTC)
            yield Copy(at, path, int(found["schema"]), found["version"])


def keep(database: Path, schema: int) -> Path:
    """
    Copy the database before it is migrated, durably, and remove the oldest copies: for who holds it alone, so that
    nobody writes. Waits. Raises `SnapshotFailed` where it cannot be done: the sentence says what that means.
    """
    directory = database.parent / DIRECTORY
    draft = directory / f".{database.name}.{os.getpid()}"
    target = directory / f"{database.name}.schema-{schema}.before-{__version__}.{datetime.now(UTC):{_STAMP}}"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        _require_room(database, directory)
        draft.unlink(missing_ok=True)
        copy_file(database, draft)
        draft.rename(target)
        sync(directory)
        for old in copies(database)[KEPT:]:
            old.path.unlink()
    except (OSError, SnapshotFailed) as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        why = f"{directory}: {error.strerror}" if isinstance(error, OSError) else str(error).rstrip(".")
        raise SnapshotFailed(
            f"The database is migrated without a copy of it as it was: {why}. There will be no way back to schema "
            f"{schema} but a backup that was made before."
        ) from error
    return target


def _require_room(database: Path, directory: Path) -> None:
    wanted, free = database.stat().st_size, shutil.disk_usage(directory).free
    if wanted + SPARE > free:
        raise SnapshotFailed(f"it has {wanted} bytes, and {directory} has {free} free")


# --- and back -----------------------------------------------------------------------------------------------------

_ENTRIES: Final = "SELECT count(*), count(CASE WHEN kind = 'push_repo' THEN 1 END) FROM now.audit WHERE id > ?"
_REMOVED: Final = """
    FROM placement WHERE NOT EXISTS (
        SELECT 1 FROM now.placement AS held JOIN now.blob AS known ON known.id = held.blob_id
        WHERE held.location = placement.location
        AND known.digest = (SELECT digest FROM blob WHERE id = placement.blob_id))
"""


def lost(database: Path, copy: Copy) -> Lost:
    """What going back to this copy would lose. Waits. Raises `SnapshotFailed`."""
    try:
        with closing(_beside(copy.path, database, "ro")) as connection:
            last = connection.execute("SELECT coalesce(max(id), 0) FROM audit").fetchone()[0]
            entries, pushes = connection.execute(_ENTRIES, [last]).fetchone()
            blobs = connection.execute(f"SELECT count(*) {_REMOVED}").fetchone()[0]
    except sqlite3.Error as error:
        raise SnapshotFailed(f"{copy.path} cannot be compared with {database}: {error}.") from error
    return Lost(entries, pushes, blobs)


def roll_back(database: Path, copy: Copy) -> Path:
    """
    Make the database what the copy is, at once or not at all, but for blobs that were collected since: no row says that
    they are held anywhere. Returns where what was given up is. No server may run. Waits. Raises `SnapshotFailed`,
    `OSError`.
    """
    draft = database.with_name(f".{database.name}.back")
    given_up = copy.path.with_name(f"{database.name}.given-up.{datetime.now(UTC):{_STAMP}}")
    draft.unlink(missing_ok=True)
    copy_file(copy.path, draft)
    try:
        with closing(_beside(draft, database, "rw")) as connection:
            connection.execute(f"DELETE {_REMOVED}")
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        draft.unlink()
        raise SnapshotFailed(f"{database} cannot be made what {copy.path} is: {error}.") from error
    sync(draft)
    owner = database.stat()
    os.chown(draft, owner.st_uid, owner.st_gid)
    os.link(database, given_up)
    draft.replace(database)
    for beside in ("-wal", "-shm"):
        database.with_name(database.name + beside).unlink(missing_ok=True)
    sync(database.parent)
    return given_up


def _beside(copy: Path, database: Path, mode: str) -> sqlite3.Connection:
    """A connection to a copy, with the database of now attached as `now`."""
    connection = sqlite3.connect(f"file:{quote(str(copy))}?mode={mode}", uri=True, isolation_level=None)
    connection.execute("ATTACH ? AS now", [f"file:{quote(str(database))}?mode=ro"])
    return connection
