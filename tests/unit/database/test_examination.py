"""A database is asked how it is, by somebody who can change nothing in it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from quay.database import Transaction, examination
from quay.database.engines import open_engine
from quay.database.examination import examine, reading, tables
from quay.database.probe import DatabaseUnfit
from quay.database.schema import SCHEMA, message, metadata


def test_as_it_is(database_url: str) -> None:
    """Its version, its schema, and how soon it answers."""
    found = examine(database_url, 10)
    assert found.version[0].isdigit()
    assert found.status.schema == SCHEMA
    assert found.latency_s > 0
    assert found.damage == ()
    assert (found.connections is None) == database_url.startswith("sqlite")


def test_nothing_can_be_changed(database_url: str) -> None:
    """The engine itself refuses."""

    def meddle(txn: Transaction) -> None:
        txn.execute(sa.text("DELETE FROM setting"))

    with pytest.raises(DatabaseUnfit, match=r"read-?only"):
        reading(database_url, meddle)
    assert reading(database_url, lambda txn: txn.execute(sa.text("SELECT count(*) FROM setting")).scalar_one())


def test_rows(database_url: str) -> None:
    """Each of our tables is counted, exactly or by the estimate of the server."""
    engine = open_engine(database_url)
    with engine.begin() as connection:
        said = {"content": "x", "severity": "info", "media_type": "text/plain", "created_ms": 0}
        connection.execute(sa.insert(message), [said | {"uuid": "1"}, said | {"uuid": "2"}])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    engine.dispose()
    found = reading(database_url, tables, 10.0)
    assert found["message"] == 2
    assert set(found) <= set(metadata.tables)


def test_no_time(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes too long is given up, and said to be so."""
    monkeypatch.setattr(examination, "_STEPS", 1)
    assert examine(sqlite_url, -1).searched is False
    assert reading(sqlite_url, tables, -1.0) == {}


def test_a_file_at_rest_stays_alone(sqlite_url: str) -> None:
    """No write-ahead log is made to read one that nobody writes; a name may have any character."""
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    odd = file.rename(file.parent / "a ?#%.db")
    connection = sqlite3.connect(odd)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    before = os.listdir(odd.parent)
    assert examination._file(odd).connect().exec_driver_sql("SELECT count(*) FROM setting").scalar_one()
    assert os.listdir(odd.parent) == before


def test_no_file(tmp_path: Path) -> None:
    """None is made."""
    with pytest.raises(DatabaseUnfit, match="unable to open"):
        examine(f"sqlite:///{tmp_path}/none.db", 1)
    assert list(tmp_path.iterdir()) == []
