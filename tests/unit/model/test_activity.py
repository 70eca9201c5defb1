"""The activity of repositories is counted by day, and known without reading the log."""

from __future__ import annotations

from datetime import date

from quay.database import Transaction
from quay.model import repository
from quay.model.activity import DAY_MS, KEPT_DAYS, Day, add, popularity, prune, stats
from tests.unit.model.conftest import MakeRepository, MakeUser
from tests.unit.model.pushing import assert_constant_cost, plans, statements


def test_stats(transaction: Transaction, user: MakeUser, make_repository: MakeRepository) -> None:
    """What happened is counted on its day in UTC, and a day on which nothing happened has a 0."""
    user("devtable")
    simple, other = make_repository("devtable/simple"), make_repository("devtable/other")
    now = transaction.now_ms
    add(transaction, [(simple.id, now), (other.id, now), (simple.id, now - 2 * DAY_MS), (simple.id, now - 9 * DAY_MS)])
    add(transaction, [(simple.id, now)])
    assert stats(transaction, simple.id, 3) == [
        Day(date(2023, 11, 12), 1),
        Day(date(2023, 11, 13), 0),
        Day(date(2023, 11, 14), 2),
    ]


def test_popularity(transaction: Transaction, user: MakeUser, make_repository: MakeRepository) -> None:
    """The popularity of a page of repositories is what happened to each in a week, in one statement."""
    user("devtable")
    simple, other, quiet = (make_repository(f"devtable/{name}") for name in ("simple", "other", "quiet"))
    now = transaction.now_ms
    add(transaction, [(simple.id, now - day * DAY_MS) for day in (0, 0, 6, 7)] + [(other.id, now)])
    with statements(transaction) as sent:
        found = popularity(transaction, [simple.id, other.id, quiet.id])
    assert found == {simple.id: 3, other.id: 1, quiet.id: 0}
    assert len(sent) == 1
    assert popularity(transaction, []) == {}


def test_many_repositories(transaction: Transaction) -> None:
    """The popularity of more repositories than a statement takes parameters is found as well."""
    assert len(popularity(transaction, range(1, 50_001))) == 50_000


def test_deleted_repository(transaction: Transaction, user: MakeUser, make_repository: MakeRepository) -> None:
    """The counts of a repository go with it, and what is told of it afterwards is no error."""
    user("devtable")
    simple, other = make_repository("devtable/simple"), make_repository("devtable/other")
    add(transaction, [(simple.id, transaction.now_ms)])
    repository.delete(transaction, simple.id)
    add(transaction, [(simple.id, transaction.now_ms), (other.id, transaction.now_ms)])
    assert popularity(transaction, [simple.id, other.id]) == {simple.id: 0, other.id: 1}


def test_prune(transaction: Transaction, user: MakeUser, make_repository: MakeRepository) -> None:
    """Counts of days that nobody asks for go, some at a time; those that can be asked for stay."""
    user("devtable")
    simple = make_repository("devtable/simple")
    now = transaction.now_ms
    add(transaction, [(simple.id, now - (KEPT_DAYS + day) * DAY_MS) for day in (1, 2, 3)] + [(simple.id, now)])
    assert prune(transaction, 2)
    assert not prune(transaction, 2)
    assert sum(day.count for day in stats(transaction, simple.id, KEPT_DAYS + 10)) == 1


def test_cost(transaction: Transaction, user: MakeUser, make_repository: MakeRepository) -> None:
    """Stats and popularity read the counts of the repositories asked for, and no others."""
    user("devtable")
    made = [make_repository(f"devtable/r{number}") for number in range(50)]
    add(transaction, [(one.id, transaction.now_ms - day * DAY_MS) for one in made for day in range(50)])
    assert_constant_cost(plans(transaction, lambda: stats(transaction, made[0].id, 90)))
    plan = plans(transaction, lambda: popularity(transaction, [one.id for one in made[:5]]))
    assert "Seq Scan" not in plan and "SCAN activity" not in plan, plan
