"""Blobs on their way in: whole, in chunks, by mount; interrupted, contradictory, too large, and other people's."""

import re

import pytest

from quay.oci.reference import Digest
from tests.http.application import HOST

DATA = b"0123456789"
DIGEST = Digest.of(DATA)
EMPTY = Digest.of(b"")
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def offset(answer):
    """What an upload holds, as its Range tells."""
    first, last = answer.headers["range"].split("-")
    assert first == "0"
    return int(last) + 1


def held(repository, location):
    """What an upload holds, asked for."""
    answer = repository.at(location, "GET")
    assert answer.status == 204
    return offset(answer)


def finish(repository, location, digest, headers=(), body=b""):
    return repository.at(f"{location}?digest={digest}", "PUT", headers, body)


def assert_created(repository, answer, data):
    """The answer says where the blob is, and there it is."""
    digest = Digest.of(data, answer.headers["docker-content-digest"][:6])
    assert answer.status == 201 and answer.body == b""
    assert answer.headers["docker-content-digest"] == digest
    assert answer.headers["location"] == f"http://{HOST}/v2/{repository.name}/blobs/{digest}"
    assert repository.at(answer.headers["location"], "GET").body == data


# --- every way in


def test_one_request(repository):
    """A POST with the digest and the whole body makes the blob."""
    answer = repository.request("POST", f"blobs/uploads/?digest={DIGEST}", body=DATA)
    assert_created(repository, answer, DATA)
    assert "docker-upload-uuid" not in answer.headers


def test_one_request_in_chunks(repository):
    """So does one whose body has no length beforehand."""
    answer = repository.request("POST", f"blobs/uploads/?digest={DIGEST}", body=[b"01234", b"56789"])
    assert_created(repository, answer, DATA)


def test_begin(repository):
    """A POST begins an upload: an absolute location, an id, and nothing held."""
    answer = repository.request("POST", "blobs/uploads/")
    uuid = answer.headers["docker-upload-uuid"]
    assert (answer.status, answer.headers["range"], answer.headers["content-length"]) == (202, "0-0", "0")
    assert re.fullmatch(UUID, uuid)
    assert answer.headers["location"] == f"http://{HOST}/v2/{repository.name}/blobs/uploads/{uuid}"
    assert repository.at(answer.headers["location"], "GET").headers["range"] == "0-0"


def test_begin_with_a_digest_and_no_body(repository):
    """A POST with a digest and no body begins an upload, as clients expect that then send the body elsewhere."""
    answer = repository.request("POST", f"blobs/uploads/?digest={DIGEST}")
    assert answer.status == 202
    assert_created(repository, finish(repository, answer.headers["location"], DIGEST, body=DATA), DATA)


@pytest.mark.parametrize("body", [DATA, [DATA], [b"0", b"1234", b"56789"]], ids=["length", "chunk", "chunks"])
def test_post_then_put(repository, body):
    """The whole body may come with the last request."""
    assert_created(repository, finish(repository, repository.begin(), DIGEST, body=body), DATA)


def test_post_patch_put(repository):
    """Or with one before it."""
    location = repository.begin()
    answer = repository.at(location, "PATCH", body=DATA)
    assert (answer.status, answer.headers["range"], answer.headers["location"]) == (202, "0-9", location)
    assert_created(repository, finish(repository, location, DIGEST), DATA)


@pytest.mark.parametrize(
    "spelled",
    [
        lambda start, end: {"Content-Range": f"{start}-{end}"},
        lambda start, end: {"Content-Range": f"bytes {start}-{end}/10"},
        lambda start, end: {"Content-Range": f"bytes {start}-{end}/*"},
        lambda start, end: {"Range": f"bytes={start}-{end}"},
        lambda start, end: {"Range": f"{start}-{end}"},
        lambda start, end: {},
    ],
)
def test_chunks(repository, spelled):
    """Chunks follow one another, by the specification's header, Quay's, or none; the last may come with PUT."""
    location = repository.begin()
    for start, end in ((0, 3), (4, 6)):
        answer = repository.at(location, "PATCH", spelled(start, end), DATA[start : end + 1])
        assert (answer.status, answer.headers["range"]) == (202, f"0-{end}")
        assert held(repository, location) == end + 1
        location = answer.headers["location"]
    assert_created(repository, finish(repository, location, DIGEST, spelled(7, 9), DATA[7:]), DATA)


