"""Service keys, on both engines."""

from __future__ import annotations

import pytest

from quay.database import Transaction
from quay.model import key
from quay.model.key import KeyInvalid, KeyTaken

JWK = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}


def test_key_is_found_as_published(transaction: Transaction) -> None:
    """An approved key is active and found by its kid; both are announced."""
    made = key.publish(transaction, "kid-1", "quay", JWK, transaction.now_ms + 1000, True)
    assert (made.jwk, made.approved_ms) == (JWK, transaction.now_ms)
    assert key.find(transaction, "kid-1") == made
    assert key.active(transaction, "quay") == [made]
    assert transaction.changes == (("key", "kid-1"),)


def test_only_approved_living_keys_of_the_service_are_active(transaction: Transaction) -> None:
    """What waits for approval, has expired or is another service's, verifies nothing."""
    now = transaction.now_ms
    key.publish(transaction, "waiting", "quay", JWK, now + 1000, False)
    key.publish(transaction, "over", "quay", JWK, now, True)
    key.publish(transaction, "other", "clair", JWK, None, True)
    kept = key.publish(transaction, "forever", "quay", JWK, None, True)
    assert key.active(transaction, "quay") == [kept]


@pytest.mark.parametrize("member", ["d", "k", "p"])
def test_private_keys_are_refused(transaction: Transaction, member: str) -> None:
    """A private or symmetric key is not stored, and the sentence does not repeat it."""
    with pytest.raises(KeyInvalid, match="only public keys are published") as caught:
        key.publish(transaction, "kid", "quay", JWK | {member: "hidden"}, None, True)
    assert "hidden" not in str(caught.value)


def test_kid_cannot_be_taken_over(transaction: Transaction) -> None:
    """The same key may be published again to live longer; another key or service under its kid is refused."""
    first = key.publish(transaction, "kid", "quay", JWK, transaction.now_ms + 1, False)
    again = key.publish(transaction, "kid", "quay", JWK, transaction.now_ms + 9, True)
    assert again.expires_ms == transaction.now_ms + 9
    assert again.approved_ms is None
    assert first.created_ms == again.created_ms
    for service, jwk in (("quay", JWK | {"n": "other"}), ("clair", JWK)):
        with pytest.raises(KeyTaken, match="stands for another key"):
            key.publish(transaction, "kid", service, jwk, None, True)


@pytest.mark.parametrize("kid", ["", "a\x00", "x" * 129, "\ud800"])
def test_bad_kids(transaction: Transaction, kid: str) -> None:
    """A kid that cannot be is neither published nor looked for."""
    with pytest.raises(KeyInvalid, match="1 to 128 printable characters"):
        key.publish(transaction, kid, "quay", JWK, None, True)
    assert key.find(transaction, kid) is None


def test_prune_forgets_the_expired(transaction: Transaction) -> None:
    """Expired keys go, and are announced; the others stay."""
    key.publish(transaction, "over", "quay", JWK, transaction.now_ms, True)
    key.publish(transaction, "alive", "quay", JWK, transaction.now_ms + 1, True)
    key.publish(transaction, "forever", "quay", JWK, None, True)
    txn = Transaction(transaction.connection, transaction.now_ms)
    assert key.prune(txn) == 1
    assert txn.changes == (("key", "over"),)
    assert key.find(transaction, "over") is None
    assert key.find(transaction, "forever") is not None
