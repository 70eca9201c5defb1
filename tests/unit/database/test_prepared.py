"""Prepared statements: the same answers and errors as by way of SQLAlchemy, on both engines, and past it."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import exc
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorFromThreads
from twisted.trial.unittest import TestCase

from quay.database import Transaction, open_database
from quay.database.engines import READING, Verdict, insert_or_ignore, open_engine, upsert, verdict
from quay.database.prepared import LENGTHS, Answer, Prepared
from quay.database.schema import Json, setting
from quay.threads import Threads
from tests.unit.model.pushing import unprepared

HERE = sa.MetaData()
THING = sa.Table(
    "thing",
    HERE,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("flag", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("body", Json, nullable=False, server_default="{}"),
    sa.Column("raw", sa.LargeBinary),
    sa.Column("size", sa.BigInteger),
    sa.Column("note", sa.Text),
)
ROWS: list[dict[str, Any]] = [
    {"name": f"n{number}", "flag": number % 2 == 0, "body": {"n": [number, None, "ü%s"]}, "raw": b"\0%d" % number}
    for number in range(5)
]


@pytest.fixture
def txn(transaction: Transaction) -> Transaction:
    """A transaction with a table `thing` of a few rows."""
    HERE.create_all(transaction.connection)
    transaction.execute(sa.insert(THING), ROWS)
    return transaction


def both(txn: Transaction, statement: Any, parameters: Any = None) -> tuple[Any, Any]:
    """What `statement` comes to prepared, and not; each on the same rows."""
    answers = []
    for one in (Prepared(statement), statement):
        txn.connection.exec_driver_sql("SAVEPOINT before")
        answer: Any = txn.execute(one, parameters)
        rows = answer.all() if isinstance(answer, Answer) or answer.returns_rows else []
        left = [tuple(row) for row in txn.execute(sa.select(THING).order_by(THING.c.name))]
        answers.append(([dict(row._mapping) for row in rows], [tuple(row) for row in rows], answer.rowcount, left))
        txn.connection.exec_driver_sql("ROLLBACK TO before")
    return answers[0], answers[1]


def same(txn: Transaction, statement: Any, parameters: Any = None) -> None:
    prepared, usual = both(txn, statement, parameters)
    assert prepared[:2] == usual[:2]
    assert [[type(value) for value in row] for row in prepared[1]] == [[type(v) for v in row] for row in usual[1]]
    without_numbers = [[row[1:] for row in left] for left in (prepared[3], usual[3])]  # PostgreSQL counts on
    assert without_numbers[0] == without_numbers[1]
    if usual[2] != -1 and not statement.exported_columns:  # of what has rows, or was inserted, it may not say it
        assert prepared[2] == usual[2]


# --- answers ------------------------------------------------------------------------------------------------------

NAMES = sa.bindparam("names", expanding=True)
SELECTS: list[tuple[Any, Any]] = [
    (sa.select(THING).where(THING.c.name == sa.bindparam("called")), {"called": "n1"}),
    (sa.select(THING).where(THING.c.name == sa.bindparam("called")), {"called": "none"}),
    (sa.select(THING.c.flag, THING.c.body, THING.c.raw).order_by(THING.c.name).limit(2).offset(1), None),
    (sa.select(sa.func.count(), sa.literal(0).label("zero"), sa.literal("a%b")).select_from(THING), None),
    (sa.select(THING.c.name).where(THING.c.name.in_(NAMES)), {"names": None}),
    (sa.select(sa.func.sum(THING.c.size), sa.func.avg(THING.c.size)).select_from(THING), {}),
    (sa.select(THING.c.flag, THING.c.flag, THING.c.raw).where(THING.c.flag, THING.c.raw.is_not(None)), None),
    (sa.select(THING.c.name).where(THING.c.flag == sa.bindparam("flagged")), {"flagged": True}),
    (sa.select(THING.c.name).where(THING.c.raw == sa.bindparam("bytes")), {"bytes": b"\x001"}),
    (sa.select(THING.c.name).where(THING.c.name.in_(["n1", "n2"]), THING.c.name.in_(NAMES)), {"names": ["n2", "n3"]}),
    (sa.select(THING.c.name).where(sa.tuple_(THING.c.name, THING.c.flag).in_(NAMES)), {"names": [("n1", False)]}),
    (sa.union_all(sa.select(THING.c.name), sa.select(THING.c.note)), None),
]
CHANGES: list[tuple[Any, Any]] = [
    (sa.insert(THING), {"name": "new", "body": {"a": "\0"}, "raw": None}),
    (sa.insert(THING), [{"name": "new", "note": "x"}]),
    (sa.insert(THING), [{"name": f"new{n}", "flag": bool(n), "body": [n]} for n in range(3)]),
    (sa.insert(THING).returning(THING.c.name, THING.c.flag, THING.c.body), {"name": "new", "body": None}),
    (sa.insert(THING).returning(THING.c.name), [{"name": "new1"}, {"name": "new2"}]),
    (sa.update(THING).where(THING.c.name == sa.bindparam("called")).values(note="x", flag=True), {"called": "n1"}),
    (sa.update(THING).where(THING.c.name == sa.bindparam("called")), {"called": "n1", "size": 2**40, "body": [1]}),
    (
        sa.update(THING).where(THING.c.name == sa.bindparam("called")).values(size=sa.bindparam("now") + 1),
        [{"called": "n1", "now": 1}, {"called": "n2", "now": 2}],
    ),
    (sa.update(THING).where(THING.c.flag).values(note=None).returning(THING.c.name, THING.c.flag), None),
    (sa.delete(THING).where(THING.c.name.in_(NAMES)), {"names": ["n1", "n2", "no"]}),
    (sa.delete(THING).where(THING.c.name == "n1").returning(THING.c.body), None),
]


@pytest.mark.parametrize("number", range(len(SELECTS) + len(CHANGES)))
def test_same_answer(txn: Transaction, number: int) -> None:
    """Rows, their names and types, what is left in the table and the count of rows are as without preparing."""
    same(txn, *(SELECTS + CHANGES)[number])


def test_same_on_conflict(txn: Transaction) -> None:
    """What ignores, or updates, a row that is there, does so prepared as well, with and without RETURNING."""
    upserting = upsert(txn.dialect, THING, "name", update=("note",))
    for name in ("n1", "new"):
        same(txn, insert_or_ignore(txn.dialect, THING), {"name": name, "note": "x"})
        same(txn, insert_or_ignore(txn.dialect, THING).returning(THING.c.name), {"name": name, "note": "x"})
        same(txn, upserting, {"name": name, "note": "x"})
        same(txn, upserting, [{"name": name, "note": "x"}, {"name": "other", "note": None}])


VALUES = st.fixed_dictionaries(
    {
        "flag": st.booleans(),
        "body": st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**31), 2**31)
            | st.text(st.characters(codec="utf-8"), max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab%:", max_size=3), inner, max_size=3),
        ),
        "raw": st.none() | st.binary(max_size=20),
        "size": st.none() | st.integers(-(2**63), 2**63 - 1),
        "note": st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    }
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES, st.lists(st.integers(0, 9), max_size=80))
def test_same_for_all_values(txn: Transaction, values: dict[str, Any], numbers: list[int]) -> None:
    """Whatever is bound, and however long the lists of an IN are, goes in and comes out as without preparing."""
    names = [f"n{number}" for number in numbers]
    same(txn, sa.insert(THING).returning(*(THING.c[name] for name in values)), {"name": "new", **values})
    same(txn, sa.select(THING.c.name).where(THING.c.name.in_(NAMES)).order_by(THING.c.name), {"names": names})
    same(txn, sa.select(THING.c.name).where(THING.c.name.not_in(NAMES)).order_by(THING.c.name), {"names": names})


def test_answer_is_used_as_a_result(txn: Transaction) -> None:
    """`first`, `all`, `scalar`, `scalar_one`, `scalars` and iteration are what they are of a result of SQLAlchemy."""
    answer = txn.execute(Prepared(sa.select(THING.c.name, THING.c.flag).order_by(THING.c.name)))
    none = txn.execute(Prepared(sa.select(THING.c.name).where(sa.false())))
    first = answer.first()
    assert first is not None
    assert (first.name, first.flag, first._asdict()) == ("n0", True, {"name": "n0", "flag": True})
    assert [row.name for row in answer] == [row.name for row in answer.all()] == answer.scalars()
    assert (answer.scalar(), none.first(), none.scalar(), none.all(), none.scalars()) == ("n0", None, None, [], [])
    with pytest.raises(exc.MultipleResultsFound):
        answer.scalar_one()
    with pytest.raises(exc.NoResultFound):
        none.scalar_one()
    assert txn.execute(Prepared(sa.select(sa.func.count()).select_from(THING))).scalar_one() == 5


# --- which way it goes --------------------------------------------------------------------------------------------


def test_goes_past_sqlalchemy(txn: Transaction) -> None:
    """A prepared statement is handed to the driver: SQLAlchemy does not hear of it."""
    with unprepared(txn) as heard:
        txn.execute(Prepared(sa.select(THING.c.name).where(THING.c.name.in_(NAMES))), {"names": ["n1"] * 64})
        txn.execute(Prepared(sa.insert(THING)), [{"name": "new1"}, {"name": "new2"}])
        txn.execute(Prepared(sa.delete(THING).where(THING.c.name == "n1").returning(THING.c.id))).scalar_one()
    assert heard == []


def test_the_unusual_goes_through_sqlalchemy(txn: Transaction) -> None:
    """Long lists, lists of tuples, many rows with RETURNING, and all within a savepoint of SQLAlchemy's."""
    named = Prepared(sa.select(THING.c.name).where(THING.c.name.in_(NAMES)))
    with unprepared(txn) as heard:
        assert txn.execute(named, {"names": ["n1", *"x" * 64]}).scalars() == ["n1"]
        tuples = Prepared(sa.select(THING.c.flag).where(sa.tuple_(THING.c.name, THING.c.size).in_(NAMES)))
        txn.execute(tuples, {"names": [("n1", 1)]})
        txn.execute(Prepared(sa.insert(THING).returning(THING.c.id)), [{"name": "new1"}, {"name": "new2"}])
        assert len(heard) == 3
        with txn.connection.begin_nested():
            assert txn.execute(named, {"names": ["n1"]}).scalars() == ["n1"]
        assert "n1" in str(txn.execute(named, {"names": ["n1"]}).all())
    assert len([statement for statement, _ in heard if statement.startswith("SELECT")]) == 3