def test_large(repository):
    """A body of several segments comes through."""
    data = bytes(range(256)) * 20_000
    assert_created(repository, finish(repository, repository.begin(), Digest.of(data), body=data), data)


@pytest.mark.parametrize("begin", [False, True])
def test_empty(repository, begin):
    """The empty blob is a blob."""
    if begin:
        answer = finish(repository, repository.begin(), EMPTY)
    else:
        answer = repository.request("POST", f"blobs/uploads/?digest={EMPTY}")
    assert_created(repository, answer, b"")


@pytest.mark.parametrize("query", ["", "?digest-algorithm=sha512"])
def test_sha512(repository, query):
    """A blob may be named by its sha512, announced or not."""
    location = repository.request("POST", f"blobs/uploads/{query}").headers["location"]
    assert_created(repository, finish(repository, location, Digest.of(DATA, "sha512"), body=DATA), DATA)


def test_twice(repository):
    """A blob that is there already can be pushed again."""
    assert repository.upload(DATA) == repository.upload(DATA)


# --- what goes wrong


@pytest.mark.parametrize("form", ["post", "put", "patch"])
def test_wrong_digest(application, repository, form):
    """A digest that the bytes do not have is refused, nothing of them stays, and the right one works afterwards."""
    before, wrong = set(application.blobs.blobs), Digest.of(b"something else entirely")
    if form == "post":
        answer = repository.request("POST", f"blobs/uploads/?digest={wrong}", body=DATA)
    else:
        location = repository.begin()
        patched = form == "patch" and repository.at(location, "PATCH", body=DATA)
        answer = finish(repository, location, wrong, body=b"" if patched else DATA)
        assert repository.at(location, "GET").status == 404
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert DIGEST in answer.json["errors"][0]["message"] and wrong in answer.json["errors"][0]["message"]
    assert set(application.blobs.blobs) == before
    assert repository.head(f"blobs/{wrong}").status == 404
    assert_created(repository, repository.request("POST", f"blobs/uploads/?digest={DIGEST}", body=DATA), DATA)


def test_nothing_is_left(make_application):
    """After uploads that failed, were cancelled or were finished, the store holds no upload and the database none."""
    application = make_application()
    repository = application.repository()
    repository.upload(DATA)
    repository.request("POST", f"blobs/uploads/?digest={DIGEST}", body=b"other")
    finish(repository, repository.begin(), DIGEST, body=b"other")
    repository.at(repository.begin(), "DELETE")
    assert application.blobs.uploads == {}
    assert list(application.blobs.blobs) == [DIGEST]


def test_no_digest(repository):
    """A PUT without a digest finishes nothing, and loses nothing."""
    location = repository.begin()
    repository.at(location, "PATCH", body=DATA)
    answer = repository.at(location, "PUT")
    assert answer.status == 400
    assert_created(repository, finish(repository, location, DIGEST), DATA)


BAD_DIGESTS = [
    "sha256:" + "A" * 64,
    "sha256:" + "a" * 63,
    "sha256:" + "a" * 65,
    "sha256:%2e%2e%2f%2e%2e%2fx",
    "sha256:..",
    "sha256:" + "a" * 63 + "%00",
    "sha256:" + "%D9%A1" * 64,
    "md5:d41d8cd98f00b204e9800998ecf8427e",
    "sha512:" + "a" * 64,
    "sha1024:" + "a" * 64,
    "sha256",
    "%20" + DIGEST,
    DIGEST + "%0a",
]


