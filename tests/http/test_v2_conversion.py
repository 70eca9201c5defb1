"""What clients get that do not take what a tag holds: schema 1 for old engines, the linux/amd64 child of an index."""

import json
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from quay.oci import jws
from quay.oci.document import load
from quay.oci.manifest import parse
from quay.oci.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, SCHEMA1, SCHEMA1_SIGNED
from quay.oci.reference import Digest
from quay.oci.schema1 import EMPTY_LAYER_DIGEST
from quay.registry.manifests import INLINE_LIMIT
from quay.testdata.images import DOCKER, Content, artifact, image, index

AMD64, ARM64 = (image("leaf", name, architecture=name, dialect=DOCKER) for name in ("amd64", "arm64"))
BOTH = index(ARM64, AMD64, dialect=DOCKER)
OLD_ENGINES = [
    {"Accept": SCHEMA1_SIGNED},
    {"Accept": f"{SCHEMA1}, {SCHEMA1_SIGNED}"},
    {"Accept": "application/json"},
    {"User-Agent": "docker/1.9.1 go/go1.4.2"},
]


def payload_of(answer):
    """The payload of a signed manifest, whose signature holds, and whose digest the answer tells."""
    assert (answer.status, answer.headers["content-type"]) == (200, SCHEMA1_SIGNED)
    payload = jws.signed_payload(answer.body, load(answer.body))
    assert answer.headers["docker-content-digest"] == Digest.of(payload)
    return json.loads(payload)


# --- schema 1 for those who know nothing else


@pytest.mark.parametrize("headers", OLD_ENGINES)
@pytest.mark.parametrize("content", [AMD64, BOTH, image("oci")], ids=["image", "list", "oci"])
def test_old_engines(repository, headers, content):
    """An old engine gets signed schema 1 with the tag's layers, each of which it can fetch."""
    repository.push(content, "latest")
    payload = payload_of(repository.request("GET", "manifests/latest", headers))
    assert (payload["schemaVersion"], payload["name"], payload["tag"]) == (1, repository.name, "latest")
    leaf = (content.children or (content,))[-1]
    assert [layer["blobSum"] for layer in payload["fsLayers"]] == [Digest.of(blob) for blob in leaf.blobs[:0:-1]]
    for layer in payload["fsLayers"]:
        assert repository.head(f"blobs/{layer['blobSum']}").status == 200
    history = [json.loads(entry["v1Compatibility"]) for entry in payload["history"]]
    assert history[0]["architecture"] == "amd64" and history[0]["config"]["Cmd"] == ["/bin/true"]
    assert all(one["parent"] == other["id"] for one, other in pairwise(history))


def test_the_same_each_time(repository):
    """What is made for an old engine has the same digest each time, and for HEAD."""
    repository.push(AMD64, "latest")
    headers = {"Accept": SCHEMA1_SIGNED}
    answers = [repository.request(method, "manifests/latest", headers) for method in ("GET", "HEAD", "GET")]
    assert len({answer.headers["docker-content-digest"] for answer in answers}) == 1


def test_unsigned(repository):
    """Who takes only the unsigned form gets that."""
    repository.push(AMD64, "latest")
    answer = repository.get("manifests/latest", Accept=SCHEMA1)
    assert (answer.status, answer.headers["content-type"]) == (200, SCHEMA1)
    assert answer.headers["docker-content-digest"] == Digest.of(answer.body)
    assert "signatures" not in answer.json


def test_empty_layers(repository):
    """Steps that changed nothing become the empty layer, which the repository then has."""
    config = json.loads(AMD64.blobs[0])
    config["history"].insert(1, {"created_by": "ENV A=B", "empty_layer": True})
    blob = json.dumps(config).encode()
    members = json.loads(AMD64.raw)
    members["config"] |= {"digest": Digest.of(blob), "size": len(blob)}
    content = Content(AMD64.media_type, json.dumps(members).encode(), (blob, *AMD64.blobs[1:]))
    repository.push(content, "latest")
    payload = payload_of(repository.get("manifests/latest", Accept=SCHEMA1_SIGNED))
    assert [layer["blobSum"] == EMPTY_LAYER_DIGEST for layer in payload["fsLayers"]] == [False, True, False]
    assert repository.get(f"blobs/{EMPTY_LAYER_DIGEST}").status == 200


@pytest.mark.parametrize(
    "content",
    [artifact("application/x", b"x"), index(ARM64, dialect=DOCKER), index()],
    ids=["artifact", "no amd64", "empty index"],
)
def test_inconvertible(repository, content):
    """What schema 1 cannot say is 404, and the sentence says why."""
    repository.push(content, "latest")
    answer = repository.get("manifests/latest", Accept=SCHEMA1_SIGNED)
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
    assert repository.get("manifests/latest").body == content.raw


# --- what is taken as it is


@pytest.mark.parametrize(
    "accept",
    [
        DOCKER_LIST,
        f"{OCI_INDEX}, {DOCKER_LIST};q=0.5",
        f"{DOCKER_LIST}; charset=utf-8",
        "*/*",
        "application/*",
        None,
        "",
    ],
)
def test_taken(repository, accept):
    """A client that takes the list, or says nothing, gets it verbatim."""
    repository.push(BOTH, "latest")
    answer = repository.request("GET", "manifests/latest", {} if accept is None else {"Accept": accept})
    assert (answer.body, answer.headers["content-type"]) == (BOTH.raw, DOCKER_LIST)
    assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize("warm", [False, True])
