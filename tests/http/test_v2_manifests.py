"""Manifests and tags: pushed, pulled as they were pushed, refused, deleted, expired, and referred to."""

import json

import pytest

from quay.events import Deleted, Pulled, Pushed
from quay.oci import media_types
from quay.oci.manifest import MANIFEST_LIMIT
from quay.oci.reference import Digest
from quay.testdata.images import DOCKER, OCI, artifact, image, index
from tests.http.application import HOST

FAKE = Digest.of(b"nobody has this")
IMAGE = image("a base", "a leaf", labels={"maintainer": "somebody"})


def body(content, **changes):
    """The manifest with some of its members changed; None takes one out."""
    members = json.loads(content.raw) | changes
    return json.dumps({name: value for name, value in members.items() if value is not None}).encode()


def uploaded(repository, content=IMAGE):
    """Push the blobs, and not the manifest."""
    for blob in content.blobs:
        repository.upload(blob)


# --- pushed and pulled


@pytest.mark.parametrize("content", [IMAGE, image("docker", dialect=DOCKER), artifact("application/x", b"x")])
@pytest.mark.parametrize("tag", ["latest", "v1.0_x-Y", "_", "a" * 128])
def test_push(repository, content, tag):
    """A pushed manifest is where its tag and its digest say, and the answer says where."""
    answer = repository.push(content, tag)
    assert (answer.status, answer.body) == (201, b"")
    assert answer.headers["docker-content-digest"] == content.digest
    assert answer.headers["location"] == f"http://{HOST}/v2/{repository.name}/manifests/{content.digest}"
    for reference in (tag, content.digest):
        got = repository.get(f"manifests/{reference}")
        assert (got.status, got.body) == (200, content.raw)
        assert got.headers["docker-content-digest"] == content.digest
        assert got.headers["content-type"] == content.media_type
        assert got.headers["content-length"] == str(len(content.raw))


@pytest.mark.parametrize("digest", [IMAGE.digest, Digest.of(IMAGE.raw, "sha512")])
def test_push_by_digest(repository, digest):
    """A manifest may be pushed by its digest alone, sha512 included, and is then found by it."""
    uploaded(repository)
    assert repository.put(digest, IMAGE.raw, IMAGE.media_type).status == 201
    assert repository.get(f"manifests/{digest}").body == IMAGE.raw
    assert repository.get("tags/list").json["tags"] == []


@pytest.mark.parametrize("digest", [FAKE, Digest.of(b"x", "sha512")])
def test_push_by_another_digest(repository, digest):
    """A manifest with another digest than the address says is refused."""
    uploaded(repository)
    answer = repository.put(digest, IMAGE.raw, IMAGE.media_type)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert repository.head(f"manifests/{IMAGE.digest}").status == 404


@pytest.mark.parametrize("change", [b"%s\n", b"  \r\n\t%s", b"%s" + b" " * 10_000])
def test_verbatim(repository, change):
    """What comes back is what was sent, byte for byte."""
    uploaded(repository)
    raw = change % IMAGE.raw
    assert repository.put("spaced", raw, IMAGE.media_type).headers["docker-content-digest"] == Digest.of(raw)
    for _ in range(2):  # from the database, and from memory
        assert repository.get("manifests/spaced").body == raw


@pytest.mark.parametrize("reference", ["latest", IMAGE.digest])
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("headers", [{}, {"If-None-Match": f'"{IMAGE.digest}"'}])
def test_head(repository, reference, warm, headers):
    """HEAD has the headers of GET and no body, from the database and from memory, and for a client that has it."""
    repository.push(IMAGE, "latest")
    if warm:
        repository.get(f"manifests/{reference}")
    head = repository.request("HEAD", f"manifests/{reference}", headers)
    got = repository.request("GET", f"manifests/{reference}", headers)
    assert (head.status, head.headers, head.body) == (got.status, got.headers | {"date": head.headers["date"]}, b"")
    assert got.status == (304 if headers else 200)
    assert got.headers["etag"] == f'"{IMAGE.digest}"'


def test_moved_tag(repository):
    """A tag that moved is answered with what it names now, and what it named is still found by its digest."""
    first, second = image("first"), image("second")
    for content in (first, second, first):
        repository.push(content, "latest")
        for _ in range(2):
            assert repository.get("manifests/latest").body == content.raw
    assert repository.get(f"manifests/{second.digest}").status == 404
    repository.push(second, "other")
    assert repository.get(f"manifests/{second.digest}").body == second.raw


