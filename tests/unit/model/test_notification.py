"""Notifications: found through their repository only, ended by three failures in a row, and every attempt on record."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import delivery
from quay.database.schema import notification as table
from quay.model import notification
from quay.model.notification import Attempt, Notification, NotificationInvalid
from quay.model.repository import Repository
from tests.unit.model.conftest import MakeRepository, MakeUser
from tests.unit.model.pushing import assert_constant_cost, plans


@pytest.fixture
def repositories(user: MakeUser, make_repository: MakeRepository) -> tuple[Repository, Repository]:
    user("devtable")
    return make_repository("devtable/one"), make_repository("devtable/two")


def add(txn: Transaction, repository: Repository, **changes: Any) -> Notification:
    values: dict[str, Any] = {
        "event": "repo_push",
        "method": "webhook",
        "title": "Tell them",
        "config": {"url": "https://hooks.example/s3cr3t"},
        "event_config": {},
        "secret": "sealed-s3cr3t",
    }
    return notification.create(txn, repository.id, **values | changes)


def attempt(delivered: bool, number: int = 1, **changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "event_uuid": "e",
        "attempt": number,
        "delivered": delivered,
        "outcome": "200",
        "took_ms": 7,
    }
    return Attempt(**values | changes)


def test_create(transaction: Transaction, repositories: tuple[Repository, Repository]) -> None:
    """What was created is found again, and listed in the order of creation."""
    one, two = repositories
    first = add(transaction, one)
    second = add(transaction, one, title=None, method="slack", secret="")
    add(transaction, two)
    assert notification.of_repository(transaction, one.id) == [first, second]
    assert notification.find(transaction, one.id, first.uuid) == first
    assert notification.by_id(transaction, second.id) == second
    assert first.config == {"url": "https://hooks.example/s3cr3t"}
    assert not first.ended


def test_foreign_parent(transaction: Transaction, repositories: tuple[Repository, Repository]) -> None:
    """Through another repository it can be neither seen, nor reset, nor deleted."""
    one, two = repositories
    made = add(transaction, one)
    assert notification.find(transaction, two.id, made.uuid) is None
    assert notification.reset(transaction, two.id, made.uuid) is None
    assert notification.delete(transaction, two.id, made.uuid) is None
    assert notification.find(transaction, one.id, made.uuid) == made


def test_delete(transaction: Transaction, repositories: tuple[Repository, Repository]) -> None:
    """What is deleted is gone with its log."""
    one, _ = repositories
    made = add(transaction, one)
    notification.attempted(transaction, made.id, attempt(True))
    assert notification.delete(transaction, one.id, made.uuid) == made
    assert notification.delete(transaction, one.id, made.uuid) is None
    assert transaction.execute(sa.select(sa.func.count()).select_from(delivery)).scalar() == 0


def test_no_secrets_shown(transaction: Transaction, repositories: tuple[Repository, Repository]) -> None:
    """Neither its secret nor the address, which may be one, is in its text."""
    assert "s3cr3t" not in repr(add(transaction, repositories[0]))


def test_too_many(
    transaction: Transaction, repositories: tuple[Repository, Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository has a bounded number of them."""
    monkeypatch.setattr(notification, "MOST", 2)
    add(transaction, repositories[0])
    add(transaction, repositories[0])
    with pytest.raises(NotificationInvalid):
        add(transaction, repositories[0])
    add(transaction, repositories[1])


def test_wanted(transaction: Transaction, repositories: tuple[Repository, Repository]) -> None:
    """Those of the event in these repositories hear of it, and none that has ended."""
    one, two = repositories
    first, ended, second = add(transaction, one), add(transaction, one), add(transaction, two)
    add(transaction, one, event="build_failure")
    for _ in range(3):
        notification.attempted(transaction, ended.id, attempt(False))
    assert notification.wanted(transaction, [one.id, two.id], "repo_push") == {one.id: [first.id], two.id: [second.id]}
    assert notification.wanted(transaction, [two.id], "repo_push") == {two.id: [second.id]}
    assert notification.wanted(transaction, [one.id], "repo_mirror_sync_failed") == {}
    assert notification.wanted(transaction, [], "repo_push") == {}


def failures(txn: Transaction, made: Notification) -> int:
    found = notification.by_id(txn, made.id)
    assert found is not None
    assert found.ended is (found.failures >= 3)
    return found.failures


def test_three_failures_in_a_row(transaction: Transaction, repositories: tuple[Repository, Repository]) -> None:
    """A success forgets the failures before it; three in a row end it, until it is reset."""
    made = add(transaction, repositories[0])
    for delivered, count in ((False, 1), (False, 2), (True, 0), (False, 1), (False, 2), (False, 3)):
        notification.attempted(transaction, made.id, attempt(delivered))
        assert failures(transaction, made) == count
    before = notification.reset(transaction, repositories[0].id, made.uuid)
    assert before is not None
    assert before.ended
    assert failures(transaction, made) == 0


def test_deliveries(transaction: Transaction, repositories: tuple[Repository, Repository]) -> None:
    """The log has every attempt, the latest first, a page at a time, with a bounded outcome."""
    made, other = add(transaction, repositories[0]), add(transaction, repositories[0])
    for number in range(5):
        notification.attempted(transaction, made.id, attempt(False, number, outcome="x" * 1000))
    notification.attempted(transaction, other.id, attempt(True))
    page = notification.deliveries(transaction, made.id, limit=3)
    rest = notification.deliveries(transaction, made.id, before_id=page[-1].id, limit=3)
    assert [each.made.attempt for each in page + rest] == [4, 3, 2, 1, 0]
    assert page[0].made == attempt(False, 4, outcome="x" * 255)
    assert page[0].at_ms == transaction.now_ms


def test_gone_meanwhile(transaction: Transaction, repositories: tuple[Repository, Repository]) -> None:
    """An attempt for a notification that was deleted meanwhile leaves nothing."""
    made = add(transaction, repositories[0])
    notification.delete(transaction, repositories[0].id, made.uuid)
    notification.attempted(transaction, made.id, attempt(True))
    assert notification.deliveries(transaction, made.id, limit=9) == []


def test_prune(transaction: Transaction, repositories: tuple[Repository, Repository]) -> None:
    """Old attempts are forgotten, a few at a time."""
    made = add(transaction, repositories[0])
    for number in range(5):
        transaction.now_ms += 1000
        notification.attempted(transaction, made.id, attempt(True, number))
    assert notification.prune(transaction, transaction.now_ms - 1500, 2) == 2
    assert notification.prune(transaction, transaction.now_ms - 1500, 2) == 1
    assert [each.made.attempt for each in notification.deliveries(transaction, made.id, limit=9)] == [4, 3]


def test_pushes_ask_an_index(transaction: Transaction, repositories: tuple[Repository, Repository]) -> None:
    """Whether anybody wants to hear of a push costs the same, however many notifications there are elsewhere."""
    one, two = repositories
    row = {"repository_id": two.id, "event": "repo_push", "method": "webhook", "config": {}, "secret": ""}
    rows = [row | {"uuid": str(number), "created_ms": 0} for number in range(3_000)]
    transaction.execute(sa.insert(table), rows)
    add(transaction, one)
    assert_constant_cost(plans(transaction, lambda: notification.wanted(transaction, [one.id], "repo_push")))
