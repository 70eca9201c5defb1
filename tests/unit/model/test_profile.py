"""What somebody says of himself, on both engines."""

from __future__ import annotations

from quay.database import Transaction
from quay.model import profile
from quay.model.profile import Profile
from tests.unit.model.conftest import MakeUser


def test_everybody_has_an_empty_one(transaction: Transaction, user: MakeUser) -> None:
    """Nothing is known of somebody who said nothing, nor of nobody."""
    somebody = user("somebody")
    profile.update(transaction, somebody.id)
    assert profile.get(transaction, somebody.id) == Profile() == profile.get(transaction, 10**9)


def test_only_what_is_named_changes(transaction: Transaction, user: MakeUser) -> None:
    """A change leaves the rest, and other people's, as they were; None takes something back."""
    somebody, other = user("somebody"), user("other")
    profile.update(transaction, other.id, company="Other & Sons")
    profile.update(transaction, somebody.id, given_name="Ada", company="Engines", metadata={"a": [1, None]})
    profile.update(transaction, somebody.id, invoice_email=True, company=None)
    assert profile.get(transaction, somebody.id) == Profile(
        given_name="Ada", invoice_email=True, metadata={"a": [1, None]}
    )
    assert profile.get(transaction, other.id) == Profile(company="Other & Sons")
