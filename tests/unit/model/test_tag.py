"""Tags: one current row each, lifetimes without gaps, expiry, and lists of constant cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import tag
from quay.model.content import delete_manifest, manifest
from quay.model.repository import Repository
from quay.model.tag import FOREVER, delete_tag, resolve_tag, tags
from quay.model.time_machine import expire_tags, tag_history
from tests.unit.model.pushing import HOUR, Client, assert_constant_cost, image, index, plans


@pytest.fixture
def client(transaction: Transaction, user: Callable[..., object], make_repository: Callable[..., Repository]) -> Client:
    user("devtable")
    return Client(transaction, make_repository("devtable/app"))


def fill(client: Client, count: int, *, hidden: bool = False) -> None:
    """`count` tags of one manifest, written directly."""
    pushed = client.push(image("filler"), "filler")
    row = {"repository_id": client.repository.id, "manifest_id": pushed.manifest.id, "start_ms": 0, "hidden": hidden}
    names = [f"$temp-{number:05}" if hidden else f"v{number:05}" for number in range(count)]
    client.txn.execute(sa.insert(tag), [row | {"name": name} for name in names])


def test_resolve(client: Client) -> None:
    """A tag names what was pushed last under it, since the moment of that push."""
    client.push(image("one"), "latest")
    client.later(1)
    client.push(image("two"), "latest")
    row = resolve_tag(*client.at, "latest")
    assert row is not None
    assert (row.digest, row.start_ms, row.size) == (image("two").digest, client.txn.now_ms, len(image("two").raw))
    assert resolve_tag(*client.at, "other") is None


def test_lifetimes_meet(client: Client) -> None:
    """One lifetime ends at the millisecond at which the next begins."""
    for name in ("one", "two", "three"):
        client.push(image(name), "latest")
        client.later(1)
    three, two, one = tag_history(*client.at, name="latest", limit=10)
    assert (one.end_ms, two.end_ms, three.end_ms) == (two.start_ms, three.start_ms, None)


def test_clock_set_back(client: Client) -> None:
    """A clock that was set back makes no lifetime that ends before it begins."""
    client.push(image("one"), "latest")
    client.later(-HOUR)
    client.push(image("two"), "latest")
    two, one = tag_history(*client.at, name="latest", limit=10)
    assert one.start_ms == one.end_ms == two.start_ms
    assert delete_tag(*client.at, "latest")
    assert resolve_tag(*client.at, "latest") is None


def test_delete(client: Client) -> None:
    """A deleted tag is gone, with the manifest that only it named; another tag of the same manifest stays."""
    client.push(image("one"), "latest")
    client.push(image("one"), "stable")
    assert delete_tag(*client.at, "latest")
    assert not delete_tag(*client.at, "latest")
    assert resolve_tag(*client.at, "latest") is None
    assert manifest(*client.at, image("one").digest) is not None
    assert delete_tag(*client.at, "stable")
    assert manifest(*client.at, image("one").digest) is None


def test_expiry(client: Client) -> None:
    """A tag is gone at the moment of its expiry, before anybody has ended its row."""
    client.push(image("app"), "nightly", expires_after_s=60)
    client.later(59.999)
    assert resolve_tag(*client.at, "nightly") is not None
    client.later(0.001)
    assert resolve_tag(*client.at, "nightly") is None
    assert tags(*client.at, after=None, limit=10) == []
    assert not delete_tag(*client.at, "nightly")


def test_push_refreshes_expiry(client: Client) -> None:
    """The same manifest pushed again expires later; pushed without an expiry, it keeps the one it has."""
    client.push(image("app"), "nightly", expires_after_s=60)
    client.later(30)
    client.push(image("app"), "nightly", expires_after_s=60)
    client.push(image("app"), "nightly")
    row = resolve_tag(*client.at, "nightly")
    assert row is not None
    assert row.expires_ms == client.txn.now_ms + 60_000
    assert len(tag_history(*client.at, limit=10)) == 1


def test_push_after_expiry(client: Client) -> None:
    """A push to a tag that has expired begins a new lifetime, and finds nothing that it replaced."""
    client.push(image("app"), "nightly", expires_after_s=60)
    client.later(90)
    assert client.push(image("app"), "nightly").previous is None
    new, old = tag_history(*client.at, name="nightly", limit=10)
    assert (old.end_ms, new.start_ms) == (old.start_ms + 60_000, client.txn.now_ms)
    assert resolve_tag(*client.at, "nightly") == new


def test_absurd_expiry(client: Client) -> None:
    """An expiry beyond all integers is as good as none."""
    client.push(image("app"), "eternal", expires_after_s=2**70)
    row = resolve_tag(*client.at, "eternal")
    assert row is not None
    assert row.expires_ms == FOREVER


def test_pushed_by_digest(client: Client) -> None:
    """What is pushed by digest is readable for the time of the temporary tag, which each push makes longer."""
    client.push(image("app"))
    client.later(HOUR / 2)
    client.push(image("app"))
    client.later(HOUR - 1)
    expire_tags(client.txn, 10)
    assert manifest(*client.at, image("app").digest) is not None
    assert tags(*client.at, after=None, limit=10) == []
    assert tag_history(*client.at, limit=10) == []
    client.later(1)
    expire_tags(client.txn, 10)
    assert manifest(*client.at, image("app").digest) is None


def test_no_temporary_tag_where_none_is_needed(client: Client) -> None:
    """The child of an index and the referrer of a subject need no temporary tag, and live as long as these."""
    app, child = image("app"), image("child")
    client.push(app, "latest")
    client.put(index(child), "index", sparse=True)
    client.push(child)
    client.push(image("signature", subject=app))
    assert client.txn.execute(sa.select(sa.func.count()).select_from(tag).where(tag.c.hidden)).scalar_one() == 0
    delete_tag(*client.at, "latest")
    assert manifest(*client.at, image("signature", subject=app).digest) is None


def test_announcements(client: Client) -> None:
    """Whatever changes a tag announces it; hidden tags are nobody's business."""
    inside = client.repository.id
    client.push(image("one"))
    assert not any(key[0] == "tag" for key in client.txn.changes)
    client.push(image("one"), "pushed", expires_after_s=1)
    client.push(image("one"), "deleted")
    for work in (
        lambda txn: delete_tag(txn, inside, "deleted"),
        lambda txn: Client(txn, client.repository).push(image("one"), "pushed", expires_after_s=2),
        lambda txn: delete_manifest(txn, inside, image("one").digest),
    ):
        txn = Transaction(client.txn.connection, client.txn.now_ms)
        work(txn)
        assert any(key in txn.changes for key in (("tag", inside, "deleted"), ("tag", inside, "pushed")))


