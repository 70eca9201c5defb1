"""The end of a namespace: out of sight at once, and its rows bit by bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database import schema as tables
from quay.model import (
    condemned,
    credential,
    garbage,
    namespace,
    permission,
    prototype,
    removal,
    repository,
    session,
    team,
)
from quay.model.namespace import Namespace
from quay.model.permission import Role
from quay.model.removal import begin, proceed, solely_administered
from quay.oci.reference import RepositoryName
from tests.unit.model.conftest import MakeRepository, MakeUser
from tests.unit.model.pushing import Client, image, index, statements

MakeOrganization = Callable[[str, Namespace], Namespace]
MANY = 300


@pytest.fixture
def alice(user: MakeUser) -> Namespace:
    return user("alice")


@pytest.fixture
def bob(user: MakeUser) -> Namespace:
    return user("bob")


def count(txn: Transaction, table: sa.Table) -> int:
    found: int = txn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    return found


def to_the_end(txn: Transaction, rows: int = removal.ROWS) -> int:
    """How many slices it takes."""
    slices = 0
    while proceed(txn, rows):
        slices += 1
        assert slices < 10_000, "it does not come to an end"
    return slices


def test_a_user_is_out_of_sight(transaction: Transaction, alice: Namespace, make_repository: MakeRepository) -> None:
    """Nothing that a removed user or his robots could show opens anything, and nobody finds him."""
    robot = namespace.create_robot(transaction, alice.id, "bot")
    secrets = [
        ("robot", credential.replace_robot_token(transaction, robot.id)),
        ("app", credential.create(transaction, alice.id, "app")[1]),
    ]
    _, cookie = session.begin(transaction, alice.id, ip="", user_agent="", lifetime_s=60)
    made = make_repository("alice/app", public=True)
    assert begin(transaction, alice.id)
    assert not begin(transaction, alice.id)
    assert namespace.find(transaction, "alice") is None and namespace.find(transaction, "alice+bot") is None
    assert [credential.find(transaction, kind, secret) for kind, secret in secrets] == [None, None]  # type: ignore[arg-type]
    assert session.find(transaction, cookie) is None
    assert repository.find(transaction, made.name) is None
    assert repository.catalog(transaction, None, public=True, limit=10) == []
    assert repository.catalog(transaction, None, public=True, everything=True, limit=10) == []
    assert not namespace.any_user(transaction)
    assert ("namespace", alice.id) in transaction.changes


def test_the_name_is_free(transaction: Transaction, user: MakeUser, make_repository: MakeRepository) -> None:
    """Another user may have the name, the address, the robots and the repositories at once, and keeps them."""
    old = namespace.create_user(transaction, "alice", email="alice@example.com", time_machine_s=0)
    namespace.create_robot(transaction, old.id, "bot")
    client = Client(transaction, make_repository("alice/app"))
    client.push(image("old"), "latest")
    begin(transaction, old.id)
    new = namespace.create_user(transaction, "alice", email="alice@example.com", time_machine_s=0)
    robot = namespace.create_robot(transaction, new.id, "bot")
    made = make_repository("alice/app")
    assert repository.catalog(transaction, new.id, public=False, limit=10) == ["alice/app"]
    to_the_end(transaction)
    assert namespace.find(transaction, "alice") == new
    assert namespace.find(transaction, "alice+bot") == robot
    assert repository.find(transaction, made.name) == made


def test_what_was_granted_is_taken_back(
    transaction: Transaction,
    alice: Namespace,
    bob: Namespace,
    organization: MakeOrganization,
    make_repository: MakeRepository,
) -> None:
    """Who is removed has no role anywhere, is in no team, and nobody has a role on what was his."""
    company = organization("company", bob)
    members = team.create(transaction, company.id, "members", "creator")
    team.add_member(transaction, members, alice.id)
    prototype.create(transaction, company.id, delegate_id=alice.id, role=Role.WRITE)
    theirs, his = make_repository("bob/theirs"), make_repository("alice/his")
    permission.grant(transaction, theirs.id, grantee_id=alice.id, role=Role.WRITE)
    permission.grant(transaction, his.id, grantee_id=bob.id, role=Role.READ)
    begin(transaction, alice.id)
    assert permission.role(transaction, theirs, alice.id) is None
    assert not permission.is_member(transaction, company.id, alice.id)
    assert repository.catalog(transaction, bob.id, public=False, limit=10) == ["bob/theirs"]
    after = make_repository("company/new")
    assert permission.role(transaction, after, alice.id) is None
    to_the_end(transaction)
    assert repository.find(transaction, theirs.name) == theirs


def test_an_organization(
    transaction: Transaction, alice: Namespace, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """With an organization go its teams, and its applications with the tokens that others gave them."""
    company = organization("company", alice)
    team_repository = make_repository("company/app")
    application = {"client_id": "c", "organization_id": company.id, "secret_hash": "", "name": "a", "created_ms": 0}
    made = transaction.execute(sa.insert(tables.oauth_application).values(**application)).inserted_primary_key
    assert made is not None
    token, secret = credential.create(transaction, alice.id, "oauth", scope="repo:read")
    transaction.execute(sa.update(tables.credential).values(application_id=made[0]))
    assert begin(transaction, company.id)
    assert credential.find(transaction, "oauth", secret) is None
    assert ("credential", token.id) in transaction.changes
    assert not permission.administers(transaction, company.id, alice.id)
    assert permission.role(transaction, team_repository, alice.id) is None
    assert repository.catalog(transaction, alice.id, public=True, limit=10) == []
    to_the_end(transaction)
    assert (count(transaction, tables.team), count(transaction, tables.repository)) == (0, 0)
    assert namespace.find(transaction, "alice") == alice


def test_rows_go_bit_by_bit(transaction: Transaction, alice: Namespace, make_repository: MakeRepository) -> None:
    """However much a namespace holds, it goes in slices; its blobs are garbage then, unless others have them."""
    client = Client(transaction, make_repository("alice/app"))
    children = [image(f"child {number}", layers=["shared"]) for number in range(10)]
    for number, child in enumerate(children):
        client.push(child, f"tag-{number}")
    client.put(index(*children), "all", labels={"key": "value"})
    for number in range(5):
        make_repository(f"alice/empty-{number}")
    begin(transaction, alice.id)
    assert to_the_end(transaction, rows=5) > 10
    left = (tables.namespace, tables.repository, tables.manifest, tables.tag, tables.label, tables.repository_blob)
    assert [count(transaction, table) for table in left] == [0] * len(left)
    due = garbage.due_blobs(transaction, (), 100).due
    assert len(due) == len(children) + 1
    condemned.condemn_unlinked(transaction, [one.id for one in due])
    assert count(transaction, tables.blob) == 0


def test_shared_blobs_stay(
    transaction: Transaction, alice: Namespace, bob: Namespace, make_repository: MakeRepository
) -> None:
    """A blob that somebody else links too is no garbage."""
    for name in ("alice/app", "bob/app"):
        Client(transaction, make_repository(name)).push(image("the same"), "latest")
    begin(transaction, alice.id)
    to_the_end(transaction)
    assert garbage.due_blobs(transaction, (), 100).due == []


def test_a_large_namespace(transaction: Transaction, alice: Namespace) -> None:
    """Taking it out of sight is the same few statements for three hundred repositories as for none."""
    rows = [
        {"namespace_id": alice.id, "path": f"r{number}", "name": f"alice/r{number}", "created_ms": 0}
        for number in range(MANY)
    ]
    transaction.execute(sa.insert(tables.repository), rows)
    with statements(transaction) as sent:
        begin(transaction, alice.id)
    assert len(sent) < 30
    assert to_the_end(transaction) >= MANY * removal.REPOSITORY_COST / removal.ROWS
    assert count(transaction, tables.repository) == 0


def test_long_names(transaction: Transaction, alice: Namespace, make_repository: MakeRepository) -> None:
    """Names that differ only at their ends, at the limit of what a name may have, are hidden like others."""
    stem = "x" * (255 - len("alice/") - 1)
    for end in "ab":
        make_repository(f"alice/{stem}{end}")
    assert begin(transaction, alice.id)
    assert repository.find(transaction, RepositoryName("alice", f"{stem}a")) is None


def test_nothing_to_remove(transaction: Transaction, alice: Namespace) -> None:
    """Nobody is removed who was not meant to be."""
    assert not begin(transaction, alice.id + 1)
    assert not proceed(transaction)
    assert namespace.find(transaction, "alice") == alice


def test_sole_administrators(
    transaction: Transaction, alice: Namespace, bob: Namespace, organization: MakeOrganization
) -> None:
    """The organizations that only one user administers are found; neither robots nor plain members count."""
    first, second = organization("first", alice), organization("second", alice)
    robot = namespace.create_robot(transaction, first.id, "bot")
    admins = team.create(transaction, first.id, "admins", "admin")
    members = team.create(transaction, second.id, "members", "member")
    team.add_member(transaction, admins, robot.id)
    team.add_member(transaction, members, bob.id)
    assert solely_administered(transaction, alice.id) == ["first", "second"]
    assert solely_administered(transaction, alice.id, limit=1) == ["first"]
    team.add_member(transaction, admins, bob.id)
    assert solely_administered(transaction, alice.id) == ["second"]
    assert solely_administered(transaction, bob.id) == []
