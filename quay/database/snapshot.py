"""
The whole database as it is at one moment, in a file, copied while others go on writing; and back from such a file.

SQLite's file is copied page by page, below one open transaction, which sees that moment. PostgreSQL is dumped by
`pg_dump`, which is shown the moment of a transaction of ours. So what is read beside the copy fits it exactly.

Source: SQLite "Online Backup API"; PostgreSQL "Snapshot Synchronization Functions", pg_dump, pg_restore.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any, Final, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import exc

from quay.database import DatabaseUnavailable, Transaction
from quay.database.engines import open_engine, postgresql, sqlite_copy
from quay.files import sync

R = TypeVar("R")

PAGES: Final = 1024
"""So many are copied until it is looked whether to stop."""
POLL_S: Final = 0.2


class SnapshotFailed(Exception):
    """The database could not be copied, or a copy not be used; the message is a sentence without any password."""


class Stopped(Exception):
    """Somebody asked that it be stopped; what has been written is of no use."""


def snapshot(url: str, target: Path, look: Callable[[Transaction], R], stop: Event) -> R:
    """
    Write the database at `url` into the new file `target`, durably, as it is at one moment, and return what `look`
    finds at that moment. Waits, for minutes if it is large. Raises `SnapshotFailed`, `Stopped`, `OSError`.
    """
    try:
        database = sa.make_url(url).database
        if sa.make_url(url).get_backend_name() != "sqlite":
            return _dump(url, target, look, stop)
        copy_file(Path(str(database)), target, stop)
        with reading(target) as txn:
            return look(txn)
    except exc.DBAPIError as error:
        raise SnapshotFailed(f"The database could not be copied: {_said(error.orig)}") from error


def size_of(url: str) -> int:
    """How many bytes a copy may take, more or less. Waits."""
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                return int(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one())
            pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())
            return pages * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())
    except exc.DBAPIError as error:
        raise DatabaseUnavailable(f"The database cannot be read: {_said(error.orig)}") from error
    finally:
        engine.dispose()


# --- SQLite -------------------------------------------------------------------------------------------------------


def copy_file(source: Path, target: Path, stop: Event | None = None) -> None:
    """
    Copy the SQLite database `source`, at which others may be writing, into the new file `target`, durably. Waits.
    Raises `SnapshotFailed`, `Stopped`, `OSError`.
    """

    def look_up(status: int, remaining: int, total: int) -> None:
        if stop is not None and stop.is_set():
            raise Stopped("The copy of the database was stopped.")

    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(_connected(source, "ro")) as reader, closing(_connected(target, "rw")) as writer:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on it sees this moment
            reader.backup(writer, pages=PAGES, progress=look_up, sleep=0)
            writer.execute("PRAGMA journal_mode=DELETE")  # one file, which can be read where nothing can be written
    except sqlite3.Error as error:
        raise SnapshotFailed(f"The database {source} could not be copied: {_said(error)}") from error
    sync(target)


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, isolation_level=None, timeout=10)


@contextmanager
def reading(copy: Path) -> Iterator[Transaction]:
    """Read a copy of a SQLite database, wherever it lies. Raises `SnapshotFailed` if it is none that could be used."""
    engine = sqlite_copy(str(copy))
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT count(*) FROM sqlite_master"))
            yield Transaction(connection, int(time.time() * 1000))
    except exc.DatabaseError as error:
        raise SnapshotFailed(f"The copy {copy} of the database cannot be read: {_said(error.orig)}") from error
    finally:
        engine.dispose()


def is_sound(copy: Path) -> bool:
    """Whether SQLite finds every page of the copy in order. Waits: it reads all of it."""
    with reading(copy) as txn:
        return bool(txn.connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() == "ok")


# --- PostgreSQL ---------------------------------------------------------------------------------------------------


_TAKE_ITS_TIME: Final = sa.text(
    "SELECT set_config(name, '0', true) FROM pg_settings "
    "WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')"
)
"""What pg_dump says for itself: the limits of an administrator are for others."""


def _dump(url: str, target: Path, look: Callable[[Transaction], R], stop: Event) -> R:
    program = _program("pg_dump")
    engine = postgresql(url).execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    try:
        with engine.connect() as connection, connection.begin():
            connection.execute(_TAKE_ITS_TIME)
            moment = str(connection.execute(sa.text("SELECT pg_export_snapshot()")).scalar_one())
            found = look(Transaction(connection, int(time.time() * 1000)))
            own = ("--no-owner", "--no-privileges", "--no-password")
            _run([program, "-Fc", *own, f"--snapshot={moment}", f"--file={target}"], url, stop)
    finally:
        engine.dispose()
    target.chmod(0o600)
    sync(target)
    return found


def load(url: str, dump: Path, stop: Event) -> None:
    """
    Make an empty PostgreSQL database what `dump` says: all of it, or nothing. Waits. Raises `SnapshotFailed`,
    `Stopped`.
    """
    program = _program("pg_restore")
    if not is_empty(url):
        raise SnapshotFailed(
            "The database that DB_URI names is not empty: create a new one (createdb -E UTF8 …), and name it in DB_URI."
        )
    name = str(sa.make_url(url).database)
    own = ("--no-owner", "--no-privileges", "--no-password", "--exit-on-error", "--single-transaction")
    _run([program, *own, f"--dbname={name}", str(dump)], url, stop)


def is_empty(url: str) -> bool:
    """Whether the PostgreSQL database at `url` has no tables. Waits. Raises `DatabaseUnavailable`."""
    engine = open_engine(url)
    try:
        return not sa.inspect(engine).get_table_names()
    except exc.DBAPIError as error:
        raise DatabaseUnavailable(f"The database that DB_URI names cannot be read: {_said(error.orig)}") from error
    finally:
        engine.dispose()


def is_dump(file: Path) -> bool:
    """Whether `pg_restore` knows what to do with this file. Waits. Raises `SnapshotFailed` where there is none."""
    try:
        _run([_program("pg_restore"), "--list", "--file=/dev/null", str(file)], None, Event())
    except SnapshotFailed:
        return False
    return True


def has_programs() -> bool:
    """Whether PostgreSQL can be dumped and restored from this machine."""
    return bool(shutil.which("pg_dump") and shutil.which("pg_restore"))


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SnapshotFailed(
            f"PostgreSQL is backed up and restored by its own programs, and {name} is not on the PATH: install the "
            "client programs of your PostgreSQL (postgresql-client), of its version or a newer one."
        )
    return found


def _run(command: list[str], url: str | None, stop: Event) -> None:
    """Run it to its end. Passwords travel in its environment, where only its user can see them."""
    environment = {"LC_ALL": "C.UTF-8", "HOME": str(Path("~").expanduser()), **(_variables(url) if url else {})}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        said = _awaited(process, Path(command[0]).name, stop)
    if process.returncode:
        raise SnapshotFailed(f"{Path(command[0]).name} failed: {said or f'status {process.returncode}'}")


def _awaited(process: subprocess.Popen[bytes], name: str, stop: Event) -> str:
    """What it says of its failure, in a line."""
    while True:
        try:
            _, errors = process.communicate(timeout=POLL_S)
            return " ".join(errors.decode("utf-8", "replace").split())[-1000:]
        except subprocess.TimeoutExpired:
            if stop.is_set():
                process.kill()
                process.communicate()
                raise Stopped(f"{name} was stopped.") from None


def _variables(url: str) -> Mapping[str, str]:
    """The address as libpq's environment variables."""
    from psycopg.pq import Conninfo

    address = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    options = Conninfo.parse(address.encode())
    return {one.envvar.decode(): one.val.decode() for one in options if one.envvar and one.val}


def _said(error: Any) -> str:
    return ". ".join(line.strip() for line in str(error).split("\n") if line.strip()) + "."
