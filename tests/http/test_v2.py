"""What all of `/v2/` has in common: addresses, errors, challenges, connections, pages of tags and repositories."""

import json
from urllib.parse import quote

import pytest

from quay.model import namespace
from quay.oci.reference import Digest
from quay.testdata.contents import GARGANTUAN
from quay.testdata.images import image
from quay.testdata.people import PASSWORD
from tests.http.application import HOST, Repository

DEVTABLE = ("devtable", PASSWORD)
FAKE = Digest.of(b"nobody has this")


@pytest.fixture(scope="module")
def token(application):
    """What devtable needs to read two of his repositories."""
    return application.token(DEVTABLE, "repository:devtable/simple:pull,push", "repository:devtable/gargantuan:pull")


# --- the ping and the challenge


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_ping(application, token, path):
    """The ping is 200 with JSON for whoever shows a token."""
    answer = application.request("GET", path, auth=token)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert isinstance(answer.json, dict)
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


def test_challenge(application):
    """Nobody gets a challenge that says where to get a token, and nothing more."""
    answer = application.request("GET", "/v2/")
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert answer.headers["www-authenticate"] == f'Bearer realm="http://{HOST}/v2/auth",service="{HOST}"'


@pytest.mark.parametrize(
    ("method", "path", "actions"),
    [
        ("GET", "tags/list", "pull"),
        ("HEAD", "manifests/latest", "pull"),
        ("PUT", "manifests/latest", "pull,push"),
        ("POST", "blobs/uploads/", "pull,push"),
    ],
)
def test_challenge_of_a_repository(application, method, path, actions):
    """The challenge of a repository names the scope that the request takes."""
    answer = application.request(method, f"/v2/devtable/simple/{path}")
    assert f',scope="repository:devtable/simple:{actions}' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("path", ["/v2/", "/v2", "/v2/_catalog"])
def test_only_read(application, token, path):
    """The ping and the catalog are read, and nothing else."""
    got, head = (application.request(method, path, auth=token) for method in ("GET", "HEAD"))
    assert (head.status, head.headers, head.body) == (200, got.headers | {"date": head.headers["date"]}, b"")
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = application.request(method, path, auth=token)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Original-Host"])
def test_forged_address(application, header):
    """Nobody but a trusted proxy says how we are reached; and where we are told, the Host header does not either."""
    for fields in ({header: "evil.example"}, {"Host": "evil.example"}):
        answer = application.request("GET", "/v2/", fields)
        assert "evil" not in str(answer)
        assert f'realm="http://{HOST}/v2/auth"' in answer.headers["www-authenticate"]


def test_address_of_the_request(make_application):
    """Where we are not told how we are reached, the Host header says it, if it can be one."""
    application = make_application(SERVER_HOSTNAME=None)
    answer = application.request("GET", "/v2/", {"Host": "[::1]:8080"})
    assert 'realm="http://[::1]:8080/v2/auth"' in answer.headers["www-authenticate"]
    assert application.request("GET", "/v2/", {"Host": 'a"b'}).status == 400


def test_address_behind_a_proxy(make_application):
    """A trusted proxy says by which name and scheme it was reached."""
    application = make_application(SERVER_HOSTNAME=None, TRUSTED_PROXIES=["192.168.1.0/24"])
    fields = {"X-Forwarded-Host": "quay.example", "X-Forwarded-Proto": "https"}
    challenge = application.request("GET", "/v2/", fields).headers["www-authenticate"]
    assert "://quay.example/v2/auth" in challenge


# --- errors


ERRORS = [
    ("GET", "devtable/simple/manifests/nothing", 404, "MANIFEST_UNKNOWN"),
    ("GET", f"devtable/simple/manifests/{FAKE}", 404, "MANIFEST_UNKNOWN"),
    ("GET", f"devtable/simple/blobs/{FAKE}", 404, "BLOB_UNKNOWN"),
    ("GET", "devtable/simple/blobs/uploads/none", 404, "BLOB_UPLOAD_UNKNOWN"),
    ("GET", "devtable/simple/blobs/sha256:x", 400, "DIGEST_INVALID"),
    ("PUT", "devtable/simple/manifests/latest", 400, "MANIFEST_INVALID"),
    ("PUT", f"devtable/simple/manifests/{'a' * 129}", 400, "TAG_INVALID"),
    ("GET", "devtable/simple/tags/list?n=x", 400, "PAGINATION_NUMBER_INVALID"),
    ("POST", "devtable/simple/tags/list", 405, "UNSUPPORTED"),
    ("GET", "devtable/shared/tags/list", 401, "UNAUTHORIZED"),
    ("GET", "Devtable/simple/tags/list", 400, "NAME_INVALID"),
    ("GET", "devtable/simple", 404, "NAME_UNKNOWN"),
    ("GET", "devtable/simple/manifests/", 404, "NAME_UNKNOWN"),
    ("GET", "", 200, None),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), ERRORS)
