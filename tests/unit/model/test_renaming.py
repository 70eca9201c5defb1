"""New names for users and organizations, on both engines."""

from __future__ import annotations

import pytest

from quay.database import Transaction
from quay.model import namespace, permission, renaming, repository
from quay.model.namespace import NamespaceInvalid, NamespaceTaken
from quay.model.permission import Role
from quay.oci.reference import RepositoryName


def test_what_is_theirs_is_called_after_them(transaction: Transaction, user, organization, make_repository) -> None:  # type: ignore[no-untyped-def]
    """Robots, repositories and the catalog have the new name; others, and what merely begins alike, are as before."""
    boss, reader = user("boss"), user("reader")
    old = organization("firm", boss)
    robot = namespace.create_robot(transaction, old.id, "firm")
    app = make_repository("firm/firm/app")
    permission.grant(transaction, app.id, grantee_id=reader.id, role=Role.READ)
    other = organization("firma", boss)
    others = make_repository("firma/app")

    renamed = renaming.rename(transaction, old, "company")

    assert (renamed.id, renamed.name) == (old.id, "company")
    assert namespace.find(transaction, "firm") is None
    assert namespace.find(transaction, "company+firm") is not None
    assert repository.find(transaction, RepositoryName("firm", "firm/app")) is None
    found = repository.find(transaction, RepositoryName("company", "firm/app"))
    assert found is not None and found.id == app.id
    assert repository.catalog(transaction, reader.id, public=False, limit=9) == ["company/firm/app"]
    assert namespace.by_id(transaction, other.id) == other
    assert repository.find(transaction, others.name) == others
    assert {("namespace", old.id), ("namespace", robot.id)} <= set(transaction.changes)


def test_names_that_cannot_be(transaction: Transaction, user) -> None:  # type: ignore[no-untyped-def]
    """A name that is taken, cannot be, or makes a robot's name too long, is refused, and nothing changes."""
    mine = user("mine")
    user("taken")
    robot = namespace.create_robot(transaction, mine.id, "r" * 200)
    with pytest.raises(NamespaceTaken, match="'taken' is taken"):
        renaming.rename(transaction, mine, "taken")
    with pytest.raises(NamespaceInvalid, match="cannot be the name"):
        renaming.rename(transaction, mine, "Mine!")
    with pytest.raises(NamespaceInvalid, match="301 characters, and 255"):
        renaming.rename(transaction, mine, "m" * 100)
    with pytest.raises(NamespaceInvalid, match="is a robot"):
        renaming.rename(transaction, robot, "free")
    assert renaming.rename(transaction, mine, "mine") == mine
    assert namespace.find(transaction, robot.name) == robot