@pytest.mark.parametrize("digest", BAD_DIGESTS)
def test_digest_grammar(application, repository, digest):
    """What is no digest is 400 or 404 wherever a digest can stand, and never reaches the store."""
    held_before = dict(application.blobs.blobs)
    location = repository.begin()
    for answer in (
        repository.request("POST", f"blobs/uploads/?digest={digest}", body=DATA),
        repository.request("POST", f"blobs/uploads/?mount={digest}&from=devtable/simple"),
        finish(repository, location, digest, body=DATA),
        repository.get(f"blobs/{digest}"),
        repository.request("DELETE", f"blobs/{digest}"),
        repository.get(f"manifests/{digest}"),
        repository.request("DELETE", f"manifests/{digest}"),
        repository.get(f"referrers/{digest}"),
    ):
        assert answer.status in (400, 404), answer
        assert answer.json["errors"][0]["code"] in {
            "DIGEST_INVALID",
            "INVALID_REQUEST",
            "NAME_INVALID",
            "NAME_UNKNOWN",
            "MANIFEST_UNKNOWN",
        }
    assert application.blobs.blobs == held_before
    assert held(repository, location) <= len(DATA)


@pytest.mark.parametrize("start", [0, 3, 6, 9_999_999_999_999_999])
def test_out_of_order(repository, start):
    """A chunk that does not follow what is held is 416, says what is held, and changes nothing."""
    location = repository.begin()
    repository.at(location, "PATCH", {"Content-Range": "0-4"}, DATA[:5])
    answer = repository.at(location, "PATCH", {"Content-Range": f"{start}-{start + 4}"}, b"wrong")
    assert (answer.status, answer.code, answer.headers["range"]) == (416, "BLOB_UPLOAD_INVALID", "0-4")
    assert answer.headers["location"].endswith(location.removeprefix(f"http://{HOST}"))
    assert held(repository, location) == 5
    assert_created(repository, finish(repository, location, DIGEST, body=DATA[5:]), DATA)


def test_first_chunk_out_of_order(repository):
    """So is a first chunk that does not begin at the beginning."""
    answer = repository.at(repository.begin(), "PATCH", {"Content-Range": "1-5"}, b"wrong")
    assert (answer.status, answer.headers["range"]) == (416, "0-0")


def test_overlap(repository):
    """By Quay's header, what was received before is skipped; a gap is still 416."""
    location = repository.begin()
    repository.at(location, "PATCH", {"Range": "bytes=0-4"}, DATA[:5])
    assert repository.at(location, "PATCH", {"Range": "bytes=6-9"}, DATA[6:]).status == 416
    answer = repository.at(location, "PATCH", {"Range": "bytes=2-7"}, DATA[2:8])
    assert (answer.status, answer.headers["range"]) == (202, "0-7")
    assert repository.at(location, "PATCH", {"Range": "bytes=0-3"}, DATA[:4]).headers["range"] == "0-7"
    assert_created(repository, finish(repository, location, DIGEST, {"Range": "bytes=8-9"}, DATA[8:]), DATA)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("0-3", "BLOB_UPLOAD_INVALID"),
        ("0-5", "BLOB_UPLOAD_INVALID"),
        ("4-0", "INVALID_REQUEST"),
        ("bytes 0-4/3", "INVALID_REQUEST"),
        ("0-", "INVALID_REQUEST"),
        ("-5", "INVALID_REQUEST"),
        ("a-b", "INVALID_REQUEST"),
        ("0-4,6-7", "INVALID_REQUEST"),
        ("0-" + "9" * 30, "INVALID_REQUEST"),
        ("", "INVALID_REQUEST"),
    ],
)
def test_lying_range(repository, value, code):
    """A Content-Range that contradicts itself or the body is 400, and changes nothing."""
    location = repository.begin()
    answer = repository.at(location, "PATCH", {"Content-Range": value}, DATA[:5])
    assert (answer.status, answer.code) == (400, code)
    assert repository.at(location, "GET").headers["range"] == "0-0"
    assert_created(repository, finish(repository, location, DIGEST, body=DATA), DATA)


@pytest.mark.parametrize("value", ["0-3", "0-20"])
def test_lying_range_of_a_stream(repository, value):
    """Where a body has no length, the contradiction is found at its end: 400, and the upload tells what it holds."""
    location = repository.begin()
    answer = repository.at(location, "PATCH", {"Content-Range": value}, [DATA[:5], DATA[5:]])
    assert (answer.status, answer.code) == (400, "BLOB_UPLOAD_INVALID")
    assert held(repository, location) == 10
    assert_created(repository, finish(repository, location, DIGEST), DATA)


