"""The audit log: appended in one statement, read from its end, each page at the cost of a page."""

from __future__ import annotations

import pytest

from quay.database import Transaction
from quay.model.audit import Entry, append, page
from tests.unit.model.pushing import assert_constant_cost, plans, statements


def entries(count: int) -> list[Entry]:
    return [
        Entry(
            kind="push_repo" if number % 2 else "pull_repo",
            namespace_id=number % 3,
            repository_id=number % 7,
            performer_id=1,
            performer="devtable+robot",
            ip="2001:db8::1",
            details={"tag": f"v{number}", "odd": "\0"},
        )
        for number in range(count)
    ]


def test_append(transaction: Transaction) -> None:
    """What is appended is read again as it was, the latest first, with the time of the transaction."""
    some = entries(5)
    append(transaction, some)
    recorded = page(transaction, limit=10)
    assert [one.entry for one in recorded] == some[::-1]
    assert {one.performed_ms for one in recorded} == {transaction.now_ms}


def test_one_statement(transaction: Transaction) -> None:
    """Many entries are one statement; none are no statement."""
    with statements(transaction) as sent:
        append(transaction, entries(100))
        append(transaction, [])
    assert len(sent) == 1


def test_pages(transaction: Transaction) -> None:
    """The pages of a repository, a namespace or everything put together are all of its entries, once each."""
    append(transaction, entries(100))
    for where, expected in (({"repository_id": 3}, 14), ({"namespace_id": 1}, 33), ({}, 100)):
        seen: list[int] = []
        while found := page(transaction, **where, before_id=seen[-1] if seen else None, limit=6):
            seen += [one.id for one in found]
        assert len(seen) == expected
        assert seen == sorted(set(seen), reverse=True)


def test_pages_cost_the_same_everywhere(transaction: Transaction) -> None:
    """A page is one range of an index, wherever it begins."""
    append(transaction, entries(3_000))
    middle = page(transaction, limit=1)[0].id - 1_500
    for where in ({"repository_id": 3}, {"namespace_id": 1}, {}):
        plan = plans(transaction, lambda where=where: page(transaction, **where, before_id=middle, limit=5))  # type: ignore[misc]
        assert_constant_cost(plan)


def test_kinds() -> None:
    """An entry is of a kind that Quay knows; a typing error is found by the one who makes it."""
    with pytest.raises(ValueError, match="push_repository"):
        Entry(kind="push_repository")