def test_events(application, repository):
    """A push, a pull and a deletion are told, with the tag; a look is not."""
    del application.events[:]
    repository.push(IMAGE, "latest")
    repository.head("manifests/latest")
    repository.get("manifests/latest")
    repository.get("manifests/latest")
    repository.request("DELETE", "manifests/latest")
    told = [(type(event), event.tag, event.digest) for event in application.events if hasattr(event, "digest")]
    assert told == [(kind, "latest", IMAGE.digest) for kind in (Pushed, Pulled, Pulled, Deleted)]


# --- refused


def test_missing_blob(repository):
    """A manifest that names a blob which is not there is refused, and the blob is named."""
    answer = repository.put("latest", IMAGE.raw, IMAGE.media_type)
    assert (answer.status, answer.code) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert set(answer.json["errors"][0]["detail"]["missing"]) == {Digest.of(blob) for blob in IMAGE.blobs}
    assert repository.get("manifests/latest").status == 404


def test_blob_of_another_repository(application, repository):
    """A blob that only another repository has is missing as well."""
    uploaded(application.repository())
    assert repository.put("latest", IMAGE.raw, IMAGE.media_type).code == "MANIFEST_BLOB_UNKNOWN"


@pytest.mark.parametrize(("sparse", "status"), [(True, 201), (False, 400)])
def test_missing_child(make_application, sparse, status):
    """An index may name what is not there, unless the administrator says otherwise."""
    repository = make_application(FEATURE_SPARSE_INDEX=sparse).repository()
    whole = index(IMAGE)
    answer = repository.put("latest", whole.raw, whole.media_type)
    assert answer.status == status
    assert sparse or answer.code == "MANIFEST_BLOB_UNKNOWN"


REFUSED = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "null": b"null",
    "BOM": b"\xef\xbb\xbf" + IMAGE.raw,
    "not UTF-8": IMAGE.raw.replace(b"gzip", b"gz\xff"),
    "UTF-16": IMAGE.raw.decode().encode("utf-16"),
    "NaN": IMAGE.raw.replace(b'"schemaVersion":2', b'"schemaVersion":NaN'),
    "two of a key": IMAGE.raw.replace(b'"schemaVersion":2', b'"schemaVersion":2,"schemaVersion":2'),
    "an image and an index": body(IMAGE, manifests=[]),
    "another media type": body(IMAGE, mediaType=media_types.OCI_INDEX),
    "an old version": body(IMAGE, schemaVersion=1),
    "no config": body(IMAGE, config=None),
    "no layers": body(IMAGE, layers=None),
    "layers that are none": body(IMAGE, layers="layers"),
    "a negative size": body(IMAGE, config={"mediaType": "a/b", "digest": FAKE, "size": -1}),
    "a huge size": body(IMAGE, config={"mediaType": "a/b", "digest": FAKE, "size": 2**63}),
    "a fractional size": body(IMAGE, config={"mediaType": "a/b", "digest": FAKE, "size": 1.5}),
    "a bad digest": body(IMAGE, config={"mediaType": "a/b", "digest": "sha256:../../x", "size": 1}),
    "a bad media type": body(IMAGE, config={"mediaType": "a\r\nb", "digest": FAKE, "size": 1}),
    "a bad subject": body(IMAGE, subject={"mediaType": "a/b", "digest": "x", "size": 1}),
    "deep": b'{"a":' * 100_000,
    "deep and closed": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "many layers": body(IMAGE, layers=[{"mediaType": "a/b", "digest": FAKE, "size": 1}] * 20_000),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(repository, name):
    """What is no manifest, or two things at once, is 400 and leaves nothing."""
    uploaded(repository)
    answer = repository.put("latest", REFUSED[name], IMAGE.media_type)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")
    assert len(answer.body) < 2000
    assert repository.get("manifests/latest").status == 404


@pytest.mark.parametrize("value", ["text/plain", "application/vnd.example+json", "image/png", "x", "a/b/c", "a b"])
def test_other_media_types(repository, value):
    """What is no manifest by its media type is 415."""
    answer = repository.put("latest", b"no JSON at all", value)
    assert (answer.status, answer.code) == (415, "MANIFEST_INVALID")


@pytest.mark.parametrize("value", ["application/json", "application/octet-stream", f"{OCI.manifest}; charset=utf-8"])
def test_silent_media_types(repository, value):
    """Where the Content-Type says nothing, the manifest says what it is."""
    uploaded(repository)
    assert repository.put("latest", IMAGE.raw, value).status == 201
    assert repository.get("manifests/latest").headers["content-type"] == OCI.manifest


