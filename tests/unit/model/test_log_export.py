"""An export of the log can be fetched with its secret, for an hour."""

from __future__ import annotations

from quay.database import Transaction
from quay.model.log_export import LIFETIME_S, create, expire, find
from quay.model.logs import Selection

SELECTION = Selection(namespace_id=3, repository_id=7, start_ms=1000, end_ms=2000)


def test_find(transaction: Transaction) -> None:
    """What was made is found with its secret, which is not kept, and with no other."""
    made, secret = create(transaction, SELECTION, "devtable")
    assert made.selection == SELECTION and made.requester == "devtable"
    assert find(transaction, made.uuid, secret) == made
    assert find(transaction, made.uuid, secret[:-1]) is None
    other, its_secret = create(transaction, SELECTION, "devtable")
    assert find(transaction, other.uuid, secret) is None and secret != its_secret
    assert secret not in repr(made)


def test_expiry(transaction: Transaction) -> None:
    """After an hour it cannot be fetched any more, and is forgotten."""
    made, secret = create(transaction, SELECTION, "devtable")
    assert not expire(transaction, 10)
    transaction.now_ms += LIFETIME_S * 1000
    assert find(transaction, made.uuid, secret) is None
    assert expire(transaction, 1)
    assert not expire(transaction, 1)