def test_list(client: Client, make_repository: Callable[..., Repository]) -> None:
    """Tags come in byte order, after the last one of the page before, and from this repository only."""
    for name in ("b", "B", "_x", "1", "a-1", "a.1", "a"):
        client.push(image("app"), name)
    Client(client.txn, make_repository("devtable/other")).push(image("app"), "foreign")
    everything = ["1", "B", "_x", "a", "a-1", "a.1", "b"]
    assert tags(*client.at, after=None, limit=100) == everything
    assert tags(*client.at, after="_x", limit=2) == ["a", "a-1"]
    assert tags(*client.at, after="aa", limit=2) == ["b"]
    assert tags(*client.at, after="$temp", limit=1) == ["1"]
    assert tags(*client.at, after="zzz", limit=2) == []


@pytest.mark.parametrize("after", [None, "v04990"])
def test_list_costs_the_same_everywhere(client: Client, after: str | None) -> None:
    """A page of 5,000 tags is one range of an index, wherever it begins."""
    fill(client, 5_000)
    assert_constant_cost(plans(client.txn, lambda: tags(*client.at, after=after, limit=5)))
    assert len(tags(*client.at, after=after, limit=5)) == 5


def test_hidden_tags_are_not_read(client: Client) -> None:
    """Hidden tags lie below the range that a list reads, however many they are."""
    fill(client, 1_000, hidden=True)
    assert tags(*client.at, after=None, limit=10) == ["filler"]
    assert tags(*client.at, after="$temp-00500", limit=10) == ["filler"]
