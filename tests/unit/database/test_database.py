"""Transactions on both engines: what is announced and when, what is tried again, and what an outage looks like."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.interfaces import IReactorFromThreads
from twisted.trial.unittest import TestCase

from quay.database import Database, DatabaseUnavailable, Transaction, open_database
from quay.database.engines import Verdict, open_engine, sqlite, upsert, verdict
from quay.database.schema import setting
from quay.threads import Threads
from tests.postgres import PostgresServer


def put(txn: Transaction, key: str, value: str) -> str:
    txn.execute(upsert(txn.dialect, setting, "key", update=("value",)), {"key": key, "value": value})
    txn.changed("setting", key)
    return value


def get(txn: Transaction, key: str) -> str | None:
    value: str | None = txn.execute(sa.select(setting.c.value).where(setting.c.key == key)).scalar()
    return value


class Contract:
    """What `Database` promises, whatever the engine."""

    url: str
    database: Database
    assertEqual: Callable[..., None]
    assertFailure: Callable[..., Deferred[Any]]
    addCleanup: Callable[..., None]
    flushLoggedErrors: Callable[..., list[Any]]
    open_read_only: Callable[[int], None]
    db_write = 1

    def setUp(self) -> None:
        threads = Threads(IReactorFromThreads(reactor), db_write=self.db_write)
        self.database = open_database(reactor, self.url, threads)
        threads.startService()
        self.addCleanup(threads.stopService)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.database.stop()))

    async def test_read_sees_what_write_committed(self) -> None:
        """`write` fires with the result of the work after its commit, and `read` sees it."""
        self.assertEqual(await self.database.write(put, "a", "1"), "1")
        self.assertEqual(await self.database.read(get, "a"), "1")

    async def test_starts_on_a_migrated_database(self) -> None:
        """`start` and `check` succeed where the database answers and its schema fits."""
        await self.database.start()
        await self.database.check()

    async def test_changes_come_before_the_result(self) -> None:
        """Listeners are awaited with the changes, then `after_commit` is called, then the caller has its result."""
        seen: list[object] = []
        handled: Deferred[None] = Deferred()

        def listen(changes: object) -> Deferred[None]:
            seen.append(changes)
            reactor.callLater(0, handled.callback, None)
            return handled.addCallback(lambda _: seen.append("handled"))

        def work(txn: Transaction) -> None:
            txn.after_commit(lambda: seen.append(threading.current_thread() is threading.main_thread()))
            put(txn, "a", "1")
            put(txn, "b", "2")
            put(txn, "a", "3")

        self.database.on_commit(listen)
        await self.database.write(work)
        self.assertEqual(seen, [(("setting", "a"), ("setting", "b")), "handled", True])

    async def test_part_that_is_taken_back(self) -> None:
        """A part that raises, or that nobody means to keep, leaves nothing; what was done beside it stays."""

        def work(txn: Transaction) -> None:
            put(txn, "a", "1")
            with pytest.raises(LookupError), txn.savepoint():
                put(txn, "a", "2")
                raise LookupError
            with txn.savepoint(keep=False):
                put(txn, "a", "3")
            with pytest.raises(sa.exc.IntegrityError), txn.savepoint():
                txn.execute(sa.insert(setting), {"key": "a", "value": "4"})
            with txn.savepoint(), txn.savepoint():
                put(txn, "b", "5")

        await self.database.write(work)
        found = [await self.database.read(get, name) for name in "ab"]
        self.assertEqual(found, ["1", "5"])

    async def test_rollback_forgets(self) -> None:
        """What raises leaves no row, announces nothing, calls nothing, and its exception comes out as it is."""
        seen: list[object] = []

        def work(txn: Transaction) -> None:
            put(txn, "a", "1")
            txn.after_commit(lambda: seen.append("after"))
            raise KeyError("no")

        self.database.on_commit(seen.append)
        await self.assertFailure(self.database.write(work), KeyError)
        self.assertEqual(await self.database.read(get, "a"), None)
        self.assertEqual(seen, [])

    async def test_nothing_changed_nothing_said(self) -> None:
        """A transaction without changes does not bother the listeners."""
        seen: list[object] = []
        self.database.on_commit(seen.append)
        await self.database.write(get, "a")
        self.assertEqual(seen, [])

    async def test_failing_listener_is_not_the_callers_failure(self) -> None:
        """The commit stands: the caller has the result, the next listener is told, and the log has the failure."""
        seen: list[object] = []

        def broken(changes: object) -> None:
            raise RuntimeError("broken listener")

        self.database.on_commit(broken)
        self.database.on_commit(seen.append)
        self.assertEqual(await self.database.write(put, "a", "1"), "1")
        self.assertEqual(len(seen), 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_cancelling_ends_the_waiting_only(self) -> None:
        """A caller who hangs up in the middle leaves no commit unannounced."""
        begun, go = threading.Event(), threading.Event()
        announced: Deferred[object] = Deferred()

        def work(txn: Transaction) -> None:
            put(txn, "a", "1")
            begun.set()
            go.wait(10)

        self.database.on_commit(announced.callback)
        waiting = self.database.write(work)
        begun.wait(10)
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)
        go.set()
        self.assertEqual(await announced, (("setting", "a"),))
        self.assertEqual(await self.database.read(get, "a"), "1")

    async def test_stop_waits_for_what_runs(self) -> None:
        """`stop` lets a running transaction end with its announcement, and refuses new ones."""
        begun, go = threading.Event(), threading.Event()

        def work(txn: Transaction) -> str:
            begun.set()
            go.wait(10)
            return put(txn, "a", "1")

        running = self.database.write(work)
        begun.wait(10)
        stopped = Deferred.fromCoroutine(self.database.stop())
        await self.assertFailure(self.database.read(get, "a"), DatabaseUnavailable)
        go.set()
        await stopped
        self.assertEqual(await running, "1")

    async def test_readers_cannot_write(self) -> None:
        """The engine refuses a write inside `read`, as the programmer's fault; the connection writes again later."""
        await self.assertFailure(self.database.read(put, "a", "1"), sa.exc.DBAPIError)
        self.assertEqual(await self.database.write(put, "a", "2"), "2")

    async def test_read_only_connection_is_given_up(self) -> None:
        """A connection that was opened when nothing could be written keeps nobody from writing later."""
        self.open_read_only(1)
        self.assertEqual(await self.database.write(put, "a", "1"), "1")

    async def test_nothing_can_be_written(self) -> None:
        """Where every connection comes without writing, the database is unavailable to writers, and to nobody else."""
        self.open_read_only(1000)
        await self.assertFailure(self.database.write(put, "a", "1"), DatabaseUnavailable)
        self.assertEqual(await self.database.read(get, "a"), None)
        self.flushLoggedErrors()

    async def test_one_time_for_one_transaction(self) -> None:
        """`now_ms` is milliseconds, and stays what it was."""
        first, second = await self.database.read(lambda txn: (txn.now_ms, txn.now_ms))
        self.assertEqual(first, second)
        self.assertEqual(abs(first - reactor.seconds() * 1000) < 60_000, True)

    async def test_writers_never_lose_an_update(self) -> None:
        """Twenty transactions at once that read, add and write lose none of the additions."""

        def add(txn: Transaction) -> None:
            row = sa.select(setting.c.value).where(setting.c.key == "n").with_for_update()
            put(txn, "n", str(int(txn.execute(row).scalar_one()) + 1))

        await self.database.write(put, "n", "0")
        await gatherResults([self.database.write(add) for _ in range(20)])
        self.assertEqual(await self.database.read(get, "n"), "20")

    async def test_errors_show_no_parameters(self) -> None:
        """What was bound to a statement, be it a secret, is not in the text of its error."""

        def work(txn: Transaction) -> None:
            statement = sa.insert(setting).values(key="twice", value="hunter2")
            txn.execute(statement)
            txn.execute(statement)

        error = await self.assertFailure(self.database.write(work), sa.exc.IntegrityError)
        self.assertEqual("hunter2" in str(error), False)


