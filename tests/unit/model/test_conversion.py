"""A user becomes an organization, on both engines."""

from __future__ import annotations

import pytest

from quay.database import Transaction
from quay.model import conversion, credential, namespace, permission, repository, session, team
from quay.model.namespace import NamespaceInvalid
from quay.model.permission import Role


def test_what_becomes_of_a_user(transaction: Transaction, user, make_repository) -> None:  # type: ignore[no-untyped-def]
    """Repositories and robots stay; another user administers them; nothing lets anybody in as the one who was."""
    old, administrator, friend = user("team"), user("boss"), user("friend")
    namespace.set_password(transaction, old.id, "$argon2$")
    kept = make_repository("team/app")
    robot = namespace.create_robot(transaction, old.id, "bot")
    token = credential.replace_robot_token(transaction, robot.id)
    _, app = credential.create(transaction, old.id, "app")
    _, cookie = session.begin(transaction, old.id, ip="", user_agent="", lifetime_s=60)
    theirs = make_repository("friend/app")
    permission.grant(transaction, theirs.id, grantee_id=old.id, role=Role.WRITE)

    conversion.to_organization(transaction, old, administrator.id)

    made = namespace.find(transaction, "team")
    assert made is not None and (made.kind, made.id) == ("organization", old.id)
    assert namespace.password_hash(transaction, old.id) is None
    assert repository.find(transaction, kept.name) == kept
    assert credential.find(transaction, "robot", token) is not None
    assert credential.find(transaction, "app", app) is None
    assert session.find(transaction, cookie) is None
    assert permission.role(transaction, theirs, old.id) is None
    assert permission.role(transaction, kept, administrator.id) == Role.ADMIN
    assert permission.role(transaction, kept, friend.id) is None
    assert [
        member.name for member in team.members(transaction, team.of_organization(transaction, old.id)[0].id, limit=9)
    ] == ["boss"]
    assert ("namespace", old.id) in transaction.changes


def test_who_cannot_become_one(transaction: Transaction, user, organization) -> None:  # type: ignore[no-untyped-def]
    """An organization is one already, nobody administers himself, and no organization is left without anybody."""
    alone, other = user("alone"), user("other")
    made = organization("firm", alone)
    with pytest.raises(NamespaceInvalid, match="only a user"):
        conversion.to_organization(transaction, made, other.id)
    with pytest.raises(NamespaceInvalid, match="name another user"):
        conversion.to_organization(transaction, other, other.id)
    with pytest.raises(NamespaceInvalid, match="Nobody but alone administers firm"):
        conversion.to_organization(transaction, alone, other.id)
