"""Manifests through the API: their layers, their labels, and what refers to them."""

import pytest

from quay.model import namespace, permission, repository
from quay.model.permission import Role
from quay.oci.reference import Digest, RepositoryName
from quay.testdata import images
from tests.http.api.client import Client, audited
from tests.http.application import NOW, Repository

HOUR = 3600
IMAGE = images.image("base", "leaf", labels={"maintainer": "me", "version": "1"})
ROOT = "/repository/devtable/simple/manifest"
ONE = f"{ROOT}/{IMAGE.digest}"
LABELS = f"{ONE}/labels"
TEXT = {"key": "stage", "value": "production", "media_type": "text/plain"}


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def pusher(application):
    made = Repository(application, "devtable/simple", ("devtable", "password"))
    made.push(IMAGE, "latest")
    return made


@pytest.fixture
def devtable(application, pusher):
    return Client(application, "devtable")


# --- layers -------------------------------------------------------------------------------------------------------


def test_image(devtable):
    """An image shows its bytes and its layers, with the step that made each."""
    shown = devtable.get(ONE).json
    assert (shown["digest"], shown["is_manifest_list"]) == (IMAGE.digest, False)
    assert shown["manifest_data"] == IMAGE.raw.decode()
    assert shown["config_media_type"] == "application/vnd.oci.image.config.v1+json"
    assert shown["layers_compressed_size"] == sum(map(len, IMAGE.blobs[1:]))
    assert shown["layers"][1] == {
        "index": 1,
        "compressed_size": len(IMAGE.blobs[2]),
        "is_remote": False,
        "urls": [],
        "command": ["COPY layer-1.txt /"],
        "comment": None,
        "author": None,
        "blob_digest": Digest.of(IMAGE.blobs[2]),
        "created_datetime": "Thu, 01 Jan 2026 00:00:00 -0000",
    }


def test_index_and_artifact(devtable, pusher):
    """An index has no layers; an artifact has some, and no history."""
    index, artifact = images.index(IMAGE), images.artifact("application/vnd.example", b"payload", subject=IMAGE)
    pusher.push(index, "index")
    pusher.push(artifact, "artifact")
    shown = devtable.get(f"{ROOT}/{index.digest}").json
    assert (shown["is_manifest_list"], shown["layers"], shown["layers_compressed_size"]) == (True, None, None)
    (layer,) = devtable.get(f"{ROOT}/{artifact.digest}").json["layers"]
    assert (layer["compressed_size"], layer["command"]) == (7, None)


def test_config_that_cannot_be_read(application, devtable):
    """Without its config, a manifest shows its layers all the same."""
    application.blobs.blobs.clear()
    answer = devtable.get(ONE)
    assert (answer.status, len(answer.json["layers"])) == (200, 2)


@pytest.mark.parametrize("reference", ["latest", "sha256:" + "0" * 64, "x", "sha256:"])
def test_what_is_not_there(devtable, reference):
    """A manifest is named by its digest; what is none, or is not here, is 404, below it as well."""
    for rest in ("", "/labels", "/labels/x", "/referrers"):
        assert devtable.get(f"{ROOT}/{reference}{rest}").status == 404


def test_manifest_of_another_repository(application, devtable):
    """A manifest is reached through its own repository only."""
    assert devtable.get(f"/repository/devtable/complex/manifest/{IMAGE.digest}").status == 404
    assert Client(application, "freshuser").get(ONE).status == 403
    assert Client(application).get(ONE).status == 401


# --- labels -------------------------------------------------------------------------------------------------------


def test_labels_of_the_image(devtable):
    """The labels that came with the image are listed, and stay."""
    found = devtable.get(LABELS).json["labels"]
    assert [(one["key"], one["value"], one["source_type"]) for one in found] == [
        ("maintainer", "me", "manifest"),
        ("version", "1", "manifest"),
    ]
    answer = devtable.delete(f"{LABELS}/{found[0]['id']}")
    assert (answer.status, "came with the image" in answer.json["detail"]) == (400, True)
    assert devtable.get(f"{LABELS}/{found[0]['id']}").json == found[0]


def test_label_comes_and_goes(application, devtable):
    """A label is added, found, and taken away; that is on record."""
    answer = devtable.post(LABELS, TEXT)
    assert answer.status == 201
    made = answer.json["label"]
    assert made == {"id": made["id"], "source_type": "api"} | TEXT
    assert answer.headers["location"] == f"http://registry.test:5000/api/v1{LABELS}/{made['id']}"
    assert devtable.get(f"{LABELS}?filter=sta").json["labels"] == [made]
    assert devtable.get(f"{LABELS}?filter=%25").json["labels"] == []
    assert devtable.delete(f"{LABELS}/{made['id']}").status == 204
    assert devtable.delete(f"{LABELS}/{made['id']}").status == 404
    ((_, added),) = audited(application, "manifest_label_add")
    assert (added["key"], added["value"], added["manifest_digest"]) == ("stage", "production", IMAGE.digest)
    assert len(audited(application, "manifest_label_delete")) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"key": ""},
        {"key": "x"},
        {"key": "-a"},
        {"key": "a b"},
        {"key": "a" * 256},
        {"key": "io.quay.mine"},
        {"key": "quay.mine"},
        {"key": "mine.secret"},
        {"value": None},
        {"value": "x" * 65_537},
        {"media_type": "text/html"},
        {"media_type": "application/json", "value": "{"},
        {"key": "quay.expires-after", "value": "soon"},
    ],
)
def test_labels_that_cannot_be(make_application, change):
    """A label has a key that is a name and is not reserved, and a value of its media type."""
    application = make_application(LABEL_KEY_RESERVED_PREFIXES=["mine."])
    Repository(application, "devtable/simple", ("devtable", "password")).push(IMAGE, "latest")
    client = Client(application, "devtable")
    assert client.post(LABELS, TEXT | change).status == 400
    assert len(client.get(LABELS).json["labels"]) == 2


