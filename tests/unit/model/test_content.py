"""Manifests: whole, verbatim, labelled, deleted for good and back again, at the cost of a few statements."""

from __future__ import annotations

import json
from collections.abc import Callable

import attrs
import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import explain
from quay.database.schema import blob as blob_row
from quay.database.schema import label, manifest_blob, manifest_child, repository_blob
from quay.database.schema import manifest as manifest_row
from quay.model import pull, repository
from quay.model.audit import Entry, append
from quay.model.blob import BlobInUse, mount_blob, unlink_blob
from quay.model.content import NAMED_AS_MISSING, delete_manifest, manifest
from quay.model.permission import role
from quay.model.reachability import _affected
from quay.model.referrer import referrers
from quay.model.repository import Repository, delete
from quay.model.tag import delete_tag, resolve_tag, tags
from quay.model.time_machine import expire_tags, expired_tag, restore_tag
from quay.model.upload import begin_upload, end_upload, find_upload
from quay.oci.descriptor import Descriptor
from quay.oci.errors import ManifestBlobUnknown, NameUnknown
from quay.oci.manifest import Manifest, parse
from quay.oci.media_types import DOCKER_FOREIGN_LAYER_GZIP, OCI_INDEX, OCI_LAYER_GZIP
from quay.oci.reference import Digest, Tag
from tests.unit.model.pushing import HOUR, Client, image, index, statements, unprepared


@pytest.fixture
def client(transaction: Transaction, user: Callable[..., object], make_repository: Callable[..., Repository]) -> Client:
    user("devtable")
    return Client(transaction, make_repository("devtable/app"))


def readable(client: Client, pushed: Manifest) -> bool:
    return manifest(*client.at, pushed.digest) is not None


# --- pushing ------------------------------------------------------------------------------------------------------


def test_verbatim(client: Client) -> None:
    """What is read is what was pushed, byte for byte, under the type under which it was pushed."""
    raw = image("app").raw.replace(b", ", b" ,\n\t ")
    pushed = client.push(parse(raw, None), "latest")
    stored = manifest(*client.at, Digest.of(raw))
    assert stored is not None
    assert stored == pushed.manifest
    assert stored.content == raw
    assert (pushed.created, pushed.previous) == (True, None)


def test_missing_blobs(client: Client) -> None:
    """A manifest that names blobs which the repository lacks is refused whole, and the refusal names them."""
    incomplete = image("app", layers=["here", "gone"])
    client.upload("here")
    with pytest.raises(ManifestBlobUnknown) as refused:
        client.put(incomplete, "latest")
    missing = refused.value.facts["missing"]
    assert missing == [Digest.of(b"app"), Digest.of(b"gone")]
    assert Digest.of(b"gone") in refused.value.message
    assert not readable(client, incomplete)
    assert resolve_tag(*client.at, "latest") is None


def test_foreign_layers(client: Client) -> None:
    """A foreign layer may be missing; one that the repository holds anyway is kept with the manifest."""
    for text in ("app", "held"):
        client.upload(text)
    layers = [
        {"mediaType": DOCKER_FOREIGN_LAYER_GZIP, "digest": Digest.of(text), "size": len(text), "urls": ["https://x"]}
        for text in (b"held", b"elsewhere")
    ]
    document = json.loads(image("app").raw) | {"layers": layers}
    pushed = client.put(parse(json.dumps(document).encode(), None), "latest")
    assert pushed.created
    with pytest.raises(BlobInUse):
        unlink_blob(*client.at, Digest.of(b"held"))


def test_a_foreign_layer_that_comes_later(client: Client) -> None:
    """Whoever pushes an image again, and this time with its foreign layers, has them kept."""
    client.upload("app")
    layer = {"mediaType": DOCKER_FOREIGN_LAYER_GZIP, "digest": Digest.of(b"late"), "size": 4, "urls": ["https://x"]}
    windows = parse(json.dumps(json.loads(image("app").raw) | {"layers": [layer]}).encode(), None)
    client.put(windows, "latest")
    client.upload("late")
    assert not client.put(windows, "latest").created
    with pytest.raises(BlobInUse):
        unlink_blob(*client.at, Digest.of(b"late"))


def test_a_blob_of_another_repository(client: Client, make_repository: Callable[..., Repository]) -> None:
    """A blob that only another repository links is missing here."""
    Client(client.txn, make_repository("devtable/other")).push(image("app"), "latest")
    with pytest.raises(ManifestBlobUnknown):
        client.put(image("app"), "latest")


