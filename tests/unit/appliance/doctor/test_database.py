"""The database is judged as it is, and nothing in it or beside it is changed."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from appliance.doctor import audit, database
from appliance.doctor.patient import Patient
from quay.condition import State
from quay.database.engines import open_engine, sqlite
from quay.database.schema import setting
from tests.postgres import PostgresServer
from tests.unit.appliance.doctor.patients import machine, only, patient, states, well


@pytest.fixture
def whom(tmp_path: Path, sqlite_template: Path) -> Patient:
    """An installation with a migrated SQLite file that nobody has open."""
    made = patient(tmp_path, machine(tmp_path / "machine"))
    shutil.copy(sqlite_template, made.config.data / "quay.db")
    return made


def names(whom: Patient) -> set[str]:
    return {path.name for path in whom.config.data.iterdir()}


def test_a_file_that_is_well(whom: Patient) -> None:
    """It is read where it lies, and no file is made beside it."""
    assert well(database.look, whom)
    assert well(audit.look, whom)
    assert names(whom) == {"quay.db"}


def test_a_file_that_is_written_now(whom: Patient) -> None:
    """What a server has in its write-ahead log counts."""
    with sqlite(str(whom.config.data / "quay.db")).begin() as connection:
        connection.execute(sa.update(setting).where(setting.c.key == "schema_compat").values(value="999"))
        connection.commit()
        assert "quay.db-wal" in names(whom)
        assert "of a newer version" in only(database.look, whom, State.WRONG).sentence


def test_an_older_schema(whom: Patient) -> None:
    """It is brought up to date when the server starts: not by the doctor."""
    connection = sqlite3.connect(whom.config.data / "quay.db")
    connection.execute("UPDATE setting SET value = '1' WHERE key = 'schema'")
    connection.commit()
    connection.close()
    assert only(database.look, whom, State.REMARKABLE).fix == "quay migrate"
    assert only(database.look, whom, State.REMARKABLE).fix == "quay migrate"
    assert only(audit.look, whom, State.UNSEEN)


def test_a_damaged_file(whom: Patient) -> None:
    """A page that was overwritten is found, and where the head is gone, too."""
    file = whom.config.data / "quay.db"
    content = bytearray(file.read_bytes())
    content[8192:12288] = b"\xaa" * 4096
    file.write_bytes(content)
    assert only(database.look, whom, State.WRONG).link == "/docs/runbooks#the-database-is-damaged"
    file.write_bytes(b"no database at all" * 1000)
    assert only(database.look, whom, State.WRONG).link == "/docs/runbooks#the-database-is-damaged"


def test_no_time_to_look_through_it(whom: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file is not looked through to the end, and that is said."""
    from quay.database import examination

    monkeypatch.setattr(examination, "_STEPS", 1)
    monkeypatch.setattr(database, "SEARCH_S", -1.0)
    assert "too large" in only(database.look, whom, State.UNSEEN).sentence


def test_no_file(tmp_path: Path) -> None:
    """None is made."""
    whom = patient(tmp_path)
    assert only(database.look, whom, State.UNSEEN)
    assert only(audit.look, whom, State.UNSEEN)
    assert names(whom) == set()


def test_postgresql(tmp_path: Path, postgres_url: str) -> None:
    """A real server says its version, its schema and its connections."""
    whom = patient(tmp_path, DB_URI=postgres_url)
    assert well(database.look, whom)
    assert well(audit.look, whom)
    assert any("PostgreSQL has " in sentence for _, sentence in states(database.look, whom))
    engine = open_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sa.update(setting).where(setting.c.key == "schema").values(value="1"))
    engine.dispose()
    assert only(database.look, whom, State.REMARKABLE).fix == "quay migrate"


def test_postgresql_without_us(tmp_path: Path, postgres: PostgresServer) -> None:
    """A database that is not there, and a server that is not there, are told without a password."""
    url = postgres.url("nowhere").replace("postgresql+psycopg://", "postgresql://")
    for uri in (url, "postgresql://quay:hunter2@127.0.0.1:1/quay"):
        finding = only(database.look, patient(tmp_path, DB_URI=uri), State.WRONG)
        assert finding.link == "/docs/runbooks#database-away"
        assert "hunter2" not in str(finding)
        assert finding.fix.startswith("psql -W ")
