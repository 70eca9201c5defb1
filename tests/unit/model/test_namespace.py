"""Users, organizations and robots, on both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import namespace as table
from quay.model import namespace, permission
from quay.model.namespace import Namespace, NamespaceInvalid, NamespaceTaken

Make = Callable[[str], Namespace]
MakeOrganization = Callable[[str, Namespace], Namespace]


def test_user_is_found_as_made(transaction: Transaction) -> None:
    """A user is found by name, number and address, in whatever case the address is written."""
    made = namespace.create_user(
        transaction, "devtable", email="Dev@Example.com", password_hash="$argon2$", superuser=True, time_machine_s=60
    )
    assert (made.kind, made.email, made.superuser, made.enabled) == ("user", "dev@example.com", True, True)
    assert namespace.find(transaction, "devtable") == made
    assert namespace.by_id(transaction, made.id) == made
    assert namespace.find_by_email(transaction, "dev@EXAMPLE.com") == made
    assert transaction.changes == (("namespace", made.id),)


def test_hash_is_never_part_of_the_value(transaction: Transaction) -> None:
    """The password hash comes out by its own function alone, and is not among the columns that make a Namespace."""
    made = namespace.create_user(transaction, "devtable", password_hash="$argon2$x", time_machine_s=60)
    assert "$argon2$x" not in repr(made)
    assert table.c.password_hash not in namespace.COLUMNS
    assert namespace.password_hash(transaction, made.id) == "$argon2$x"
    namespace.set_password(transaction, made.id, None)
    assert namespace.password_hash(transaction, made.id) is None


def test_a_hash_is_set_only_instead_of_the_one_that_is_known(transaction: Transaction) -> None:
    """A hash that was made for an older one does not take the place of what has come meanwhile, nor is it announced."""
    made = namespace.create_user(transaction, "devtable", password_hash="old", time_machine_s=60)
    assert namespace.set_password(transaction, made.id, "new", instead_of="old")
    later = Transaction(transaction.connection, transaction.now_ms)
    assert not namespace.set_password(later, made.id, "late", instead_of="old")
    assert (namespace.password_hash(later, made.id), later.changes) == ("new", ())
    namespace.set_password(later, made.id, None)
    assert not namespace.set_password(later, made.id, "late", instead_of="new")


def test_being_here_is_no_change(transaction: Transaction, user: Make) -> None:
    """The time of the last access is kept for those who were here, and nobody is told."""
    here, away = user("here"), user("away")
    later = Transaction(transaction.connection, transaction.now_ms)
    namespace.touch(later, {here.id}, 5000)
    namespace.touch(later, [], 6000)
    rows = later.execute(sa.select(table.c.id, table.c.last_accessed_ms))
    seen = {row.id: row.last_accessed_ms for row in rows}
    assert (seen[here.id], seen[away.id], later.changes) == (5000, None, ())


@pytest.mark.parametrize(
    "name", ["", "a", "A1", "a" * 256, "-ab", "ab-", "a__b", "a+b", "a/b", "a%b", "a'b", "a b", "a\x00b", "ab\n", "ä1"]
)
def test_bad_names_are_refused_in_a_sentence(transaction: Transaction, name: str) -> None:
    """What is outside the grammar is neither made nor looked for."""
    with pytest.raises(NamespaceInvalid, match="cannot be the name of a user or organization"):
        namespace.create_user(transaction, name, time_machine_s=60)
    assert namespace.find(transaction, name) is None


@pytest.mark.parametrize("email", ["", "nobody", "a@b\x00", "a b@c", "a@" + "b" * 300, "\ud800@x"])
def test_bad_addresses_are_refused_in_a_sentence(transaction: Transaction, email: str) -> None:
    """What is no e-mail address is neither kept nor looked for."""
    with pytest.raises(NamespaceInvalid, match="is not an e-mail address"):
        namespace.create_user(transaction, "someone", email=email, time_machine_s=60)
    assert namespace.find_by_email(transaction, email) is None


def test_taken_says_what_is_taken(transaction: Transaction, user: Make) -> None:
    """Name and address are one space for users and organizations; a refusal leaves the transaction usable."""
    owner = namespace.create_user(transaction, "first", email="a@b", time_machine_s=60)
    with pytest.raises(NamespaceTaken, match="The name 'first' is taken"):
        namespace.create_organization(transaction, "first", owner_id=owner.id, time_machine_s=60)
    with pytest.raises(NamespaceTaken, match="The e-mail address 'a@b' belongs"):
        namespace.create_user(transaction, "second", email="A@B", time_machine_s=60)
    assert user("second").email is None
    assert user("third").email is None


def test_organization_has_owners(transaction: Transaction, user: Make, organization: MakeOrganization) -> None:
    """An organization begins with a team of owners, who may create in it; nobody else may."""
    owner, stranger = user("owner"), user("stranger")
    made = organization("buynlarge", owner)
    assert made.kind == "organization"
    assert permission.may_create(transaction, made.id, owner.id)
    assert not permission.may_create(transaction, made.id, stranger.id)


def test_robot_is_named_after_its_owner(transaction: Transaction, user: Make) -> None:
    """A robot is owner+short, found by its name, and takes the owner's time machine."""
    owner = user("devtable")
    robot = namespace.create_robot(transaction, owner.id, "ci_1")
    assert (robot.name, robot.kind, robot.owner_id) == ("devtable+ci_1", "robot", owner.id)
    assert robot.time_machine_s == owner.time_machine_s
    assert namespace.find(transaction, "devtable+ci_1") == robot
    with pytest.raises(NamespaceTaken):
        namespace.create_robot(transaction, owner.id, "ci_1")


