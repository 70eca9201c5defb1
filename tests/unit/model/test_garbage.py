"""What is garbage and what is not: which rows go, which stay, and what it costs to find out."""

from __future__ import annotations

import threading
from collections.abc import Callable

import attrs
import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import open_engine
from quay.database.schema import blob as blob_row
from quay.database.schema import condemned as condemned_row
from quay.database.schema import label, manifest_child, namespace, placement, repository_blob
from quay.database.schema import manifest as manifest_row
from quay.database.schema import tag as tag_row
from quay.model import condemned, garbage
from quay.model import namespace as namespaces
from quay.model import repository as repositories
from quay.model.blob import blob, link_blob, mount_blob, unlink_blob
from quay.model.condemned import CLAIM_S, REMEMBERED_S, TRUSTED_S, BytesInDoubt, Condemned
from quay.model.content import delete_manifest, put_manifest
from quay.model.repository import Repository
from quay.model.tag import delete_tag
from quay.model.time_machine import expire_tags, restore_tag
from quay.oci.errors import ManifestBlobUnknown
from quay.oci.reference import Digest, RepositoryName, Tag
from tests.unit.model.conftest import TWO_WEEKS, MakeRepository, MakeUser
from tests.unit.model.pushing import HOUR, Client, assert_constant_cost, image, index, plans, statements

GRACE = 600
APP = image("app", layers=["layer"])


@pytest.fixture
def client(transaction: Transaction, user: MakeUser, make_repository: MakeRepository) -> Client:
    owner = user("devtable")
    return Client(transaction, make_repository("devtable/app", creator_id=owner.id))


def collect(client: Client) -> list[Condemned]:
    """All rules, once over everything; what is to be removed."""
    txn, at = client.txn, client.repository.id
    expire_tags(txn, 100)
    for reach in garbage.time_machines(txn):
        garbage.remove_tags(txn, at, ids(garbage.due_tags(txn, reach, (), 500)))
        garbage.remove_manifests(txn, at, ids(garbage.due_manifests(txn, reach, (), 500)), GRACE)
    _, _, doomed = garbage.unlink(txn, at, ids(garbage.due_links(txn, (), 500)))
    return doomed + condemned.condemn_unlinked(txn, ids(garbage.due_blobs(txn, (), 500)))[1]


def ids(page: garbage.Page) -> list[int]:
    return [due.id for due in page.due]


def stored(client: Client) -> set[str]:
    """The digests of the manifests that have a row."""
    return set(client.txn.execute(sa.select(manifest_row.c.digest)).scalars())


def count(client: Client, table: sa.Table) -> int:
    found: int = client.txn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    return found


# --- without doing it -------------------------------------------------------------------------------------------


def rehearsed(client: Client) -> dict[str, int]:
    return garbage.rehearse(client.txn, garbage.candidates(client.txn), GRACE)


def test_a_rehearsal(client: Client) -> None:
    """It says what would go, of each kind and in bytes, and nothing goes."""
    client.push(APP, "latest")
    client.later(HOUR)
    delete_tag(*client.at, "latest")
    client.upload("loose")
    client.later(TWO_WEEKS + HOUR)
    expire_tags(client.txn, 100)
    assert rehearsed(client) == {"tags": 1, "manifests": 1, "links": 1, "blobs": 1, "bytes": 5}
    assert stored(client) == {APP.digest}
    assert [one.size for one in collect(client)] == [5]


