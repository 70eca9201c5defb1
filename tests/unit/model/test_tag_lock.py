"""Immutable tags, and tags that are told when to expire, on both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quay.database import Transaction
from quay.model.content import delete_manifest, manifest
from quay.model.repository import Repository
from quay.model.tag import TagExpires, TagRow, delete_tag, expire, expire_all, resolve_tag, set_immutable
from quay.model.time_machine import expire_tags, forget, restore_tag
from quay.oci.errors import TagImmutable
from quay.oci.reference import Tag
from tests.unit.model.pushing import HOUR, Client, image, index

ONE, OTHER = image("one"), image("other")


@pytest.fixture
def client(transaction: Transaction, user: Callable[..., object], make_repository: Callable[..., Repository]) -> Client:
    user("devtable")
    made = Client(transaction, make_repository("devtable/app"))
    made.push(ONE, "v1")
    return made


def row(client: Client, name: str = "v1") -> TagRow:
    found = resolve_tag(*client.at, name)
    assert found is not None
    return found


@pytest.fixture
def locked(client: Client) -> Client:
    """A client of a repository whose tag v1 is immutable."""
    before = set_immutable(*client.at, "v1", True)
    assert before is not None
    assert not before.immutable
    return client


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (lambda client: client.push(OTHER, "v1"), "cannot be moved to another manifest"),
        (lambda client: delete_tag(*client.at, "v1"), "cannot be deleted"),
        (lambda client: delete_manifest(*client.at, ONE.digest), "cannot be deleted"),
        (lambda client: expire(*client.at, "v1", client.txn.now_ms + 1), "cannot be made to expire"),
        (lambda client: forget(client.txn, client.repository, Tag("v1"), ONE.digest, alive=True), "be forgotten"),
    ],
)
def test_a_lock_holds(locked: Client, work: Callable[[Client], object], says: str) -> None:
    """An immutable tag is refused every change, in a sentence that names it, and is what it was."""
    with pytest.raises(TagImmutable, match=f"The tag v1 is immutable: it .*{says}"):
        work(locked)
    assert (row(locked).digest, row(locked).immutable, row(locked).expires_ms) == (ONE.digest, True, None)


def test_a_locked_tag_is_not_restored_to_something_else(client: Client) -> None:
    """The time machine does not move an immutable tag."""
    client.push(OTHER, "v1")
    set_immutable(*client.at, "v1", True)
    with pytest.raises(TagImmutable):
        restore_tag(client.txn, client.repository, Tag("v1"), ONE.digest)
    restore_tag(client.txn, client.repository, Tag("v1"), OTHER.digest)
    assert row(client).immutable


def test_what_a_lock_lets_through(locked: Client) -> None:
    """The same manifest may be pushed again, with whatever life its label says; other tags of it come and go."""
    locked.push(ONE, "v1", expires_after_s=HOUR)
    locked.push(ONE, "latest", expires_after_s=HOUR)
    assert (row(locked).immutable, row(locked).expires_ms) == (True, None)
    expire_all(*locked.at, row(locked).manifest_id, 2 * HOUR)
    assert (row(locked).expires_ms, row(locked, "latest").expires_ms) == (None, locked.txn.now_ms + 2 * HOUR * 1000)
    delete_tag(*locked.at, "latest")
    locked.later(HOUR * 24 * 400)
    assert expire_tags(locked.txn, 10) == 0
    assert manifest(*locked.at, ONE.digest) is not None


def test_unlocked(locked: Client) -> None:
    """An unlocked tag is a tag like any other."""
    before = set_immutable(*locked.at, "v1", False)
    assert before is not None
    assert before.immutable
    locked.push(OTHER, "v1")
    assert not row(locked).immutable
    assert set_immutable(*locked.at, "none", True) is None


def test_what_expires_is_not_locked(client: Client) -> None:
    """A tag that is to expire must first be told not to."""
    expire(*client.at, "v1", client.txn.now_ms + 1)
    with pytest.raises(TagExpires, match="is to expire"):
        set_immutable(*client.at, "v1", True)
    expire(*client.at, "v1", None)
    set_immutable(*client.at, "v1", True)
    assert row(client).immutable


def test_expire(client: Client) -> None:
    """A tag expires when it is told to, says so to caches, and gives what it was before."""
    at = client.txn.now_ms + HOUR * 1000
    before = expire(*client.at, "v1", at)
    assert before is not None
    assert before.expires_ms is None
    assert row(client).expires_ms == at
    assert ("tag", client.repository.id, "v1") in client.txn.changes
    client.later(HOUR)
    assert resolve_tag(*client.at, "v1") is None
    assert expire(*client.at, "v1", None) is None
    assert expire(*client.at, "none", at) is None


def test_expire_all(client: Client) -> None:
    """All tags of a manifest are told to expire: neither those of another, nor what has ended, nor hidden ones."""
    client.push(ONE, "latest")
    client.push(OTHER, "other")
    client.push(ONE, "ended")
    delete_tag(*client.at, "ended")
    txn = Transaction(client.txn.connection, client.txn.now_ms)
    expire_all(txn, client.repository.id, row(client).manifest_id, HOUR)
    inside = client.repository.id
    assert set(txn.changes) == {("tag", inside, "v1"), ("tag", inside, "latest")}
    assert row(client, "other").expires_ms is None


def test_forget(client: Client) -> None:
    """What is forgotten cannot be restored, and its manifests are due at once; the children only where that is said."""
    parent = index(image("child"))
    client.push(image("child"))
    client.push(parent, "list")
    delete_tag(*client.at, "list")
    client.later(HOUR)
    name = Tag("list")
    assert forget(client.txn, client.repository, name, parent.digest, alive=True) == 0
    assert forget(client.txn, client.repository, Tag("v1"), parent.digest) == 0
    assert forget(client.txn, client.repository, name, parent.digest) == 1
    assert forget(client.txn, client.repository, name, parent.digest) == 0


def test_forget_what_is_there(client: Client) -> None:
    """A tag that is there is forgotten at once, and caches are told."""
    txn = Transaction(client.txn.connection, client.txn.now_ms)
    assert forget(txn, client.repository, Tag("v1"), ONE.digest, alive=True) == 1
    assert ("tag", client.repository.id, "v1") in txn.changes
    assert resolve_tag(*client.at, "v1") is None
    assert manifest(*client.at, ONE.digest) is None
