"""Repositories through the API: what changes, who may change it, and what the audit log says of it."""

from quay.testdata.people import PASSWORD

DEVTABLE = ("devtable", PASSWORD)


def test_visibility(make_application):
    """A repository is published and hidden again; everybody sees that at once, and it is on record."""
    application = make_application()
    url = "/api/v1/repository/devtable/simple/changevisibility"
    headers = {"Content-Type": "application/json"}
    assert application.request("POST", url, headers, b'{"visibility": "public"}', auth=DEVTABLE).json == {
        "success": True
    }
    assert application.token(None, "repository:devtable/simple:pull")
    answer = application.request("POST", url, headers, b'{"visibility": "secret"}', auth=DEVTABLE)
    assert (answer.status, answer.json["detail"]) == (400, "'visibility' must be one of 'public', 'private'.")
    assert application.request("POST", url, headers, b'{"visibility": "secret"}').status == 401
    assert application.request("POST", url, headers, b"", auth=("reader", PASSWORD)).status == 403
    assert application.request("DELETE", "/api/v1/repository/devtable/simple", auth=DEVTABLE).status == 204
    assert application.request("DELETE", "/api/v1/repository/devtable/simple", auth=DEVTABLE).status == 404
