"""What strangers can send to any address: it is refused in the form of the specification, and not written down."""

import pytest
from twisted.logger import globalLogPublisher

from quay.testdata.people import PASSWORD
from tests.http.application import basic


@pytest.fixture
def logged():
    """Every event that is logged meanwhile."""
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


@pytest.mark.parametrize("path", ["/", "/keys/services/quay/keys", "/v2/"])
def test_other_methods(application, path):
    """A method that an address does not have is 405 with those that it has, in the specification's JSON."""
    for method in ("BREW", "DELETE", "OPTIONS"):
        answer = application.request(method, path)
        assert (answer.status, answer.headers["allow"], answer.code) == (405, "GET, HEAD", "UNSUPPORTED")


def test_head(application, logged):
    """HEAD of a page is as GET without the body, and nothing of it is logged, least of all its query."""
    answer, page = (application.request(method, "/?password=secret") for method in ("HEAD", "GET"))
    assert answer.headers | {"date": ""} == page.headers | {"date": ""}  # the second may have changed in between
    assert logged == []


@pytest.mark.parametrize("host", ["registry.test", "x..y", "a" * 64, "-", "[", "%00", "\u00e9"])
def test_strange_hosts(application, logged, host):
    """Whatever a client calls this server, the pages and the API answer, and nothing is written down."""
    for path, status in (("/", 200), ("/api/v1/discovery", 200), ("/api/v1/nothing", 404)):
        assert application.request("GET", path, {"Host": host}).status == status
    assert logged == []


@pytest.mark.parametrize("path", ["/%ff", "/repository/%ed%a0%80/x", "/api/v1/%ff"])
def test_addresses_that_are_no_text(application, logged, path):
    """An address that is not UTF-8 is refused to people and clients alike, and not written down."""
    for accept in ("text/html", "application/json"):
        answer = application.request("GET", path, {"Accept": accept})
        assert answer.status in (400, 404)
        assert answer.headers["content-type"].partition(";")[0] in (accept, "application/json")
    assert logged == []


def test_two_credentials(application):
    """A request with two Authorization headers is refused: who would be asking?"""
    connection = application.connect()
    lines = [
        "GET /v2/ HTTP/1.1",
        "Host: x",
        *(f"Authorization: {basic(name, PASSWORD)}" for name in ("reader", "public")),
    ]
    connection.send("\r\n".join([*lines, "", ""]).encode())
    assert connection.answer().status == 400


def test_no_content(repository):
    """204 says nothing of a length, as RFC 9110 has it."""
    location = repository.request("POST", "blobs/uploads/").headers["location"]
    for method in ("GET", "DELETE"):
        answer = repository.at(location, method)
        assert (answer.status, answer.headers.get("content-length")) == (204, None)