def test_errors(application, token, method, path, status, code):
    """An error has the specification's form: a code, a sentence, and a detail with what to do."""
    answer = application.request(method, f"/v2/{path}", auth=token)
    assert answer.status == status
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    assert answer.headers["content-type"] == "application/json"
    if code is not None:
        [error] = answer.json["errors"]
        assert set(error) == {"code", "message", "detail"}
        assert error["code"] == code
        assert error["message"].endswith(".") and error["detail"]["advice"].endswith((".", "…"))


def test_connection_goes_on(application, token):
    """A connection outlives every error, bodies that nobody read included, and answers in order."""
    connection = application.connect()
    for method, path, status, _ in ERRORS * 2:
        body = b"nobody reads this" if method == "POST" else b""
        connection.request(method, f"/v2/{path}", {"Authorization": f"Bearer {token}"}, body)
        assert connection.answer(method).status == status
    assert not connection.transport.disconnected


def test_pipeline(application, token):
    """Requests that come all at once are answered in order, from memory or not."""
    connection = application.connect()
    paths = ["tags/list", "manifests/latest", "manifests/nothing", "manifests/latest", "blobs/uploads/x", "tags/list"]
    head = f"Host: {HOST}\r\nAuthorization: Bearer {token}"
    connection.send("".join(f"GET /v2/devtable/simple/{path} HTTP/1.1\r\n{head}\r\n\r\n" for path in paths).encode())
    for _ in paths:
        application.clock.advance(0)
    assert [connection.answer().status for _ in paths] == [200, 200, 404, 200, 404, 200]


def test_unwanted_body(application):
    """A large body that is refused by its head is not read: the answer comes first, and the connection ends."""
    connection = application.connect()
    connection.request(
        "PATCH", "/v2/devtable/simple/blobs/uploads/x", {"Content-Length": "1000000"}, b"the first bytes"
    )
    answer = connection.answer()
    assert (answer.status, answer.headers["connection"]) == (401, "close")


# --- addresses


@pytest.mark.parametrize(
    "path",
    [
        "/v2/devtable/%2e%2e/simple/tags/list",
        "/v2/devtable/../simple/tags/list",
        "/v2//devtable/simple/tags/list",
        "/v2/devtable//simple/tags/list",
        "/v2/devtable/simple//tags/list",
        "/v2/devtable/simple/..;/tags/list",
        "/v2/devtable\\simple/tags/list",
        "/v2/devtable%5csimple/tags/list",
        "/v2/devtable/simple%00/tags/list",
        "/v2/devtable/simple%0a/tags/list",
        "/v2/devtable/simple%c0%af/tags/list",
        "/v2/devtable/caf%c3%a9/tags/list",
        "/v2/devtable/sim_%/tags/list",
        "/v2/devtable/s%25/tags/list",
        "/v2/devtable/s'%3b/tags/list",
        '/v2/devtable/s"/tags/list',
        "/v2/devtable/simple_/tags/list",
        "/v2/_devtable/simple/tags/list",
        f"/v2/devtable/{'a' * 250}/tags/list",
        "/v2/devtable/simple/manifests/a/b",
        "/v2/devtable/simple/manifests/latest%00",
        "/v2/devtable/simple/blobs/../../shared/tags/list",
        "/v2/tags/list",
        "/v2/devtable/simple/tags/list/",
        "/v2/_catalog/",
        "/v2/auth/",
        "/v2x/devtable/simple/tags/list",
    ],
)
def test_bad_address(application, token, path):
    """What is not exactly an address of ours is 400, 401 or 404, and never another's."""
    answer = application.request("GET", path, auth=token)
    assert answer.status in (400, 401, 404), answer
    assert answer.json["errors"][0]["message"]


def test_escaped_slash(application, token):
    """An escaped slash is a slash: the name is what it decodes to, for the token as well."""
    assert application.request("GET", "/v2/devtable%2fsimple/tags/list", auth=token).status == 200
    assert application.request("GET", "/v2/devtable%2fshared/tags/list", auth=token).status == 401


def test_long_address(application):
    """An address of more than eight kilobytes is 414."""
    answer = application.request("GET", f"/v2/{'a/' * 5000}tags/list")
    assert answer.status == 414


@pytest.mark.parametrize(
    "name", ["devtable/manifests", "devtable/blobs/uploads", "devtable/tags/list", "devtable/a/manifests/b"]
)
def test_telling_names(application, name):
    """A repository may be called like a part of our addresses."""
    repository = Repository(application, name, DEVTABLE)
    repository.push(image(name), "latest")
    assert repository.get("manifests/latest").status == 200
    assert repository.get("tags/list").json == {"name": name, "tags": ["latest"]}


