"""Whatever is done to a repository in whatever order, what can be read of it is what an independent model says."""

from __future__ import annotations

import attrs
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from quay.database import Transaction
from quay.database.engines import sqlite
from quay.database.schema import blob, manifest_blob, metadata, repository_blob
from quay.database.schema import manifest as manifest_row
from quay.database.schema import tag as tag_row
from quay.model import namespace, repository
from quay.model.blob import BlobInUse, unlink_blob
from quay.model.content import delete_manifest, manifest
from quay.model.reachability import review
from quay.model.referrer import referrers
from quay.model.tag import delete_tag, resolve_tag, tags
from quay.model.time_machine import expire_tags, restore_tag
from quay.oci.errors import ManifestBlobUnknown, ManifestUnknown
from quay.oci.manifest import Manifest
from quay.oci.reference import Digest, RepositoryName, Tag
from tests.unit.model.pushing import HOUR, Client, image, index, statements

TWO_HOURS = 2 * HOUR
START_MS = 1_700_000_000_000

LEAF = image("leaf", layers=["shared"])
OTHER = image("other", layers=["shared"])
LIST = index(LEAF, OTHER)
NESTED = index(LIST, OTHER, name="nested")
SIGNATURE = image("signature", subject=LEAF)
COUNTERSIGNATURE = image("countersignature", subject=SIGNATURE)
SBOM = image("sbom", subject=NESTED)
TWISTED = index(LEAF, subject=LEAF, name="its subject is its child: each would keep the other")
EVERY = {
    "leaf": LEAF,
    "other": OTHER,
    "list": LIST,
    "nested": NESTED,
    "signature": SIGNATURE,
    "countersignature": COUNTERSIGNATURE,
    "sbom": SBOM,
    "twisted": TWISTED,
}
BLOBS = [Digest.of(text.encode()) for text in ("leaf", "other", "shared", "signature")]
NAMES = ["latest", "stable", "v1"]

manifests = st.sampled_from(sorted(EVERY))  # names, which read better when a run fails
names = st.sampled_from(NAMES)


def children(one: Manifest) -> set[Digest]:
    return {child.digest for child in one.manifests}


def blobs(one: Manifest) -> set[Digest]:
    return {blob.digest for blob in one.blobs()}


@attrs.define
class Lifetime:
    name: str | None  # None: hidden
    digest: Digest
    end_ms: int | None = None
    expires_ms: int | None = None