def test_many_missing_blobs(client: Client) -> None:
    """The refusal names the first missing blobs only, and counts the others."""
    with pytest.raises(ManifestBlobUnknown, match="and 11 more") as refused:
        client.put(image("app", layers=[str(number) for number in range(30)]))
    assert len(refused.value.facts["missing"]) == NAMED_AS_MISSING  # type: ignore[arg-type]


def test_missing_children(client: Client) -> None:
    """An index of a child that is not here is refused, unless a sparse one is allowed."""
    one, two = image("one"), image("two")
    client.push(one)
    with pytest.raises(ManifestBlobUnknown, match=two.digest):
        client.put(index(one, two), "latest")
    client.put(index(one, two), "latest", sparse=True)
    assert readable(client, index(one, two))


def test_late_child_of_a_sparse_index(client: Client) -> None:
    """A child that comes after its index is kept by it."""
    child = image("child")
    client.put(index(child), "latest", sparse=True)
    client.push(child)
    client.later(2 * HOUR)
    expire_tags(client.txn, 100)
    assert readable(client, child)


def test_blob_as_child(client: Client) -> None:
    """An index may list plain blobs as its children, as build caches do; it keeps them like layers."""
    layer = client.upload("cached layer")
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": OCI_LAYER_GZIP, "digest": layer, "size": 12}],
    }
    client.put(parse(json.dumps(body).encode(), OCI_INDEX), "cache")
    with pytest.raises(BlobInUse):
        unlink_blob(*client.at, layer)


def test_the_same_again(client: Client) -> None:
    """Pushing what is there already changes nothing."""
    first = client.push(image("app"), "latest")
    before = resolve_tag(*client.at, "latest")
    client.later(1)
    again = client.push(image("app"), "latest")
    assert (again.manifest, again.created, again.previous) == (first.manifest, False, first.manifest.digest)
    assert resolve_tag(*client.at, "latest") == before


def test_previous(client: Client) -> None:
    """A push says what the tag named before."""
    client.push(image("one"), "latest")
    assert client.push(image("two"), "latest").previous == image("one").digest


def test_deleted_repository(client: Client) -> None:
    """A push to a repository that was deleted meanwhile says so."""
    client.upload("app")
    delete(*client.at)
    with pytest.raises(NameUnknown):
        client.put(image("app"), "latest")


def test_sizes_do_not_overflow(client: Client) -> None:
    """Indexes of indexes may count bytes more often than an integer can tell; the count stops there."""
    huge = image("huge")
    client.push(huge, "latest")
    client.txn.execute(sa.update(manifest_row).values(layers_size=2**62))
    one, two = index(huge, name="one"), index(huge, name="two")
    client.push(one)
    client.push(two)
    client.push(index(one, two, huge), "top")
    assert client.txn.execute(sa.select(sa.func.max(manifest_row.c.layers_size))).scalar_one() == 2**63 - 1


# --- labels -------------------------------------------------------------------------------------------------------


def labels(client: Client) -> dict[str, tuple[str, str, str]]:
    rows = client.txn.execute(sa.select(label.c.key, label.c.value, label.c.media_type, label.c.source))
    return {row.key: (row.value, row.media_type, row.source) for row in rows}


def test_labels(client: Client) -> None:
    """Labels come with a new manifest, marked as JSON if they are an object or an array."""
    client.upload("app")
    client.put(image("app"), labels={"a": "text", "b": '{"x": 1}', "c": "[1]", "d": "12", "e": "[" * 100_000})
    assert labels(client) == {
        "a": ("text", "text/plain", "manifest"),
        "b": ('{"x": 1}', "application/json", "manifest"),
        "c": ("[1]", "application/json", "manifest"),
        "d": ("12", "text/plain", "manifest"),
        "e": ("[" * 100_000, "text/plain", "manifest"),
    }
    client.put(image("app"), labels={"a": "other"})
    assert len(labels(client)) == 5


