"""Accounts: the organizations somebody belongs to, and the very first user, of whom there is one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa

from quay.database import Transaction
from quay.model import account, namespace, team
from quay.model.account import Belonging, Standing
from quay.model.namespace import Namespace
from tests.unit.model.conftest import MakeUser


def test_organizations(
    transaction: Transaction, user: MakeUser, organization: Callable[[str, Namespace], Namespace]
) -> None:
    """Of several teams in an organization the one with the most power counts; other organizations are not named."""
    alice, bob = user("alice"), user("bob")
    first, second = organization("first", bob), organization("second", alice)
    organization("third", bob)
    for name, role in (("members", "member"), ("creators", "creator")):
        team.add_member(transaction, team.create(transaction, first.id, name, role), alice.id)  # type: ignore[arg-type]
    team.add_member(transaction, team.create(transaction, second.id, "members", "member"), alice.id)
    assert account.organizations(transaction, alice.id) == [
        Belonging("first", may_create=True, administers=False),
        Belonging("second", may_create=True, administers=True),
    ]
    assert account.organizations(transaction, 0) == []


def test_standing(transaction: Transaction, user: MakeUser) -> None:
    """It is known who has a password; of nobody, nothing is true."""
    alice = user("alice")
    assert account.standing(transaction, alice.id) == Standing(verified=True, has_password=False)
    namespace.set_password(transaction, alice.id, "hash")
    assert account.standing(transaction, alice.id).has_password
    assert account.standing(transaction, alice.id + 1) == Standing(verified=False, has_password=False)


def test_one_first_user(database_engine: sa.Engine) -> None:
    """Of several who would be the first user at the same time, one is."""

    def try_to_be(name: str) -> bool:
        with database_engine.begin() as connection:
            txn = Transaction(connection, 0)
            if not account.initialize(txn):
                return False
            namespace.create_user(txn, name, time_machine_s=0)
            return True

    with ThreadPoolExecutor(4) as candidates:
        outcomes = list(candidates.map(try_to_be, ["alice", "bob", "carol", "dave"]))
    assert sorted(outcomes) == [False, False, False, True]
    with database_engine.begin() as connection:
        assert not account.is_empty(Transaction(connection, 0))
