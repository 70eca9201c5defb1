"""The audit log is written in one statement for the entries, and one for what they count as."""

from __future__ import annotations

import pytest

from quay.database import Transaction
from quay.model.activity import popularity
from quay.model.audit import Entry, append
from quay.model.logs import Selection, page
from tests.unit.model.conftest import MakeRepository, MakeUser
from tests.unit.model.pushing import statements


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
    recorded = page(transaction, Selection(), limit=10).entries
    assert [one.entry for one in recorded] == some[::-1]
    assert {one.performed_ms for one in recorded} == {transaction.now_ms}


def test_few_statements(transaction: Transaction) -> None:
    """Many entries of many repositories are two statements; none are no statement."""
    with statements(transaction) as sent:
        append(transaction, entries(100))
        append(transaction, [])
    assert len(sent) == 2


def test_activity(transaction: Transaction, user: MakeUser, make_repository: MakeRepository) -> None:
    """Entries count as the activity of their repository; those of one that is gone, and those without, of nobody."""
    user("devtable")
    simple = make_repository("devtable/simple")
    append(transaction, [Entry(kind="pull_repo", repository_id=of) for of in (simple.id, None, 987654, simple.id)])
    append(transaction, [Entry(kind="push_repo", repository_id=simple.id)])
    assert popularity(transaction, [simple.id, 987654]) == {simple.id: 3, 987654: 0}


def test_kinds() -> None:
    """An entry is of a kind that Quay knows; a typing error is found by the one who makes it."""
    with pytest.raises(ValueError, match="push_repository"):
        Entry(kind="push_repository")
