"""Copies of a database at one moment, while others write; and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import setting
from quay.database.snapshot import (
    SnapshotFailed,
    Stopped,
    _variables,
    copy_file,
    is_dump,
    is_empty,
    is_sound,
    load,
    reading,
    size_of,
    snapshot,
)
from tests.postgres import PostgresServer, programs


def keys(txn: Transaction) -> set[str]:
    """The settings that tests have made."""
    return {key for key in txn.execute(sa.select(setting.c.key)).scalars() if key.startswith("test")}


def path_of(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


class Writer(Thread):
    """Adds two settings in each transaction, and removes two others, until it is to stop."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.enough = Event()
        self.written = 0

    def run(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=10)
        while not self.enough.is_set():
            connection.execute("BEGIN IMMEDIATE")
            for half in ("a", "b"):
                connection.execute(
                    "INSERT INTO setting (key, value) VALUES (?, ?)", [f"test {half} {self.written}", "x" * 3000]
                )
                connection.execute("DELETE FROM setting WHERE key = ?", [f"test {half} {self.written - 200}"])
            connection.execute("COMMIT")
            self.written += 1
        connection.close()


def test_while_others_write(sqlite_url: str, tmp_path: Path) -> None:
    """A copy has whole transactions only, is sound, and what is read beside it is what is in it."""
    writer = Writer(path_of(sqlite_url))
    writer.start()
    try:
        for number in count():
            if number >= 5 and writer.written > 20:  # however slowly the disk lets him
                break
            target = tmp_path / f"copy{number}"
            seen = snapshot(sqlite_url, target, keys, Event())
            assert is_sound(target) and target.stat().st_mode & 0o077 == 0
            with reading(target) as txn:
                found = keys(txn)
            assert found == seen
            halves = [{key[7:] for key in found if key.startswith(f"test {half}")} for half in ("a", "b")]
            assert halves[0] == halves[1]
    finally:
        writer.enough.set()
        writer.join()
    assert writer.written > 20 and size_of(sqlite_url) > 0


def test_it_is_stopped(sqlite_url: str, tmp_path: Path) -> None:
    """Who is told to stop does not copy a large database to its end."""
    with sqlite3.connect(path_of(sqlite_url)) as connection:
        connection.execute("INSERT INTO setting (key, value) VALUES ('large', ?)", ["x" * 8_000_000])
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        copy_file(path_of(sqlite_url), tmp_path / "copy", stop)


def test_what_is_no_database(tmp_path: Path) -> None:
    """It is refused in a sentence."""
    (tmp_path / "file").write_bytes(b"no database" * 1000)
    with pytest.raises(SnapshotFailed, match="could not be copied"):
        copy_file(tmp_path / "file", tmp_path / "copy")
    with pytest.raises(SnapshotFailed, match="cannot be read"), reading(tmp_path / "file"):
        pass


# --- PostgreSQL


@pytest.fixture
def empty_url(postgres: PostgresServer, tmp_path: Path) -> Iterator[str]:
    """A database with nothing in it."""
    name = f"empty_{tmp_path.name.lower()}"
    postgres.create(name)
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
def tools(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of this PostgreSQL on the PATH."""
    monkeypatch.setenv("PATH", str(programs()))


@pytest.mark.usefixtures("tools")
def test_one_moment(postgres_url: str, empty_url: str, tmp_path: Path) -> None:
    """What is committed between the look and the dump is in neither; what is restored is what was seen."""

    def write(key: str) -> None:
        with psycopg.connect(postgres_url) as connection:
            connection.execute("INSERT INTO setting (key, value) VALUES (%s, '')", [key])

    def look(txn: Transaction) -> set[str]:
        seen = keys(txn)
        write("test between")
        return seen

    write("test before")
    dump = tmp_path / "dump"
    assert snapshot(postgres_url, dump, look, Event()) == {"test before"}
    assert dump.stat().st_mode & 0o077 == 0 and is_dump(dump) and is_empty(empty_url)
    load(empty_url, dump, Event())
    with psycopg.connect(empty_url) as connection:
        found = connection.execute("SELECT key FROM setting WHERE key LIKE 'test%'").fetchall()
    assert found == [("test before",)]
    with pytest.raises(SnapshotFailed, match="not empty: create a new one"):
        load(empty_url, dump, Event())


@pytest.mark.usefixtures("tools")
def test_as_long_as_it_takes(postgres_url: str, tmp_path: Path) -> None:
    """The transaction that holds the moment is not ended for being idle while the dump is made, nor for being long."""
    limits = ("statement_timeout", "idle_in_transaction_session_timeout")
    name = sa.make_url(postgres_url).database
    with psycopg.connect(postgres_url) as connection:
        for limit in limits:
            connection.execute(f'ALTER DATABASE "{name}" SET {limit} = 60000')

    def look(txn: Transaction) -> list[str]:
        return [txn.connection.exec_driver_sql(f"SHOW {limit}").scalar_one() for limit in limits]

    assert snapshot(postgres_url, tmp_path / "dump", look, Event()) == ["0", "0"]


@pytest.mark.usefixtures("tools")
def test_all_or_nothing(empty_url: str, tmp_path: Path) -> None:
    """A dump that is none, or that is cut off, leaves the database empty."""
    (tmp_path / "dump").write_bytes(b"PGDMP" + bytes(100))
    assert not is_dump(tmp_path / "dump")
    with pytest.raises(SnapshotFailed, match="pg_restore failed: "):
        load(empty_url, tmp_path / "dump", Event())
    assert is_empty(empty_url)


def test_without_the_programs(
    postgres_url: str, empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where PostgreSQL's programs are not to be found, that is said, with what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SnapshotFailed, match="pg_dump is not on the PATH: install the client programs"):
        snapshot(postgres_url, tmp_path / "dump", keys, Event())
    with pytest.raises(SnapshotFailed, match="pg_restore is not on the PATH"):
        load(empty_url, tmp_path / "dump", Event())


def test_the_password_is_no_argument() -> None:
    """Whatever an address says travels in the environment: everybody can read command lines."""
    url = "postgresql+psycopg://quay:p%40ss@db.example.org:5433/registry?sslmode=verify-full&sslrootcert=/ca.pem"
    assert _variables(url) == {
        "PGHOST": "db.example.org",
        "PGPORT": "5433",
        "PGUSER": "quay",
        "PGPASSWORD": "p@ss",
        "PGDATABASE": "registry",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/ca.pem",
    }