@pytest.mark.parametrize("size", [MANIFEST_LIMIT, MANIFEST_LIMIT + 1])
@pytest.mark.parametrize("chunked", [False, True])
def test_size(repository, size, chunked):
    """A manifest of four mebibytes is taken, one byte more is not, whether it is announced or found out."""
    uploaded(repository)
    raw = IMAGE.raw + b" " * (size - len(IMAGE.raw))
    chunks = [raw[start : start + 100_000] for start in range(0, size, 100_000)]
    answer = repository.put("large", chunks if chunked else raw, IMAGE.media_type)
    assert answer.status == (201 if size == MANIFEST_LIMIT else 413)


@pytest.mark.parametrize("tag", ["a" * 129, "-a", ".a", "a%20b", "%C3%A9", "a%00", "a~b", "a@b", "%0a"])
def test_bad_tag(repository, tag):
    """What is no tag is 400 for a push, and not there for a pull."""
    uploaded(repository)
    assert repository.put(tag, IMAGE.raw, IMAGE.media_type).status == 400
    assert repository.get(f"manifests/{tag}").status in (400, 404)


# --- deleted and expired


def test_delete_tag(repository):
    """A deleted tag is gone at once, the others stay, and the answer to a pull tells that it can be restored."""
    for tag in ("one", "two"):
        repository.push(IMAGE, tag)
        repository.get(f"manifests/{tag}")
    answer = repository.request("DELETE", "manifests/one")
    assert (answer.status, answer.body) == (202, b"")
    gone = repository.get("manifests/one")
    assert (gone.status, gone.code) == (404, "TAG_EXPIRED")
    assert IMAGE.digest in gone.json["errors"][0]["message"] and "restore" in gone.json["errors"][0]["detail"]["advice"]
    assert repository.request("DELETE", "manifests/one").status == 404
    assert repository.get("tags/list").json["tags"] == ["two"]
    assert repository.get("manifests/two").status == repository.get(f"manifests/{IMAGE.digest}").status == 200


def test_delete_manifest(repository):
    """A manifest that is deleted by its digest is gone at once, with all its tags, and a push brings it back."""
    for tag in ("one", "two"):
        repository.push(IMAGE, tag)
    references = ("one", "two", IMAGE.digest)
    assert {repository.get(f"manifests/{reference}").status for reference in references} == {200}
    assert repository.request("DELETE", f"manifests/{IMAGE.digest}").status == 202
    assert {repository.get(f"manifests/{reference}").status for reference in references} == {404}
    assert repository.get("tags/list").json["tags"] == []
    assert repository.request("DELETE", f"manifests/{IMAGE.digest}").status == 404
    repository.push(IMAGE, "one")
    assert repository.get(f"manifests/{IMAGE.digest}").status == 200


def test_last_tag(repository):
    """When its last tag is gone, a manifest is not found by its digest either."""
    repository.push(IMAGE, "only")
    repository.request("DELETE", "manifests/only")
    assert repository.get(f"manifests/{IMAGE.digest}").code == "MANIFEST_UNKNOWN"


def test_delete_elsewhere(application, repository):
    """Deleting in one repository deletes nothing in another."""
    other = application.repository()
    for client in (repository, other):
        client.push(IMAGE, "latest")
    repository.request("DELETE", f"manifests/{IMAGE.digest}")
    assert other.get("manifests/latest").status == 200


def test_label_of_expiry(make_application):
    """The label quay.expires-after ends a tag to the second, in memory as well, and a push of it begins anew."""
    application = make_application()
    repository = application.repository()
    content = image("short-lived", labels={"quay.expires-after": "1h"})
    repository.push(content, "brief")
    application.clock.advance(3599)
    repository.token = application.token(repository.auth, f"repository:{repository.name}:pull,push")
    assert repository.get("manifests/brief").status == 200
    application.clock.advance(1)
    assert repository.get("manifests/brief").code == "TAG_EXPIRED"
    assert repository.get("tags/list").json["tags"] == []
    repository.push(content, "brief")
    assert repository.get("manifests/brief").status == 200


def test_time_machine_ends(make_application):
    """What the time machine has no longer is not there any more."""
    application = make_application(DEFAULT_TAG_EXPIRATION="1d")
    repository = application.repository()
    repository.push(IMAGE, "latest")
    repository.request("DELETE", "manifests/latest")
    application.clock.advance(86_400)
    repository.token = application.token(repository.auth, f"repository:{repository.name}:pull,push")
    assert repository.get("manifests/latest").code == "MANIFEST_UNKNOWN"
