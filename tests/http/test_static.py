"""The files of the pages: served from the package by their names, and nothing else."""

import pytest

from quay.web.pages import ago, byte_count, short_digest


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("quay.css", "text/css; charset=utf-8"),
        ("console.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_a_file(application, name, kind):
    """A file comes with its type and a tag, and is not sent again to who has it."""
    answer = application.request("GET", f"/static/{name}")
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    for tag in (answer.headers["etag"], f"W/{answer.headers['etag']}"):  # as a proxy has it that compresses
        again = application.request("GET", f"/static/{name}", {"If-None-Match": tag})
        assert (again.status, again.headers["etag"], again.body) == (304, answer.headers["etag"], b"")


@pytest.mark.parametrize(
    "name",
    ["", "nothing.css", "../__init__.py", "%2e%2e/__init__.py", "..%2f__init__.py", "a/quay.css", "DESIGN.md", "%ff"],
)
def test_no_other_file(application, name):
    """Nothing is reached by a path, and what is not made for pages is not served."""
    assert application.request("GET", f"/static/{name}").status == 404


def test_times_and_sizes():
    """Times and sizes are said as people say them."""
    assert [ago(1000 - s, 1000) for s in (0, 59, 60, 7200, 86400 * 45)] == [
        "just now", "just now", "1 minute ago", "2 hours ago", "1 month ago",
    ]  # fmt: skip
    assert ago(None) == ""
    assert [byte_count(n) for n in (0, 1023, 1536, 5 * 2**20, 3 * 2**40)] == [
        "0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3.0 TiB",
    ]  # fmt: skip
    assert short_digest("sha256:" + "ab" * 32) == "sha256:abababababab"
