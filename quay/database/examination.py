"""
How a database is, asked without changing anything in it: for a doctor beside a running server or without one.

Source: SQLite, "URI Filenames" (mode, immutable), "PRAGMA quick_check"; PostgreSQL, "Statistics Functions".
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Concatenate, Final, ParamSpec, TypeVar
from urllib.parse import quote

import attrs
import sqlalchemy as sa
from sqlalchemy import exc

from quay.database import Transaction
from quay.database.engines import READING, open_engine
from quay.database.migrations import Status, status_of
from quay.database.probe import DatabaseUnfit
from quay.database.schema import metadata

P = ParamSpec("P")
R = TypeVar("R")

ASKED: Final = 5
_STEPS: Final = 100_000
"""Instructions of SQLite between two looks at the clock."""


@attrs.frozen
class Examined:
    """
    `version` is the engine's; `latency_s` what the least question takes; `damage` what is broken, if it was looked for
    to the end (`searched`). `connections` are those that are open and those that there may be, of a server.
    """

    version: str
    status: Status
    latency_s: float
    damage: tuple[str, ...] = ()
    searched: bool = True
    connections: tuple[int, int] | None = None


def examine(url: str, seconds: float) -> Examined:
    """Look at the database, for about so long. Raises `DatabaseUnfit`."""
    return reading(url, _examined, time.monotonic() + seconds)


def tables(txn: Transaction, seconds: float) -> dict[str, int]:
    """
    How many rows each of our tables has: on PostgreSQL as the server estimates it, on SQLite those that could be
    counted in about so long.
    """
    if txn.dialect == "postgresql":
        return _estimated(txn.connection)
    there = set(sa.inspect(txn.connection).get_table_names())
    counts: dict[str, int] = {}
    with _until(txn.connection, time.monotonic() + seconds):
        for table in metadata.sorted_tables:
            if table.name in there:
                found = _counted(txn.connection, table)
                if found is None:
                    return counts
                counts[table.name] = found
    return counts


def reading(url: str, work: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """
    What `work` finds in one transaction that can change nothing; its schema may be any, or none. A file of SQLite that
    is not there is not made. Raises `DatabaseUnfit`.
    """
    try:
        with _engine(url) as engine, engine.connect() as connection:
            connection.execution_options(**READING)
            return work(Transaction(connection, int(time.time() * 1000)), *args, **kwargs)
    except exc.DBAPIError as error:
        raise DatabaseUnfit(f"The database cannot be read: {' '.join(str(error.orig).split())[:500]}.") from error


@contextmanager
def _engine(url: str) -> Iterator[sa.Engine]:
    parsed = sa.make_url(url)
    engine = open_engine(url) if parsed.get_backend_name() != "sqlite" else _file(Path(str(parsed.database)))
    try:
        yield engine
    finally:
        engine.dispose()


def _file(path: Path) -> sa.Engine:
    """
    The file, to be read only. One that has no write-ahead log beside it is at rest, and SQLite would make one to read
    it: so it is told that nobody writes.
    """
    at_rest = not path.with_name(f"{path.name}-wal").exists()
    uri = f"file:{quote(str(path))}?mode=ro{'&immutable=1' if at_rest else ''}"
    return sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(uri, uri=True, timeout=2, check_same_thread=False),
        poolclass=sa.NullPool,
    )


def _examined(txn: Transaction, until: float) -> Examined:
    connection = txn.connection
    latency = _latency(connection)
    if txn.dialect == "sqlite":
        version = str(connection.exec_driver_sql("SELECT sqlite_version()").scalar_one())
        damage = _damage(connection, until)
        return Examined(version, status_of(connection), latency, damage or (), searched=damage is not None)
    version = str(connection.exec_driver_sql("SHOW server_version").scalar_one())
    return Examined(version, status_of(connection), latency, connections=_connections(connection))


def _latency(connection: sa.Connection) -> float:
    def asked() -> float:
        began = time.perf_counter()
        connection.execute(sa.select(1)).all()
        return time.perf_counter() - began

    return median(asked() for _ in range(ASKED))


def _damage(connection: sa.Connection, until: float) -> tuple[str, ...] | None:
    """What SQLite says is broken; None if there was no time to look at everything."""
    with _until(connection, until):
        found = _unless_interrupted(
            lambda: [str(row[0]) for row in connection.exec_driver_sql("PRAGMA quick_check(10)")]
        )
    return None if found is None else () if found == ["ok"] else tuple(found)


def _counted(connection: sa.Connection, table: sa.Table) -> int | None:
    query = sa.select(sa.func.count()).select_from(table)
    return _unless_interrupted(lambda: int(connection.execute(query).scalar_one()))


@contextmanager
def _until(connection: sa.Connection, until: float) -> Iterator[None]:
    """Whatever SQLite does meanwhile is interrupted at that time of the monotonic clock."""
    raw: Any = connection.connection.driver_connection
    raw.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)


def _unless_interrupted(work: Callable[[], R]) -> R | None:
    try:
        return work()
    except exc.OperationalError as error:
        if str(error.orig) == "interrupted":
            return None
        raise


def _estimated(connection: sa.Connection) -> dict[str, int]:
    """What PostgreSQL believes, since it last looked; those at which it never did are left out."""
    query = sa.text(
        "SELECT relname, reltuples::bigint FROM pg_class WHERE relkind = 'r' AND reltuples >= 0 "
        "AND relnamespace = current_schema()::regnamespace ORDER BY relname"
    )
    return {str(name): int(count) for name, count in connection.execute(query) if name in metadata.tables}


def _connections(connection: sa.Connection) -> tuple[int, int]:
    most = int(connection.exec_driver_sql("SHOW max_connections").scalar_one())
    return int(connection.exec_driver_sql("SELECT count(*) FROM pg_stat_activity").scalar_one()), most
