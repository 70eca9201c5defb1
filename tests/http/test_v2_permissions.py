"""
Who may do what on `/v2/`: every route, for every kind of principal, on every kind of repository, with a bearer token
and with Basic credentials.

The table of rights is written by hand, from Quay's permission matrix; the routes come from the route table, so a new
route without a row fails.
"""

from functools import cache

import attrs
import pytest

from quay.model import credential, namespace, permission, repository
from quay.model.permission import Role
from quay.oci.reference import Digest, RepositoryName
from quay.testdata.people import APP_TOKEN, OAUTH_TOKEN, PASSWORD, robot_token
from quay.web.v2 import ROUTES

FAKE = Digest.of(b"nobody has this")
UPLOAD = "00000000-0000-4000-8000-000000000000"


@attrs.frozen
class Row:
    """A request to a route, the right that it takes, and what the answer is for those who have it."""

    right: str
    rest: str
    status: int


ROWS = {
    ("GET", "manifests.get"): [Row("pull", "manifests/nothing", 404), Row("pull", f"manifests/{FAKE}", 404)],
    ("HEAD", "manifests.get"): [Row("pull", "manifests/nothing", 404), Row("pull", f"manifests/{FAKE}", 404)],
    ("PUT", "manifests.put"): [Row("push", "manifests/nothing", 400), Row("push", f"manifests/{FAKE}", 400)],
    ("DELETE", "manifests.delete"): [Row("push", "manifests/nothing", 404), Row("push", f"manifests/{FAKE}", 404)],
    ("POST", "uploads.begin"): [
        Row("push", "blobs/uploads/", 202),
        Row("push", f"blobs/uploads/?mount={FAKE}&from=public/publicrepo", 202),
    ],
    ("GET", "uploads.status"): [Row("push", f"blobs/uploads/{UPLOAD}", 404)],
    ("PATCH", "uploads.append"): [Row("push", f"blobs/uploads/{UPLOAD}", 404)],
    ("PUT", "uploads.finish"): [Row("push", f"blobs/uploads/{UPLOAD}?digest={FAKE}", 404)],
    ("DELETE", "uploads.cancel"): [Row("push", f"blobs/uploads/{UPLOAD}", 404)],
    ("GET", "blobs.get"): [Row("pull", f"blobs/{FAKE}", 404)],
    ("HEAD", "blobs.get"): [Row("pull", f"blobs/{FAKE}", 404)],
    ("DELETE", "blobs.delete"): [Row("push", f"blobs/{FAKE}", 404)],
    ("GET", "manifests.list_tags"): [Row("pull", "tags/list", 200)],
    ("GET", "manifests.list_referrers"): [Row("pull", f"referrers/{FAKE}", 200)],
}

REPOSITORIES = (
    "public/publicrepo",
    "devtable/shared",
    "buynlarge/orgrepo",
    "buynlarge/anotherorgrepo",
    "devtable/readonly",
    "devtable/mirrored",
    "devtable/someapp",
    "nobody/missing",
)

# For each repository: w(rite), r(ead), nothing, u(nsupported: it holds no images), x: these credentials open nothing.
RIGHTS = {
    #                         public shared org other readonly mirrored someapp missing
    "anonymous": "            r      -      -   -     -        -        -       -",
    "freshuser": "            r      -      -   -     -        -        -       -",
    "reader": "               r      r      r   -     -        -        -       -",
    "creator": "              r      -      -   -     -        -        -       -",
    "devtable": "             r      w      w   w     r        r        u       -",
    "root": "                 r      -      -   -     -        -        -       -",
    "sellnsmall+stranger": "  r      -      -   -     -        -        -       -",
    "buynlarge+coolrobot": "  r      -      -   -     -        -        -       -",
    "buynlarge+pusher": "     r      -      w   -     -        -        -       -",
    "devtable+dtrobot": "     r      -      -   -     -        w        -       -",
    "devtable+dtrobot2": "    r      -      -   -     -        r        -       -",
    "disabled": "             x      x      x   x     x        x        x       x",
    "disabled+robot": "       x      x      x   x     x        x        x       x",
    "$app": "                 r      w      w   w     r        r        u       -",
    "$app of disabled": "     x      x      x   x     x        x        x       x",
    "repo:read": "            r      r      r   r     r        r        u       -",
    "repo:write": "           r      w      w   w     r        r        u       -",
    "repo:create": "          r      -      -   -     -        -        -       -",
    "repo:admin": "           r      w      w   w     r        r        u       -",
    "user:admin": "           r      -      -   -     -        -        -       -",
    "super:user": "           r      -      -   -     -        -        -       -",
    "$token": "               r      w      -   -     -        -        -       -",
    "$token to read": "       r      r      -   -     -        -        -       -",
    "wrong token": "          x      x      x   x     x        x        x       x",
}


def name_of(handler):
    return f"{handler.__module__.rpartition('.')[2]}.{handler.__name__}"


def test_every_route_has_a_row():
    """A method of a route that this matrix does not know fails it, and so does a row that no route needs."""
    routed = {(method.decode(), name_of(target[1])) for route in ROUTES for method, target in route.methods.items()}
    assert routed == set(ROWS)


def test_every_row_goes_where_it_says():
    """Each request of the matrix is matched by the route that it is meant for."""
    for (method, handler), rows in ROWS.items():
        for row in rows:
            path = f"/v2/devtable/simple/{row.rest.partition('?')[0]}"
            route = next(route for route in ROUTES if route.pattern.fullmatch(path))
            assert name_of(route.methods[method.encode()][1]) == handler