class SQLiteDatabaseTests(Contract, TestCase):
    """`Database` on SQLite."""

    @pytest.fixture(autouse=True)
    def _url(self, sqlite_url: str) -> None:
        self.url = sqlite_url

    def open_read_only(self, count: int) -> None:
        """Have the next so many connections come as SQLite opens them on a medium that is read-only."""
        left = iter(range(count))

        def connect(dialect: object, record: object, args: tuple[str], options: dict[str, Any]) -> object:
            if next(left, None) is None:
                return None
            return sqlite3.connect(f"file:{args[0]}?mode=ro", uri=True, **options)

        sa.event.listen(self.database._engine, "do_connect", connect)

    async def test_readers_do_not_wait_for_the_writer(self) -> None:
        """With an uncommitted write open, a read answers from before it."""
        begun, go = threading.Event(), threading.Event()

        def work(txn: Transaction) -> None:
            put(txn, "a", "1")
            begun.set()
            go.wait(10)

        writing = self.database.write(work)
        begun.wait(10)
        self.assertEqual(await self.database.read(get, "a"), None)
        go.set()
        await writing

    async def test_durability_is_set(self) -> None:
        """Every connection has the log, full synchronisation and foreign keys on."""

        def pragmas(txn: Transaction) -> list[object]:
            names = ("journal_mode", "synchronous", "foreign_keys")
            return [txn.connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

        self.assertEqual(await self.database.write(pragmas), ["wal", 2, 1])
        self.assertEqual(await self.database.read(pragmas), ["wal", 2, 1])


class PostgreSQLDatabaseTests(Contract, TestCase):
    """`Database` on PostgreSQL."""

    db_write = 4

    @pytest.fixture(autouse=True)
    def _url(self, postgres_url: str) -> None:
        self.url = postgres_url

    def open_read_only(self, count: int) -> None:
        """Have the next so many connections come as a server on standby gives them."""
        left = iter(range(count))

        def connect(connection: Any, record: object) -> None:
            connection.read_only = next(left, None) is not None

        sa.event.listen(self.database._engine, "connect", connect)

    async def test_serialization_failure_is_tried_again(self) -> None:
        """A transaction that the server aborts in favour of another is run again, and announced once."""
        runs: list[str | None] = []
        rival = sa.create_engine(self.database._engine.url, isolation_level="SERIALIZABLE")
        self.addCleanup(rival.dispose)

        def work(txn: Transaction) -> None:
            txn.connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            runs.append(get(txn, "a"))
            if len(runs) == 1:
                with rival.begin() as other:
                    put(Transaction(other, 0), "a", "theirs")
            put(txn, "a", "ours")

        seen: list[object] = []
        self.database.on_commit(seen.append)
        await self.database.write(put, "a", "old")
        await self.database.write(work)
        self.assertEqual(runs, ["old", "theirs"])
        self.assertEqual(seen, [(("setting", "a"),)] * 2)

    async def test_broken_connection_is_tried_again(self) -> None:
        """A transaction whose connection the server ends starts anew on another connection."""
        runs: list[int] = []

        def work(txn: Transaction) -> str:
            runs.append(1)
            if len(runs) == 1:
                txn.connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
            return put(txn, "a", "1")

        self.assertEqual(await self.database.write(work), "1")
        self.assertEqual(len(runs), 2)

    async def test_connection_lost_while_committing(self) -> None:
        """Nobody knows then: no second run, but caches are told to look again, and the caller is told so."""
        runs: list[int] = []
        seen: list[object] = []

        def work(txn: Transaction) -> None:
            runs.append(1)
            put(txn, "a", "1")
            victim = txn.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            with self.database._engine.connect() as other:
                other.exec_driver_sql(f"SELECT pg_terminate_backend({victim}, 5000)")

        self.database.on_commit(seen.append)
        error = await self.assertFailure(self.database.write(work), DatabaseUnavailable)
        self.assertEqual("may or may not" in error.message, True)
        self.assertEqual((runs, seen), ([1], [(("setting", "a"),)]))

    async def test_impatient_server(self) -> None:
        """A statement that the server gives up, because its administrator lets none take so long, is no fault of it."""
        for limit, statement in (
            ("statement_timeout = 1", "SELECT pg_sleep(60)"),
            ("lock_timeout = 1", "UPDATE setting SET value = value"),
        ):

            def work(txn: Transaction, limit: str = limit, statement: str = statement) -> None:
                txn.connection.exec_driver_sql(f"SET LOCAL {limit}")
                txn.connection.exec_driver_sql(statement)

            with self.database._engine.begin() as other:
                other.exec_driver_sql("UPDATE setting SET value = value")
                await self.assertFailure(self.database.write(work), DatabaseUnavailable)

    async def test_deadlock_is_tried_again(self) -> None:
        """Two transactions that lock each other out both succeed in the end."""
        both = threading.Barrier(2, timeout=10)
        runs: list[str] = []

        def work(txn: Transaction, first: str, second: str) -> None:
            runs.append(first)
            put(txn, first, "x")
            if len(runs) <= 2:
                both.wait()
            put(txn, second, "x")

        await self.database.write(put, "a", "0")
        await self.database.write(put, "b", "0")
        await gatherResults([self.database.write(work, "a", "b"), self.database.write(work, "b", "a")])
        self.assertEqual(len(runs), 3)


class OutageTests(TestCase):
    """A PostgreSQL that goes away and comes back under a running `Database`."""

    @pytest.fixture(autouse=True)
    def _server(self, own_postgres: PostgresServer) -> None:
        self.server = own_postgres

    def setUp(self) -> None:
        threads = Threads(IReactorFromThreads(reactor), db_write=2)
        self.database = open_database(reactor, self.server.url("postgres"), threads)
        threads.startService()
        self.addCleanup(threads.stopService)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.database.stop()))

    async def test_outage_is_unavailability_and_passes(self) -> None:
        """While the server is gone there is a 503 with a time to come back; afterwards the same Database works."""
        await self.database.check()
        self.server.stop()
        error: Any = await self.assertFailure(self.database.write(get, "a"), DatabaseUnavailable)
        self.assertEqual((error.status, error.headers), (503, {"Retry-After": "5"}))
        await self.assertFailure(self.database.check(), DatabaseUnavailable)
        self.server.start()
        await self.database.check()

    async def test_server_dies_in_mid_transaction(self) -> None:
        """A transaction that loses its server is unavailability, whatever it was doing."""

        def work(txn: Transaction) -> None:
            txn.execute(sa.select(1))
            self.server.stop()
            txn.execute(sa.select(1))

        await self.assertFailure(self.database.write(work), DatabaseUnavailable)
        self.server.start()
        await self.database.check()


