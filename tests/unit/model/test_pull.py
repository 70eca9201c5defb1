"""Pulls are summed up for each tag, manifest and repository, for as long as there is one."""

from __future__ import annotations

import pytest

from quay.database import Transaction
from quay.model import garbage, removal, repository
from quay.model.pull import ALL, NONE, Pulls, add, forget, pulls
from quay.model.repository import Repository
from quay.model.tag import delete_tag
from quay.model.time_machine import forget as forget_lifetime
from quay.oci.reference import Tag
from tests.unit.model.conftest import TWO_WEEKS, MakeRepository, MakeUser
from tests.unit.model.pushing import Client, image, statements


@pytest.fixture
def app(user: MakeUser, make_repository: MakeRepository) -> Repository:
    user("devtable")
    return make_repository("devtable/app")


def test_sums(transaction: Transaction, app: Repository) -> None:
    """What is added comes on top, and the last time is the latest, in whatever order they come."""
    add(transaction, {(app.id, "latest"): Pulls(2, 5000), (app.id, ALL): Pulls(3, 5000)})
    add(transaction, {(app.id, "latest"): Pulls(1, 4000)})
    assert pulls(transaction, app.id, ["latest", ALL, "other"]) == {
        "latest": Pulls(3, 5000),
        ALL: Pulls(3, 5000),
        "other": NONE,
    }


def test_a_page_is_one_statement(transaction: Transaction, app: Repository) -> None:
    """The pulls of many subjects are found at once, and those of nothing without any question worth asking."""
    add(transaction, {(app.id, f"t{number}"): Pulls(1, number) for number in range(100)})
    with statements(transaction) as sent:
        found = pulls(transaction, app.id, (f"t{number}" for number in range(200)))
    assert sum(one.count for one in found.values()) == 100
    assert len(sent) == 1
    assert pulls(transaction, app.id, []) == {}


def test_a_deleted_repository(transaction: Transaction, app: Repository, make_repository: MakeRepository) -> None:
    """Its sums go with it, and what is told of it afterwards is no error."""
    other = make_repository("devtable/other")
    add(transaction, {(app.id, ALL): Pulls(1, 1)})
    repository.delete(transaction, app.id)
    add(transaction, {(app.id, ALL): Pulls(1, 1), (other.id, ALL): Pulls(1, 1)})
    assert pulls(transaction, app.id, [ALL]) == {ALL: NONE}
    assert pulls(transaction, other.id, [ALL]) == {ALL: Pulls(1, 1)}


def test_a_removed_namespace(transaction: Transaction, app: Repository) -> None:
    """The sums of its repositories go bit by bit, as all that they have much of."""
    add(transaction, {(app.id, f"t{number}"): Pulls(1, 1) for number in range(30)})
    removal.begin(transaction, app.namespace_id)
    removal.proceed(transaction, 10)
    left = sum(one.count for one in pulls(transaction, app.id, (f"t{number}" for number in range(30))).values())
    assert left == 20
    while removal.proceed(transaction):
        pass
    assert pulls(transaction, app.id, ["t29"]) == {"t29": NONE}


def test_garbage(transaction: Transaction, app: Repository) -> None:
    """With the last lifetime of a tag, and with a manifest, what was counted of them goes; of others it stays."""
    client, gone, kept = Client(transaction, app), image("gone"), image("kept")
    client.push(gone, "old")
    client.push(gone, "moving")
    client.push(kept, "moving")
    subjects = ("old", "moving", gone.digest, kept.digest)
    add(transaction, {(app.id, subject): Pulls(1, 1) for subject in subjects})
    delete_tag(*client.at, "old")
    client.later(TWO_WEEKS + 1)
    tags = garbage.due_tags(transaction, TWO_WEEKS, (), 10)
    garbage.remove_tags(transaction, app.id, [due.id for due in tags.due])
    manifests = garbage.due_manifests(transaction, TWO_WEEKS, (), 10)
    garbage.remove_manifests(transaction, app.id, [due.id for due in manifests.due], 0)
    assert pulls(transaction, app.id, subjects) == {
        "old": NONE,
        "moving": Pulls(1, 1),
        gone.digest: NONE,
        kept.digest: Pulls(1, 1),
    }


def test_beyond_restoration(transaction: Transaction, app: Repository) -> None:
    """A tag that is deleted for good takes its sums along."""
    client, pushed = Client(transaction, app), image("app")
    client.push(pushed, "latest")
    add(transaction, {(app.id, "latest"): Pulls(1, 1)})
    forget_lifetime(transaction, app, Tag("latest"), pushed.digest, alive=True)
    assert pulls(transaction, app.id, ["latest"]) == {"latest": NONE}
    forget(transaction, app.id, [])
