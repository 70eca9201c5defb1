"""Blobs on their way out: headers, ranges, conditions, deletion, and a store that has lost something."""

import pytest

from quay.oci.reference import Digest
from quay.oci.schema1 import EMPTY_LAYER, EMPTY_LAYER_DIGEST
from quay.testdata.images import image

DATA = bytes(range(100))
ETAG = f'"{Digest.of(DATA)}"'


@pytest.fixture
def blob(repository):
    """The address of a blob of 100 bytes."""
    return f"blobs/{repository.upload(DATA)}"


def plain(answer):
    """The headers that do not change from one answer to the next."""
    return {name: value for name, value in answer.headers.items() if name != "date"}


def test_headers(repository, blob):
    """A blob says what it is, how long it is, that it never changes, and that parts of it can be had."""
    answer = repository.get(blob)
    assert (answer.status, answer.body) == (200, DATA)
    expected = {
        "docker-content-digest": str(Digest.of(DATA)),
        "content-length": "100",
        "content-type": "application/octet-stream",
        "etag": ETAG,
        "accept-ranges": "bytes",
        "docker-distribution-api-version": "registry/2.0",
    }
    assert expected.items() <= answer.headers.items()
    assert "max-age=31536000" in answer.headers["cache-control"]


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=3-5"}, {"If-None-Match": ETAG}])
def test_head(repository, blob, headers):
    """HEAD has the headers of GET, and no body; a range means nothing to it."""
    head = repository.request("HEAD", blob, headers)
    got = repository.request("GET", blob, {name: value for name, value in headers.items() if name != "Range"})
    assert (head.status, plain(head), head.body) == (got.status, plain(got), b"")


def test_head_of_the_unknown(repository):
    """For a blob that is not there as well."""
    path = f"blobs/{Digest.of(b'not there')}"
    head, got = repository.head(path), repository.get(path)
    assert (head.status, plain(head)) == (404, plain(got))
    assert got.code == "BLOB_UNKNOWN"


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (ETAG, 304),
        (f'"other", {ETAG}', 304),
        (f'{ETAG}, "other"', 304),
        (f'"other",{ETAG},"another"', 304),
        (f"W/{ETAG}", 304),
        ("*", 304),
        ('"other"', 200),
        (ETAG.strip('"'), 200),
    ],
)
def test_condition(repository, blob, value, status):
    """A client that has the blob is not sent it again."""
    answer = repository.get(blob, If_None_Match=value)
    assert answer.status == status
    assert answer.headers["etag"] == ETAG
    assert answer.body == (DATA if status == 200 else b"")


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("0-0", 0, 0),
        ("0-", 0, 99),
        ("10-19", 10, 19),
        ("99-", 99, 99),
        ("90-1000", 90, 99),
        ("0-9999999999999999999", 0, 99),
        ("-1", 99, 99),
        ("-1000", 0, 99),
    ],
)
def test_range(repository, blob, value, first, last):
    """A part is sent as asked, and says which part of how many bytes it is."""
    answer = repository.get(blob, Range=f"bytes={value}")
    assert (answer.status, answer.body) == (206, DATA[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/100"
    assert answer.headers["content-length"] == str(last - first + 1)


@pytest.mark.parametrize("value", ["100-", "100-200", "-0", "5-3", "9999999999999999999-"])
def test_no_such_range(repository, blob, value):
    """A part that is not there is 416, and says how many bytes are; the connection goes on."""
    answer = repository.get(blob, Range=f"bytes={value}")
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */100")
    assert "etag" not in answer.headers


@pytest.mark.parametrize(
    "value", ["bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1,3-4", "bytes=" + ",".join(["0-1"] * 1000)]
)
def test_ignored_range(repository, blob, value):
    """Several parts, other units and garbage get the whole."""
    answer = repository.get(blob, Range=value)
    assert (answer.status, answer.body) == (200, DATA)


@pytest.mark.parametrize(("value", "status"), [(ETAG, 206), ('"other"', 200), ("Wed, 21 Oct 2026 07:28:00 GMT", 200)])
def test_range_of_something_else(repository, blob, value, status):
    """A client that has a part of something else gets the whole."""
    assert repository.get(blob, Range="bytes=1-2", If_Range=value).status == status


def test_another_repository(application, repository, blob):
    """A blob is unknown where it was not pushed, though the registry has it."""
    other = application.repository()
    for answer in (other.get(blob), other.head(blob), other.request("DELETE", blob)):
        assert answer.status == 404
    assert other.get(blob).code == "BLOB_UNKNOWN"


def test_delete(repository, blob):
    """A deleted blob is unknown at once, and can be pushed again."""
    assert repository.get(blob).status == 200
    assert repository.request("DELETE", blob).status == 202
    assert repository.get(blob).status == repository.request("DELETE", blob).status == 404
    repository.upload(DATA)
    assert repository.get(blob).body == DATA


def test_delete_here_only(application, repository, blob):
    """Deleting it in one repository leaves it in the others."""
    other = application.repository()
    other.upload(DATA)
    repository.request("DELETE", blob)
    assert other.get(blob).body == DATA


def test_delete_what_is_needed(repository):
    """A blob that a manifest names stays."""
    content = image("needed")
    repository.push(content, "latest")
    path = f"blobs/{Digest.of(content.blobs[0])}"
    answer = repository.request("DELETE", path)
    assert (answer.status, answer.code) == (405, "DENIED")
    assert content.digest in answer.json["errors"][0]["message"]
    assert repository.get(path).body == content.blobs[0]


def test_empty_layer(repository):
    """Every repository has the empty layer of old images, without a push."""
    assert repository.head(f"blobs/{EMPTY_LAYER_DIGEST}").status == 200
    assert repository.get(f"blobs/{EMPTY_LAYER_DIGEST}").body == EMPTY_LAYER


@pytest.mark.parametrize("damage", [None, b"short"])
def test_loss(application, repository, damage):
    """Bytes that are lost or cut off are 503, never other bytes than the digest says; another push heals."""
    data = f"to be lost {damage}".encode()
    digest = repository.upload(data)
    if damage is None:
        del application.blobs.blobs[digest]
    else:
        application.blobs.blobs[digest] = damage
    answer = repository.get(f"blobs/{digest}")
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert "etag" not in answer.headers and "cache-control" not in answer.headers
    repository.upload(data)
    assert repository.get(f"blobs/{digest}").body == data