def test_empty_chunk(repository):
    """An empty PATCH changes nothing."""
    location = repository.begin()
    repository.at(location, "PATCH", body=DATA[:5])
    answer = repository.at(location, "PATCH")
    assert (answer.status, answer.headers["range"]) == (202, "0-4")


def test_client_dies(application, repository):
    """What came before a lost connection is held, the upload says how much, and goes on from there."""
    location = repository.begin()
    path = location.removeprefix(f"http://{HOST}")
    connection = application.connect()
    head = {"Authorization": f"Bearer {repository.token}", "Content-Length": "10"}
    connection.request("PATCH", path, head, DATA[:4])
    connection.lose()
    assert held(repository, location) == 4
    assert_created(repository, finish(repository, location, DIGEST, body=DATA[4:]), DATA)


def test_suspended(application, repository):
    """An upload that rests long is let go of, and goes on when the client comes back."""
    location = repository.begin()
    repository.at(location, "PATCH", body=DATA[:4])
    application.clock.advance(3000)
    assert not any(upload.is_open for upload in application.blobs.uploads.values())
    assert held(repository, location) == 4
    assert_created(repository, finish(repository, location, DIGEST, body=DATA[4:]), DATA)


def test_two_at_once(application, repository):
    """Two clients push the same blob; one gives up just before the end, and the other has it."""
    path = f"/v2/{repository.name}/blobs/uploads/?digest={DIGEST}"
    head = {"Authorization": f"Bearer {repository.token}", "Content-Length": "10"}
    one, other = application.connect(), application.connect()
    for connection in (one, other):
        connection.request("POST", path, head, DATA[:9])
    one.lose()
    other.send(DATA[9:])
    assert_created(repository, other.answer(), DATA)


def test_one_writer(application, repository):
    """While one request writes to an upload, another is told to wait, and the first one goes on."""
    location = repository.begin()
    path = location.removeprefix(f"http://{HOST}")
    writer = application.connect()
    head = {"Authorization": f"Bearer {repository.token}", "Content-Length": "10"}
    writer.request("PATCH", path, head, DATA[:4])
    answer = repository.at(location, "PATCH", body=b"intruding")
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert repository.at(location, "GET").status == 204
    writer.send(DATA[4:])
    assert writer.answer().headers["range"] == "0-9"
    assert_created(repository, finish(repository, location, DIGEST), DATA)


@pytest.mark.parametrize("body", [b"x" * 1001, [b"x" * 600, b"x" * 401]], ids=["announced", "found out"])
def test_too_large(make_application, body):
    """A blob beyond the limit is 413 in every form; one of exactly the limit is taken."""
    repository = make_application(MAXIMUM_LAYER_SIZE=1000).repository()
    assert_created(
        repository, finish(repository, repository.begin(), Digest.of(b"x" * 1000), body=b"x" * 1000), b"x" * 1000
    )
    for method, location in (
        ("POST", f"/v2/{repository.name}/blobs/uploads/?digest={DIGEST}"),
        ("PATCH", repository.begin()),
        ("PUT", f"{repository.begin()}?digest={DIGEST}"),
    ):
        answer = repository.at(location, method, body=body)
        assert (answer.status, answer.code) == (413, "SIZE_INVALID")


def test_few_files_are_open(application, repository):
    """However many uploads are begun, few stay open; each goes on from where it was."""
    uploads = application.core.registry.uploads
    uploads.live_limit, before = 3, len(uploads._live)
    begun = [repository.request("POST", "blobs/uploads/").headers["location"] for _ in range(10)]
    for number, location in enumerate(begun):
        assert repository.at(location, "PATCH", body=DATA[:number]).status == 202
    assert len(uploads._live) <= max(3, before)
    assert [repository.at(location, "PATCH", body=DATA[number:]).status for number, location in enumerate(begun)] == [
        202
    ] * 10
    assert all(finish(repository, location, DIGEST).status == 201 for location in begun)