class RepositoryMachine(RuleBasedStateMachine):
    """A repository, and beside it what we think of it: manifests by digest, lifetimes of tags, links to blobs."""

    engine = sqlite(":memory:")
    connection = engine.connect()
    metadata.create_all(connection)
    connection.commit()

    def __init__(self) -> None:
        super().__init__()
        self.connection.begin()
        txn = Transaction(self.connection, START_MS)
        owner = namespace.create_user(txn, "devtable", time_machine_s=TWO_HOURS)
        name = RepositoryName("devtable", "app")
        made = repository.create(txn, name, namespace_id=owner.id, creator_id=None, public=False)
        self.client = Client(txn, made)
        self.stored: dict[Digest, Manifest] = {}
        self.deleted: set[Digest] = set()
        self.links: set[Digest] = set()
        self.lifetimes: list[Lifetime] = []

    def teardown(self) -> None:
        self.connection.rollback()

    @property
    def now(self) -> int:
        return self.client.txn.now_ms

    # --- what we think ---

    def alive(self, lifetime: Lifetime) -> bool:
        return lifetime.end_ms is None and (lifetime.expires_ms is None or lifetime.expires_ms > self.now)

    def current(self, name: str) -> Lifetime | None:
        return next((one for one in self.lifetimes if one.name == name and one.end_ms is None), None)

    def reachable(self) -> set[Digest]:
        found = {one.digest for one in self.lifetimes if one.end_ms is None} - self.deleted
        while True:
            more = {
                digest
                for digest, one in self.stored.items()
                if any(digest in children(self.stored[keeper]) for keeper in found)
                or (one.subject and one.subject.digest in found)
            }
            if more - self.deleted <= found:
                return found
            found |= more - self.deleted

    def end(self, lifetime: Lifetime) -> None:
        passed = lifetime.expires_ms is not None and lifetime.expires_ms <= self.now
        lifetime.end_ms = lifetime.expires_ms if passed else self.now

    def begin(self, name: str, digest: Digest, expires_after_s: int | None) -> None:
        before = self.current(name)
        expires_ms = None if expires_after_s is None else self.now + expires_after_s * 1000
        if before is not None and self.alive(before) and before.digest == digest:
            before.expires_ms = before.expires_ms if expires_ms is None else expires_ms
            return
        if before is not None:
            self.end(before)
        self.lifetimes.append(Lifetime(name, digest, None, expires_ms))

    def keep(self, digest: Digest) -> None:
        until = self.now + HOUR * 1000
        hidden = [one for one in self.lifetimes if one.name is None and one.digest == digest and one.end_ms is None]
        for one in hidden:
            one.expires_ms = until
        if not hidden and digest not in self.reachable():
            self.lifetimes.append(Lifetime(None, digest, None, until))

    # --- what is done ---

    @rule(which=manifests, name=st.none() | names, expires=st.none() | st.integers(0, 7_200), sparse=st.booleans())
    def push(self, which: str, name: str | None, expires: int | None, sparse: bool) -> None:
        one = EVERY[which]
        for digest, text in {Digest.of(text): text for text in _TEXTS}.items():
            if digest in blobs(one):
                self.client.upload(text.decode())
        self.links |= blobs(one)
        self.put(which, name, expires, sparse)

    @rule(which=manifests, name=st.none() | names, expires=st.none(), sparse=st.booleans())
    def put(self, which: str, name: str | None, expires: int | None, sparse: bool) -> None:
        one = EVERY[which]
        known = set(self.stored) - self.deleted
        missing = blobs(one) - self.links | (set() if sparse else children(one) - known)
        try:
            pushed = self.client.put(one, name, expires_after_s=expires, sparse=sparse)
        except ManifestBlobUnknown as refused:
            assert set(refused.facts["missing"]) == missing  # type: ignore[call-overload]
            return
        assert not missing
        assert pushed.created == (one.digest not in self.stored)
        self.stored[one.digest] = one
        self.deleted.discard(one.digest)
        if name is None:
            self.keep(one.digest)
        else:
            self.begin(name, one.digest, expires)

    @rule(name=names)
    def delete_tag(self, name: str) -> None:
        current = self.current(name)
        expected = current is not None and self.alive(current)
        assert delete_tag(*self.client.at, name) == expected
        if current is not None and expected:
            self.end(current)

    @rule(which=manifests)
    def delete_manifest(self, which: str) -> None:
        one, expected = EVERY[which], None
        if one.digest in self.reachable():
            ended = [life for life in self.lifetimes if life.digest == one.digest and life.end_ms is None]
            expected = sorted(life.name for life in ended if life.name is not None)
            for life in ended:
                self.end(life)
            self.deleted.add(one.digest)
        assert delete_manifest(*self.client.at, one.digest) == expected

    @rule(name=names, which=manifests)
    def restore(self, name: str, which: str) -> None:
        one = EVERY[which]
        since = self.now - TWO_HOURS * 1000
        past = [life for life in self.lifetimes if life.name == name and life.digest == one.digest]
        expected = any(life.end_ms is None or life.end_ms > since for life in past)
        try:
            restore_tag(self.client.txn, self.client.repository, Tag(name), one.digest)
        except ManifestUnknown:
            assert not expected
            return
        assert expected
        self.undelete(one)
        self.begin(name, one.digest, None)

    def undelete(self, one: Manifest) -> None:
        self.deleted.discard(one.digest)
        for digest in children(one) & set(self.stored):
            self.undelete(self.stored[digest])

    @rule(digest=st.sampled_from(BLOBS))
    def unlink(self, digest: Digest) -> None:
        users = {stored for stored, one in self.stored.items() if digest in blobs(one)}
        in_use = users & self.reachable()
        try:
            assert unlink_blob(*self.client.at, digest) == (digest in self.links)
        except BlobInUse:
            assert in_use
            return
        assert not in_use
        self.links.discard(digest)
        gone = self.with_those_above(users) - self.reachable()
        self.deleted -= gone
        self.stored = {kept: one for kept, one in self.stored.items() if kept not in gone}
        self.lifetimes = [one for one in self.lifetimes if one.digest not in gone]

    def with_those_above(self, found: set[Digest]) -> set[Digest]:
        """These manifests, and every index that has one of them below it."""
        above = {stored for stored, one in self.stored.items() if children(one) & found}
        return found if above <= found else self.with_those_above(found | above)

    @rule(seconds=st.integers(1, 5_000))
    def wait(self, seconds: int) -> None:
        self.client.later(seconds)

    @precondition(lambda self: self.lifetimes)
    @rule()
    def expire(self) -> None:
        due = [one for one in self.lifetimes if one.end_ms is None and not self.alive(one)]
        for one in due:
            self.end(one)
        assert expire_tags(self.client.txn, 1_000) == len(due)

    # --- what must be so ---

    @invariant()
    def tags_resolve(self) -> None:
        current = {name: self.current(name) for name in NAMES}
        expected = {name: one.digest for name, one in current.items() if one is not None and self.alive(one)}
        found = {name: resolve_tag(*self.client.at, name) for name in NAMES}
        assert {name: row.digest for name, row in found.items() if row is not None} == expected
        assert tags(*self.client.at, after=None, limit=100) == sorted(expected)

    @invariant()
    def lifetimes_are_recorded(self) -> None:
        rows = self.connection.execute(
            sa.select(sa.case((sa.not_(tag_row.c.hidden), tag_row.c.name)), tag_row.c.end_ms, tag_row.c.expires_ms)
        )
        expected = [(one.name, one.end_ms, one.expires_ms) for one in self.lifetimes]
        assert sorted(map(str, rows.all())) == sorted(map(str, expected))

    @invariant()
    def reachable_is_readable(self) -> None:
        expected = self.reachable()
        assert {one.digest for one in EVERY.values() if manifest(*self.client.at, one.digest)} == expected
        for subject in EVERY.values():
            listed = referrers(*self.client.at, subject.digest, artifact_type=None, limit=100)
            refer = {one.digest for one in EVERY.values() if one.subject and one.subject.digest == subject.digest}
            assert {referrer.descriptor.digest for referrer in listed} == expected & refer

    @invariant()
    def stored_is_whole(self) -> None:
        rows = self.connection.execute(
            sa.select(manifest_row.c.digest, blob.c.digest, repository_blob.c.blob_id)
            .join(manifest_blob, manifest_blob.c.manifest_id == manifest_row.c.id)
            .join(blob, blob.c.id == manifest_blob.c.blob_id)
            .outerjoin(repository_blob, repository_blob.c.blob_id == blob.c.id)
        ).all()
        named = {(digest, blob) for digest, one in self.stored.items() for blob in blobs(one)}
        assert {(digest, blob) for digest, blob, _ in rows} == named
        assert all(link is not None for *_, link in rows)


