"""The audit log written by several nodes at once, on a real PostgreSQL: nothing is sealed twice, nothing fails."""

from __future__ import annotations

from quay.model import repository
from quay.model.activity import popularity
from quay.model.audit import Entry, append
from quay.model.seal import Seal, extend, following, head
from tests.unit.model.pushing import Client
from tests.unit.model.test_contention import Cluster, cluster

__all__ = ["cluster"]

KEY = b"k" * 32


def write(client: Client) -> None:
    append(client.txn, [Entry(kind="pull_repo", repository_id=client.repository.id)])


def test_two_nodes_seal(cluster: Cluster) -> None:
    """Of two nodes that seal at once the second one waits, seals nothing, and the chain is whole."""
    cluster.do(write)
    first = []
    second = cluster.meanwhile(
        lambda client: first.append(extend(client.txn, KEY, 10)), lambda client: extend(client.txn, KEY, 10)
    )
    assert second is None
    assert [one for one in first if one] == [cluster.do(lambda client: head(client.txn))]
    [found] = cluster.do(lambda client: following(client.txn, None))
    assert found.fits(KEY, "") and found.entries == 1


def test_an_entry_that_is_committed_late(cluster: Cluster) -> None:
    """An entry that is written before a seal, and committed after it, goes under the next seal."""

    def login(client: Client) -> None:
        append(client.txn, [Entry(kind="login_success")])

    def login_and_seal(client: Client) -> Seal | None:
        login(client)
        return extend(client.txn, KEY, 10)

    early = cluster.meanwhile(login, login_and_seal, waits=False)
    late = cluster.do(lambda client: extend(client.txn, KEY, 10))
    assert early is not None and late is not None
    assert [(made.id, made.entries) for made in (early, late)] == [(1, 1), (2, 1)]
    first, second = cluster.do(lambda client: following(client.txn, None))
    assert first.fits(KEY, "") and second.fits(KEY, early.seal)


def test_two_nodes_count(cluster: Cluster) -> None:
    """What two nodes write of one repository on one day is counted together."""
    cluster.meanwhile(write, write)
    of = cluster.repository.id
    assert cluster.do(lambda client: popularity(client.txn, [of], 36500)) == {of: 2}


def test_a_repository_that_is_being_deleted(cluster: Cluster) -> None:
    """What is written of a repository while it is deleted waits for that, and is kept without being counted."""
    cluster.meanwhile(lambda client: repository.delete(client.txn, client.repository.id), write)
    of = cluster.repository.id
    assert cluster.do(lambda client: popularity(client.txn, [of], 36500)) == {of: 0}
    cluster.do(write)
    made = cluster.do(lambda client: extend(client.txn, KEY, 10))
    assert made is not None and made.entries == 2
