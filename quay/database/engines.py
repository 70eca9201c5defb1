"""
All that differs between SQLite and PostgreSQL: how they are opened, locked, upserted, explained, and what their
errors mean.

Source: SQLite "Write-Ahead Logging", "Result and Error Codes"; PostgreSQL "Explicit Locking", "Error Codes".
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final, cast
from urllib.parse import quote

import attrs
import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects import sqlite as lite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from quay.database.prepared import say

READING: Final = {"postgresql_readonly": True, "quay_reading": True}
"""The execution options of a transaction that may only read: the engine itself refuses everything else."""

PRAGMAS: Final = (
    "busy_timeout=2000",
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "temp_store=MEMORY",
    "trusted_schema=OFF",
    "cache_size=-16000",
    "journal_size_limit=67108864",
)

CACHED_STATEMENTS: Final = 256
"""What SQLite keeps compiled, on each connection: all that is prepared, in every shape, and as much again."""

# --- opening ------------------------------------------------------------------------------------------------------


def open_engine(url: str) -> sa.Engine:
    """The engine that `url` (`sqlite:///path` or `postgresql://…`) names. Raises ValueError for any other kind."""
    parsed = sa.make_url(url)
    kind = parsed.get_backend_name()
    if kind == "sqlite" and parsed.database:
        return sqlite(parsed.database)
    if kind in ("postgresql", "postgres"):
        return postgresql(parsed)
    raise ValueError(f"A database of the kind {kind!r} cannot be used: give sqlite:///path or postgresql://host/name.")


def sqlite(path: str) -> sa.Engine:
    """The database in the file `path`: write-ahead log, every commit durable; whoever does not say READING, writes."""
    url = sa.URL.create("sqlite", database=path)
    engine = sa.create_engine(
        url,
        hide_parameters=True,
        poolclass=sa.QueuePool,
        pool_size=0,
        max_overflow=-1,
        connect_args={"cached_statements": CACHED_STATEMENTS},
    )
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def sqlite_copy(path: str) -> sa.Engine:
    """A copy of a SQLite database that nobody changes: it may lie on a medium that cannot be written to."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"file:{quote(path)}?immutable=1", uri=True, check_same_thread=False)

    return sa.create_engine("sqlite://", creator=connect, hide_parameters=True, poolclass=sa.NullPool)


def _set_pragmas(connection: DBAPIConnection, record: object) -> None:
    connection.isolation_level = None  # no implicit BEGIN of the driver: _begin_sqlite says which one it is
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("quay_reading", False)
    if connection.info.get("quay_reading") is not reading:  # it was opened, or used last, for the other purpose
        say(connection, f"PRAGMA query_only={'ON' if reading else 'OFF'}")
        connection.info["quay_reading"] = reading
    say(connection, "BEGIN" if reading else "BEGIN IMMEDIATE")


# A prepared statement keeps the plan it got when its tables were small, until an ANALYZE: it took minutes where a plan
# for the tables as they are takes milliseconds.
PLANNING: Final = "-c plan_cache_mode=force_custom_plan"


def postgresql(url: str | sa.URL) -> sa.Engine:
    """
    The database at `url`. As many connections as threads ask for; a lost one is noticed when it is used, and the
    transaction is tried again on a new one.
    """
    parsed = sa.make_url(url).set(drivername="postgresql+psycopg")
    options = f"{PLANNING} {parsed.query.get('options', '')}".strip()
    parsed = parsed.update_query_dict(
        {"connect_timeout": "5", "application_name": "quay", **parsed.query, "options": options}
    )
    return sa.create_engine(
        parsed, hide_parameters=True, isolation_level="READ COMMITTED", pool_size=0, max_overflow=-1
    )


# --- writing ------------------------------------------------------------------------------------------------------


def insert(dialect: str, table: sa.Table) -> pg.Insert:
    """An INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update`, which both engines spell alike."""
    return pg.insert(table) if dialect == "postgresql" else cast("pg.Insert", lite.insert(table))


def insert_or_ignore(dialect: str, table: sa.Table) -> pg.Insert:
    """An INSERT that leaves a row which is already there as it is; with `.returning`, no row says that it was."""
    return insert(dialect, table).on_conflict_do_nothing()


def upsert(dialect: str, table: sa.Table, *key: str, update: tuple[str, ...]) -> pg.Insert:
    """An INSERT that, where a row has the same `key` columns, sets its `update` columns to the new values instead."""
    statement = insert(dialect, table)
    new = {name: statement.excluded[name] for name in update}
    return statement.on_conflict_do_update(index_elements=list(key), set_=new)


def lock(statement: sa.Select[Any], *, skip: bool = False) -> sa.Select[Any]:
    """
    Read rows to change them: on PostgreSQL they are locked until the transaction ends (rows that others hold are
    passed over if `skip`); on SQLite the single writer has locked everything already.
    """
    return statement.with_for_update(skip_locked=skip)


def take_turns(connection: sa.Connection, name: str, *, alone: bool) -> None:
    """
    Until the transaction ends, nobody else has the turn `name`, if it is taken `alone`; or nobody has it alone. Waits.
    On SQLite, the single writer is always alone.
    """
    if connection.dialect.name == "postgresql":
        lock = sa.func.pg_advisory_xact_lock if alone else sa.func.pg_advisory_xact_lock_shared
        connection.execute(sa.select(lock(sa.func.hashtext(name))))


class greatest(sa.sql.functions.GenericFunction[int]):  # noqa: N801  # a function of SQL, written like `func.…`
    """The greatest of its arguments, in one row; none of them may be NULL."""

    inherit_cache = True
    type = sa.BigInteger()