_TEXTS = (b"leaf", b"other", b"shared", b"signature", b"countersignature", b"sbom")

TestRepository = RepositoryMachine.TestCase
TestRepository.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_cycle_does_not_hold_itself_up() -> None:
    """An index whose subject is its own child goes out of sight with the last tag, and the child with it."""
    machine = RepositoryMachine()
    machine.push("leaf", None, None, False)
    machine.push("twisted", "latest", None, False)
    machine.wait(TWO_HOURS)
    machine.expire()
    machine.reachable_is_readable()
    assert machine.reachable() == {LEAF.digest, TWISTED.digest}
    machine.delete_tag("latest")
    machine.reachable_is_readable()
    assert machine.reachable() == set()
    machine.teardown()


def test_a_long_chain() -> None:
    """A chain of 300 referrers goes out of sight, and comes back, by as many statements as one manifest."""
    machine = RepositoryMachine()
    client = machine.client
    chain = [image("link")]
    client.upload("link")
    client.put(chain[0], "latest")
    for _ in range(300):
        chain.append(image("link", subject=chain[-1]))
        client.put(chain[-1])
    with statements(client.txn) as sent:
        assert delete_tag(*client.at, "latest")
    assert len(sent) < 8
    assert manifest(*client.at, chain[-1].digest) is None
    client.put(chain[0], "latest")
    assert manifest(*client.at, chain[-1].digest) is not None
    review(*client.at, [])
    machine.teardown()
