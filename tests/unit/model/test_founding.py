"""The first administrator: by a token that is good once, for a while, and only as long as there is nobody."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from quay.database import Transaction, once
from quay.database.schema import setting
from quay.model import account, founding, namespace
from quay.model.founding import KEY, LIFETIME_S

NOBODY = ()


def superuser(txn: Transaction, name: str = "ada", *, superuser: bool = True) -> None:
    namespace.create_user(txn, name, superuser=superuser, time_machine_s=0)


def test_a_token(transaction: Transaction) -> None:
    """The token is right, another is not, and what is kept of it is not the token."""
    token = founding.issue_token(transaction)
    assert founding.is_token(transaction, token, NOBODY)
    kept = transaction.execute(sa.select(setting.c.value).where(setting.c.key == KEY)).scalar_one()
    assert token not in kept
    for wrong in ("", token[:-1], token.swapcase(), kept, "ü\0", "\udcff"):
        assert not founding.is_token(transaction, wrong, NOBODY)


def test_no_token_was_issued(transaction: Transaction) -> None:
    """Without one, nothing is right."""
    assert not founding.is_token(transaction, "", NOBODY)


def test_it_expires(transaction: Transaction) -> None:
    """After a day it is worthless."""
    token = founding.issue_token(transaction)
    transaction.now_ms += LIFETIME_S * 1000 - 1
    assert founding.is_token(transaction, token, NOBODY)
    transaction.now_ms += 1
    assert not founding.is_token(transaction, token, NOBODY)


def test_the_last_one_counts(transaction: Transaction) -> None:
    """A new token ends the one before it."""
    first, second = founding.issue_token(transaction), founding.issue_token(transaction)
    assert first != second
    assert not founding.is_token(transaction, first, NOBODY)
    assert founding.is_token(transaction, second, NOBODY)


def test_it_dies_with_the_first_administrator(transaction: Transaction) -> None:
    """However he was made: a superuser ends it, any other user does not."""
    token = founding.issue_token(transaction)
    superuser(transaction, "bob", superuser=False)
    assert founding.is_token(transaction, token, NOBODY)
    superuser(transaction)
    assert not founding.is_token(transaction, token, NOBODY)


def test_who_is_one_by_configuration(transaction: Transaction) -> None:
    """A user whom SUPER_USERS names is an administrator, too, once he is there."""
    token = founding.issue_token(transaction)
    assert founding.is_token(transaction, token, ("ada",))
    superuser(transaction, superuser=False)
    assert not founding.is_open(transaction, ("ada",))
    assert not founding.is_token(transaction, token, ("ada",))


def test_it_is_taken_once(transaction: Transaction) -> None:
    """Whoever comes second is told no, even before the first has made his user; /user/initialize is closed, too."""
    token = founding.issue_token(transaction)
    assert founding.claim(transaction, NOBODY, token)
    assert not founding.claim(transaction, NOBODY, token)
    assert not account.initialize(transaction)


@pytest.mark.parametrize("token", ["wrong", ""])
def test_a_wrong_token_takes_nothing(transaction: Transaction, token: str) -> None:
    """A wrong token is told no, and the right one is still good."""
    right = founding.issue_token(transaction)
    assert not founding.claim(transaction, NOBODY, token)
    assert founding.claim(transaction, NOBODY, right)


def test_without_a_token(transaction: Transaction) -> None:
    """Who has the machine needs none; but there is no second first administrator."""
    assert founding.claim(transaction, NOBODY)
    superuser(transaction)
    assert not founding.claim(transaction, NOBODY)


def test_a_race_gives_one(database_url: str) -> None:
    """Of many that come at the same moment, on either engine, one is told yes."""
    token = once(database_url, founding.issue_token)
    start = threading.Barrier(4)

    def come(number: int) -> bool:
        def work(txn: Transaction) -> bool:
            taken = founding.claim(txn, NOBODY, token)
            if taken:
                superuser(txn, f"user{number}")
            return taken

        start.wait()
        return once(database_url, work)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(come, range(4))) == [False, False, False, True]
