"""The shortest way of a pull gives the answer of the ordinary way, and leaves to that whatever it is not made for."""

import pytest

from quay.events import Pulled
from quay.model import namespace
from quay.model import repository as repositories
from quay.oci.media_types import OCI_MANIFEST, SCHEMA1
from quay.testdata.images import image
from tests.http.application import HOST

IMAGE = image("a base", "a leaf")


@pytest.fixture
def pushed(repository):
    """A repository with a tag that has been pulled once: everything about it is in memory."""
    repository.push(IMAGE, "latest")
    assert repository.get("manifests/latest").status == 200
    return repository


@pytest.fixture
def express(application):
    return application.site.express


def head(pushed, *lines, method="GET", reference="latest"):
    fields = [f"Host: {HOST}", f"Authorization: Bearer {pushed.token}", *lines]
    return "\r\n".join([f"{method} /v2/{pushed.name}/manifests/{reference} HTTP/1.1", *fields, "", ""]).encode()


def ordinary(application, data, method="GET"):
    """The answer without the shortest way."""
    application.site.express, kept = None, application.site.express
    try:
        connection = application.connect()
        connection.send(data)
        return connection.answer(method)
    finally:
        application.site.express = kept


def taken(application, data, method="GET"):
    """The answer to `data`, and whether it came the shortest way."""
    before = application.site.express.answered
    connection = application.connect()
    connection.send(data)
    return connection.answer(method), application.site.express.answered > before


def timeless(answer):
    return answer.status, {name: value for name, value in answer.headers.items() if name != "date"}, answer.body


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", ["latest", IMAGE.digest])
@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Accept: */*",),
        (f"Accept: {OCI_MANIFEST}", "User-Agent: skopeo/1.9"),
        ("accept: text/plain", f"ACCEPT:{OCI_MANIFEST};q=0.5,  x/y", "Accept-Encoding: gzip"),
    ],
)
def test_same_answer(application, pushed, method, reference, lines):
    """Status, every header and the body are those of the ordinary way."""
    data = head(pushed, *lines, method=method, reference=reference)
    answer, was_express = taken(application, data, method)
    assert was_express
    assert timeless(answer) == timeless(ordinary(application, data, method))
    assert answer.body == (IMAGE.raw if method == "GET" else b"")


@pytest.mark.parametrize(
    "lines",
    [
        ("Connection: close",),
        ("Content-Length: 0",),
        ("Transfer-Encoding: chunked",),
        ('If-None-Match: "x"',),
        ("Range: bytes=0-1",),
        ("X-Forwarded-For: 192.0.2.1",),
        ("Host: elsewhere",),
        ("Authorization: Bearer x",),
        ("User-Agent: a", "User-Agent: b"),
        ("Accept: \x01",),
        (" folded",),
        ("Accept : */*",),
        ("Accept:",),
    ],
)
def test_unusual_headers(express, pushed, lines):
    """Any header beside the usual ones, or one of these twice or misspelled, is for the ordinary way."""
    assert express(head(pushed, *lines), "192.0.2.1") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"GET ", b"PUT "),
        (b"GET ", b"get "),
        (b" HTTP/1.1\r\n", b" HTTP/1.0\r\n"),
        (b"/manifests/", b"/manifests/%6c"),
        (b"/manifests/", b"/../manifests/"),
        (b"manifests/latest", b"manifests/latest?x=1"),
        (b"/v2/", b"http://h/v2/"),
        (b"\r\n", b"\n"),
        (b"Host: " + HOST.encode() + b"\r\n", b""),
        (b"\r\n\r\n", b"\r\n\r\nGET / HTTP/1.1\r\n"),
        (b"\r\n\r\n", b"\r\n"),
    ],
)
def test_unusual_requests(express, pushed, old, new):
    """Another method, version or address, half a head, and a head with something behind it are for the ordinary way."""
    data = head(pushed)
    assert old in data
    assert express(data.replace(old, new), "192.0.2.1") is None


def test_two_in_one_segment(application, pushed):
    """Pipelined requests are answered in order, the short way or not."""
    connection = application.connect()
    connection.send(head(pushed) + head(pushed, reference="missing") + head(pushed, reference=IMAGE.digest))
    statuses = []
    for _ in range(3):
        application.clock.advance(0)
        statuses.append(connection.answer().status)
    assert statuses == [200, 404, 200]


def test_after_half_a_head(application, pushed):
    """The rest of a head that came in two segments is never taken for a request of its own."""
    connection = application.connect()
    connection.send(b"GET /v2/ HTTP/1.1\r\nX-Smuggled: ")
    connection.send(head(pushed))
    assert connection.answer().body == b"{}"  # of /v2/, which that request was for


def test_not_accepted(application, pushed):
    """A tag that the client does not take as it is is converted by the ordinary way."""
    answer, was_express = taken(application, head(pushed, f"Accept: {SCHEMA1}"))
    assert (was_express, answer.headers["content-type"]) == (False, SCHEMA1)


def test_wrong_token(application, pushed):
    """A token that was not verified, and one for another repository, get the challenge of the ordinary way."""
    other = application.repository()
    for token in (pushed.token[:-2] + "AA", other.token):
        answer, was_express = taken(application, head(pushed).replace(pushed.token.encode(), token.encode()))
        assert (was_express, answer.status) == (False, 401)


def test_pulls_are_told(application, pushed):
    """A GET is a pull, with who, whence and what; a HEAD is none."""
    application.events.clear()
    taken(application, head(pushed, "User-Agent: skopeo/1.9"))
    taken(application, head(pushed, method="HEAD"), "HEAD")
    [event] = [event for event in application.events if isinstance(event, Pulled)]
    assert (event.actor.name, event.user_agent, event.tag, event.digest) == (
        "devtable",
        "skopeo/1.9",
        "latest",
        IMAGE.digest,
    )


def test_at_once_after_a_change(application, pushed):
    """A retagged, a deleted, and a disabled one are never answered from before."""
    other = image("another")
    pushed.push(other, "latest")
    assert taken(application, head(pushed))[0].body == other.raw
    assert taken(application, head(pushed)) == (taken(application, head(pushed))[0], True)
    holder = application.read(namespace.find, "devtable").id
    application.write(namespace.set_enabled, holder, False)
    assert taken(application, head(pushed))[0].status == 405
    application.write(namespace.set_enabled, holder, True)
    assert taken(application, head(pushed))[0].body == other.raw
    pushed.request("DELETE", "manifests/latest")
    assert taken(application, head(pushed))[0].status == 404


def test_a_removed_repository(application, pushed):
    """A token outlives its repository; what it could pull does not."""
    found = next(event for event in reversed(application.events) if isinstance(event, Pulled))
    application.write(repositories.delete, found.repository_id)
    assert taken(application, head(pushed))[0].status == 404


def test_the_connection_lives_on(application, pushed):
    """A connection takes one request after the other, and is closed when it idles."""
    connection = application.connect()
    for _ in range(3):
        connection.send(head(pushed))
        assert connection.answer().status == 200
        application.clock.advance(application.site.limits.idle_seconds - 1)
    assert not connection.transport.disconnecting
    application.clock.advance(2)
    assert connection.transport.disconnecting
