"""The queue: one holder at a time, who can lose an item but never take one back; attempts that run out."""

from __future__ import annotations

import threading
from collections.abc import Callable

import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import open_engine
from quay.database.schema import work
from quay.model.queue import Item, claim, done, extend, fail, prune, put
from tests.unit.model.pushing import assert_constant_cost, plans


def taken(item: Item | None) -> Item:
    assert item is not None
    return item


def later(txn: Transaction, seconds: int) -> None:
    txn.now_ms += seconds * 1000


def test_first_in_first_out(transaction: Transaction) -> None:
    """Items come in the order in which they became available, each to one holder, from their own queue."""
    put(transaction, "a", {"number": 1}, available_after_s=1)
    put(transaction, "a", {"number": 2})
    put(transaction, "b", {"number": 3, "odd": "\0"})
    assert taken(claim(transaction, "a", 60)).body == {"number": 2}
    assert claim(transaction, "a", 60) is None
    later(transaction, 1)
    assert taken(claim(transaction, "a", 60)).body == {"number": 1}
    assert taken(claim(transaction, "b", 60)).body == {"number": 3, "odd": "\0"}


def test_done(transaction: Transaction) -> None:
    """An item that is done is gone."""
    put(transaction, "a", {})
    item = taken(claim(transaction, "a", 60))
    assert done(transaction, item)
    assert not done(transaction, item)
    later(transaction, 3600)
    assert claim(transaction, "a", 60) is None


def test_claim_runs_out(transaction: Transaction) -> None:
    """An item whose holder fell silent goes to another, and the first holder can do nothing with it any more."""
    put(transaction, "a", {})
    stale = taken(claim(transaction, "a", 60))
    later(transaction, 59)
    assert claim(transaction, "a", 60) is None
    later(transaction, 1)
    current = taken(claim(transaction, "a", 60))
    assert current.claim != stale.claim
    assert not extend(transaction, stale, 60)
    assert not fail(transaction, stale)
    assert not done(transaction, stale)
    assert done(transaction, current)


def test_extend(transaction: Transaction) -> None:
    """A holder that asks in time holds on."""
    put(transaction, "a", {})
    item = taken(claim(transaction, "a", 60))
    later(transaction, 50)
    assert extend(transaction, item, 60)
    later(transaction, 50)
    assert claim(transaction, "a", 60) is None
    assert done(transaction, item)


def test_fail(transaction: Transaction) -> None:
    """A failed item comes again after a while, and its old holder has no hold on it."""
    put(transaction, "a", {})
    item = taken(claim(transaction, "a", 60))
    assert fail(transaction, item, retry_after_s=10)
    assert not done(transaction, item)
    assert claim(transaction, "a", 60) is None
    later(transaction, 10)
    assert taken(claim(transaction, "a", 60)).id == item.id


def test_attempts(transaction: Transaction) -> None:
    """Each claim takes an attempt; one that was not the item's fault is given back; without attempts nobody gets it."""
    put(transaction, "a", {}, attempts=2)
    for left, restore in ((1, False), (0, True), (0, False)):
        item = taken(claim(transaction, "a", 60))
        assert item.attempts_left == left
        fail(transaction, item, 0, restore=restore)
    assert claim(transaction, "a", 60) is None
    assert prune(transaction, transaction.now_ms) == 0
    assert prune(transaction, transaction.now_ms + 1) == 1


def test_claim_costs_the_same_always(transaction: Transaction) -> None:
    """The next item is found in an index that the exhausted ones have left, however many there are."""
    row = {"queue": "a", "body": {}, "available_ms": 0, "created_ms": 0}
    transaction.execute(sa.insert(work), [row | {"attempts_left": 0} for _ in range(3_000)])
    transaction.execute(sa.insert(work), [row | {"attempts_left": 5} for _ in range(3_000)])
    plan = plans(transaction, lambda: claim(transaction, "a", 60))
    assert "ix_work_claimable" in plan
    assert_constant_cost(plan)


def test_two_at_once(postgres_url: str) -> None:
    """Of two that claim at the same time each gets another item, and neither waits for the other."""
    engine = open_engine(postgres_url)
    with engine.begin() as connection:
        for number in range(2):
            put(Transaction(connection, 0), "a", {"number": number})
    with engine.connect() as one, engine.connect() as two:
        items = [taken(claim(Transaction(connection, 1), "a", 60)) for connection in (one, two)]
        assert [item.body for item in items] == [{"number": 0}, {"number": 1}]
        one.rollback()
        assert taken(claim(Transaction(two, 1), "a", 60)).body == {"number": 0}
    engine.dispose()


def test_many_at_once(postgres_url: str) -> None:
    """Several holders together do each item exactly once."""
    engine = open_engine(postgres_url)
    with engine.begin() as connection:
        for number in range(60):
            put(Transaction(connection, 0), "a", {"number": number})
    seen: list[int] = []

    def in_transaction(work: Callable[[Transaction], Item | None]) -> Item | None:
        with engine.begin() as connection:
            return work(Transaction(connection, 1))

    def drain() -> None:
        while item := in_transaction(lambda txn: claim(txn, "a", 60)):
            seen.append(item.body["number"])
            with engine.begin() as connection:
                assert done(Transaction(connection, 1), item)

    holders = [threading.Thread(target=drain) for _ in range(4)]
    for holder in holders:
        holder.start()
    for holder in holders:
        holder.join()
    assert sorted(seen) == list(range(60))
    engine.dispose()
