"""Second factors: when they count, and what is used up."""

from __future__ import annotations

import pytest

from quay.database import Transaction
from quay.model import second_factor
from quay.model.namespace import Namespace
from tests.unit.model.conftest import MakeUser


@pytest.fixture
def alice(user: MakeUser) -> Namespace:
    return user("alice")


def confirmed(txn: Transaction, user: Namespace, step: int = 10) -> list[str]:
    second_factor.begin(txn, user.id, "sealed")
    found = second_factor.find(txn, user.id)
    assert found is not None
    codes = second_factor.confirm(txn, found, step)
    assert codes is not None
    return codes


def test_it_counts_when_confirmed(transaction: Transaction, alice: Namespace) -> None:
    """One that was begun counts for nothing and may be begun anew; a confirmed one stays, and that is announced."""
    assert second_factor.begin(transaction, alice.id, "first")
    old = second_factor.find(transaction, alice.id)
    assert old is not None and not old.confirmed and "first" not in repr(old)
    assert second_factor.begin(transaction, alice.id, "second")
    assert second_factor.confirm(transaction, old, 1) is None
    assert not second_factor.is_confirmed(transaction, alice.id)
    new = second_factor.find(transaction, alice.id)
    assert new is not None
    assert second_factor.confirm(transaction, new, 1) is not None
    assert transaction.changes[-1] == ("namespace", alice.id)
    assert second_factor.confirm(transaction, new, 1) is None
    assert second_factor.is_confirmed(transaction, alice.id)
    assert not second_factor.begin(transaction, alice.id, "third")


def test_steps_go_up(transaction: Transaction, alice: Namespace) -> None:
    """A step is used up with all before it."""
    confirmed(transaction, alice, step=10)
    assert [second_factor.spend_step(transaction, alice.id, step) for step in (9, 10, 12, 12, 11, 13)] == [
        False,
        False,
        True,
        False,
        False,
        True,
    ]


def test_recovery_codes(transaction: Transaction, alice: Namespace, user: MakeUser) -> None:
    """A recovery code is used up by its owner, and by nobody else."""
    codes = confirmed(transaction, alice)
    bob = user("bob")
    assert not second_factor.spend_recovery_code(transaction, bob.id, codes[0])
    assert second_factor.spend_recovery_code(transaction, alice.id, codes[0])
    assert not second_factor.spend_recovery_code(transaction, alice.id, codes[0])
    assert second_factor.recovery_codes_left(transaction, alice.id) == len(codes) - 1


def test_removed(transaction: Transaction, alice: Namespace) -> None:
    """Nothing is left of one that was removed."""
    codes = confirmed(transaction, alice)
    assert second_factor.remove(transaction, alice.id)
    assert not second_factor.remove(transaction, alice.id)
    assert second_factor.find(transaction, alice.id) is None
    assert not second_factor.spend_recovery_code(transaction, alice.id, codes[0])
