"""The audit log is read a page at a time, each at the cost of a page, whatever is asked for and however long it is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from quay.database import Transaction
from quay.model import logs, removal
from quay.model.audit import Entry, append
from quay.model.logs import Owner, Position, Recorded, Selection, count, owned, owners, page
from tests.unit.model.conftest import MakeRepository, MakeUser
from tests.unit.model.pushing import assert_constant_cost, plans

MINUTE = 60_000
DAY = 24 * 3600 * 1000


def fill(txn: Transaction, many: int, **more: Any) -> None:
    """Entries of three namespaces, seven repositories and two performers, a minute apart, the last of them now."""
    append(
        txn,
        [
            Entry(
                kind="push_repo" if number % 10 == 0 else "pull_repo",
                namespace_id=number % 3,
                repository_id=100 + number % 7,
                performer_id=number % 2,
                performer=("reader", "devtable")[number % 2],
                details={"number": number},
                performed_ms=txn.now_ms - (many - 1 - number) * MINUTE,
                **more,
            )
            for number in range(many)
        ],
    )


def numbers(entries: Sequence[Recorded]) -> list[int]:
    return [one.entry.details["number"] for one in entries]


def everything(txn: Transaction, selection: Selection, *, limit: int = 6, oldest_first: bool = False) -> list[int]:
    """All pages, one after the other."""
    seen: list[int] = []
    past = None
    while True:
        found = page(txn, selection, past=past, limit=limit, oldest_first=oldest_first)
        assert len(found.entries) <= limit
        seen += numbers(found.entries)
        past = found.next
        if past is None:
            return seen


SELECTIONS = (
    (Selection(), lambda n: True),
    (Selection(repository_id=103), lambda n: n % 7 == 3),
    (Selection(namespace_id=1), lambda n: n % 3 == 1),
    (Selection(performer_id=1), lambda n: n % 2 == 1),
    (Selection(namespace_id=1, performer_id=1), lambda n: n % 3 == 1 and n % 2 == 1),
    (Selection(repository_id=103, namespace_id=1), lambda n: n % 7 == 3 and n % 3 == 1),
    (Selection(namespace_id=1, performer="devtable"), lambda n: n % 3 == 1 and n % 2 == 1),
    (Selection(kinds=frozenset({"push_repo"})), lambda n: n % 10 == 0),
    (Selection(kinds=frozenset({"push_repo", "pull_repo"})), lambda n: True),
    (Selection(performer="nobody"), lambda n: False),
)


@pytest.mark.parametrize(("selection", "belongs"), SELECTIONS)
@pytest.mark.parametrize("oldest_first", [False, True])
def test_pages(transaction: Transaction, selection: Selection, belongs: Any, oldest_first: bool) -> None:
    """The pages of any selection put together are all of its entries, once each and in order, and no others."""
    fill(transaction, 100)
    expected = [number for number in range(100) if belongs(number)]
    found = everything(transaction, selection, oldest_first=oldest_first)
    assert found == (expected if oldest_first else expected[::-1])


@pytest.mark.parametrize(("selection", "belongs"), SELECTIONS)
def test_pages_that_look_at_few_entries(
    transaction: Transaction, selection: Selection, belongs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a page stops looking before it is full, or finds nothing, the next one goes on from there."""
    monkeypatch.setattr(logs, "LOOKED_AT", 7)
    fill(transaction, 100)
    expected = [number for number in range(100) if belongs(number)]
    for oldest_first in (False, True):
        found = everything(transaction, selection, oldest_first=oldest_first)
        assert found == (expected if oldest_first else expected[::-1])


def test_range(transaction: Transaction) -> None:
    """A range of time has its beginning, and not its end."""
    fill(transaction, 100)
    begin = transaction.now_ms - 60 * MINUTE
    selection = Selection(start_ms=begin, end_ms=begin + 10 * MINUTE)
    assert everything(transaction, selection) == list(range(48, 38, -1))
    assert everything(transaction, selection, oldest_first=True) == list(range(39, 49))
    assert everything(transaction, Selection(start_ms=begin + 1, end_ms=begin + 1)) == []


def test_range_of_a_position(transaction: Transaction) -> None:
    """A position outside the range, such as one that was kept from another question, leads to nothing outside it."""
    fill(transaction, 100)
    selection = Selection(start_ms=transaction.now_ms - 5 * MINUTE, end_ms=transaction.now_ms)
    later = Position(transaction.now_ms + DAY, 1)
    assert numbers(page(transaction, selection, past=later, limit=100).entries) == [98, 97, 96, 95, 94]
    assert page(transaction, selection, past=Position(0, 0), limit=100).entries == []
    assert numbers(page(transaction, selection, past=Position(0, 0), limit=2, oldest_first=True).entries) == [94, 95]


def test_equal_times(transaction: Transaction) -> None:
    """Entries of one moment are told apart by their numbers, so no page repeats or passes over any."""
    append(transaction, [Entry(kind="pull_repo", details={"number": number}) for number in range(20)])
    assert everything(transaction, Selection(), limit=3) == list(range(19, -1, -1))