def test_begins_a_transaction_as_sqlalchemy_does(database_engine: sa.Engine) -> None:
    """Where none was begun, the first statement begins one, and what follows is in it."""
    statement = Prepared(sa.insert(setting))
    with database_engine.connect() as connection:
        txn = Transaction(connection, 0)
        for key in ("a", "b"):
            txn.execute(statement, {"key": key, "value": "1"})
        assert connection.in_transaction()
        connection.rollback()
        assert txn.execute(Prepared(sa.select(setting.c.key).where(setting.c.key.in_(["a", "b"])))).all() == []


def test_few_shapes(txn: Transaction) -> None:
    """However many lengths its lists come in, a statement is kept in few shapes."""
    named = Prepared(sa.select(THING.c.name).where(THING.c.name.in_(NAMES)))
    plans = set()
    for length in range(200):
        plan = named.plan(txn.connection.dialect, {"names": ["n1"] * length})
        plans.add(None if plan is None else plan.text)
    assert len(plans) == len(LENGTHS) + 1


# --- errors -------------------------------------------------------------------------------------------------------


def failures(txn: Transaction, statement: Any, parameters: Any) -> list[Any]:
    """The errors of `statement` prepared, and not."""
    found = []
    for one in (Prepared(statement), statement):
        txn.connection.exec_driver_sql("SAVEPOINT before")
        with pytest.raises(Exception) as caught:  # whatever it is, it has to be the same
            txn.execute(one, parameters)
        found.append(caught.value)
        txn.connection.exec_driver_sql("ROLLBACK TO before")
    return found


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        (sa.insert(THING), {"name": "n1", "note": "hunter2"}),
        (sa.insert(THING), [{"name": "new", "note": "hunter2"}, {"name": "n1", "note": "hunter2"}]),
        (sa.insert(THING).returning(THING.c.id), {"name": None}),
        (sa.select(sa.Table("nowhere", sa.MetaData(), sa.Column("id", sa.Integer)).c.id), None),
        (sa.select(THING.c.name).where(THING.c.name == sa.bindparam("called")), {"other": "hunter2"}),
        (sa.insert(THING), {"name": "new", "body": {"hunter2": object()}}),
        (sa.select(THING.c.name).where(THING.c.name == sa.bindparam("called")), {"called": object()}),
        (sa.select(THING.c.name).where(THING.c.name == sa.bindparam("called")), {"called": "\ud800"}),
        (sa.select(THING.c.name).where(THING.c.size == sa.bindparam("large")), {"large": 2**63}),
    ],
)
def test_same_error(txn: Transaction, statement: Any, parameters: Any) -> None:
    """What cannot be done fails with the same error, of the same text, and without what was bound."""
    prepared, usual = failures(txn, statement, parameters)
    assert type(prepared) is type(usual)
    assert "hunter2" not in str(prepared)
    if isinstance(usual, exc.DBAPIError):
        assert type(prepared.orig) is type(usual.orig)
        assert (prepared.connection_invalidated, prepared.hide_parameters) == (False, True)
        assert prepared.ismulti == usual.ismulti
        assert verdict(prepared) is verdict(usual)
        assert str(prepared) == str(usual) or "RETURNING" in str(usual)
        assert prepared.__cause__ is prepared.orig


