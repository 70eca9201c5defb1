"""Sessions: found by their secret, ended by their user, by time, or with their user."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import session as table
from quay.model import namespace, session
from quay.model.namespace import Namespace
from quay.model.session import Session
from tests.unit.model.conftest import MakeUser

LIFETIME_S = 3600


@pytest.fixture
def alice(user: MakeUser) -> Namespace:
    return user("alice")


def begin(txn: Transaction, user: Namespace) -> tuple[Session, str]:
    return session.begin(txn, user.id, ip="192.0.2.1", user_agent="Browser/1", lifetime_s=LIFETIME_S)


def later(txn: Transaction, seconds: int) -> None:
    txn.now_ms += seconds * 1000


def test_found_by_its_secret(transaction: Transaction, alice: Namespace) -> None:
    """A session is found by its secret and by nothing else; the secret is in no row and no value."""
    begun, secret = begin(transaction, alice)
    assert session.find(transaction, secret) == begun
    assert begun.user == alice
    assert begun.created_ms == begun.fresh_ms == begun.seen_ms == transaction.now_ms
    rows = str(transaction.execute(sa.select(table)).all())
    assert secret not in rows and secret not in repr(begun)
    for other in (begun.uuid, secret[:-1], secret.lower(), "", "\ud800"):
        assert session.find(transaction, other) is None


def test_bounded(transaction: Transaction, alice: Namespace) -> None:
    """What a client says of itself is cut to what a row holds."""
    begun, _ = session.begin(transaction, alice.id, ip="x" * 99, user_agent="y" * 999, lifetime_s=1)
    assert (len(begun.ip), len(begun.user_agent)) == (64, 255)


def test_expires(transaction: Transaction, alice: Namespace) -> None:
    """A session ends its lifetime after it was last seen, and is not found, nor listed, from then on."""
    begun, secret = begin(transaction, alice)
    later(transaction, LIFETIME_S - 1)
    session.seen(transaction, begun.id, lifetime_s=LIFETIME_S)
    later(transaction, LIFETIME_S - 1)
    assert session.find(transaction, secret) is not None
    later(transaction, 1)
    assert session.find(transaction, secret) is None
    assert session.of_user(transaction, alice.id) == []


def test_reaped(transaction: Transaction, alice: Namespace) -> None:
    """Expired sessions are forgotten, so many at a time, and no others."""
    for _ in range(3):
        begin(transaction, alice)
    later(transaction, LIFETIME_S)
    _, secret = begin(transaction, alice)
    assert [session.reap(transaction, limit=2) for _ in range(3)] == [2, 1, 0]
    assert session.find(transaction, secret) is not None


def test_of_a_disabled_user(transaction: Transaction, alice: Namespace) -> None:
    """The session of a disabled user opens nothing until he is enabled again."""
    _, secret = begin(transaction, alice)
    namespace.set_enabled(transaction, alice.id, False)
    assert session.find(transaction, secret) is None
    namespace.set_enabled(transaction, alice.id, True)
    assert session.find(transaction, secret) is not None


def test_ended(transaction: Transaction, alice: Namespace, user: MakeUser) -> None:
    """A user ends a session of his own, and none of somebody else's; that it ended is announced."""
    begun, secret = begin(transaction, alice)
    assert not session.end(transaction, user("bob").id, begun.uuid)
    assert session.end(transaction, alice.id, begun.uuid)
    assert not session.end(transaction, alice.id, begun.uuid)
    assert session.find(transaction, secret) is None
    assert ("session", begun.id) in transaction.changes


def test_all_ended_but_one(transaction: Transaction, alice: Namespace, user: MakeUser) -> None:
    """All sessions of a user end but the one he names; those of others go on."""
    kept, _ = begin(transaction, alice)
    begin(transaction, alice)
    _, others = begin(transaction, user("bob"))
    assert session.end_all(transaction, alice.id, but=kept.id)
    assert [found.id for found in session.of_user(transaction, alice.id)] == [kept.id]
    assert session.end_all(transaction, alice.id)
    assert not session.end_all(transaction, alice.id)
    assert session.find(transaction, others) is not None


def test_fresh(transaction: Transaction, alice: Namespace) -> None:
    """Freshening says when the password was shown last, and nothing else."""
    begun, secret = begin(transaction, alice)
    later(transaction, 60)
    session.freshen(transaction, begun.id)
    found = session.find(transaction, secret)
    assert found is not None
    assert (found.fresh_ms, found.seen_ms) == (transaction.now_ms, begun.seen_ms)


def test_listed(transaction: Transaction, alice: Namespace) -> None:
    """The sessions of a user are listed with the last seen first, not more than asked for."""
    first, _ = begin(transaction, alice)
    second, _ = begin(transaction, alice)
    later(transaction, 60)
    session.seen(transaction, first.id, lifetime_s=LIFETIME_S)
    assert [found.id for found in session.of_user(transaction, alice.id)] == [first.id, second.id]
    assert [found.id for found in session.of_user(transaction, alice.id, limit=1)] == [first.id]
