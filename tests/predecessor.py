"""
Databases as earlier versions have left them: made by the migrations of then, and filled with the rows of a registry of
now, as far as the tables and columns of then have room for them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from quay.database.engines import migrating, sqlite
from quay.database.schema import setting

COMPAT = {1: 1, 2: 2, 3: 2}
"""The `SCHEMA_COMPAT` of each schema."""


def made_at(path: Path, schema: int) -> None:
    """A new, empty database with this schema."""
    engine = sqlite(str(path))
    with migrating(engine) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", "quay.database:migrations")
        command.upgrade(config, f"{schema:04d}")
        numbers = {"schema": schema, "schema_compat": COMPAT[schema]}
        rows = [{"key": key, "value": str(number)} for key, number in numbers.items()]
        connection.execute(sa.insert(setting), rows)
    engine.dispose()


def turned_back(path: Path, schema: int) -> None:
    """Make the database at `path` one of an earlier schema, with the same rows."""
    old = path.with_name("turned-back.db")
    made_at(old, schema)
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        connection.execute("ATTACH ? AS now", [str(path)])
        for table in _names(connection, "SELECT name FROM main.sqlite_master WHERE type = 'table'"):
            there = _names(connection, f"SELECT name FROM pragma_table_info('{table}', 'now')")
            columns = _names(connection, f"SELECT name FROM pragma_table_info('{table}')")
            shared = ", ".join(f'"{name}"' for name in columns if name in there)
            if shared and table not in ("setting", "alembic_version"):
                connection.execute(f"INSERT OR REPLACE INTO main.{table} ({shared}) SELECT {shared} FROM now.{table}")
        kept = "INSERT OR IGNORE INTO main.setting SELECT key, value FROM now.setting WHERE key NOT LIKE 'schema%'"
        connection.execute(kept)
    for beside in ("-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    old.replace(path)


def _names(connection: sqlite3.Connection, query: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(query)]
