"""App-specific tokens as their users see them, on both engines."""

from __future__ import annotations

from quay.database import Transaction
from quay.model import apptoken, credential


def test_made_and_found(transaction: Transaction, user) -> None:  # type: ignore[no-untyped-def]
    """A token is found by its user and nobody else, without its secret, which is good as a credential."""
    mine, other = user("mine"), user("other")
    made, secret = apptoken.create(transaction, mine.id, "laptop", expires_ms=transaction.now_ms + 5)
    assert (made.title, made.holder, made.expires_ms) == ("laptop", "mine", transaction.now_ms + 5)
    assert apptoken.find(transaction, mine.id, made.uuid) == made
    assert apptoken.find(transaction, other.id, made.uuid) is None
    assert secret not in repr(made)
    found = credential.find(transaction, "app", secret)
    assert found is not None and found.uuid == made.uuid


def test_lists(transaction: Transaction, user) -> None:  # type: ignore[no-untyped-def]
    """A list has one user's tokens or everybody's, from a number on, so many, or those only that end soon."""
    now, (ada, bob) = transaction.now_ms, (user("ada"), user("bob"))
    for holder, title, expires_ms in (
        (ada, "over", now),
        (bob, "soon", now + 1),
        (ada, "later", now + 9),
        (ada, "ever", None),
    ):
        apptoken.create(transaction, holder.id, title, expires_ms=expires_ms)
    credential.create(transaction, ada.id, "oauth", title="no app token")

    def titles(*args, **kwargs) -> list[str]:  # type: ignore[no-untyped-def]
        return [token.title for token in apptoken.tokens(transaction, *args, **kwargs)]

    assert titles(limit=9) == ["over", "soon", "later", "ever"]
    assert titles(ada.id, limit=2) == ["over", "later"]
    first = apptoken.tokens(transaction, ada.id, limit=1)[0]
    assert titles(ada.id, after=first.id, limit=9) == ["later", "ever"]
    assert titles(expires_by_ms=now + 5, limit=9) == ["soon"]


def test_revoked(transaction: Transaction, user) -> None:  # type: ignore[no-untyped-def]
    """A revoked token is not there, opens nothing, and the caches are told."""
    mine = user("mine")
    made, secret = apptoken.create(transaction, mine.id, "laptop", expires_ms=None)
    apptoken.revoke(transaction, mine.id, made)
    assert apptoken.find(transaction, mine.id, made.uuid) is None
    assert credential.find(transaction, "app", secret) is None
    assert ("credential", made.id) in transaction.changes


def test_expired_ones_are_forgotten(transaction: Transaction, user) -> None:  # type: ignore[no-untyped-def]
    """What was over by then goes, so many at a time; what is good and what is no app token stays."""
    now, mine = transaction.now_ms, user("mine")
    for age in range(3):
        apptoken.create(transaction, mine.id, str(age), expires_ms=now - age)
    apptoken.create(transaction, mine.id, "good", expires_ms=None)
    credential.create(transaction, mine.id, "access", expires_ms=now)
    assert [apptoken.forget_expired(transaction, now - 1, 1) for _ in range(3)] == [1, 1, 0]
    assert [token.title for token in apptoken.tokens(transaction, mine.id, limit=9)] == ["0", "good"]
