"""
Rows, in transactions: a unit of work is a plain function of a `Transaction`, run in a thread, and run again if the
engine asks for that.

What a transaction changed is announced when it has committed and before its caller learns the result, so a cache that
listens is exact: whoever has seen a write succeed can never be answered from before it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Concatenate, Final, ParamSpec, TypeAlias, TypeVar, overload

import sqlalchemy as sa
from sqlalchemy import exc
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from quay import faults
from quay.database.engines import READING, Verdict, open_engine, upsert, verdict
from quay.database.group import GroupCommit
from quay.database.migrations import migrate, require
from quay.database.prepared import Answer, Driver, Parameters, Prepared, say
from quay.database.schema import setting
from quay.interfaces import IPool
from quay.oci.errors import Unavailable
from quay.threads import Threads

P = ParamSpec("P")
R = TypeVar("R")

Change: TypeAlias = tuple[str | int, ...]
Listener: TypeAlias = Callable[[tuple[Change, ...]], "Deferred[None] | None"]
Work: TypeAlias = Callable[Concatenate["Transaction", P], R]


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached or cannot serve now; it may in a moment, and nothing needs a restart."""

    def __init__(self, message: str = "The registry cannot reach its database right now.") -> None:
        super().__init__(
            message,
            advice="Try again in a few seconds. If it lasts, the log of the registry says why.",
            headers={"Retry-After": "5"},
        )


class _CommitLost(Exception):
    """The connection broke while committing: nobody knows whether these changes are there."""

    def __init__(self, changes: tuple[Change, ...]) -> None:
        super().__init__("the connection broke while committing")
        self.changes = changes


class Transaction:
    """
    What a unit of work gets. It may be run several times before one run commits, so a unit of work changes nothing
    but rows, and says everything else with `changed` and `after_commit`.

    `now_ms` is the one time of this transaction, in milliseconds since the epoch.
    """

    def __init__(self, connection: sa.Connection, now_ms: int) -> None:
        self.connection = connection
        self.now_ms = now_ms
        self._driver = Driver(connection)
        self._changes: dict[Change, None] = {}
        self._after: list[Callable[[], object]] = []

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.connection.dialect.name

    @overload
    def execute(self, statement: Prepared, parameters: Parameters = None) -> Answer: ...
    @overload
    def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[Any]: ...
    def execute(self, statement: Prepared | sa.Executable, parameters: Any = None) -> Answer | sa.CursorResult[Any]:
        """
        Run `statement`, with `parameters` (a mapping, or a list of them: one execution each). What is `Prepared` goes
        past SQLAlchemy, at a fraction of the cost.
        """
        if isinstance(statement, Prepared):
            return self._driver.run(statement, parameters)
        return self.connection.execute(statement, parameters)

    @contextmanager
    def savepoint(self, *, keep: bool = True) -> Iterator[None]:
        """What the block does to rows is taken back, it alone, if it raises; without `keep`, also if it does not."""
        say(self.connection, "SAVEPOINT part")  # SQLAlchemy's own ones take many times as long
        try:
            yield
        except exc.DBAPIError:
            with suppress(exc.DBAPIError):  # where a disk is full, SQLite has taken back everything
                self._take_back()
            raise
        except BaseException:
            self._take_back()
            raise
        if keep:
            say(self.connection, "RELEASE part")
        else:
            self._take_back()

    def _take_back(self) -> None:
        say(self.connection, "ROLLBACK TO part")
        say(self.connection, "RELEASE part")

    @property
    def changes(self) -> tuple[Change, ...]:
        """What `changed` was told, each once, in order."""
        return tuple(self._changes)

    def changed(self, *key: str | int) -> None:
        """Name what a cache must drop when, and only when, this commits: `changed("tag", repository_id, "latest")`."""
        self._changes[key] = None

    def after_commit(self, f: Callable[[], object]) -> None:
        """Call `f` in the reactor thread once this has committed, after the changes were announced."""
        self._after.append(f)

    def afterthoughts(self) -> tuple[Callable[[], object], ...]:
        """What `after_commit` was told."""
        return tuple(self._after)


