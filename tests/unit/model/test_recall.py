"""Lifetimes that began elsewhere: a history that goes back to before it was here, and what is newer stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quay.database import Transaction
from quay.model import content
from quay.model.recall import Past, recall
from quay.model.repository import Repository
from quay.model.tag import resolve_tag
from quay.model.time_machine import expire_tags, expired_tag, restore_tag, tag_history
from quay.oci.manifest import Manifest
from quay.oci.reference import Tag
from tests.unit.model.pushing import HOUR, Client, image

LATEST = Tag("latest")
MS = HOUR * 1000


@pytest.fixture
def client(transaction: Transaction, user: Callable[..., object], make_repository: Callable[..., Repository]) -> Client:
    user("devtable")
    made = Client(transaction, make_repository("devtable/app"))
    for name in ("first", "second"):
        made.push(image(name))
    return made


def past(client: Client, pushed: Manifest, hours: int, until: int | None = None, **more: object) -> Past:
    """What `latest` was, so many hours ago."""
    now = client.txn.now_ms
    ended = None if until is None else now - until * MS
    return Past(LATEST, pushed.digest, now - hours * MS, ended, **more)  # type: ignore[arg-type]


def test_a_history_comes_with_its_times(client: Client) -> None:
    """A tag is what it was last, its past can be restored, and a second time nothing is new."""
    lifetimes = [past(client, image("second"), 2), past(client, image("first"), 5, 2)]
    done = recall(*client.at, lifetimes)
    assert (done.count, done.current, list(done.kept)) == (2, 1, [])
    row = resolve_tag(*client.at, LATEST)
    assert row is not None and row.digest == image("second").digest
    assert [one.digest for one in tag_history(*client.at, limit=9)] == [image("second").digest, image("first").digest]
    restore_tag(client.txn, client.repository, LATEST, image("first").digest)
    assert recall(*client.at, lifetimes).count == 0


def test_what_is_newer_here_stays(client: Client) -> None:
    """Whoever has moved a tag here keeps it as it is; the past comes all the same."""
    client.push(image("second"), "latest")
    done = recall(*client.at, [past(client, image("first"), 2), past(client, image("first"), 8, 5)])
    assert (done.count, done.current, list(done.kept)) == (1, 0, [LATEST])
    row = resolve_tag(*client.at, LATEST)
    assert row is not None and row.digest == image("second").digest


def test_what_is_older_here_ends(client: Client) -> None:
    """A tag that moved there after it was here moves here, too."""
    client.push(image("first"), "latest")
    client.later(2 * HOUR)
    done = recall(*client.at, [past(client, image("second"), 1)])
    assert (done.count, done.current) == (1, 1)
    row = resolve_tag(*client.at, LATEST)
    assert row is not None and row.digest == image("second").digest
    assert tag_history(*client.at, limit=9)[1].end_ms == client.txn.now_ms - MS


def test_what_ended_there_since_ends_here(client: Client) -> None:
    """A tag that came while it was used, and was deleted there, is deleted here by the next import."""
    recall(*client.at, [past(client, image("first"), 5)])
    done = recall(*client.at, [past(client, image("first"), 5, 1)])
    assert done.count == 0
    assert resolve_tag(*client.at, LATEST) is None
    assert expired_tag(*client.at, LATEST) is not None
    assert content.stored(*client.at, image("first").digest) is not None


def test_what_ended_there_since_is_out_of_sight(client: Client) -> None:
    """A manifest whose last tag ended there cannot be pulled here any more, and becomes garbage like any other."""
    client.later(2 * HOUR)
    expire_tags(client.txn, 100)  # what kept it while it had no tag
    recall(*client.at, [past(client, image("first"), 5)])
    assert content.manifest(*client.at, image("first").digest) is not None
    recall(*client.at, [past(client, image("first"), 5, 2), past(client, image("second"), 2)])
    assert content.manifest(*client.at, image("first").digest) is None


def test_a_locked_tag_stays(client: Client) -> None:
    """Nothing moves a tag that is locked."""
    recall(*client.at, [past(client, image("first"), 5, immutable=True)])
    assert list(recall(*client.at, [past(client, image("second"), 1)]).kept) == [LATEST]
    recall(*client.at, [past(client, image("first"), 5, 1)])
    assert resolve_tag(*client.at, LATEST) is not None


def test_without_its_manifest_nothing_comes(client: Client) -> None:
    """A lifetime whose manifest is not here is none."""
    assert recall(*client.at, [past(client, image("never pushed"), 5)]).count == 0


def test_caches_hear_of_it(client: Client) -> None:
    """Whoever has cached the tag forgets it."""
    recall(*client.at, [past(client, image("first"), 5)])
    assert ("tag", client.repository.id, "latest") in client.txn.changes