@compiles(greatest, "sqlite")
def _greatest_in_sqlite(element: greatest, compiler: SQLCompiler, **options: Any) -> str:
    return f"max({compiler.process(element.clauses, **options)})"


class contains(sa.sql.functions.GenericFunction[bool]):  # noqa: N801  # as `greatest`
    """Whether its first argument has its second one in it: no pattern, so nothing needs to be escaped."""

    inherit_cache = True
    type = sa.Boolean()


@compiles(contains, "sqlite")
def _contains_in_sqlite(element: contains, compiler: SQLCompiler, **options: Any) -> str:
    return f"(instr({compiler.process(element.clauses, **options)}) > 0)"


@compiles(contains, "postgresql")
def _contains_in_postgresql(element: contains, compiler: SQLCompiler, **options: Any) -> str:
    return f"(strpos({compiler.process(element.clauses, **options)}) > 0)"


@contextmanager
def migrating(engine: sa.Engine) -> Iterator[sa.Connection]:
    """
    A transaction in which the schema may change, alone in the world: commits whole or not at all.

    SQLite rebuilds tables to alter them, so foreign keys are not followed meanwhile, and checked at the end.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            with connection.begin():
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('quay schema'))"))
                yield connection
            return
        raw = connection.connection.cursor()
        raw.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                yield connection
                _check_foreign_keys(connection)
        finally:
            raw.execute("PRAGMA foreign_keys=ON")
            raw.close()


def _check_foreign_keys(connection: sa.Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise ValueError(f"The migration would leave a row of {broken[0]!r} pointing to no row of {broken[2]!r}.")


# --- what an error means ------------------------------------------------------------------------------------------


class Verdict(Enum):
    """What to do about an error of the engine."""

    AGAIN = "the same transaction may succeed when it is run again"
    ANEW = "it may on a new connection: this one was opened when nothing could be written, and stays like that"
    UNAVAILABLE = "the database cannot serve now, and nothing is wrong with the transaction"
    FATAL = "the transaction is at fault"


_UNAVAILABLE_CLASSES: Final = ("08", "53", "57", "58", "55P03", "XX001", "XX002")
"""Or single errors: 57014 and 55P03 come of the limits to statements and locks that an administrator has set."""
_READ_ONLY: Final = "25006"
_SQLITE_READ_ONLY: Final = 8
_SQLITE_AGAIN: Final = {5, 6}  # BUSY, LOCKED
_SQLITE_UNAVAILABLE: Final = {3, 7, 10, 11, 13, 14, 26}  # PERM NOMEM IOERR CORRUPT FULL CANTOPEN NOTADB


def verdict(error: exc.DBAPIError, *, reading: bool = False) -> Verdict:
    """What `error` means; a write in a transaction that is only `reading` is the transaction's own fault."""
    if error.connection_invalidated:
        return Verdict.AGAIN
    code = getattr(error.orig, "sqlite_errorcode", None)
    if isinstance(code, int):
        return _verdict_of_sqlite(code & 0xFF, reading)
    return _verdict_of_postgresql(getattr(error.orig, "sqlstate", None), error, reading)


def _verdict_of_sqlite(code: int, reading: bool) -> Verdict:
    if code in _SQLITE_AGAIN:
        return Verdict.AGAIN
    if code == _SQLITE_READ_ONLY and not reading:
        return Verdict.ANEW
    return Verdict.UNAVAILABLE if code in _SQLITE_UNAVAILABLE else Verdict.FATAL


def _verdict_of_postgresql(state: str | None, error: exc.DBAPIError, reading: bool) -> Verdict:
    if state in ("40001", "40P01"):
        return Verdict.AGAIN
    if state is None:  # not the server speaks but the driver, which reached none
        return Verdict.UNAVAILABLE if isinstance(error, exc.OperationalError) else Verdict.FATAL
    if state == _READ_ONLY and not reading:
        return Verdict.ANEW
    return Verdict.UNAVAILABLE if state.startswith(_UNAVAILABLE_CLASSES) else Verdict.FATAL


# --- how a query will be answered ---------------------------------------------------------------------------------


@attrs.frozen
class Plan:
    """How the engine means to answer: the tables it reads from end to end, and whether it sorts."""

    text: str
    scans: frozenset[str]
    sorts: bool


class _Explain(sa.Executable, sa.ClauseElement):
    inherit_cache = False

    def __init__(self, statement: sa.SelectBase) -> None:
        self.statement = statement


@compiles(_Explain, "sqlite")
def _explain_in_sqlite(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    return "EXPLAIN QUERY PLAN " + compiler.process(element.statement, **options)


@compiles(_Explain, "postgresql")
def _explain_in_postgresql(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    return "EXPLAIN (FORMAT JSON) " + compiler.process(element.statement, **options)


def explain(connection: sa.Connection, statement: sa.SelectBase) -> Plan:
    """The plan for `statement`; on PostgreSQL that of the statistics at hand, so ANALYZE first."""
    rows = connection.execute(_Explain(statement)).all()
    if connection.dialect.name == "postgresql":
        nodes = list(_nodes(rows[0][0][0]["Plan"]))
        scans = frozenset(node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan")
        return Plan(str(rows[0][0]), scans, any("Sort" in node["Node Type"] for node in nodes))
    lines = [str(row[3]) for row in rows]
    scans = frozenset(line.split()[1] for line in lines if line.startswith("SCAN "))
    return Plan("\n".join(lines), scans, any("TEMP B-TREE" in line for line in lines))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