@pytest.fixture(scope="module")
def credentials(application):
    """User name and password of every principal; None for nobody."""
    return application.write(_principals)


def _principals(txn):
    devtable, disabled = (namespace.find(txn, name).id for name in ("devtable", "disabled"))
    shared = repository.find(txn, RepositoryName("devtable", "shared")).id
    orgrepo = repository.find(txn, RepositoryName("buynlarge", "orgrepo")).id
    known = namespace.password_hash(txn, devtable)
    namespace.create_user(txn, "root", password_hash=known, superuser=True, time_machine_s=0)
    users = ("freshuser", "reader", "creator", "devtable", "root", "disabled")
    robots = ("buynlarge+coolrobot", "buynlarge+ownerbot", "devtable+dtrobot", "devtable+dtrobot2")
    made = {"anonymous": None, "wrong token": ("devtable+dtrobot", "A" * 64), "$app": ("$app", APP_TOKEN)}
    made |= {name: (name, PASSWORD) for name in users} | {name: (name, robot_token(name)) for name in robots}
    for name in ("sellnsmall+stranger", "disabled+robot", "buynlarge+pusher"):
        owner, _, short = name.partition("+")
        robot = namespace.create_robot(txn, namespace.find(txn, owner).id, short)
        made[name] = (name, credential.replace_robot_token(txn, robot.id))
    permission.grant(txn, orgrepo, grantee_id=robot.id, role=Role.WRITE)
    made["$app of disabled"] = ("$app", credential.create(txn, disabled, "app")[1])
    for scope in ("repo:read", "repo:write", "repo:create", "user:admin", "super:user"):
        made[scope] = ("$oauthtoken", credential.create(txn, devtable, "oauth", scope=scope)[1])
    made["repo:admin"] = ("$oauthtoken", OAUTH_TOKEN)
    for name, role in (("$token", Role.WRITE), ("$token to read", Role.READ)):
        made[name] = ("$token", credential.create(txn, devtable, "access", repository_id=shared, role=role)[1])
    return made


def expected(right, row):
    """The status for somebody who has `right` (a letter of the table)."""
    if right == "u":
        return 405
    if right == "w" or (right == "r" and row.right == "pull"):
        return row.status
    return 401


def cells(who):
    """Every request of the matrix: a repository, the right on it, a method and a row."""
    rights = RIGHTS[who].split()
    assert len(rights) == len(REPOSITORIES)
    for name, right in zip(REPOSITORIES, rights, strict=True):
        for (method, _), rows in ROWS.items():
            for row in rows:
                yield name, right, method, row


@pytest.mark.parametrize("who", RIGHTS)
def test_bearer(application, credentials, who):
    """With a token for the scope that a client asks for, everybody gets what the table says; 401 never is 403."""
    wrong = []
    ask = cache(application.ask_token)
    for name, right, method, row in cells(who):
        asked = ask(credentials[who], f"repository:{name}:{'pull' if row.right == 'pull' else 'push,pull'}")
        if right in "xu":
            assert asked.status == {"x": 401, "u": 405}[right], (name, asked)
            continue
        answer = application.request(method, f"/v2/{name}/{row.rest}", auth=asked.json["token"])
        wrong += _differs(answer, expected(right, row), method, name, row)
    assert not wrong


@pytest.mark.parametrize("who", RIGHTS)
def test_basic(application, credentials, who):
    """With Basic credentials as well; without any, a client is told where to get a token, even for public content."""
    wrong = []
    for name, right, method, row in cells(who):
        answer = application.request(method, f"/v2/{name}/{row.rest}", auth=credentials[who])
        wrong += _differs(answer, expected(right if credentials[who] else "-", row), method, name, row)
    assert not wrong


def _differs(answer, status, method, name, row):
    if status == 401 and f'scope="repository:{name}:pull' not in answer.headers.get("www-authenticate", ""):
        return [("no challenge", method, name, row, answer)]
    return [] if answer.status == status else [(status, method, name, row, answer)]


@pytest.mark.parametrize("who", RIGHTS)
def test_beside_the_routes(application, credentials, who):
    """The ping and the catalog are for everybody whose credentials hold, and for nobody else."""
    status = 401 if who == "anonymous" or "x" in RIGHTS[who] else 200
    for path in ("/v2/", "/v2/_catalog"):
        assert application.request("GET", path, auth=credentials[who]).status == status
        if status == 200:
            token = application.token(credentials[who])
            assert application.request("GET", path, auth=token).status == 200


CATALOG = {
    "freshuser": [],
    "root": [],
    "reader": ["buynlarge/orgrepo", "devtable/shared"],
    "creator": [],
    "buynlarge+pusher": ["buynlarge/orgrepo"],
    "devtable+dtrobot": ["devtable/mirrored"],
    "$token": [],
    "user:admin": [],
}


@pytest.mark.parametrize("who", CATALOG)
def test_catalog(application, credentials, who):
    """The catalog lists what the caller has a role on, and nothing else."""
    answer = application.request("GET", "/v2/_catalog", auth=credentials[who])
    assert answer.json == {"repositories": CATALOG[who]}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_methods(application, method):
    """What is not a method of an address is 405 there, with those that are."""
    for route, rest in zip(ROUTES, ("manifests/a", "blobs/uploads/", "blobs/uploads/a", f"blobs/{FAKE}"), strict=False):
        if method.encode() not in route.methods:
            answer = application.request(method, f"/v2/devtable/simple/{rest}", auth=("devtable", PASSWORD))
            assert answer.status == 405
            assert set(answer.headers["allow"].split(", ")) == {name.decode() for name in route.methods}
