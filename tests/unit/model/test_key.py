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


def test_what_is_said_of_a_key(transaction: Transaction) -> None:
    """A key gets another name, other metadata or another end, each apart; its kid, service and key stay."""
    made = key.publish(transaction, "kid", "quay", JWK, None, True, name="old", metadata={"a": 1})
    changed = key.update(transaction, "kid", name="new")
    assert changed is not None
    assert (changed.name, changed.metadata, changed.expires_ms) == ("new", {"a": 1}, None)
    changed = key.update(transaction, "kid", expires_ms=transaction.now_ms + 1, metadata={})
    assert changed is not None
    assert (changed.name, changed.metadata, changed.expires_ms) == ("new", {}, transaction.now_ms + 1)
    assert (changed.kid, changed.service, changed.jwk) == (made.kid, made.service, made.jwk)
    assert key.update(transaction, "kid") == changed
    assert key.update(transaction, "other", name="x") is None
    assert key.update(transaction, "\x85", name="x") is None


def test_approval(transaction: Transaction) -> None:
    """A key is approved once, and knows by whom and why; one of our own was approved by nobody."""
    key.publish(transaction, "waiting", "clair", JWK, None, False)
    approved = key.approve(transaction, "waiting", approval="Super User API", approver="devtable", notes="known")
    assert approved is not None
    assert (approved.approved_ms, approved.approver, approved.approval_notes) == (
        transaction.now_ms,
        "devtable",
        "known",
    )
    assert key.active(transaction, "clair") == [approved]
    assert key.approve(transaction, "waiting", approval="x", approver="x", notes="x") is None
    assert key.approve(transaction, "unknown", approval="x", approver="x", notes="x") is None
    own = key.publish(transaction, "own", "quay", JWK, None, True)
    assert (own.approval, own.approver) == (key.AUTOMATIC, None)


def test_deletion(transaction: Transaction) -> None:
    """A deleted key is not there any more, and the caches are told."""
    key.publish(transaction, "kid", "quay", JWK, None, True)
    assert key.delete(transaction, "kid")
    assert not key.delete(transaction, "kid")
    assert not key.delete(transaction, "\x85")
    assert key.find(transaction, "kid") is None
    assert transaction.changes == (("key", "kid"),)


def test_pages(transaction: Transaction) -> None:
    """All keys are listed in order of their kids, a page at a time, whatever their state."""
    for kid in ("c", "a", "b"):
        key.publish(transaction, kid, f"service_{kid}", JWK, transaction.now_ms, kid == "a")
    assert [found.kid for found in key.keys(transaction, limit=2)] == ["a", "b"]
    assert [found.kid for found in key.keys(transaction, after="b", limit=2)] == ["c"]