@pytest.fixture(scope="module")
def own_postgres(postgres: PostgresServer) -> Any:
    """A server of this module's own, to be stopped and started."""
    server = PostgresServer()
    server.start()
    yield server
    server.destroy()


def test_sqlite_outage(tmp_path: Any) -> None:
    """A file that cannot be opened, is no database, is full or read-only is unavailability; a constraint is not."""

    def judge(engine: sa.Engine, statement: str, *, reading: bool = False) -> Verdict:
        with pytest.raises(sa.exc.DBAPIError) as caught, engine.connect() as connection:
            connection.exec_driver_sql(statement)
        return verdict(caught.value, reading=reading)

    (tmp_path / "nonsense").write_bytes(b"this is not a database" * 100)
    assert judge(sqlite(str(tmp_path / "missing" / "x")), "SELECT 1") is Verdict.UNAVAILABLE
    assert judge(sqlite(str(tmp_path / "nonsense")), "SELECT 1") is Verdict.UNAVAILABLE
    engine = sqlite(str(tmp_path / "small"))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x UNIQUE CHECK (x <> 'bad'))")
        connection.exec_driver_sql("PRAGMA max_page_count=4")
    assert judge(engine, "INSERT INTO t VALUES (randomblob(100000))") is Verdict.UNAVAILABLE
    assert judge(engine, "INSERT INTO t VALUES ('bad')") is Verdict.FATAL
    assert judge(engine, "INSERT INTO no_such_table VALUES (1)") is Verdict.FATAL


def test_full_disk_in_a_part(sqlite_url: str) -> None:
    """A disk that is full in a part of a transaction is unavailability, although nothing of that is there any more."""
    engine = open_engine(sqlite_url)
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        connection.rollback()
        with pytest.raises(sa.exc.OperationalError) as caught, connection.begin():
            txn = Transaction(connection, 0)
            with txn.savepoint():
                put(txn, "a", "x" * 1_000_000)
        assert verdict(caught.value) is Verdict.UNAVAILABLE
    engine.dispose()


def test_sqlite_held_by_another_process_is_tried_again(sqlite_url: str) -> None:
    """When somebody else holds the file for longer than we wait, that is no fault of the transaction."""
    mine, theirs = open_engine(sqlite_url), open_engine(sqlite_url)
    with theirs.begin() as other:
        other.exec_driver_sql("INSERT INTO setting VALUES ('a', 'b')")
        with mine.connect() as connection, pytest.raises(sa.exc.OperationalError) as caught:
            connection.begin()
        assert verdict(caught.value) is Verdict.AGAIN