def test_constraint_is_an_integrity_error(txn: Transaction) -> None:
    """A row that is there already is an `IntegrityError`, and the transaction's own fault."""
    with pytest.raises(exc.IntegrityError) as caught:
        txn.execute(Prepared(sa.insert(THING)), {"name": "n1"})
    assert verdict(caught.value) is Verdict.FATAL


def test_readers_cannot_write(database_engine: sa.Engine) -> None:
    """A write in a transaction that may only read is refused, as the transaction's own fault."""
    with database_engine.connect() as connection:
        connection.execution_options(**READING)
        connection.begin()
        with pytest.raises(exc.DBAPIError) as caught:
            Transaction(connection, 0).execute(Prepared(sa.insert(setting)), {"key": "a", "value": "1"})
    assert verdict(caught.value, reading=True) is Verdict.FATAL
    assert verdict(caught.value) is Verdict.ANEW


def test_full_disk_is_unavailability(sqlite_url: str) -> None:
    """A SQLite database that cannot grow is unavailability, and serves when it can."""
    engine = open_engine(sqlite_url)
    statement = Prepared(sa.insert(setting))
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        connection.rollback()
        with pytest.raises(exc.OperationalError) as caught, connection.begin():
            Transaction(connection, 0).execute(statement, {"key": "a", "value": "x" * 1_000_000})
        assert verdict(caught.value) is Verdict.UNAVAILABLE
        with connection.begin():
            assert Transaction(connection, 0).execute(statement, {"key": "a", "value": "x"}).rowcount == 1
    engine.dispose()