def test_disabled_meanwhile(application):
    """A namespace that is disabled takes effect at once, for tokens that were given before as well."""
    application.write(namespace.create_user, "leaving", password_hash=_hash(application), time_machine_s=0)
    repository = Repository(application, "leaving/thing", ("leaving", PASSWORD))
    repository.push(image("leaving"), "latest")
    assert repository.get("manifests/latest").status == 200
    application.write(namespace.set_enabled, application.read(namespace.find, "leaving").id, False)
    for path in ("manifests/latest", "tags/list"):
        answer = repository.get(path)
        assert (answer.status, answer.code) == (405, "DENIED")
    assert application.ask_token(("leaving", PASSWORD)).status == 401


def _hash(application):
    return application.read(lambda txn: namespace.password_hash(txn, namespace.find(txn, "devtable").id))


# --- pages


def pages(application, auth, path, key):
    """Every page, found by the Link header."""
    while path is not None:
        answer = application.request("GET", path, auth=auth)
        assert answer.status == 200, answer
        yield answer.json[key]
        link = answer.headers.get("link")
        assert link is None or link.endswith('>; rel="next"')
        path = None if link is None else link.partition(">")[0][1:]
        assert path is None or path.startswith("/v2/")


@pytest.mark.parametrize("size", [1, 7, 60, 119, 120, 121])
def test_tag_pages(application, token, size):
    """All tags come in byte order, in pages of the size that was asked for, and the last page has no link."""
    found = list(pages(application, token, f"/v2/devtable/gargantuan/tags/list?n={size}", "tags"))
    assert [tag for page in found for tag in page] == [f"v{number:03}" for number in range(GARGANTUAN)]
    assert all(len(page) == size for page in found[:-1]) and 0 < len(found[-1]) <= size


def tags(application, token, query):
    return application.request("GET", f"/v2/devtable/gargantuan/tags/list?{query}", auth=token)


def test_default_page(application, token):
    """Without a size, a page has a hundred tags."""
    answer = tags(application, token, "")
    assert len(answer.json["tags"]) == 100 and "link" in answer.headers
    assert answer.json["name"] == "devtable/gargantuan"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("n=2&last=v005", ["v006", "v007"]),
        ("n=2&next_page=v005", ["v006", "v007"]),
        ("n=2&last=v0055", ["v006", "v007"]),
        ("last=v118", ["v119"]),
        ("last=v119", []),
        ("last=zzz", []),
        ("n=1&last=", ["v000"]),
        ("n=1&last=%25", ["v000"]),
        ("n=1&last=v00_", ["v010"]),
        ("n=1&last='%3b%20drop%20table%20tag", ["v000"]),
        ("n=1&last=" + quote("é\U0001f600"), []),
        ("n=0", []),
    ],
)
def test_page_after(application, token, query, expected):
    """A page begins after the given name, be it a tag or not."""
    answer = tags(application, token, query)
    assert (answer.status, answer.json["tags"]) == (200, expected)
    assert "link" not in answer.headers or len(expected) == int(query[2])


@pytest.mark.parametrize(
    "query",
    ["n=-1", "n=abc", "n=", "n=1.5", "n=1e3", "n=%00", "n=%ff", "n=" + "9" * 33, "n=%D9%A1", "last=%ff", "last=%00"],
)
def test_bad_page(application, token, query):
    """A size that is no number, and a name that is no text, are 400."""
    answer = tags(application, token, query)
    assert answer.status == 400 and answer.code in ("PAGINATION_NUMBER_INVALID", "INVALID_REQUEST")


@pytest.mark.parametrize("query", ["n=2147483648", "n=" + "9" * 32, "n=1000", "n=120"])
def test_large_page(application, token, query):
    """A large size is cut down."""
    assert len(tags(application, token, query).json["tags"]) == GARGANTUAN


def test_no_tags(repository):
    """A repository without tags has an empty list, not none."""
    assert repository.get("tags/list").json == {"name": repository.name, "tags": []}


@pytest.mark.parametrize("size", [1, 3, 100])
def test_catalog_pages(application, size):
    """The catalog of somebody, page by page, in byte order, and each repository once."""
    names = [name for page in pages(application, DEVTABLE, f"/v2/_catalog?n={size}", "repositories") for name in page]
    assert names == sorted(set(names))
    assert {"devtable/simple", "buynlarge/orgrepo"} <= set(names)
    assert not [name for name in names if name.startswith("public/")]


def test_public_catalog(make_application):
    """Public repositories are listed where the administrator says so, for nobody in particular as well."""
    scope = "repository:public/publicrepo:pull"
    for public, listed in ((False, []), (True, ["public/publicrepo"])):
        application = make_application(FEATURE_PUBLIC_CATALOG=public)
        answer = application.request("GET", "/v2/_catalog", auth=application.token(None, scope))
        assert answer.json == {"repositories": listed}


def test_json(application, token):
    """What is sent as JSON is compact, and of the announced length."""
    answer = tags(application, token, "n=2")
    assert answer.body == json.dumps(answer.json, separators=(",", ":")).encode()