@pytest.mark.parametrize("short", ["", "a", "_a", "a+b", "a%", "a'b", "A1", "a\x00", "a" * 255])
def test_bad_robots_are_refused(transaction: Transaction, user: Make, short: str) -> None:
    """A robot's short name has a grammar, and with its owner's name a limit."""
    with pytest.raises(NamespaceInvalid, match="A robot cannot be called"):
        namespace.create_robot(transaction, user("devtable").id, short)
    assert namespace.find(transaction, f"devtable+{short}") is None


def test_robots_have_no_robots(transaction: Transaction, user: Make) -> None:
    """Only users and organizations own robots."""
    robot = namespace.create_robot(transaction, user("devtable").id, "ci")
    for owner_id in (robot.id, 10**9):
        with pytest.raises(NamespaceInvalid, match="needs a user or an organization"):
            namespace.create_robot(transaction, owner_id, "ci")


def test_disabling_is_announced(transaction: Transaction, user: Make) -> None:
    """Whoever caches a namespace learns that it was disabled."""
    made = user("devtable")
    namespace.set_enabled(transaction, made.id, False)
    found = namespace.by_id(transaction, made.id)
    assert found is not None
    assert not found.enabled
    assert ("namespace", made.id) in transaction.changes


def test_any_superuser(transaction: Transaction, user: Make) -> None:
    """An installation is set up when somebody enabled may administer it."""
    user("plain")
    assert not namespace.any_superuser(transaction)
    chief = namespace.create_user(transaction, "chief", superuser=True, time_machine_s=60)
    assert namespace.any_superuser(transaction)
    namespace.set_enabled(transaction, chief.id, False)
    assert not namespace.any_superuser(transaction)


def test_names_compare_by_bytes(transaction: Transaction, user: Make) -> None:
    """Both engines order names alike: '-' before '.' before digits before '_' before letters."""
    for name in ("a_a", "aaa", "a-a", "a.a", "a0a"):
        user(name)
    order = transaction.execute(sa.select(table.c.name).order_by(table.c.name)).scalars().all()
    assert order == sorted(order) == ["a-a", "a.a", "a0a", "a_a", "aaa"]