def test_a_rehearsal_in_a_large_registry(
    client: Client, make_repository: MakeRepository, user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stays is not counted as looked at, however much of it comes first."""
    monkeypatch.setattr(garbage, "_ROWS_REHEARSED", 2)
    client.push(image("kept", layers=["1", "2", "3"]), "kept")
    for number in range(3):  # restorable for two weeks
        client.push(image(f"old {number}"), "moved")
    user("hasty")
    client.txn.execute(sa.update(namespace).where(namespace.c.name == "hasty").values(time_machine_s=HOUR))
    hasty = Client(client.txn, make_repository("hasty/app"))
    hasty.push(image("gone"), "gone")
    client.later(HOUR)
    delete_tag(*hasty.at, "gone")
    hasty.upload("loose")
    client.later(3 * HOUR)
    assert rehearsed(client) == {"tags": 1, "manifests": 1, "links": 1, "blobs": 1, "bytes": 5}
    client.txn.execute(sa.delete(repository_blob).where(repository_blob.c.repository_id == hasty.repository.id))
    assert rehearsed(client)["blobs"] == 2


# --- the time machine -------------------------------------------------------------------------------------------


def test_a_tag_is_kept_while_it_can_be_restored(client: Client) -> None:
    """To the last millisecond of the time machine, a deleted tag can be restored; then its rows go, labels too."""
    client.push(APP)
    client.put(APP, "latest", labels={"a": "b"})
    client.later(2 * HOUR)
    delete_tag(*client.at, "latest")
    client.later(TWO_WEEKS - 0.001)
    assert collect(client) == []
    assert restore_tag(client.txn, client.repository, Tag("latest"), APP.digest).digest == APP.digest
    delete_tag(*client.at, "latest")
    client.later(TWO_WEEKS)
    collect(client)
    assert [count(client, table) for table in (tag_row, manifest_row, label)] == [0, 0, 0]


def test_what_is_tagged_stays(client: Client) -> None:
    """Nothing of a tagged image goes, however old."""
    client.push(APP, "latest")
    client.later(100 * TWO_WEEKS)
    assert collect(client) == []
    assert stored(client) == {APP.digest} and count(client, repository_blob) == 2


def test_each_namespace_has_its_time_machine(client: Client) -> None:
    """A shorter time machine collects earlier; that of the namespace counts, not the shortest."""
    client.push(APP, "latest")
    delete_tag(*client.at, "latest")
    client.later(TWO_WEEKS / 2)
    namespaces.create_user(client.txn, "hasty", time_machine_s=0)
    collect(client)
    assert stored(client) == {APP.digest}
    client.txn.execute(sa.update(namespace).values(time_machine_s=60))
    collect(client)
    assert stored(client) == set()


def test_a_child_of_what_can_be_restored_stays(client: Client) -> None:
    """A child that was deleted long ago stays while an index above it, at any remove, can be restored."""
    middle = index(APP, name="middle")
    top = index(middle, name="top")
    for each, name in ((APP, None), (middle, None), (top, "multi")):
        client.push(each, name)
    delete_manifest(*client.at, APP.digest)
    client.later(TWO_WEEKS * 2)
    delete_tag(*client.at, "multi")
    client.later(TWO_WEEKS / 2)
    collect(client)
    assert APP.digest in stored(client)
    restore_tag(client.txn, client.repository, Tag("multi"), top.digest)
    assert client.txn.execute(sa.select(manifest_row.c.unreachable_ms)).scalars().all() == [None] * 3
    delete_tag(*client.at, "multi")
    client.later(TWO_WEEKS + 1)
    collect(client)
    assert stored(client) == set() and count(client, manifest_child) == 0


def test_a_deleted_child_of_a_living_index_goes(client: Client) -> None:
    """Who deletes a child by its digest has its space back, though a tag still keeps the index."""
    client.push(APP)
    client.push(index(APP), "multi")
    delete_manifest(*client.at, APP.digest)
    client.later(TWO_WEEKS + 1)
    collect(client)
    assert stored(client) == {index(APP).digest}


def test_referrers(client: Client) -> None:
    """What refers to a tagged image stays without a tag of its own, and goes with its subject."""
    signature = image("signature", subject=APP)
    client.push(APP, "latest")
    client.push(signature)
    client.later(TWO_WEEKS * 3)
    collect(client)
    assert stored(client) == {APP.digest, signature.digest}
    delete_tag(*client.at, "latest")
    client.later(TWO_WEEKS - 1)
    collect(client)
    assert stored(client) == {APP.digest, signature.digest}
    client.later(2)
    collect(client)
    assert stored(client) == set()


def test_a_moved_tag(client: Client) -> None:
    """What a tag named before it was moved goes when the time machine does not reach back to the move."""
    client.push(APP, "latest")
    client.later(TWO_WEEKS)
    client.push(image("newer"), "latest")
    client.later(TWO_WEEKS - 1)
    collect(client)
    assert APP.digest in stored(client)
    client.later(2)
    collect(client)
    assert stored(client) == {image("newer").digest} and count(client, tag_row) == 1


def test_a_manifest_without_a_tag(client: Client) -> None:
    """What was pushed by digest alone is kept for as long as that is promised, and then goes like a deleted tag."""
    client.push(APP)
    client.later(HOUR - 1)
    collect(client)
    assert client.txn.execute(sa.select(manifest_row.c.unreachable_ms)).scalar() is None
    client.later(2)
    collect(client)
    assert stored(client) == {APP.digest}
    client.later(TWO_WEEKS + 1)
    collect(client)
    assert stored(client) == set() and count(client, tag_row) == 0


def test_what_a_tag_of_its_own_keeps(client: Client) -> None:
    """A child of an index, and a referrer of a subject, that have a tag themselves stay; the others go with them."""
    mine, theirs = image("mine"), image("theirs")
    top = index(mine, theirs)
    signatures = [image(name, subject=top) for name in ("tagged", "untagged")]
    for each, name in (
        (mine, "mine"),
        (theirs, None),
        (top, "multi"),
        (signatures[0], "signed"),
        (signatures[1], None),
    ):
        client.push(each, name)
    client.later(2 * HOUR)
    collect(client)
    delete_tag(*client.at, "multi")
    client.later(TWO_WEEKS + 1)
    collect(client)
    assert stored(client) == {mine.digest, signatures[0].digest}


def test_a_subject_that_was_deleted(client: Client) -> None:
    """What refers to a manifest that was deleted by its digest goes with it, and what refers to that, too."""
    signature = image("signature", subject=APP)
    for each, name in ((APP, "latest"), (signature, None), (image("countersignature", subject=signature), None)):
        client.push(each, name)
    client.later(2 * HOUR)
    collect(client)
    delete_manifest(*client.at, APP.digest)
    client.later(TWO_WEEKS - 1)
    collect(client)
    assert len(stored(client)) == 3
    client.later(2)
    collect(client)
    assert stored(client) == set()


def test_a_deleted_referrer_of_a_living_subject_goes(client: Client) -> None:
    """Who deletes a referrer by its digest has its space back, though a tag still keeps the subject."""
    signature = image("signature", subject=APP)
    client.push(APP, "latest")
    client.push(signature)
    delete_manifest(*client.at, signature.digest)
    client.later(TWO_WEEKS + 1)
    collect(client)
    assert stored(client) == {APP.digest}


def test_the_clock_goes_back(client: Client) -> None:
    """A clock that was set back a year collects nothing."""
    client.push(APP, "latest")
    delete_tag(*client.at, "latest")
    client.later(-365 * 24 * 3600)
    collect(client)
    assert stored(client) == {APP.digest}


# --- links and blobs --------------------------------------------------------------------------------------------


def test_a_leased_blob_stays(client: Client) -> None:
    """An uploaded blob that no manifest names is kept to the end of its lease; then its bytes are condemned."""
    digest = client.upload("alone", lease_s=60)
    client.later(59)
    assert collect(client) == []
    client.later(2)
    (doomed,) = collect(client)
    assert (doomed.digest, doomed.location, doomed.size) == (digest, "local", 5)
    assert blob(*client.at, digest) is None
    assert ("blob", client.repository.id, digest) in client.txn.changes


def test_grace(client: Client) -> None:
    """The blobs of a collected manifest are kept for the grace: a push may have been told that they are here."""
    client.push(APP, "latest")
    delete_tag(*client.at, "latest")
    client.later(TWO_WEEKS + 1)
    assert collect(client) == []
    client.later(GRACE - 1)
    assert collect(client) == []
    client.put(APP, "again")
    client.later(GRACE * 2)
    assert collect(client) == []
    assert count(client, repository_blob) == 2


def test_a_blob_of_two_repositories(client: Client, make_repository: MakeRepository) -> None:
    """A mounted blob stays as long as one of the repositories has it."""
    other = make_repository("devtable/other", creator_id=None)
    digest = client.upload("shared", lease_s=60)
    mount_blob(client.txn, client.repository.id, other.id, digest, lease_s=HOUR)
    client.later(61)
    assert collect(client) == []
    assert blob(*client.at, digest) is None and blob(client.txn, other.id, digest) is not None


def test_unlinked_by_hand(client: Client) -> None:
    """A blob whose last link was deleted through the API is found by its row."""
    digest = client.upload("alone")
    unlink_blob(*client.at, digest)
    assert [one.digest for one in collect(client)] == [digest]


def test_a_repository_that_is_gone(client: Client) -> None:
    """Candidates of a repository that was deleted meanwhile are passed over; its blobs are found."""
    client.push(APP, "latest")
    repositories.delete(*client.at)
    assert garbage.remove_tags(*client.at, [1]) == garbage.remove_manifests(*client.at, [1], GRACE) == 0
    assert len(collect(client)) == 2


# --- condemned bytes --------------------------------------------------------------------------------------------


@pytest.fixture
def doomed(client: Client) -> Condemned:
    client.upload("alone", lease_s=0)
    client.later(1)
    return collect(client)[0]


def seen_now(client: Client) -> Callable[..., object]:
    """Link the blob, whose bytes were in place just now."""
    digest = Digest.of(b"alone")
    return lambda **more: link_blob(
        *client.at, digest, 5, "local", lease_s=HOUR, **({"seen_ms": client.txn.now_ms} | more)
    )


def test_a_push_of_what_is_being_removed(client: Client, doomed: Condemned) -> None:
    """It is refused while the bytes are being removed, and afterwards until it has looked for them again."""
    link = seen_now(client)
    with pytest.raises(BytesInDoubt) as caught:
        link()
    assert not caught.value.gone
    condemned.gone(client.txn, [doomed])
    with pytest.raises(BytesInDoubt) as caught:
        link()
    assert caught.value.gone
    link(verified=caught.value.claim)
    link()
    assert count(client, condemned_row) == 0


def test_a_push_that_took_very_long(client: Client) -> None:
    """Bytes that were seen longer ago than a tombstone is surely remembered, or in the future, are looked at again."""
    link = seen_now(client)
    for seen_ms in (client.txn.now_ms - TRUSTED_S * 1000 - 1, client.txn.now_ms + 1):
        with pytest.raises(BytesInDoubt):
            link(seen_ms=seen_ms)


def test_a_claim_runs_out(client: Client, doomed: Condemned) -> None:
    """What one did not finish in time, another takes over; the first can then do nothing about it any more."""
    assert condemned.overdue(client.txn, 10) == []
    client.later(CLAIM_S + 1)
    (taken,) = condemned.overdue(client.txn, 10)
    assert (taken.digest, taken.location) == (doomed.digest, doomed.location) and taken.claim != doomed.claim
    condemned.gone(client.txn, [doomed])
    with pytest.raises(BytesInDoubt) as caught:
        seen_now(client)()
    assert not caught.value.gone


def test_a_tombstone_is_forgotten(client: Client, doomed: Condemned) -> None:
    """A removal is remembered for a while, and then not."""
    condemned.gone(client.txn, [doomed])
    client.later(REMEMBERED_S - 1)
    assert condemned.overdue(client.txn, 10) == [] and count(client, condemned_row) == 1
    client.later(2)
    assert condemned.overdue(client.txn, 10) == [] and count(client, condemned_row) == 0


def test_rotten_bytes(client: Client) -> None:
    """A placement can be condemned and reinstated; a blob without one is not mounted."""
    digest = client.upload("alone")
    held = condemned.condemn(client.txn, digest, "local")
    assert held is not None and condemned.condemn(client.txn, digest, "local") is None
    found = blob(*client.at, digest)
    assert found is not None and found.locations == ()
    assert mount_blob(client.txn, client.repository.id, client.repository.id, digest, lease_s=1) is None
    assert condemned.reinstate(client.txn, held) and not condemned.reinstate(client.txn, held)
    found = blob(*client.at, digest)
    assert found is not None and found.locations == ("local",)


def test_strays(client: Client) -> None:
    """Bytes without a row can be condemned, once; bytes with a placement cannot."""
    stray, kept = Digest.of(b"stray"), client.upload("kept")
    assert condemned.condemn_stray(client.txn, stray, "local") is not None
    assert condemned.condemn_stray(client.txn, stray, "local") is None
    assert condemned.condemn_stray(client.txn, kept, "local") is None
    assert condemned.condemn_stray(client.txn, kept, "elsewhere") is not None
    assert client.txn.execute(sa.select(blob_row.c.digest)).scalars().all() == [kept]


# --- costs ------------------------------------------------------------------------------------------------------


def test_costs(client: Client) -> None:
    """Candidates are found by indexes, however large the tables."""
    client.push(image("large", layers=[str(n) for n in range(300)]), "latest")
    delete_tag(*client.at, "latest")
    client.later(TWO_WEEKS + 1)

    def look() -> None:
        garbage.time_machines(client.txn)
        garbage.due_links(client.txn, (5, 5, 5), 500)
        garbage.due_blobs(client.txn, (5,), 500)
        client.txn.execute(condemned._LOOK, {"of": "x", "at": "y"})

    assert_constant_cost(plans(client.txn, look))
    for due in (garbage.due_tags, garbage.due_manifests):
        plan = plans(client.txn, lambda due=due: due(client.txn, TWO_WEEKS, (5, 5), 500))  # type: ignore[misc]
        assert "Seq Scan" not in plan, plan
        assert any(name in plan for name in ("ix_tag_ended", "ix_manifest_unreachable")), plan


def test_five_thousand(client: Client) -> None:
    """Thousands of unreferenced blobs go in pages, with few statements for each."""
    txn, at = client.txn, client.repository.id
    digests = [Digest.of(b"%d" % n) for n in range(5_000)]
    txn.execute(sa.insert(blob_row), [{"digest": one, "size": 1, "created_ms": 0} for one in digests])
    everything = sa.select(blob_row.c.id)
    txn.execute(sa.insert(placement).from_select(["blob_id", "location"], everything.add_columns(sa.literal("local"))))
    links = everything.add_columns(sa.literal(at), sa.literal(1))
    txn.execute(sa.insert(repository_blob).from_select(["blob_id", "repository_id", "leased_until_ms"], links))
    after: garbage.Position | None = ()
    removed = 0
    with statements(txn) as sent:
        while after is not None:
            page = garbage.due_links(txn, after, 500)
            removed += len(garbage.unlink(txn, at, ids(page))[2]) if page.due else 0
            after = page.end
    assert removed == 5_000 and count(client, blob_row) == 0
    assert len(sent) < 10 * 12


# --- many at once -----------------------------------------------------------------------------------------------


@attrs.frozen
class Node:
    """Pushes and collects on a real server, with transactions of its own; `store` is what the nodes share."""

    engine: sa.Engine
    repository: Repository
    store: set[str]

    def do(self, work: Callable[..., object], *args: object, **more: object) -> object:
        with self.engine.begin() as connection:
            return work(Transaction(connection, 1_000_000), *args, **more)

    def push(self) -> None:
        """Bytes first, then the link; what is in doubt is looked at; then the manifest."""
        for part in APP.blobs():
            self.store.add(part.digest)
            verified = ""
            while True:
                at = self.repository.id, part.digest, part.size, "local"
                try:
                    self.do(link_blob, *at, lease_s=0, seen_ms=1_000_000, verified=verified)
                    break
                except BytesInDoubt as doubt:
                    if doubt.gone and part.digest not in self.store:
                        return  # the client is asked to push again
                    verified = doubt.claim if doubt.gone else verified
        try:
            self.do(put_manifest, self.repository, APP, tag=Tag("t"), **PUSHED)
        except ManifestBlobUnknown:
            return

    def collect(self) -> None:
        at = self.repository.id
        self.do(delete_tag, at, "t")
        self.do(self._rules)
        doomed = self.do(lambda txn: garbage.unlink(txn, at, ids(garbage.due_links(txn, (), 500)))[2])
        doomed += self.do(lambda txn: condemned.condemn_unlinked(txn, ids(garbage.due_blobs(txn, (), 500)))[1])  # type: ignore[operator]
        assert isinstance(doomed, list)
        for one in doomed:
            self.store.discard(one.digest)
        self.do(condemned.gone, doomed)

    def _rules(self, txn: Transaction) -> None:
        at = self.repository.id
        garbage.remove_tags(txn, at, ids(garbage.due_tags(txn, 0, (), 500)))
        garbage.remove_manifests(txn, at, ids(garbage.due_manifests(txn, 0, (), 500)), 0)

    def check(self, txn: Transaction) -> None:
        assert set(txn.execute(sa.select(blob_row.c.digest).join(placement)).scalars()) <= self.store
        reachable = manifest_row.c.repository_id == self.repository.id, manifest_row.c.unreachable_ms.is_(None)
        if txn.execute(sa.select(manifest_row.c.id).where(*reachable)).first() is not None:
            for part in APP.blobs():
                found = blob(txn, self.repository.id, part.digest)
                assert found is not None and found.locations == ("local",) and part.digest in self.store


PUSHED = {"labels": {}, "expires_after_s": None, "temp_tag_s": 1, "sparse": False}


def test_nodes_at_once(postgres_url: str) -> None:
    """Four nodes that push and collect the same image on PostgreSQL lose nothing and fail in no other way."""
    engine = open_engine(postgres_url)
    with engine.begin() as connection:
        txn = Transaction(connection, 0)
        owner = namespaces.create_user(txn, "me", time_machine_s=0)
        made = [
            repositories.create(txn, RepositoryName("me", name), namespace_id=owner.id, creator_id=None, public=False)
            for name in ("one", "two")
        ]
    store: set[str] = set()
    failures: list[BaseException] = []

    def scramble(number: int) -> None:
        node = Node(engine, made[number % 2], store)
        try:
            for turn in range(150):
                (node.collect if (turn + number) % 3 == 0 else node.push)()
        except BaseException as failure:
            failures.append(failure)
            raise

    threads = [threading.Thread(target=scramble, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for one in made:
        Node(engine, one, store).do(Node(engine, one, store).check)
    engine.dispose()
