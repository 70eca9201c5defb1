"""Blobs are reached through links, leased, mounted where one may read, and never unlinked under a manifest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import manifest, repository_blob, tag
from quay.model.blob import BlobInUse, blob, link_blob, mount_blob, readable_source, unlink_blob
from quay.model.repository import Repository, delete
from quay.model.tag import delete_tag
from quay.model.time_machine import expire_tags, restore_tag
from quay.oci.errors import ManifestUnknown, NameUnknown
from quay.oci.reference import Digest, Tag
from tests.unit.model.pushing import HOUR, Client, image, index

DIGEST = Digest.of(b"layer")


@pytest.fixture
def repositories(user: Callable[..., object], make_repository: Callable[..., Repository]) -> list[Repository]:
    user("devtable")
    return [make_repository(f"devtable/{name}") for name in ("one", "two")]


@pytest.fixture
def client(transaction: Transaction, repositories: list[Repository]) -> Client:
    return Client(transaction, repositories[0])


def leased_until(txn: Transaction) -> int:
    until: int = txn.execute(sa.select(repository_blob.c.leased_until_ms)).scalar_one()
    return until


def test_link(client: Client, repositories: list[Repository]) -> None:
    """A linked blob is found with its size and locations, in this repository and in no other."""
    linked = link_blob(*client.at, DIGEST, 5, "local", lease_s=HOUR)
    assert (linked.digest, linked.size, linked.locations) == (DIGEST, 5, ("local",))
    assert blob(*client.at, DIGEST) == linked
    assert blob(client.txn, repositories[1].id, DIGEST) is None
    assert ("blob", client.repository.id, DIGEST) in client.txn.changes


def test_another_location(client: Client) -> None:
    """The same blob in a second location is one blob with two locations, in order of their names."""
    first = link_blob(*client.at, DIGEST, 5, "west", lease_s=HOUR)
    second = link_blob(*client.at, DIGEST, 5, "east", lease_s=HOUR)
    assert first.id == second.id
    assert second.locations == ("east", "west")


def test_what_a_link_announces(client: Client, repositories: list[Repository]) -> None:
    """All repositories that link a blob hear of another location; of one where it was already, only the new link's."""
    here, there = (Transaction(client.txn.connection, client.txn.now_ms) for _ in range(2))
    link_blob(*client.at, DIGEST, 5, "west", lease_s=HOUR)
    link_blob(here, repositories[1].id, DIGEST, 5, "west", lease_s=HOUR)
    link_blob(there, repositories[1].id, DIGEST, 5, "east", lease_s=HOUR)
    assert here.changes == (("blob", repositories[1].id, DIGEST),)
    assert set(there.changes) == {("blob", repository.id, DIGEST) for repository in repositories}


def test_lease_grows(client: Client) -> None:
    """A lease is made longer by the next one, and never shorter."""
    link_blob(*client.at, DIGEST, 5, "local", lease_s=HOUR)
    until = leased_until(client.txn)
    link_blob(*client.at, DIGEST, 5, "local", lease_s=1)
    assert leased_until(client.txn) == until
    client.later(60)
    link_blob(*client.at, DIGEST, 5, "local", lease_s=HOUR)
    assert leased_until(client.txn) == until + 60_000


def test_link_to_a_deleted_repository(client: Client) -> None:
    """A repository that was deleted meanwhile is said to be unknown, not a violated constraint."""
    delete(*client.at)
    with pytest.raises(NameUnknown):
        link_blob(*client.at, DIGEST, 5, "local", lease_s=HOUR)


def test_mount(client: Client, repositories: list[Repository]) -> None:
    """A mount links the blob of one repository to another, with a lease; what the source lacks is not mounted."""
    one, two = repositories
    assert mount_blob(client.txn, one.id, two.id, DIGEST, lease_s=HOUR) is None
    linked = link_blob(*client.at, DIGEST, 5, "local", lease_s=0)
    assert mount_blob(client.txn, one.id, two.id, DIGEST, lease_s=HOUR) == linked
    assert blob(client.txn, two.id, DIGEST) == linked
    assert mount_blob(client.txn, two.id, two.id, DIGEST, lease_s=HOUR) == linked


def test_readable_source(
    client: Client, user: Callable[..., object], make_repository: Callable[..., Repository]
) -> None:
    """A mount from anywhere finds a repository that the holder may read and that its token names, or none."""
    link_blob(*client.at, DIGEST, 5, "local", lease_s=HOUR)
    owner, nobody = client.repository.namespace_id, None
    name = str(client.repository.name)
    assert readable_source(client.txn, DIGEST, holder_id=owner, names=None) == client.repository
    assert readable_source(client.txn, DIGEST, holder_id=owner, names=[name]) == client.repository
    assert readable_source(client.txn, DIGEST, holder_id=owner, names=["devtable/two"]) is None
    assert readable_source(client.txn, DIGEST, holder_id=owner, names=[]) is None
    assert readable_source(client.txn, DIGEST, holder_id=nobody, names=None) is None
    public = make_repository("devtable/public", public=True)
    mount_blob(client.txn, client.repository.id, public.id, DIGEST, lease_s=HOUR)
    assert readable_source(client.txn, DIGEST, holder_id=nobody, names=None) == public


def test_unlink(client: Client, repositories: list[Repository]) -> None:
    """Unlinking removes the link here, leaves every other, and says whether there was one."""
    link_blob(*client.at, DIGEST, 5, "local", lease_s=HOUR)
    mount_blob(client.txn, client.repository.id, repositories[1].id, DIGEST, lease_s=HOUR)
    assert unlink_blob(*client.at, DIGEST)
    assert not unlink_blob(*client.at, DIGEST)
    assert blob(*client.at, DIGEST) is None
    assert blob(client.txn, repositories[1].id, DIGEST) is not None


def test_unlink_in_use(client: Client) -> None:
    """A blob that a reachable manifest names stays, and the refusal names the manifest."""
    pushed = client.push(image("app", layers=["layer"]), "latest")
    with pytest.raises(BlobInUse, match=pushed.manifest.digest) as refused:
        unlink_blob(*client.at, DIGEST)
    assert refused.value.status == 405
    assert blob(*client.at, DIGEST) is not None


def test_unlink_takes_what_could_not_be_restored(client: Client) -> None:
    """Unlinking a blob removes the unreachable manifests that name it, and their lifetimes from the time machine."""
    old, new = image("old", layers=["layer"]), image("new")
    client.push(old, "latest")
    client.push(new, "latest")
    assert unlink_blob(*client.at, DIGEST)
    assert client.txn.execute(sa.select(manifest.c.digest)).scalars().all() == [new.digest]
    assert len(client.txn.execute(sa.select(tag.c.id)).all()) == 1


def test_unlink_takes_the_index_of_what_could_not_be_restored(client: Client) -> None:
    """Nobody restores a tag to an index without one of its images; an index that is in sight stays."""
    broken, whole = image("config", layers=["layer"]), image("other")
    for one in (broken, whole):
        client.push(one)
    inner = index(broken, name="inner")
    outer = index(inner, whole)
    client.push(inner)
    client.push(outer, "latest")
    delete_tag(*client.at, "latest")
    client.push(index(whole), "stable")
    client.later(2 * HOUR)
    expire_tags(client.txn, 100)
    assert unlink_blob(*client.at, DIGEST)
    left = set(client.txn.execute(sa.select(manifest.c.digest)).scalars())
    assert left == {whole.digest, index(whole).digest}
    with pytest.raises(ManifestUnknown):
        restore_tag(client.txn, client.repository, Tag("latest"), outer.digest)
