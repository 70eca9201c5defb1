"""The time machine: what ended can be restored as long as the namespace says, and no longer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import manifest as manifests
from quay.database.schema import namespace, tag
from quay.model.content import delete_manifest, manifest
from quay.model.repository import Repository, find
from quay.model.tag import delete_tag, resolve_tag
from quay.model.time_machine import expire_tags, expired_tag, forget, lifetimes, restore_tag, tag_history
from quay.oci.errors import ManifestUnknown
from quay.oci.manifest import Manifest
from quay.oci.reference import Tag
from tests.unit.model.conftest import TWO_WEEKS
from tests.unit.model.pushing import HOUR, Client, assert_constant_cost, image, index, plans


@pytest.fixture
def client(transaction: Transaction, user: Callable[..., object], make_repository: Callable[..., Repository]) -> Client:
    user("devtable")
    return Client(transaction, make_repository("devtable/app"))


def restore(client: Client, pushed: Manifest, name: str = "latest") -> None:
    restore_tag(client.txn, client.repository, Tag(name), pushed.digest)


def test_restore_a_deleted_tag(client: Client) -> None:
    """A deleted tag comes back with its manifest and all that this keeps, as a new lifetime that says what it is."""
    app = index(image("child"))
    client.push(image("child"))
    client.push(app, "latest")
    delete_tag(*client.at, "latest")
    client.later(TWO_WEEKS - 1)
    expire_tags(client.txn, 10)
    assert manifest(*client.at, image("child").digest) is None
    row = restore_tag(client.txn, client.repository, Tag("latest"), app.digest)
    assert (row.reversion, row.digest, row.start_ms, row.expires_ms) == (True, app.digest, client.txn.now_ms, None)
    assert resolve_tag(*client.at, "latest") == row
    assert manifest(*client.at, image("child").digest) is not None


def test_restore_an_older_manifest(client: Client) -> None:
    """A tag that moved on can be pointed back at what it named before, and forth again."""
    one, two = image("one"), image("two")
    client.push(one, "latest")
    client.push(two, "latest")
    restore(client, one)
    assert manifest(*client.at, two.digest) is None
    restore(client, two)
    assert manifest(*client.at, one.digest) is None
    assert [row.digest for row in tag_history(*client.at, limit=10)] == [two.digest, one.digest, two.digest, one.digest]


def test_restore_what_is_there(client: Client) -> None:
    """Restoring what the tag names anyway changes nothing."""
    client.push(image("one"), "latest")
    restore(client, image("one"))
    assert len(tag_history(*client.at, limit=10)) == 1


def test_restore_makes_whole(client: Client) -> None:
    """Restoring the tag of an index that is there brings back the child that was deleted under it."""
    client.push(image("child"))
    client.push(index(image("child")), "latest")
    delete_manifest(*client.at, image("child").digest)
    restore(client, index(image("child")))
    assert manifest(*client.at, image("child").digest) is not None


def test_restore_an_expired_tag(client: Client) -> None:
    """A tag that has expired comes back without an expiry, whether its row has been ended yet or not."""
    for ended in (False, True):
        name = f"nightly-{ended}"
        client.push(image(name), name, expires_after_s=60)
        client.later(90)
        assert expire_tags(client.txn, 10) == 1 if ended else True
        restore(client, image(name), name)
        row = resolve_tag(*client.at, name)
        assert row is not None
        assert row.expires_ms is None


def test_what_cannot_be_restored(client: Client, make_repository: Callable[..., Repository]) -> None:
    """A tag is restored to nothing that it never named here, nor to what ended before the time machine reaches."""
    client.push(image("one"), "latest")
    client.push(image("two"), "other")
    Client(client.txn, make_repository("devtable/foreign")).push(image("three"), "latest")
    for unknown in (image("two"), image("three"), image("four")):
        with pytest.raises(ManifestUnknown, match="latest of devtable/app"):
            restore(client, unknown)
    delete_tag(*client.at, "latest")
    client.later(TWO_WEEKS)
    with pytest.raises(ManifestUnknown):
        restore(client, image("one"))


def test_no_time_machine(client: Client) -> None:
    """Where the time machine is set to nothing, what was deleted is gone."""
    client.txn.execute(sa.update(namespace).values(time_machine_s=0))
    without = find(client.txn, client.repository.name)
    assert without is not None
    client.push(image("one"), "latest")
    delete_tag(*client.at, "latest")
    assert expired_tag(*client.at, "latest") is None
    with pytest.raises(ManifestUnknown):
        restore_tag(client.txn, without, Tag("latest"), image("one").digest)


def test_expired_tag(client: Client) -> None:
    """A tag that ended is told from one that never was, as long as it can be restored."""
    assert expired_tag(*client.at, "latest") is None
    client.push(image("one"), "latest", expires_after_s=HOUR)
    assert expired_tag(*client.at, "latest") is None
    client.later(HOUR)
    row = expired_tag(*client.at, "latest")
    assert row is not None
    assert (row.digest, row.until_ms) == (image("one").digest, client.txn.now_ms)
    expire_tags(client.txn, 10)
    assert expired_tag(*client.at, "latest") is not None
    client.later(TWO_WEEKS)
    assert expired_tag(*client.at, "latest") is None


def test_expire(client: Client) -> None:
    """Expired tags end at their expiry, the longest passed first, so many at a time; their manifests go with them."""
    for number in range(5):
        client.push(image(str(number)), f"v{number}", expires_after_s=100 - number)
    client.later(99)
    txn = Transaction(client.txn.connection, client.txn.now_ms)
    assert [expire_tags(txn, 3), expire_tags(txn, 3), expire_tags(txn, 3)] == [3, 1, 0]
    inside = client.repository.id
    assert set(txn.changes) == {
        key
        for number in range(1, 5)
        for key in (("tag", inside, f"v{number}"), ("manifest", inside, image(str(number)).digest))
    }
    ends = client.txn.execute(sa.select(tag.c.end_ms - tag.c.start_ms).order_by(tag.c.name)).scalars().all()
    assert ends == [None, 99_000, 98_000, 97_000, 96_000]
    assert manifest(*client.at, image("0").digest) is not None
    assert manifest(*client.at, image("1").digest) is None


def test_history_pages(client: Client) -> None:
    """The history comes the latest first, in pages, of one tag or of all, without hidden ones."""
    client.push(image("untagged"))
    for number in range(5):
        client.push(image(str(number)), f"v{number % 2}")
    every = tag_history(*client.at, limit=10)
    assert [row.digest for row in every] == [image(str(number)).digest for number in (4, 3, 2, 1, 0)]
    first = tag_history(*client.at, name="v0", limit=2)
    rest = tag_history(*client.at, name="v0", before_id=first[-1].id, limit=2)
    assert [row.digest for row in first + rest] == [image(str(number)).digest for number in (4, 2, 0)]


def test_history_costs_the_same_everywhere(client: Client) -> None:
    """A page of a long history is one range of an index, of one tag or of all, and among many hidden ones."""
    pushed = client.push(image("one"), "latest")
    row = {"repository_id": client.repository.id, "manifest_id": pushed.manifest.id, "start_ms": 0, "end_ms": 1}
    rows = [row | {"name": name, "hidden": name == "$temp"} for name in ("a", "b", "$temp") for _ in range(1_500)]
    client.txn.execute(sa.insert(tag), rows)
    assert_constant_cost(plans(client.txn, lambda: tag_history(*client.at, before_id=3_000, limit=5)))
    assert_constant_cost(plans(client.txn, lambda: tag_history(*client.at, name="a", before_id=1_000, limit=5)))


def test_lifetimes(client: Client) -> None:
    """Lifetimes come the latest first: of one tag, with a part in the name, of those that are alive, page by page."""
    for name in ("v1", "V1_2", "other"):
        client.push(image("one"), name)
    client.push(image("two"), "v1")
    client.push(image("three"), "short", expires_after_s=HOUR)
    client.push(image("hidden"))
    delete_tag(*client.at, "other")
    client.later(HOUR)

    def names(**how: object) -> list[str]:
        return [row.name for row in lifetimes(*client.at, **{"limit": 9} | how)]  # type: ignore[arg-type]

    assert names() == ["short", "v1", "other", "V1_2", "v1"]
    assert names(active=True) == ["v1", "V1_2"]
    assert names(name="v1") == ["v1", "v1"]
    assert names(part="v1") == ["v1", "V1_2", "v1"]
    assert (names(part="_"), names(part="%"), names(part="1_")) == (["V1_2"], [], ["V1_2"])
    assert names(offset=1, limit=2) == ["v1", "other"]


def test_page_of_lifetimes_is_a_range(client: Client) -> None:
    """A page of tags is read from the index of the history, without a sort."""
    pushed = client.push(image("one"), "latest")
    row = {"repository_id": client.repository.id, "manifest_id": pushed.manifest.id, "start_ms": 0}
    client.txn.execute(sa.insert(tag), [row | {"name": f"v{number}"} for number in range(1_500)])
    for how in ({}, {"active": True}, {"name": "v7"}, {"part": "v7"}):
        assert_constant_cost(plans(client.txn, lambda how=how: lifetimes(*client.at, limit=5, **how)))  # type: ignore[misc]


def test_what_is_forgotten_is_garbage_at_once(client: Client) -> None:
    """What was put beyond restoration waits for no time machine; what lies below an index does, unless it is named."""
    child, parent = image("child"), index(image("child"))
    client.push(child)
    client.push(parent, "list")
    delete_tag(*client.at, "list")
    client.later(HOUR)
    expire_tags(client.txn, 10)
    since = client.txn.now_ms - TWO_WEEKS * 1000

    def unreachable() -> dict[str, int | None]:
        return dict(client.txn.execute(sa.select(manifests.c.digest, manifests.c.unreachable_ms)).all())  # type: ignore[arg-type]

    assert forget(client.txn, client.repository, Tag("list"), parent.digest) == 1
    assert unreachable()[parent.digest] == since != unreachable()[child.digest]
    client.put(parent, "list", sparse=True)
    assert forget(client.txn, client.repository, Tag("list"), parent.digest, alive=True, children=True) == 1
    assert unreachable() == {parent.digest: since, child.digest: since}


def test_what_is_forgotten_and_still_there(client: Client) -> None:
    """A manifest that another tag names is none the worse for it."""
    app = image("app")
    client.push(app, "a")
    client.push(app, "b")
    assert forget(client.txn, client.repository, Tag("a"), app.digest, alive=True) == 1
    assert manifest(*client.at, app.digest) is not None
    with pytest.raises(ManifestUnknown):
        restore(client, app, "a")