def test_hostile_labels(client: Client) -> None:
    """NUL and half surrogate pairs are replaced, absurd keys left out, and the rest of too many labels, too."""
    client.upload("app")
    client.put(
        image("app"), labels={"k\0": "v\0\ud800", "k" * 256: "long", "": "empty", "é" * 255: "fits", "x": "\U0001f433"}
    )
    assert labels(client) == {
        "k�": ("v��", "text/plain", "manifest"),
        "é" * 255: ("fits", "text/plain", "manifest"),
        "x": ("\U0001f433", "text/plain", "manifest"),
    }
    client.upload("more")
    client.put(image("more"), labels={str(number): "" for number in range(2_000)})
    assert len(labels(client)) == 1_003


def test_hostile_annotations(client: Client) -> None:
    """Annotations are kept as they are, NUL and half surrogate pairs included."""
    strange = attrs.evolve(image("app"), annotations={"k\0": "v\0\ud800"}, subject=_descriptor("subject"))
    client.push(strange, "latest")
    found = referrers(*client.at, Digest.of(b"subject"), artifact_type=None, limit=10)
    assert found[0].descriptor.annotations == {"k\0": "v\0\ud800"}


def _descriptor(text: str) -> Descriptor:
    return Descriptor(OCI_LAYER_GZIP, Digest.of(text.encode()), len(text))


# --- deleting -----------------------------------------------------------------------------------------------------


def test_delete(client: Client) -> None:
    """A deleted manifest is unknown at once, by digest and by each of its tags, which are named."""
    client.push(image("app"), "b")
    client.push(image("app"), "a")
    client.push(image("other"), "c")
    assert delete_manifest(*client.at, image("app").digest) == ["a", "b"]
    assert not readable(client, image("app"))
    assert resolve_tag(*client.at, "a") is None
    assert readable(client, image("other"))
    assert delete_manifest(*client.at, image("app").digest) is None
    assert delete_manifest(*client.at, Digest.of(b"unheard of")) is None


def test_delete_untagged(client: Client) -> None:
    """What was pushed by digest is deleted like everything else, and names no tags."""
    client.push(image("app"))
    assert readable(client, image("app"))
    assert delete_manifest(*client.at, image("app").digest) == []
    assert not readable(client, image("app"))


def test_delete_announces(client: Client) -> None:
    """A deletion announces the manifest, its tags, and all that went out of sight with it."""
    child = image("child")
    client.push(child)
    client.push(index(child), "latest")
    client.later(2 * HOUR)
    expire_tags(client.txn, 100)
    client.push(image("signature", subject=child))
    announced = Transaction(client.txn.connection, client.txn.now_ms)
    delete_manifest(announced, client.repository.id, index(child).digest)
    inside = client.repository.id
    assert set(announced.changes) == {
        ("tag", inside, "latest"),
        ("manifest", inside, index(child).digest),
        ("manifest", inside, child.digest),
        ("manifest", inside, image("signature", subject=child).digest),
        ("referrers", inside, child.digest),
    }


def test_delete_a_child(client: Client) -> None:
    """A deleted child is gone although its index lives, and stays gone until it is pushed again."""
    child = image("child")
    client.push(child)
    client.push(index(child), "latest")
    assert delete_manifest(*client.at, child.digest) == []
    assert not readable(client, child)
    assert readable(client, index(child))
    client.push(image("other"), "other")
    with pytest.raises(ManifestBlobUnknown, match=child.digest):
        client.put(index(child), "again")
    client.push(child)
    assert readable(client, child)
    client.put(index(child), "again")


def test_delete_a_referrer(client: Client) -> None:
    """A deleted referrer is listed no more, although its subject lives."""
    app = image("app")
    signature = image("signature", subject=app)
    client.push(app, "latest")
    client.push(signature)
    assert delete_manifest(*client.at, signature.digest) == []
    assert referrers(*client.at, app.digest, artifact_type=None, limit=10) == []
    client.push(signature)
    assert len(referrers(*client.at, app.digest, artifact_type=None, limit=10)) == 1


def test_restore_a_deleted_one(client: Client) -> None:
    """Restoring a tag brings a deleted manifest back, with children that were deleted beside it, but no referrers."""
    child, app = image("child"), index(image("child"))
    signature = image("signature", subject=app)
    client.push(child)
    client.push(app, "latest")
    client.push(signature)
    for digest in (signature.digest, app.digest):
        delete_manifest(*client.at, digest)
    client.push(child)
    delete_manifest(*client.at, child.digest)
    restore_tag(client.txn, client.repository, Tag("latest"), app.digest)
    assert readable(client, app)
    assert readable(client, child)
    assert not readable(client, signature)


