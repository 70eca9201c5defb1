"""The secrets of machines, on both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import credential as table
from quay.model import credential, namespace, repository
from quay.model.credential import Credential, CredentialInvalid
from quay.model.namespace import Namespace
from quay.model.permission import Role
from quay.model.repository import Repository

Make = Callable[[str], Namespace]


def test_secret_is_given_once(transaction: Transaction, user: Make) -> None:
    """A fresh secret is long and random, finds its credential, and is in no column and no value."""
    holder = user("devtable")
    made, secret = credential.create(transaction, holder.id, "app", title="laptop")
    assert len(secret) == 120
    assert credential.find(transaction, "app", secret) == made
    assert made.namespace == holder
    row = transaction.execute(sa.select(table)).one()
    assert secret not in repr(row)
    assert secret not in repr(made)
    assert credential.create(transaction, holder.id, "app")[1] != secret


@pytest.mark.parametrize("guess", ["", "x", "\x00", "\ud800", "' OR 1=1 --", "%", "A" * 100_000])
def test_wrong_secrets_find_nothing(transaction: Transaction, user: Make, guess: str) -> None:
    """Whatever is tried is hashed first."""
    credential.create(transaction, user("devtable").id, "app")
    assert credential.find(transaction, "app", guess) is None


def test_kind_is_part_of_the_secret(transaction: Transaction, user: Make) -> None:
    """An application's secret opens nothing as an OAuth token."""
    _, secret = credential.create(transaction, user("devtable").id, "app")
    assert credential.find(transaction, "oauth", secret) is None


def test_expired_is_gone(transaction: Transaction, user: Make) -> None:
    """A credential is good until its time, and not at it."""
    _, secret = credential.create(transaction, user("devtable").id, "oauth", expires_ms=transaction.now_ms + 1)
    assert credential.find(transaction, "oauth", secret) is not None
    transaction.now_ms += 1
    assert credential.find(transaction, "oauth", secret) is None


def test_access_token_carries_its_repository(
    transaction: Transaction, user: Make, make_repository: Callable[..., Repository]
) -> None:
    """A token for one repository says which, and with what role; it ends with the repository."""
    holder = user("devtable")
    app = make_repository("devtable/app")
    made, secret = credential.create(
        transaction, holder.id, "access", repository_id=app.id, role=Role.WRITE, scope="repo:write", secret="given"
    )
    assert (secret, made.repository_id, made.role, made.scope) == ("given", app.id, Role.WRITE, "repo:write")
    repository.delete(transaction, app.id)
    assert credential.find(transaction, "access", secret) is None


def test_robot_needs_its_owner(transaction: Transaction, user: Make) -> None:
    """A robot is enabled only while both it and its owner are."""
    owner = user("devtable")
    robot = namespace.create_robot(transaction, owner.id, "ci")
    token = credential.replace_robot_token(transaction, robot.id)

    def enabled() -> bool:
        found = credential.find(transaction, "robot", token)
        assert isinstance(found, Credential)
        return found.owner_enabled

    assert enabled()
    for each in (owner, robot):
        namespace.set_enabled(transaction, each.id, False)
        assert not enabled()
        namespace.set_enabled(transaction, each.id, True)
        assert enabled()


def test_new_robot_token_ends_the_old_one(transaction: Transaction, user: Make) -> None:
    """A robot has one token; the old one is announced as gone, and other robots keep theirs."""
    owner = user("devtable")
    first, second = (namespace.create_robot(transaction, owner.id, short) for short in ("t_1", "t-1"))
    old, others = (credential.replace_robot_token(transaction, robot.id) for robot in (first, second))
    found = credential.find(transaction, "robot", old)
    assert found is not None
    txn = Transaction(transaction.connection, transaction.now_ms)
    new = credential.replace_robot_token(txn, first.id, "A" * 64)
    assert new == "A" * 64
    assert ("credential", found.id) in txn.changes
    assert credential.find(transaction, "robot", old) is None
    assert credential.find(transaction, "robot", new) is not None
    assert credential.find(transaction, "robot", others) is not None


def test_revoking_goes_through_the_holder(transaction: Transaction, user: Make) -> None:
    """Nobody revokes another's credential by knowing its uuid."""
    holder, thief = user("devtable"), user("thief")
    made, secret = credential.create(transaction, holder.id, "app")
    assert not credential.revoke(transaction, thief.id, made.uuid)
    assert credential.find(transaction, "app", secret) is not None
    assert credential.revoke(transaction, holder.id, made.uuid)
    assert credential.find(transaction, "app", secret) is None


def test_robot_secrets_are_for_robots(transaction: Transaction, user: Make) -> None:
    """A user holds no robot token, a robot no application's, and nobody nothing."""
    owner = user("devtable")
    robot = namespace.create_robot(transaction, owner.id, "ci")
    with pytest.raises(CredentialInvalid, match="devtable is a user and cannot hold"):
        credential.create(transaction, owner.id, "robot")
    with pytest.raises(CredentialInvalid, match=r"devtable\+ci is a robot and cannot hold"):
        credential.create(transaction, robot.id, "app")
    with pytest.raises(CredentialInvalid, match="nobody to hold"):
        credential.create(transaction, 10**9, "app")


def test_use_is_remembered(transaction: Transaction, user: Make) -> None:
    """`touch` notes when credentials were in use, several at once, or none."""
    made, _ = credential.create(transaction, user("devtable").id, "app")
    credential.touch(transaction, [], 1)
    credential.touch(transaction, {made.id}, 42)
    assert transaction.execute(sa.select(table.c.last_used_ms)).scalar_one() == 42
