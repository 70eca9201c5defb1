"""
The database of a Quay that this registry succeeds: read only, as it was at one moment, on PostgreSQL or SQLite.

Its tables grew over the years: what a version does not have yet is read as nothing. Source: Quay's data model, 3.1 and
later, as far as what is read here is concerned.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import exc

TABLES: Final = frozenset({"user", "repository", "manifest", "tag", "manifestblob", "imagestorage", "visibility"})
"""Without these it is no database of a Quay that has tags in rows of their own: 3.1 or later."""

PAGE: Final = 500


class PredecessorUnfit(Exception):
    """The database cannot be read, or is none of a Quay; the message is a sentence without secrets."""


class Predecessor:
    """
    An open database. All methods wait, and belong into a thread, but no two at once. Raises `PredecessorUnfit` at once
    if it cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        try:
            self._connection = self._engine.connect()
            if self._connection.dialect.name == "postgresql":
                self._connection.exec_driver_sql("SET idle_in_transaction_session_timeout = 0")
            else:
                self._connection.exec_driver_sql("BEGIN")
            self._tables = self._found()
        except exc.SQLAlchemyError as error:
            self._engine.dispose()
            raise PredecessorUnfit(f"The database of the Quay cannot be read: {_reason(error)}") from None
        missing = sorted(TABLES - set(self._tables))
        if missing:
            self.close()
            raise PredecessorUnfit(
                f"This is no database of a Quay 3.1 or later: it has no table {missing[0]!r}. Older ones have to be "
                "upgraded first."
            )

    def _found(self) -> dict[str, sa.TableClause]:
        inspector = sa.inspect(self._connection)
        return {
            name: sa.table(name, *(sa.column(found["name"]) for found in inspector.get_columns(name)))
            for name in inspector.get_table_names()
        }

    def close(self) -> None:
        """Let go of it."""
        self._connection.close()
        self._engine.dispose()

    def has(self, name: str) -> bool:
        """Whether there is a table of this name."""
        return name in self._tables

    def table(self, name: str) -> sa.TableClause:
        """The table, for a statement."""
        return self._tables[name]

    def column(self, table: str, name: str) -> sa.ColumnElement[Any]:
        """A column of a table; nothing, where this version has none."""
        found = self._tables.get(table)
        return sa.null().label(name) if found is None or name not in found.c else found.c[name]

    def rows(self, statement: sa.Select[Any]) -> list[sa.Row[Any]]:
        """What a statement finds. Raises `PredecessorUnfit`."""
        try:
            return list(self._connection.execute(statement))
        except exc.SQLAlchemyError as error:
            raise PredecessorUnfit(f"The database of the Quay cannot be read: {_reason(error)}") from None

    def pages(self, statement: sa.Select[Any], key: sa.ColumnElement[Any]) -> Iterator[list[sa.Row[Any]]]:
        """What a statement finds, whose first column is `key`, in pages of bounded size, in order of `key`."""
        after: Any = None
        while True:
            page = statement if after is None else statement.where(key > after)
            rows = self.rows(page.order_by(key).limit(PAGE))
            if rows:
                yield rows
            if len(rows) < PAGE:
                return
            after = rows[-1][0]


def milliseconds(moment: object) -> int | None:
    """A time as either engine gives it: a text on SQLite, without a zone on both, and UTC is meant."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return None
    if not isinstance(moment, datetime):
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError:
        raise PredecessorUnfit("This is not the URL of a database: sqlite:///path or postgresql://host/name.") from None
    kind = parsed.get_backend_name()
    if kind in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg").update_query_dict({"application_name": "quay import"})
        options = {"isolation_level": "REPEATABLE READ", "execution_options": {"postgresql_readonly": True}}
        return sa.create_engine(parsed, hide_parameters=True, poolclass=sa.NullPool, **options)
    if kind == "sqlite" and parsed.database:
        return _sqlite(parsed.database)
    raise PredecessorUnfit(
        f"A database of the kind {kind!r} cannot be read: only PostgreSQL and SQLite. Move a Quay on MySQL to "
        "PostgreSQL first, as its documentation says."
    )


def _sqlite(path: str) -> sa.Engine:
    if not Path(path).is_file():
        raise PredecessorUnfit(f"There is no database file {path}.")

    def connect() -> sqlite3.Connection:
        opened = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, check_same_thread=False)
        opened.isolation_level = None
        return opened

    return sa.create_engine("sqlite://", creator=connect, hide_parameters=True, poolclass=sa.NullPool)


def _reason(error: exc.SQLAlchemyError) -> str:
    """What the driver says; its first line has neither statements nor passwords."""
    said = str(getattr(error, "orig", None) or error).strip().splitlines()
    return f"{said[0][:300]}." if said else f"{type(error).__name__}."