def test_push_again_after_the_end(client: Client) -> None:
    """A push of what is out of sight brings it back, and the children and referrers that only it kept."""
    child, app = image("child"), index(image("child"))
    signature = image("signature", subject=child)
    client.push(child)
    client.push(signature)
    client.push(app, "latest")
    client.later(2 * HOUR)
    expire_tags(client.txn, 100)
    delete_tag(*client.at, "latest")
    assert not any(readable(client, one) for one in (app, child, signature))
    again = client.put(app, "latest")
    assert not again.created
    assert all(readable(client, one) for one in (app, child, signature))


# --- cost ---------------------------------------------------------------------------------------------------------


def test_ten_thousand_layers(client: Client) -> None:
    """A manifest of 10,000 layers is stored by a handful of statements."""
    layers = [_descriptor(f"layer {number}") for number in range(10_000)]
    _link_all(client, layers)
    with statements(client.txn) as sent:
        client.put(attrs.evolve(image("app"), config=None, layers=tuple(layers)), "latest")
    assert len(sent) < 15
    assert client.txn.execute(sa.select(sa.func.count()).select_from(manifest_blob)).scalar_one() == 10_000


def test_a_thousand_children(client: Client) -> None:
    """An index of 1,000 children is stored, and deleted with all of them, by a handful of statements."""
    children = [image(str(number)) for number in range(1_000)]
    _link_all(client, [child.config for child in children if child.config])
    for child in children:
        client.put(child)
    client.later(2 * HOUR)
    with statements(client.txn) as sent:
        client.put(index(*children), "latest")
    assert len(sent) < 15
    assert client.txn.execute(sa.select(sa.func.count()).select_from(manifest_child)).scalar_one() == 1_000
    assert expire_tags(client.txn, 2_000) == 1_000
    assert readable(client, children[-1])
    with statements(client.txn) as sent:
        delete_manifest(*client.at, index(*children).digest)
    assert len(sent) < 8
    assert not readable(client, children[-1])


def test_goes_past_sqlalchemy(client: Client) -> None:
    """What pushes, pulls, tries again and deletes an image is prepared: SQLAlchemy does not hear of any of it."""
    app = image("app", layers=["base"])
    changed = image("app", layers=["base", "more"], subject=app)
    with unprepared(client.txn) as heard:
        begin_upload(client.txn, "an upload", client.repository.id, "somebody", "local")
        assert find_upload(client.txn, "an upload", repository_id=client.repository.id, owner="somebody")
        assert end_upload(client.txn, "an upload")
        for _ in range(2):
            client.push(app, "latest")
            client.push(changed, "latest")
            client.put(index(app, changed), labels={"maintainer": "somebody", "version": "1"})
        found = repository.find(client.txn, client.repository.name)
        assert found is not None
        assert mount_blob(client.txn, found.id, found.id, Digest.of(b"base"), lease_s=HOUR)
        assert role(client.txn, found, 987) is None
        assert tags(*client.at, after=None, limit=10) == ["latest"]
        assert resolve_tag(*client.at, "latest")
        assert expired_tag(*client.at, "never") is None
        assert readable(client, app)
        assert referrers(*client.at, app.digest, artifact_type=None, limit=10)
        append(client.txn, [Entry(kind="push_repo", repository_id=found.id)] * 2)
        pull.add(client.txn, {(found.id, subject): pull.Pulls(1, 1) for subject in ("", "latest")})
        assert delete_tag(*client.at, "latest")
        delete_manifest(*client.at, changed.digest)
    assert heard == []


def _link_all(client: Client, blobs: list[Descriptor]) -> None:
    rows = [{"digest": one.digest, "size": one.size, "created_ms": 0} for one in blobs]
    client.txn.execute(sa.insert(blob_row), rows)
    every = sa.select(sa.literal(client.repository.id), blob_row.c.id, sa.literal(0))
    client.txn.execute(sa.insert(repository_blob).from_select(["repository_id", "blob_id", "leased_until_ms"], every))


def test_review_looks_at_what_hangs_on_it(client: Client) -> None:
    """No push looks at all manifests of the repository: it goes from parents to children, also without statistics."""
    review = _affected(client.txn.dialect).statement.params(in_repository=client.repository.id, seeds=[1])
    plan = explain(client.txn.connection, review)
    for line in plan.text.splitlines():
        assert not line.endswith("(repository_id=?)"), plan.text
