"""Everybody there is, on both engines."""

from __future__ import annotations

from quay.database import Transaction
from quay.model import directory, namespace


def test_users_and_organizations_apart(transaction: Transaction, user, organization) -> None:  # type: ignore[no-untyped-def]
    """Each list has its own kind in order of name; robots are in none; a name of the other kind is not found."""
    zoe, adam = user("zoe"), user("adam")
    organization("firm", zoe)
    namespace.create_robot(transaction, adam.id, "bot")
    assert [found.name for found in directory.accounts(transaction, "user", limit=9)] == ["adam", "zoe"]
    assert [found.name for found in directory.accounts(transaction, "organization", limit=9)] == ["firm"]
    assert directory.account(transaction, "user", "firm") is None
    assert directory.account(transaction, "organization", "firm") is not None


def test_pages_and_disabled_users(transaction: Transaction, user) -> None:  # type: ignore[no-untyped-def]
    """A page begins past a name and has a limit; disabled users can be left out."""
    made = [user(name) for name in ("ada", "bob", "cyd")]
    namespace.set_enabled(transaction, made[1].id, False)
    assert [found.name for found in directory.accounts(transaction, "user", after="ada", limit=1)] == ["bob"]
    assert [found.name for found in directory.accounts(transaction, "user", enabled_only=True, limit=9)] == [
        "ada",
        "cyd",
    ]
    found = directory.account(transaction, "user", "bob")
    assert found is not None and (found.enabled, found.verified, found.last_accessed_ms) == (False, True, None)
