"""
Several nodes at one repository or account, on a real PostgreSQL: whoever comes second waits, sees what the first did,
and is right about it. No violated constraint comes out, and no tag is left without its manifest and blobs.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import attrs
import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import open_engine
from quay.database.schema import blob as blob_row
from quay.database.schema import credential as credential_row
from quay.database.schema import manifest as manifest_row
from quay.database.schema import manifest_blob, placement, repository_blob
from quay.database.schema import tag as tag_row
from quay.model import (
    conversion,
    credential,
    job,
    namespace,
    permission,
    removal,
    renaming,
    repository,
    robot,
    second_factor,
    session,
    team,
)
from quay.model.blob import BlobInUse, blob, link_blob, mount_blob, unlink_blob
from quay.model.content import delete_manifest, manifest
from quay.model.credential import CredentialInvalid
from quay.model.namespace import Namespace, NamespaceInvalid
from quay.model.permission import Role
from quay.model.reachability import review
from quay.model.repository import Repository, RepositoryInvalid
from quay.model.tag import delete_tag, resolve_tag
from quay.model.team import TeamInvalid
from quay.model.time_machine import expire_tags, restore_tag
from quay.oci.errors import ManifestBlobUnknown, ManifestUnknown, NameUnknown
from quay.oci.reference import Digest, RepositoryName, Tag
from tests.unit.model.pushing import HOUR, Client, image, index

R = TypeVar("R")
Work = Callable[[Client], R]

APP = image("app", layers=["layer"])
LAYER = Digest.of(b"layer")
PATIENCE = 30  # seconds until a lock that nobody lets go fails the test


@attrs.frozen
class Cluster:
    """Two nodes: one that has begun a transaction, and another that does something meanwhile, in a thread."""

    engine: sa.Engine
    repository: Repository
    other: Repository
    threads: ThreadPoolExecutor

    def do(self, work: Work[R]) -> R:
        """Run `work` in a transaction of its own, and commit."""
        with self.engine.begin() as connection:
            return work(Client(Transaction(connection, 1_000), self.repository))

    def meanwhile(self, first: Work[object], second: Work[R], *, waits: bool = True) -> R:
        """What `second` returns that begins when `first` is done and not committed, and that `waits` for the commit."""
        with self.engine.connect() as connection:
            first(Client(Transaction(connection, 1_000), self.repository))
            running: Future[R] = self.threads.submit(self.do, second)
            if waits:
                self._until_somebody_waits(running)
            else:
                running.result(PATIENCE)
            connection.commit()
        return running.result(PATIENCE)

    def _until_somebody_waits(self, running: Future[R]) -> None:
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as observer:
            while not observer.execute(waiting).scalar_one():
                assert not running.done(), running.result()


@pytest.fixture
def cluster(postgres_url: str) -> Iterator[Cluster]:
    engine = open_engine(postgres_url)
    with engine.begin() as connection:
        txn = Transaction(connection, 0)
        owner = namespace.create_user(txn, "devtable", time_machine_s=HOUR)
        one, other = (
            repository.create(
                txn, RepositoryName("devtable", name), namespace_id=owner.id, creator_id=None, public=False
            )
            for name in ("one", "other")
        )
    with ThreadPoolExecutor(4) as threads:
        yield Cluster(engine, one, other, threads)
    engine.dispose()


def push(client: Client) -> bool:
    return client.push(APP, "latest").created


def link(client: Client) -> Digest:
    return client.upload("layer")


def unlink(client: Client) -> bool:
    return unlink_blob(*client.at, LAYER)


def collect(client: Client) -> int:
    """Forget blobs that no repository links, as `quay.model.reachability` says how: lock first, then look."""
    execute = client.txn.execute
    held = execute(sa.select(blob_row.c.id).with_for_update(skip_locked=True)).scalars().all()
    linked = sa.exists().where(repository_blob.c.blob_id == blob_row.c.id)
    idle = execute(sa.select(blob_row.c.id).where(blob_row.c.id.in_(held), ~linked)).scalars().all()
    execute(sa.delete(placement).where(placement.c.blob_id.in_(idle)))
    return execute(sa.delete(blob_row).where(blob_row.c.id.in_(idle))).rowcount


def test_the_same_push(cluster: Cluster) -> None:
    """Two that push the same manifest with the same tag and blobs both succeed, and one of them made it."""
    assert cluster.meanwhile(push, push) is False
    with cluster.engine.connect() as connection:
        for table in (manifest_row, tag_row):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == 1


def test_one_tag_two_manifests(cluster: Cluster) -> None:
    """Two that push different manifests to one tag both succeed; the second replaces the first."""
    pushed = cluster.meanwhile(push, lambda client: client.push(image("other"), "latest"))
    assert pushed.previous == APP.digest
    row = cluster.do(lambda client: resolve_tag(*client.at, "latest"))
    assert row is not None
    assert row.digest == image("other").digest
    assert cluster.do(lambda client: manifest(*client.at, APP.digest)) is None


def test_the_same_blob(cluster: Cluster) -> None:
    """Two that upload the same blob both have it; there is one row."""
    cluster.meanwhile(link, link)
    with cluster.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(blob_row)).scalar_one() == 1


def test_uploads_do_not_wait_for_pushes(cluster: Cluster) -> None:
    """A blob is linked, and mounted, while somebody pushes a manifest to the same repository."""
    cluster.do(link)
    cluster.meanwhile(push, lambda client: client.upload("another"), waits=False)
    cluster.meanwhile(
        lambda client: client.push(image("x"), "x"),
        lambda client: mount_blob(client.txn, cluster.repository.id, cluster.other.id, LAYER, lease_s=HOUR),
        waits=False,
    )


def test_unlinked_before_the_push(cluster: Cluster) -> None:
    """A push that names a blob which is just being unlinked is told that the blob is unknown."""
    cluster.do(lambda client: [client.upload(text) for text in ("app", "layer")])
    with pytest.raises(ManifestBlobUnknown):
        cluster.meanwhile(unlink, lambda client: client.put(APP, "latest"))


def test_unlinked_after_the_push(cluster: Cluster) -> None:
    """A blob that is just being named by a pushed manifest is not unlinked."""
    with pytest.raises(BlobInUse):
        cluster.meanwhile(push, unlink)


def test_linked_while_unlinked(cluster: Cluster) -> None:
    """A blob that is uploaded again while somebody unlinks it is linked afterwards."""
    cluster.do(link)
    cluster.meanwhile(unlink, link)
    assert cluster.do(lambda client: blob(*client.at, LAYER)) is not None


def test_pushed_while_deleted(cluster: Cluster) -> None:
    """A manifest that is pushed while somebody deletes it is there afterwards, and so is its tag."""
    cluster.do(push)
    assert cluster.meanwhile(lambda client: delete_manifest(*client.at, APP.digest), push) is False
    assert cluster.do(lambda client: manifest(*client.at, APP.digest)) is not None
    assert cluster.do(lambda client: resolve_tag(*client.at, "latest")) is not None


def test_child_deleted_before_the_index(cluster: Cluster) -> None:
    """An index whose child is just being deleted is refused, as if it had come later."""
    cluster.do(push)
    with pytest.raises(ManifestBlobUnknown, match=APP.digest):
        cluster.meanwhile(
            lambda client: delete_manifest(*client.at, APP.digest), lambda client: client.put(index(APP), "index")
        )


def test_tag_moves_while_the_index_comes(cluster: Cluster) -> None:
    """A child whose last tag is just being deleted is kept by the index that is just being pushed."""
    cluster.do(push)
    cluster.meanwhile(lambda client: client.put(index(APP), "index"), lambda client: delete_tag(*client.at, "latest"))
    assert cluster.do(lambda client: manifest(*client.at, APP.digest)) is not None


def test_repository_deleted(cluster: Cluster) -> None:
    """A push, and an upload, to a repository that is just being deleted are told that it is unknown."""
    cluster.do(link)
    with pytest.raises(NameUnknown):
        cluster.meanwhile(lambda client: repository.delete(*client.at), push)
    with pytest.raises(NameUnknown):
        cluster.do(link)


def test_uploaded_while_collected(cluster: Cluster) -> None:
    """A blob that is uploaded while its row is being forgotten gets a new one."""
    cluster.do(link)
    cluster.do(unlink)
    cluster.meanwhile(collect, link)
    assert cluster.do(lambda client: blob(*client.at, LAYER)) is not None


def test_collected_while_uploaded(cluster: Cluster) -> None:
    """A blob that is just being uploaded or mounted is not forgotten."""
    cluster.do(link)
    cluster.do(unlink)
    assert cluster.meanwhile(link, collect, waits=False) == 0
    cluster.do(lambda client: mount_blob(client.txn, cluster.repository.id, cluster.other.id, LAYER, lease_s=HOUR))
    cluster.do(unlink)
    assert cluster.do(collect) == 0


def test_mounted_while_collected(cluster: Cluster) -> None:
    """A mount from where the blob is just being unlinked and forgotten finds nothing, or the blob."""
    cluster.do(link)
    mounted = cluster.meanwhile(
        lambda client: unlink(client) and collect(client),
        lambda client: mount_blob(client.txn, cluster.repository.id, cluster.other.id, LAYER, lease_s=HOUR),
    )
    assert mounted is None


def test_expiry_passes_by(cluster: Cluster) -> None:
    """Expired tags of a repository where somebody is at work are left for later, without waiting."""
    cluster.do(lambda client: client.push(APP, "nightly", expires_after_s=0))
    assert cluster.meanwhile(push, lambda client: expire_tags(client.txn, 10), waits=False) == 0
    assert cluster.do(lambda client: expire_tags(client.txn, 10)) == 1


def test_everything_at_once(cluster: Cluster) -> None:
    """After a scramble of pushes, deletions, restorations, unlinking and collection, everything is whole and true."""
    failures: list[BaseException] = []

    def scramble(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(100):
                _tolerate(lambda: cluster.do(_anything(chance)))
        except BaseException as failure:
            failures.append(failure)
            raise

    threads = [threading.Thread(target=scramble, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    cluster.do(_check)


def _tolerate(work: Callable[[], object]) -> None:
    """Run `work`; the refusals of a registry are answers, too."""
    try:
        work()
    except (ManifestBlobUnknown, ManifestUnknown, BlobInUse):
        return


def _anything(chance: random.Random) -> Work[object]:
    leaf = image(chance.choice("ab"), layers=["layer"])
    signature = image("signature", subject=leaf)
    one = chance.choice([leaf, signature, index(leaf)])
    tag = chance.choice(["latest", "stable", None])
    name = Tag(tag or "latest")
    choices: list[Work[object]] = [
        lambda client: client.push(one, tag),
        lambda client: client.push(one, tag, expires_after_s=0),
        lambda client: delete_manifest(*client.at, one.digest),
        lambda client: delete_tag(*client.at, name),
        lambda client: restore_tag(client.txn, client.repository, name, one.digest),
        lambda client: expire_tags(client.txn, 10),
        unlink,
        link,
        collect,
    ]
    return chance.choice(choices)


def _check(client: Client) -> None:
    """No blob is named without a link, and a review of everything finds nothing to correct."""
    execute = client.txn.execute
    naked = (
        sa.select(manifest_blob)
        .outerjoin(repository_blob, repository_blob.c.blob_id == manifest_blob.c.blob_id)
        .where(repository_blob.c.blob_id.is_(None))
    )
    assert execute(naked).all() == []
    tagged = sa.select(manifest_row.c.id).join(tag_row).where(tag_row.c.end_ms.is_(None))
    unreachable = manifest_row.c.unreachable_ms.is_not(None)
    assert execute(tagged.where(unreachable)).all() == []
    before = execute(sa.select(manifest_row.c.id, unreachable).order_by(manifest_row.c.id)).all()
    review(*client.at, [row.id for row in before])
    assert execute(sa.select(manifest_row.c.id, unreachable).order_by(manifest_row.c.id)).all() == before


def test_two_locations_at_once(cluster: Cluster) -> None:
    """A blob that two locations report at once has both."""
    cluster.meanwhile(
        lambda client: link_blob(*client.at, LAYER, 5, "west", lease_s=HOUR),
        lambda client: link_blob(*client.at, LAYER, 5, "east", lease_s=HOUR),
    )
    found = cluster.do(lambda client: blob(*client.at, LAYER))
    assert found is not None
    assert found.locations == ("east", "west")


def test_two_administrators_remove_each_other(cluster: Cluster) -> None:
    """Whoever comes second is refused, on whatever way: nobody could administer the organization any more."""

    def found(client: Client) -> tuple[int, int, int, list[int]]:
        users = [namespace.create_user(client.txn, name, time_machine_s=HOUR).id for name in ("anna", "bert")]
        made = namespace.create_organization(client.txn, "org", owner_id=users[0], time_machine_s=HOUR)
        owners = team.find(client.txn, made.id, "owners")
        assert owners is not None
        deputies = team.create(client.txn, made.id, "deputies", "admin")
        team.add_member(client.txn, deputies, users[1])
        return made.id, owners.id, deputies, users

    organization_id, owners, deputies, (anna, bert) = cluster.do(found)
    attempts: list[Work[object]] = [
        lambda client: team.remove_member(client.txn, owners, anna),
        lambda client: team.remove_from_all(client.txn, organization_id, anna),
        lambda client: team.set_role(client.txn, owners, "member"),
        lambda client: team.delete(client.txn, owners),
    ]
    for attempt in attempts:
        with pytest.raises(TeamInvalid, match="Nobody could administer"):
            cluster.meanwhile(lambda client: team.remove_member(client.txn, deputies, bert), attempt)
        cluster.do(lambda client: team.add_member(client.txn, deputies, bert))


# --- what is called after something else --------------------------------------------------------------------------


def owner(client: Client) -> Namespace:
    found = namespace.by_id(client.txn, client.repository.namespace_id)
    assert found is not None
    return found


def rename_owner(client: Client) -> Namespace:
    return renaming.rename(client.txn, owner(client), "renamed")


def remove_owner(client: Client) -> bool:
    return removal.begin(client.txn, client.repository.namespace_id)


def make(client: Client) -> Repository:
    name, owner_id = RepositoryName("devtable", "new"), client.repository.namespace_id
    return repository.create(client.txn, name, namespace_id=owner_id, creator_id=None, public=False)


def move(client: Client) -> Repository:
    name, owner_id = RepositoryName("devtable", "moved"), client.repository.namespace_id
    return repository.rename(client.txn, client.repository, name, namespace_id=owner_id, mover_id=None)


def names(client: Client) -> list[str]:
    return repository.catalog(client.txn, None, public=False, everything=True, limit=9)


@pytest.mark.parametrize("second", [make, move])
@pytest.mark.parametrize(("first", "left"), [(rename_owner, ["renamed/one", "renamed/other"]), (remove_owner, [])])
def test_a_name_below_one_that_is_just_given_up(
    cluster: Cluster, first: Work[object], second: Work[Repository], left: list[str]
) -> None:
    """No repository is made or renamed below a name that its namespace is just losing: somebody else may have it."""
    with pytest.raises(RepositoryInvalid, match="a namespace that is not 'devtable'"):
        cluster.meanwhile(first, second)
    assert cluster.do(names) == left


def test_a_robot_while_its_owner_is_renamed(cluster: Cluster) -> None:
    """A robot that is made while its owner is renamed is called after the new name."""
    made, _ = cluster.meanwhile(rename_owner, lambda client: robot.create(client.txn, owner(client), "ci"))
    assert made.name == "renamed+ci"


def test_renamed_twice(cluster: Cluster) -> None:
    """Of two that rename an account at once, the second renames what the first has left."""
    before = cluster.do(owner)
    cluster.meanwhile(rename_owner, lambda client: renaming.rename(client.txn, before, "short"))
    assert cluster.do(names) == ["short/one", "short/other"]


def test_renamed_when_it_is_gone(cluster: Cluster) -> None:
    """Who renames an account that is just being removed is told so."""
    before = cluster.do(owner)
    with pytest.raises(NamespaceInvalid, match="has been removed"):
        cluster.meanwhile(remove_owner, lambda client: renaming.rename(client.txn, before, "short"))


def test_granted_while_renamed(cluster: Cluster) -> None:
    """Who is given a role on a repository that is just being renamed finds it under its new name."""
    reader = cluster.do(lambda client: namespace.create_user(client.txn, "reader", time_machine_s=HOUR)).id
    cluster.meanwhile(
        move, lambda client: permission.grant(client.txn, client.repository.id, grantee_id=reader, role=Role.READ)
    )
    found = cluster.do(lambda client: repository.catalog(client.txn, reader, public=False, limit=9))
    assert found == ["devtable/moved"]


# --- what opens an account ----------------------------------------------------------------------------------------


def test_two_tokens_for_a_robot(cluster: Cluster) -> None:
    """Of two tokens that a robot is given at once, the first is worthless."""
    made, _ = cluster.do(lambda client: robot.create(client.txn, owner(client), "ci"))

    def renew(client: Client) -> str:
        return credential.replace_robot_token(client.txn, made.id)

    token = cluster.meanwhile(renew, renew)
    assert cluster.do(lambda client: credential.find(client.txn, "robot", token)) is not None
    with cluster.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(credential_row)).scalar_one() == 1


def test_two_sets_of_recovery_codes(cluster: Cluster) -> None:
    """Of two sets of recovery codes that are made at once, the first is worthless."""
    user_id = cluster.repository.namespace_id

    def begin(client: Client) -> None:
        second_factor.begin(client.txn, user_id, "sealed")
        found = second_factor.find(client.txn, user_id)
        assert found is not None and second_factor.confirm(client.txn, found, 1) is not None

    def renew(client: Client) -> list[str]:
        return second_factor.renew_recovery_codes(client.txn, user_id)

    cluster.do(begin)
    cluster.meanwhile(renew, renew)
    left = cluster.do(lambda client: second_factor.recovery_codes_left(client.txn, user_id))
    assert left == second_factor.RECOVERY_CODES


def test_nobody_logs_in_as_what_has_become_an_organization(cluster: Cluster) -> None:
    """A session or a token that is made while a user is converted opens nothing afterwards, whichever comes first."""
    user_id = cluster.repository.namespace_id
    boss = cluster.do(lambda client: namespace.create_user(client.txn, "boss", time_machine_s=HOUR)).id
    before = cluster.do(owner)
    secrets: list[str] = []

    def log_in(client: Client) -> None:
        secrets.append(session.begin(client.txn, user_id, ip="", user_agent="", lifetime_s=HOUR)[1])
        secrets.append(credential.create(client.txn, user_id, "app")[1])

    def convert(client: Client) -> None:
        conversion.to_organization(client.txn, before, boss)

    cluster.meanwhile(log_in, convert)
    assert cluster.do(lambda client: session.find(client.txn, secrets[0])) is None
    assert cluster.do(lambda client: credential.find(client.txn, "app", secrets[1])) is None
    with pytest.raises(NamespaceInvalid, match="only a user can be made an organization"):
        cluster.do(convert)
    with pytest.raises(CredentialInvalid, match="cannot hold a credential"):
        cluster.do(lambda client: credential.create(client.txn, user_id, "app"))


# --- jobs ---------------------------------------------------------------------------------------------------------


def test_cancelled_while_taken_up(cluster: Cluster) -> None:
    """A job that is cancelled while somebody takes it up is asked to stop; it is over when he says so."""
    made = cluster.do(lambda client: job.create(client.txn, "gc", "devtable"))
    assert cluster.meanwhile(lambda client: job.take_up(client.txn), lambda client: job.cancel(client.txn, made.uuid))
    found = cluster.do(lambda client: job.find(client.txn, made.uuid))
    assert found is not None
    assert (found.state, found.stop) == ("running", True)


def test_taken_up_while_cancelled(cluster: Cluster) -> None:
    """A job that is just being cancelled is not begun."""
    made = cluster.do(lambda client: job.create(client.txn, "gc", "devtable"))
    begun = cluster.meanwhile(lambda client: job.cancel(client.txn, made.uuid), lambda client: job.take_up(client.txn))
    assert begun is None


def test_asked_for_twice(cluster: Cluster) -> None:
    """Of two that ask for the same work at once, the second learns that it is under way."""

    def ask(client: Client) -> job.Job:
        return job.create(client.txn, "gc", "devtable")

    with pytest.raises(job.JobUnderWay):
        cluster.meanwhile(ask, ask)
