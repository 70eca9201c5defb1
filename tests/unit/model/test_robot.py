"""Robots and their owners, on both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quay.database import Transaction
from quay.model import credential, namespace, permission, repository, robot
from quay.model.namespace import Namespace, NamespaceInvalid, NamespaceTaken
from quay.model.permission import Granted, Role
from tests.unit.model.conftest import MakeRepository, MakeUser

MakeOrganization = Callable[[str, Namespace], Namespace]


def test_a_robot_is_made_with_its_token(transaction: Transaction, user: MakeUser) -> None:
    """A new robot has a token that opens it, a description and what its owner keeps with it; its name is taken."""
    owner = user("owner")
    made, token = robot.create(transaction, owner, "ci", description="Builds.", metadata={"a": [1]})
    assert (made.name, made.description, made.metadata) == ("owner+ci", "Builds.", {"a": [1]})
    assert (made.created_ms, made.last_accessed_ms) == (transaction.now_ms, None)
    found = credential.find(transaction, "robot", token)
    assert found is not None
    assert found.namespace.id == made.id
    assert token not in repr(made)
    namespace.touch(transaction, {made.id}, 5000)
    again = robot.find(transaction, owner, "ci")
    assert again is not None
    assert again.last_accessed_ms == 5000
    assert robot.create(transaction, owner, "plain")[0].metadata == {}
    with pytest.raises(NamespaceTaken, match=r"'owner\+ci' is taken"):
        robot.create(transaction, owner, "ci")


def test_robots_never_mix(transaction: Transaction, user: MakeUser) -> None:
    """Owners whose names match each other's as patterns see their own robots only, and find no others by any name."""
    shorts = ("aa", "bb")
    owners = [user(name) for name in ("a_b", "axb", "a.b", "a_b_c")]
    for owner in owners:
        for short in shorts:
            robot.create(transaction, owner, short)
    for owner in owners:
        found = [each.name for each in robot.of_owner(transaction, owner, limit=99)]
        assert found == [f"{owner.name}+{short}" for short in shorts]
        assert robot.find(transaction, owner, "a%") is None
        assert robot.find(transaction, owner, "") is None
    assert [each.name for each in robot.of_owner(transaction, owners[0], after="a_b+aa", limit=9)] == ["a_b+bb"]
    assert len(robot.of_owner(transaction, owners[0], limit=1)) == 1


def test_a_deleted_robot_is_gone(transaction: Transaction, user: MakeUser, make_repository: MakeRepository) -> None:
    """Neither the robot nor its token nor its roles are left, its name is free, and everybody who remembers is told."""
    owner = user("owner")
    made, token = robot.create(transaction, owner, "ci")
    app = make_repository("owner/app")
    permission.grant(transaction, app.id, grantee_id=made.id, role=Role.WRITE)
    assert permission.granted(transaction, grantee_id=made.id, limit=9) == [Granted(app.name, False, Role.WRITE)]
    later = Transaction(transaction.connection, transaction.now_ms)
    robot.delete(later, made.id)
    assert ("namespace", made.id) in later.changes
    assert robot.of_owner(transaction, owner, limit=9) == []
    assert credential.find(transaction, "robot", token) is None
    assert permission.granted(transaction, grantee_id=made.id, limit=9) == []
    robot.create(transaction, owner, "ci")


def test_a_robot_that_fills_a_mirror_stays(
    transaction: Transaction, user: MakeUser, make_repository: MakeRepository
) -> None:
    """A mirror keeps its robot until it is none any more."""
    owner = user("owner")
    made, _ = robot.create(transaction, owner, "ci")
    app = make_repository("owner/app")
    repository.set_mirror(transaction, app.id, made.id)
    with pytest.raises(NamespaceInvalid, match="fills the mirror owner/app"):
        robot.delete(transaction, made.id)
    repository.set_state(transaction, app.id, "normal")
    robot.delete(transaction, made.id)
    assert robot.find(transaction, owner, "ci") is None


def test_what_was_granted(transaction: Transaction, user: MakeUser, make_repository: MakeRepository) -> None:
    """Grants come in order of the repository's name, so many at a time, and are those of one robot."""
    owner = user("owner")
    made, other = (robot.create(transaction, owner, short)[0] for short in ("ci", "cd"))
    apps = [make_repository(f"owner/app{number}", public=number == 1) for number in range(3)]
    for app in apps:
        permission.grant(transaction, app.id, grantee_id=made.id, role=Role.READ)
    permission.grant(transaction, apps[0].id, grantee_id=other.id, role=Role.ADMIN)
    page = permission.granted(transaction, grantee_id=made.id, after="owner/app0", limit=1)
    assert page == [Granted(apps[1].name, True, Role.READ)]
    assert len(permission.granted(transaction, grantee_id=made.id, limit=9)) == 3