class Database(Service):
    """
    The database, on whichever engine. `read` and `write` take a plain function `work(txn, *args)` and give a Deferred
    of what it returns; what it raises comes out unchanged, and nothing of it stays in the database.

    Every transaction, once begun, goes on to its end and to its announcement, also when the Deferred is cancelled.
    On SQLite, `writers` has one thread: writers stand in line there instead of failing in the file.
    """

    name = "database"
    ATTEMPTS: Final = 5
    _log = Logger()

    def __init__(self, reactor: IReactorTime, engine: sa.Engine, readers: IPool, writers: IPool) -> None:
        self._reactor = reactor
        self._engine = engine
        self._readers = readers
        self._writers = writers
        # PostgreSQL commits in groups by itself.
        self._group = GroupCommit(writers, self._transact_all) if engine.dialect.name == "sqlite" else None
        self._listeners: list[Listener] = []
        self._running: set[Deferred[None]] = set()
        self._stopped = False

    def on_commit(self, listener: Listener) -> None:
        """Call `listener` with the changes of every transaction that had any; its Deferred is awaited."""
        self._listeners.append(listener)

    def read(self, work: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        """Run `work` in a transaction that the engine lets only read. Fails with `DatabaseUnavailable`."""
        return self._spawn(self._read(lambda txn: work(txn, *args, **kwargs)))

    def write(self, work: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        """Run `work`, commit, announce what it changed, then fire. Fails with `DatabaseUnavailable`."""
        return self._spawn(self._write(lambda txn: work(txn, *args, **kwargs)))

    def check(self) -> Deferred[None]:
        """Succeeds if the database answers."""
        return self.read(_answer)

    def check_writing(self) -> Deferred[None]:
        """Succeeds if the database takes a row and keeps it."""
        return self.write(_leave_mark)

    async def start(self) -> None:
        """Make sure that the database answers, and that this code can live with its schema (`SchemaUnfit`)."""
        await self.check()
        await self._readers.run(require, self._engine)

    async def stop(self) -> None:
        """Let running transactions end, refuse new ones, close every connection."""
        self._stopped = True
        await DeferredList(list(self._running))
        await self._writers.run(self._engine.dispose)

    def _spawn(self, task: Coroutine[Deferred[Any], Any, R]) -> Deferred[R]:
        answer: Deferred[R] = Deferred()  # cancelling it ends the waiting, not the transaction
        running = Deferred.fromCoroutine(task).addCallbacks(answer.callback, answer.errback)
        self._running.add(running)
        running.addBoth(lambda _: self._running.discard(running))
        return answer

    async def _read(self, work: Callable[[Transaction], R]) -> R:
        result, _ = await self._attempt(self._readers, work, reading=True)
        return result

    async def _write(self, work: Callable[[Transaction], R]) -> R:
        try:
            result, txn = await self._attempt(self._writers, work, reading=False)
        except _CommitLost as lost:
            await self._announce(lost.changes)  # they may be there: whoever caches has to look again
            raise DatabaseUnavailable(
                "The registry lost its database while saving; the change may or may not have been made."
            ) from lost
        await self._announce(txn.changes)
        for f in txn.afterthoughts():
            await self._see_to(f)
        return result

    async def _attempt(self, pool: IPool, work: Callable[[Transaction], R], *, reading: bool) -> tuple[R, Transaction]:
        for attempt in range(1, self.ATTEMPTS + 1):
            if self._stopped:
                raise DatabaseUnavailable("The registry is stopping and takes no more work.")
            try:
                if self._group is not None and not reading:
                    outcome: tuple[R, Transaction] = await self._group.run(work)
                    return outcome
                return await pool.run(self._transact, work, reading)
            except exc.DBAPIError as error:
                judgement = verdict(error, reading=reading)
                if judgement is Verdict.FATAL:
                    raise
                if judgement is Verdict.UNAVAILABLE or attempt == self.ATTEMPTS:
                    self._log.error("The database cannot serve: {error}", error=error.orig)
                    raise DatabaseUnavailable() from error
            await deferLater(self._reactor, random.uniform(0, 0.01 * 2**attempt))  # noqa: S311  # not a secret
        raise AssertionError("the last attempt returns or raises")

    def _transact(self, work: Callable[[Transaction], R], reading: bool) -> tuple[R, Transaction]:
        """One run of `work`, in a thread."""
        with self._begun(reading) as connection:
            txn = Transaction(connection, int(self._reactor.seconds() * 1000))
            result = work(txn)
            if not reading:
                self._commit(txn)
            return result, txn

    def _transact_all(self, units: Sequence[Callable[[Transaction], Any]]) -> list[Any]:
        """One run of each of these, in a thread: the outcomes, or Failures."""
        if len(units) > 1:
            with suppress(exc.DBAPIError):  # whoever met it will meet it again, alone
                return self._transact_together(units)
        return [_outcome(self._transact, unit, False) for unit in units]

    def _transact_together(self, units: Sequence[Callable[[Transaction], Any]]) -> list[Any]:
        with self._begun() as connection:
            now_ms = int(self._reactor.seconds() * 1000)
            outcomes = [_outcome(_nested, Transaction(connection, now_ms), unit) for unit in units]
            self._commit(Transaction(connection, now_ms))
            return outcomes

    @contextmanager
    def _begun(self, reading: bool = False) -> Iterator[sa.Connection]:
        """A connection in a transaction. Leaving the block without a commit rolls back."""
        with self._engine.connect() as connection:
            if reading:
                connection.execution_options(**READING)
            try:
                connection.begin()
                yield connection
            except exc.DBAPIError as error:
                if verdict(error, reading=reading) is Verdict.ANEW:
                    connection.invalidate()
                raise

    def _commit(self, txn: Transaction) -> None:
        faults.point("commit.before")
        try:
            txn.connection.commit()
        except exc.DBAPIError as error:
            if error.connection_invalidated:
                raise _CommitLost(txn.changes) from error
            raise
        faults.point("commit.after")

    async def _announce(self, changes: tuple[Change, ...]) -> None:
        for listener in self._listeners if changes else ():
            await self._see_to(listener, changes)

    async def _see_to(self, f: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call what follows a commit. That is done, so a failure here is logged and not the caller's."""
        try:
            outcome = f(*args, **kwargs)
            if outcome is not None:
                await maybeDeferred(lambda: outcome)
        except Exception:
            self._log.failure("After a commit, {f} failed", f=f)


def _nested(txn: Transaction, unit: Callable[[Transaction], Any]) -> tuple[Any, Transaction]:
    with txn.savepoint():
        return unit(txn), txn


def _outcome(run: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any:
    """What `run` gives, or its Failure; what the engine raises within a group is raised, since it ends the group."""
    try:
        return run(*args, **kwargs)
    except Exception as error:
        if run is _nested and isinstance(error, exc.DBAPIError):
            raise
        return Failure()


def _answer(txn: Transaction) -> None:
    txn.execute(sa.select(1))


def _leave_mark(txn: Transaction) -> None:
    statement = upsert(txn.dialect, setting, "key", update=("value",))
    txn.execute(statement.values(key="health", value=str(txn.now_ms)))


def open_database(reactor: IReactorTime, url: str, threads: Threads) -> Database:
    """
    The database at `url` (`sqlite:///path` or `postgresql://…`), not started. For SQLite, `threads` must have one
    thread in `db_write`.
    """
    return Database(reactor, open_engine(url), threads.db_read, threads.db_write)


def once(url: str, work: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """
    One transaction in this thread, for a command beside a running server or without one; the schema is brought up to
    date first. Raises `DatabaseUnavailable`.
    """
    engine = open_engine(url)
    try:
        migrate(engine)
        with engine.begin() as connection:
            return work(Transaction(connection, int(time.time() * 1000)), *args, **kwargs)
    except exc.DBAPIError as error:
        if verdict(error) is Verdict.FATAL:
            raise
        why = ". ".join(map(str.strip, str(error.orig).split("\n")))
        raise DatabaseUnavailable(f"The database {engine.url.database} cannot be used: {why}") from error
    finally:
        engine.dispose()
