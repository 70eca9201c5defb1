"""Group commit: one commit for all that waited, each unit's outcome its own, and order kept."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quay.database import Database, DatabaseUnavailable, Transaction
from quay.database.engines import open_engine
from quay.threads import ImmediatePool


class Gate:
    """A pool with one thread that works when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Any, Any, Deferred[Any]]] = []

    def run(self, f: Any, *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((f, args, done))
        return done

    def open(self) -> None:
        f, args, done = self.waiting.pop(0)
        ImmediatePool().run(f, *args).chainDeferred(done)


class GroupCommitTests(SynchronousTestCase):
    """A database in a file, and a writer that the test lets go."""

    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.engine = open_engine(f"sqlite:///{directory.name}/facts.db")
        self.addCleanup(self.engine.dispose)
        with self.engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE fact (name TEXT PRIMARY KEY)"))
        self.commits = 0
        event.listen(self.engine, "commit", self._count)
        self.gate = Gate()
        self.database = Database(Clock(), self.engine, ImmediatePool(), self.gate)
        self.heard: list[Any] = []
        self.database.on_commit(self.heard.append)

    def _count(self, connection: object) -> None:
        self.commits += 1

    @staticmethod
    def note(txn: Transaction, name: str) -> str:
        txn.execute(sa.text("INSERT INTO fact VALUES (:name)"), {"name": name})
        txn.changed("fact", name)
        return name

    @classmethod
    def refuse(cls, txn: Transaction, name: str) -> None:
        cls.note(txn, name)
        raise LookupError(name)

    def facts(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.text("SELECT name FROM fact ORDER BY rowid")).scalars())

    def grouped(self, *units: tuple[Any, str]) -> list[Deferred[Any]]:
        """Write something, and these while it is being written."""
        done = [self.database.write(self.note, "first")]
        done += [self.database.write(unit, name) for unit, name in units]
        self.gate.open()
        self.commits = 0
        self.gate.open()
        return done[1:]

    def test_one_commit(self) -> None:
        """What waits while something is written is committed at once, in its order; each gets its own result."""
        names = [f"fact-{number}" for number in range(10)]
        done = self.grouped(*((self.note, name) for name in names))
        self.assertEqual([self.successResultOf(one) for one in done], names)
        self.assertEqual((self.commits, self.facts()), (1, ["first", *names]))
        self.assertEqual(self.heard, [(("fact", name),) for name in ["first", *names]])

    def test_a_refusal_is_its_own(self) -> None:
        """A unit that raises leaves no row and no change, and the others do."""
        before, refused, after = self.grouped((self.note, "a"), (self.refuse, "b"), (self.note, "c"))
        self.assertEqual((self.successResultOf(before), self.successResultOf(after)), ("a", "c"))
        self.failureResultOf(refused, LookupError)
        self.assertEqual((self.commits, self.facts()), (1, ["first", "a", "c"]))
        self.assertEqual(len(self.heard), 3)

    def test_what_the_engine_refuses(self) -> None:
        """When a statement fails, the group is given up and each unit runs alone: one fails, and the others do not."""
        before, refused, after = self.grouped((self.note, "a"), (self.note, "a"), (self.note, "c"))
        self.assertEqual((self.successResultOf(before), self.successResultOf(after)), ("a", "c"))
        self.failureResultOf(refused, exc.IntegrityError)
        self.assertEqual((self.commits, self.facts()), (2, ["first", "a", "c"]))

    def test_the_group_is_bounded(self) -> None:
        """However many wait, a transaction has an end."""
        done = [self.database.write(self.note, str(number)) for number in range(200)]
        for _ in range(5):
            self.gate.open()
        self.assertEqual([self.successResultOf(one) for one in done], [str(number) for number in range(200)])
        self.assertEqual((self.gate.waiting, self.commits), ([], 5))

    def test_stop(self) -> None:
        """A stop waits for what waits, and nothing is taken after it."""
        done = [self.database.write(self.note, name) for name in "ab"]
        stopped = Deferred.fromCoroutine(self.database.stop())
        self.gate.open()
        self.gate.open()
        self.assertNoResult(stopped)
        self.gate.open()
        self.successResultOf(stopped)
        self.assertEqual(self.successResultOf(DeferredList(done)), [(True, "a"), (True, "b")])
        self.failureResultOf(self.database.write(self.note, "c"), DatabaseUnavailable)