def test_child(repository, warm):
    """A client that takes images only gets the one for linux/amd64, with its own digest."""
    repository.push(BOTH, "latest")
    if warm:
        repository.get("manifests/latest")
    for method in ("GET", "HEAD"):
        answer = repository.request(method, "manifests/latest", {"Accept": DOCKER_MANIFEST})
        assert answer.headers["docker-content-digest"] == AMD64.digest
        assert answer.headers["content-type"] == DOCKER_MANIFEST
    assert repository.get("manifests/latest", Accept=DOCKER_MANIFEST).body == AMD64.raw
    assert repository.get("manifests/latest", Accept=DOCKER_LIST).body == BOTH.raw


def test_no_child(repository):
    """Where there is none for linux/amd64, there is nothing for such a client; nor in another dialect."""
    repository.push(index(ARM64, dialect=DOCKER), "latest")
    repository.push(BOTH, "both")
    assert repository.get("manifests/latest", Accept=DOCKER_MANIFEST).code == "MANIFEST_UNKNOWN"
    assert repository.get("manifests/both", Accept=OCI_MANIFEST).code == "MANIFEST_UNKNOWN"


def test_indexes_within_indexes(repository):
    """The image for linux/amd64 is found within a few indexes; a tower of them is not climbed."""
    top = AMD64
    repository.push(top, "ground")
    for height in range(40):
        members = json.loads(index(AMD64, dialect=DOCKER).raw)
        members["manifests"][0] |= {"mediaType": top.media_type, "digest": top.digest, "size": len(top.raw)}
        top = Content(DOCKER_LIST, json.dumps(members).encode())
        repository.push(top, f"height-{height}")
    assert repository.get("manifests/height-3", Accept=DOCKER_MANIFEST).body == AMD64.raw
    answer = repository.get("manifests/height-39", Accept=DOCKER_MANIFEST)
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")


def test_large_manifests_are_read_in_threads(repository, monkeypatch):
    """What a large manifest could be turned into is found out in a thread."""
    members = json.loads(AMD64.raw) | {"annotations": {"much": "x" * INLINE_LIMIT}}
    repository.push(Content(AMD64.media_type, json.dumps(members).encode(), AMD64.blobs), "latest")
    cpu, asked = repository.application.core.threads.cpu, []
    run = cpu.run
    monkeypatch.setattr(cpu, "run", lambda f, *args, **kwargs: asked.append(f) or run(f, *args, **kwargs))
    assert repository.get("manifests/latest", Accept=OCI_MANIFEST).status == 404
    assert parse in asked


@pytest.mark.parametrize("headers", [*OLD_ENGINES, {"Accept": DOCKER_MANIFEST}, {"Accept": "text/plain"}])
def test_by_digest(repository, headers):
    """By its digest, a manifest is what it is, whatever a client takes: other bytes would have another digest."""
    repository.push(BOTH, "latest")
    assert repository.request("GET", f"manifests/{BOTH.digest}", headers).body == BOTH.raw


# --- schema 1 that was pushed

KEY = ec.generate_private_key(ec.SECP256R1())


def schema1(repository, tag="latest", **changes):
    """The payload of a schema 1 manifest with one layer."""
    layer = repository.upload(b"a layer")
    history = [{"v1Compatibility": json.dumps({"id": "a" * 64, "architecture": "amd64"})}]
    members = {"schemaVersion": 1, "name": repository.name, "tag": tag, "architecture": "amd64"}
    members |= {"fsLayers": [{"blobSum": layer}], "history": history} | changes
    return json.dumps(members, indent=3).encode()


@pytest.mark.parametrize("declared", [SCHEMA1_SIGNED, "application/json", "", "application/json; charset=utf-8"])
def test_push_signed(repository, declared):
    """A signed manifest comes back as it was sent, under the digest of its payload."""
    payload = schema1(repository)
    raw = jws.sign(payload, KEY)
    answer = repository.put("latest", raw, declared)
    assert (answer.status, answer.headers["docker-content-digest"]) == (201, Digest.of(payload))
    for headers in ({}, *OLD_ENGINES):
        got = repository.request("GET", "manifests/latest", headers)
        assert (got.headers["content-type"], got.headers["docker-content-digest"]) == (
            SCHEMA1_SIGNED,
            Digest.of(payload),
        )
        payload_of(got)
    assert repository.get("manifests/latest").body == repository.get(f"manifests/{Digest.of(payload)}").body == raw


def test_push_unsigned(repository):
    """An unsigned one as well; who takes the signed form only gets it signed here."""
    payload = schema1(repository)
    assert repository.put("latest", payload, SCHEMA1).status == 201
    assert repository.get("manifests/latest").body == payload
    assert payload_of(repository.get("manifests/latest", Accept=SCHEMA1_SIGNED)) == json.loads(payload)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "devtable/other"}, "NAME_INVALID"),
        ({"tag": "other"}, "TAG_INVALID"),
        ({"fsLayers": []}, "MANIFEST_INVALID"),
        ({"fsLayers": [{"blobSum": Digest.of(b"missing")}]}, "MANIFEST_BLOB_UNKNOWN"),
    ],
)
def test_push_refused(repository, changes, code):
    """One that was made for elsewhere, contradicts itself or lacks a layer is refused."""
    raw = jws.sign(schema1(repository, **changes), KEY)
    answer = repository.put("latest", raw, SCHEMA1_SIGNED)
    assert (answer.status, answer.code) == (400, code)


def test_push_forged(repository):
    """One that was changed after it was signed is refused."""
    raw = jws.sign(schema1(repository), KEY).replace(b'"architecture": "amd64"', b'"architecture": "arm64"')
    answer = repository.put("latest", raw, SCHEMA1_SIGNED)
    assert answer.status == 400 and answer.code in ("MANIFEST_UNVERIFIED", "MANIFEST_INVALID")