def test_label_of_another_manifest(devtable, pusher):
    """A label is found under its own manifest only."""
    other = images.image("other")
    pusher.push(other, "other")
    made = devtable.post(LABELS, TEXT).json["label"]
    assert devtable.get(f"{ROOT}/{other.digest}/labels/{made['id']}").status == 404
    assert devtable.delete(f"{ROOT}/{other.digest}/labels/{made['id']}").status == 404


def test_label_that_ends_tags(application, devtable, pusher):
    """quay.expires-after lets the tags of the manifest expire, but for the immutable ones, within the bounds."""
    pusher.push(IMAGE, "locked")
    assert devtable.put("/repository/devtable/simple/tag/locked", {"immutable": True}).status == 201
    assert devtable.post(LABELS, {"key": "quay.expires-after", "value": "2h"}).status == 201
    ends = {one["name"]: one.get("end_ts") for one in devtable.get("/repository/devtable/simple/tag/").json["tags"]}
    assert ends == {"latest": NOW + 2 * HOUR, "locked": None}
    assert devtable.post(LABELS, {"key": "quay.expires-after", "value": "1s"}).status == 201
    tag = devtable.get("/repository/devtable/simple/tag/?specificTag=latest").json["tags"][0]
    assert tag["end_ts"] == NOW + HOUR
    application.clock.advance(HOUR)
    assert pusher.head("manifests/latest").status == 404
    assert pusher.head("manifests/locked").status == 200


def test_label_of_a_push_within_bounds(make_application):
    """The label in a pushed image is held to the same bounds."""
    application = make_application(LABELED_EXPIRATION_MINIMUM="10m", LABELED_EXPIRATION_MAXIMUM="20m")
    pusher = Repository(application, "devtable/simple", ("devtable", "password"))
    for life in ("1s", "15m", "1w"):
        pusher.push(images.image(life, labels={"quay.expires-after": life}), life)
    tags = Client(application, "devtable").get("/repository/devtable/simple/tag/").json["tags"]
    assert {tag["name"]: tag["end_ts"] - NOW for tag in tags} == {"1s": 600, "15m": 900, "1w": 1200}


def test_who_may_label(application, devtable):
    """Who may read sees labels; only who may write changes them."""
    application.write(_let_read)
    reader = Client(application, "reader")
    assert reader.get(LABELS).status == 200
    assert reader.post(LABELS, TEXT).status == 403
    assert reader.delete(f"{LABELS}/x").status == 403


def _let_read(txn):
    found = repository.find(txn, RepositoryName("devtable", "simple"))
    permission.grant(txn, found.id, grantee_id=namespace.find(txn, "reader").id, role=Role.READ)


# --- referrers ----------------------------------------------------------------------------------------------------


def test_referrers(devtable, pusher):
    """What names the manifest as its subject is listed, all of it or that of one type."""
    signature = images.artifact("application/vnd.example.signature", b"signature", subject=IMAGE)
    bill = images.artifact("application/vnd.example.bill", b"bill", subject=IMAGE)
    pusher.push(signature)
    pusher.push(bill)
    found = devtable.get(f"{ONE}/referrers").json
    assert [one["digest"] for one in found["referrers"]] == [signature.digest, bill.digest]
    assert found["referrers"][0] == {
        "digest": signature.digest,
        "media_type": signature.media_type,
        "artifact_type": "application/vnd.example.signature",
        "size": len(signature.raw),
        "annotations": {"org.opencontainers.image.created": images.CREATED},
    }
    assert "next_page" not in found
    only = devtable.get(f"{ONE}/referrers?artifact_type=application/vnd.example.bill").json["referrers"]
    assert [one["digest"] for one in only] == [bill.digest]


def test_pages_of_referrers(devtable, pusher):
    """A long list goes on where the last page ended."""
    made = [images.artifact("application/vnd.example", b"%d" % number, subject=IMAGE) for number in range(103)]
    for one in made:
        pusher.push(one)
    first = devtable.get(f"{ONE}/referrers").json
    second = devtable.get(f"{ONE}/referrers?next_page={first['next_page']}").json
    found = [one["digest"] for page in (first, second) for one in page["referrers"]]
    assert found == [one.digest for one in made]
    assert devtable.get(f"{ONE}/referrers?artifact_type=x&next_page={first['next_page']}").status == 400


def test_no_referrers(make_application):
    """Where referrers are not listed, there is no such call."""
    application = make_application(FEATURE_REFERRERS_API=False)
    Repository(application, "devtable/simple", ("devtable", "password")).push(IMAGE, "latest")
    assert Client(application, "devtable").get(f"{ONE}/referrers").status == 404
