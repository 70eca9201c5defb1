"""The API explorer: its page and the files of Swagger UI, under the policy of every page."""

import re
import sys

import pytest

URL = "/api-explorer"


def test_the_page(application):
    """The page names files of this server only, and has no script and no style in itself."""
    for path in (URL, URL + "/"):
        answer = application.request("GET", path)
        assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = answer.body.decode()
    named = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert named and all(address.startswith("/") and not address.startswith("//") for address in named)
    assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) == ["", ""]
    assert "<style" not in page and " style=" not in page and " onload=" not in page
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy


def test_everything_that_the_page_names_is_there(application):
    """What the page names can be had, as what it is."""
    page = application.request("GET", URL).body.decode()
    for address in re.findall(r'(?:src|href)="(/[^"]+)"', page):
        assert application.request("GET", address).status == 200, address
    script = application.request("GET", f"{URL}/swagger-ui-bundle.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["x-content-type-options"] == "nosniff"
    assert len(script.body) > 1_000_000
    redirect = application.request("GET", f"{URL}/oauth2-redirect.html")
    assert "script-src 'self'" in redirect.headers["content-security-policy"]


def test_a_file_that_has_not_changed(application):
    """A browser that has the file is told so, without the file."""
    first = application.request("GET", f"{URL}/swagger-ui.css")
    again = application.request("GET", f"{URL}/swagger-ui.css", {"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert application.request("HEAD", f"{URL}/swagger-ui.css").headers["etag"] == first.headers["etag"]


@pytest.mark.parametrize(
    "rest",
    [
        "../setup.py",
        "..%2f..%2fsetup.py",
        "%2e%2e/flask_swagger_ui.py",
        "VERSION",
        "/etc/passwd",
        "swagger-ui.js",
        "\\..\\x",
        "%ff",
    ],
)
def test_nothing_else_is_served(application, rest):
    """Only what the page needs is served, however a path is spelled."""
    assert application.request("GET", f"{URL}/{rest}").status == 404


def test_other_methods(application):
    """The explorer is for reading."""
    answer = application.request("POST", URL, body=b"x")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_flask_is_not_run(application):
    """Of the package that has the files, nothing is imported."""
    assert application.request("GET", URL).status == 200
    assert not {"flask", "flask_swagger_ui"} & sys.modules.keys()