# --- lost connections ---------------------------------------------------------------------------------------------

_KILL = Prepared(sa.select(sa.func.pg_terminate_backend(sa.bindparam("whom", type_=sa.Integer))))
_ME = Prepared(sa.select(sa.func.pg_backend_pid()))
_PUT = Prepared(sa.insert(setting))


def test_lost_connection_drops_all_as_old(postgres_url: str) -> None:
    """Who finds his connection dead says so, and nobody is given another that was opened before that."""
    engine = open_engine(postgres_url)
    with engine.connect() as one, engine.connect() as two, engine.connect() as killer:
        numbers = [Transaction(each, 0).execute(_ME).scalar_one() for each in (one, two)]
        two.close()
        one.rollback()
        one.begin()
        txn = Transaction(one, 0)
        txn.execute(_PUT, {"key": "a", "value": "1"})
        for number in numbers:
            killer.exec_driver_sql(f"SELECT pg_terminate_backend({number}, 5000)")
        with pytest.raises(exc.OperationalError) as caught:
            txn.execute(_PUT, {"key": "b", "value": "1"})
        assert caught.value.connection_invalidated
        assert verdict(caught.value) is Verdict.AGAIN
        for statement in (_PUT, _PUT.statement):  # before the transaction has been ended, as SQLAlchemy will have it
            with pytest.raises(exc.PendingRollbackError):
                txn.execute(statement, {"key": "c", "value": "1"})
    with engine.begin() as another:
        assert Transaction(another, 0).execute(_ME).scalar_one() not in numbers
        assert (
            Transaction(another, 0).execute(Prepared(sa.select(setting.c.key).where(setting.c.key == "a"))).all() == []
        )
    engine.dispose()


class LostConnectionTests(TestCase):
    """A `Database` on PostgreSQL whose connection ends in the middle."""

    @pytest.fixture(autouse=True)
    def _url(self, postgres_url: str) -> None:
        self.url = postgres_url

    async def test_is_tried_again(self) -> None:
        """A transaction that loses its connection in a prepared statement starts anew on another."""
        threads = Threads(IReactorFromThreads(reactor), db_write=2)
        database = open_database(reactor, self.url, threads)
        threads.startService()
        self.addCleanup(threads.stopService)
        runs: list[int] = []

        def work(txn: Transaction) -> str:
            runs.append(1)
            if len(runs) == 1:
                txn.execute(_KILL, {"whom": txn.execute(_ME).scalar_one()})
            txn.execute(_PUT, {"key": "a", "value": "1"})
            return str(txn.execute(Prepared(sa.select(setting.c.value).where(setting.c.key == "a"))).scalar_one())

        self.assertEqual(await database.write(work), "1")
        self.assertEqual(len(runs), 2)
        await database.stop()
