"""The way back from a migration: a copy of what was before, and what it takes to be there again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from twisted.logger import capturedLogs

from quay import __version__
from quay.database import rollback
from quay.database.engines import sqlite
from quay.database.migrations import migrate, status
from quay.database.rollback import Copy, Lost, copies, lost, roll_back
from quay.database.schema import SCHEMA
from quay.database.snapshot import SnapshotFailed, is_sound, reading
from tests.predecessor import made_at

DIGEST = f"sha256:{'0' * 64}"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database of the first schema, with a blob that is held."""
    path = tmp_path / "quay.db"
    made_at(path, 1)
    rows(path, f"INSERT INTO blob (id, digest, size, created_ms) VALUES (1, '{DIGEST}', 5, 0)")
    rows(path, "INSERT INTO placement (blob_id, location) VALUES (1, 'default')")
    return path


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        with connection:
            return connection.execute(query).fetchall()
    finally:
        connection.close()


def migrated(path: Path) -> None:
    engine = sqlite(str(path))
    migrate(engine)
    assert status(engine).schema == SCHEMA
    engine.dispose()


def schema_of(path: Path) -> int:
    engine = sqlite(str(path))
    try:
        return status(engine).schema
    finally:
        engine.dispose()


def test_a_migration_leaves_a_copy(database: Path) -> None:
    """What was before is beside the database, sound and complete, with the schema and the version in its name."""
    migrated(database)
    [copy] = copies(database)
    assert (copy.schema, copy.version) == (1, __version__)
    assert is_sound(copy.path) and copy.path.stat().st_mode & 0o077 == 0
    with reading(copy.path) as txn:
        assert txn.execute(sa.text("SELECT digest FROM blob")).scalars().all() == [DIGEST]
    migrated(database)
    assert copies(database) == [copy]


def test_a_new_database_leaves_none(tmp_path: Path) -> None:
    """There is nothing to go back to."""
    migrated(tmp_path / "quay.db")
    assert copies(tmp_path / "quay.db") == []


def test_the_latest_are_kept(database: Path) -> None:
    """Of the copies of many migrations the latest three stay, and what else lies there."""
    directory = database.parent / rollback.DIRECTORY
    directory.mkdir()
    for day in range(1, 6):
        (directory / f"quay.db.schema-1.before-0.0.{day}.2026-01-0{day}T02-00-00Z").write_bytes(b"")
    (directory / "quay.db.schema-1.mine").write_bytes(b"")
    migrated(database)
    assert [copy.version for copy in copies(database)] == [__version__, "0.0.5", "0.0.4"]
    assert (directory / "quay.db.schema-1.mine").exists()


def test_no_room_for_a_copy(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The migration goes on, and it is said what that means."""
    monkeypatch.setattr(rollback, "SPARE", 1 << 60)
    with capturedLogs() as said:
        migrated(database)
    assert copies(database) == []
    [line] = [str(event["error"]) for event in said if "error" in event]
    assert "without a copy of it as it was: it has" in line and "no way back to schema 1 but a backup" in line


def test_what_is_lost(database: Path) -> None:
    """Pushes and other entries since, and blobs that were collected meanwhile."""
    entry = "INSERT INTO audit (kind, performed_ms, performer, details) VALUES ('{}', 0, 'dev', '{{}}')"
    rows(database, entry.format("push_repo"))
    migrated(database)
    for kind in ("push_repo", "create_repo", "push_repo"):
        rows(database, entry.format(kind))
    rows(database, "DELETE FROM placement")
    assert lost(database, copies(database)[0]) == Lost(entries=3, pushes=2, blobs=1)


def test_back(database: Path) -> None:
    """The database is what it was, but for what was collected since; what was given up is kept; and forth again."""
    migrated(database)
    rows(database, "INSERT INTO setting (key, value) VALUES ('later', '')")
    rows(database, "DELETE FROM placement")
    given_up = roll_back(database, copies(database)[0])
    assert rows(database, "SELECT key FROM setting WHERE key = 'later'") == []
    assert rows(database, "SELECT digest FROM blob") == [(DIGEST,)] and rows(database, "SELECT * FROM placement") == []
    assert schema_of(database) == 1
    assert rows(given_up, "SELECT key FROM setting WHERE key = 'later'") == [("later",)]
    migrated(database)


def test_what_is_written_ahead_is_given_up_too(database: Path) -> None:
    """What stands in the write-ahead log of a server that was killed does not come back, and is kept, too."""
    migrated(database)
    writer = sqlite3.connect(database)
    writer.execute("PRAGMA wal_autocheckpoint=0")
    writer.execute("INSERT INTO setting (key, value) VALUES ('later', '')")
    writer.commit()
    before = {path.name: path.read_bytes() for path in database.parent.glob("quay.db*")}
    writer.close()
    for name, content in before.items():
        (database.parent / name).write_bytes(content)
    assert (database.parent / "quay.db-wal").stat().st_size > 0
    given_up = roll_back(database, copies(database)[0])
    assert rows(database, "SELECT key FROM setting WHERE key = 'later'") == []
    assert rows(given_up, "SELECT key FROM setting WHERE key = 'later'") == [("later",)]


def test_a_copy_that_is_damaged(database: Path) -> None:
    """It is refused, and nothing has changed."""
    migrated(database)
    [copy] = copies(database)
    copy.path.write_bytes(b"not a database" * 100)
    with pytest.raises(SnapshotFailed):
        roll_back(database, copy)
    assert schema_of(database) == SCHEMA
    with pytest.raises(SnapshotFailed, match="cannot be compared"):
        lost(database, copy)


def test_the_order_of_copies(database: Path) -> None:
    """Copies are in the order of their moments."""
    migrated(database)
    [copy] = copies(database)
    assert isinstance(copy, Copy) and sorted([copy, copy]) == [copy, copy]