def test_no_next_page(transaction: Transaction) -> None:
    """A page that ends with the last entry says that it is the last one."""
    fill(transaction, 6)
    assert page(transaction, Selection(), limit=6).next is None
    assert page(transaction, Selection(), limit=5).next is not None


def test_count(transaction: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries are counted by kind and day, some at a time, and none twice."""
    fill(transaction, 3000)
    monkeypatch.setattr(logs, "COUNTED", 700)
    for selection, share in ((Selection(), 1), (Selection(namespace_id=1), 3)):
        counts: dict[tuple[str, int], int] = {}
        past, calls = None, 0
        while True:
            some = count(transaction, selection, past=past)
            counts = {key: counts.get(key, 0) + some.counts.get(key, 0) for key in {*counts, *some.counts}}
            past, calls = some.next, calls + 1
            if past is None:
                break
        assert calls == -(-3000 // share // 700)
        days = {day for _, day in counts}
        assert max(days) == transaction.now_ms // DAY and len(days) == 3
        assert sum(counts[key] for key in counts if key[0] == "push_repo") == 300 // share
        assert sum(counts.values()) == 3000 // share


def test_count_is_right(transaction: Transaction) -> None:
    """A day has what was done on it, in UTC, and a range leaves out the rest."""
    midnight = transaction.now_ms // DAY * DAY
    for kind, when in (("pull_repo", midnight), ("pull_repo", midnight - 1), ("push_repo", midnight - DAY - 1)):
        append(transaction, [Entry(kind=kind, performed_ms=when)])
    today = midnight // DAY
    found = count(transaction, Selection(start_ms=midnight - DAY, end_ms=midnight + 1))
    assert found.counts == {("pull_repo", today): 1, ("pull_repo", today - 1): 1} and found.next is None


@pytest.mark.parametrize("selection", [selection for selection, _ in SELECTIONS])
@pytest.mark.parametrize("oldest_first", [False, True])
def test_pages_cost_the_same_everywhere(
    transaction: Transaction, selection: Selection, oldest_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Each page, the first or a deep one, is one range of an index: no table is read whole, and nothing is sorted but the
    entries that a page with a filter looks at.
    """
    monkeypatch.setattr(logs, "LOOKED_AT", 50)
    fill(transaction, 3000)
    for past in (None, Position(transaction.now_ms - 1500 * MINUTE, 5)):
        for plan in plans(
            transaction, partial(page, transaction, selection, past=past, limit=5, oldest_first=oldest_first)
        ).split("Limit"):
            looked_at = "ROW(performed_ms, id) >=" in plan or "ROW(performed_ms, id) <=" in plan
            assert_constant_cost(plan.replace("Sort", "") if looked_at else plan)


def test_range_is_searched(transaction: Transaction) -> None:
    """The end of the range is found by searching the index, not by reading up to it."""
    fill(transaction, 3000)
    begin = transaction.now_ms - 1500 * MINUTE
    selection = Selection(namespace_id=1, start_ms=begin, end_ms=begin + 60 * MINUTE)
    plan = plans(transaction, lambda: page(transaction, selection, limit=5))
    searched = "performed_ms>? AND performed_ms<?" if transaction.dialect == "sqlite" else "Index Cond"
    assert searched in plan, plan


def test_owners(transaction: Transaction, user: MakeUser) -> None:
    """An entry is told with the namespace it was made in, as that is called now; one that came later is not meant."""
    devtable = user("devtable")
    when = transaction.now_ms
    for of, performed_ms in ((devtable.id, when), (devtable.id, when - 1), (987654, when), (None, when)):
        append(transaction, [Entry(kind="pull_repo", namespace_id=of, performed_ms=performed_ms)])
    entries = page(transaction, Selection(), limit=10, oldest_first=True).entries
    [(number, owner)] = owners(transaction, entries).items()
    assert owner == Owner("devtable", "user", when)
    assert [one.entry.namespace_id for one in entries if one.id == number] == [devtable.id]
    removal.begin(transaction, devtable.id)  # it is gone at once, though its rows go bit by bit
    assert owners(transaction, entries) == {}


def test_owned(transaction: Transaction, user: MakeUser, make_repository: MakeRepository) -> None:
    """A namespace or repository has nothing from before it was made, when its number may have been another's."""
    devtable = user("devtable")
    transaction.now_ms += 1000
    simple = make_repository("devtable/simple")
    since = transaction.now_ms
    assert owned(transaction, Selection(namespace_id=devtable.id)) == Selection(
        namespace_id=devtable.id, start_ms=since - 1000
    )
    of_both = Selection(namespace_id=devtable.id, repository_id=simple.id, end_ms=since + 9)
    assert owned(transaction, of_both).start_ms == since
    later = Selection(repository_id=simple.id, start_ms=since + 5)
    assert owned(transaction, later) == later
    assert owned(transaction, Selection()) == Selection()
    assert owned(transaction, Selection(namespace_id=987654)) == Selection(namespace_id=987654)
