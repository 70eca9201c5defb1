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
