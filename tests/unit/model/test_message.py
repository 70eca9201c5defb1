"""Global messages, on both engines."""

from __future__ import annotations

import pytest

from quay.database import Transaction
from quay.model import message


def test_the_life_of_a_message(transaction: Transaction) -> None:
    """Messages are kept in their order until they are deleted."""
    first = message.create(transaction, "Down on Sunday ☂", "text/plain", "warning")
    second = message.create(transaction, "*Up*", "text/markdown", "info")
    assert message.messages(transaction) == [first, second]
    assert message.delete(transaction, first.uuid)
    assert not message.delete(transaction, first.uuid)
    assert message.messages(transaction) == [second]


def test_there_is_an_end_to_it(transaction: Transaction) -> None:
    """There are so many messages and no more, until one is deleted."""
    made = [message.create(transaction, str(number), "text/plain", "info") for number in range(message.MOST)]
    with pytest.raises(message.MessagesFull, match="delete one"):
        message.create(transaction, "one more", "text/plain", "info")
    message.delete(transaction, made[0].uuid)
    message.create(transaction, "one more", "text/plain", "info")
