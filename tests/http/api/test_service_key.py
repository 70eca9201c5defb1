"""Service keys through the API: made, approved, changed and deleted by superusers."""

import pytest
from joserfc.jwk import RSAKey

from quay.model import key
from tests.http.api.client import Client, audited

NEW = {"service": "scanner", "expiration": None, "name": "The scanner", "metadata": {"a": [1]}, "notes": "as ordered"}
JWK = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}


@pytest.fixture(scope="module")
def application(sqlite_template, tmp_path_factory):
    from tests.http.application import Application

    directory = tmp_path_factory.mktemp("application")
    made = Application(directory, sqlite_template, SUPER_USERS=["devtable"]).start().populate()
    yield made
    made.stop()


@pytest.fixture
def administrator(application):
    return Client(application, "devtable")


def test_a_new_key(application, administrator):
    """A key is approved as it is made; its private half belongs to it, and is in this answer and nowhere else."""
    made = administrator.post("/superuser/keys", NEW).json
    private, public = made.pop("private_key"), made.pop("public_key")
    assert RSAKey.import_key(private).thumbprint() == RSAKey.import_key(public).thumbprint()
    assert RSAKey.import_key(private).thumbprint() == RSAKey.import_key(made["jwk"]).thumbprint()
    assert "d" not in made["jwk"]
    assert (made["service"], made["name"], made["metadata"]) == ("scanner", "The scanner", {"a": [1]})
    assert made["expiration_date"] is None
    assert made["approval"]["approver"]["username"] == "devtable"
    assert (made["approval"]["approval_type"], made["approval"]["notes"]) == ("Super User API", "as ordered")
    assert administrator.get(f"/superuser/keys/{made['kid']}").json == made
    assert made in administrator.get("/superuser/keys").json["keys"]
    ((performer, details),) = audited(application, "service_key_create")
    assert (performer, details["kid"], details["service"]) == ("devtable", made["kid"], "scanner")


@pytest.mark.parametrize(
    "change",
    [
        {"service": "Scanner!"},
        {"service": "quay"},
        {"service": None},
        {"expiration": 5},
        {"expiration": "soon"},
        {"expiration": 1e300},
        {"name": "<b>"},
        {"name": "x" * 256},
        {"metadata": []},
        {"notes": "x" * 4097},
    ],
)
def test_keys_that_cannot_be(administrator, change):
    """A key for this registry's own service, or that has expired, or that is called strangely, is not made."""
    assert administrator.post("/superuser/keys", NEW | change).status == 400


def test_changes(application, administrator):
    """What is said of a key, and when it expires, can be changed apart, and both are on record."""
    made = administrator.post("/superuser/keys", NEW).json
    url = f"/superuser/keys/{made['kid']}"
    assert administrator.put(url, {"name": "Other"}).json["name"] == "Other"
    later = int(application.clock.seconds()) + 60
    changed = administrator.put(url, {"expiration": later}).json
    assert (changed["name"], changed["metadata"]) == ("Other", {"a": [1]})
    assert changed["expiration_date"] == "Mon, 21 Sep 2026 14:14:20 -0000"
    assert administrator.put(url, {"expiration": later - 120}).status == 400
    assert administrator.put(url, {"kid": "x", "service": "quay", "jwk": JWK}).json == changed, "nothing else changes"
    assert audited(application, "service_key_modify")[-1][1]["name"] == "Other"
    extended = audited(application, "service_key_extend")[-1][1]
    assert (extended["old_expiration_date"], extended["expiration_date"]) == (None, changed["expiration_date"])


def test_approval(application, administrator):
    """A key that waits is approved once; that is who approved it, and why."""
    application.write(key.publish, "waiting", "scanner", JWK, None, False)
    assert administrator.get("/superuser/keys/waiting").json["approval"] is None
    assert administrator.post("/superuser/approvedkeys/waiting", {"notes": "known"}).status == 201
    assert administrator.post("/superuser/approvedkeys/waiting", {"notes": "again"}).status == 201
    approval = administrator.get("/superuser/keys/waiting").json["approval"]
    assert (approval["notes"], approval["approver"]["name"]) == ("known", "devtable")
    assert len(audited(application, "service_key_approve")) == 1


def test_the_key_of_a_node(application, administrator):
    """A key of this registry's own, once deleted, opens nothing any more, and the next token has another one."""
    pull = "repository:devtable/simple:pull"
    token = application.token(("devtable", "password"), pull)
    assert application.request("GET", "/v2/devtable/simple/tags/list", auth=token).status == 200
    (own,) = [found for found in administrator.get("/superuser/keys").json["keys"] if found["service"] == "quay"]
    assert own["approval"] == {
        "approver": None,
        "approval_type": "Automatic",
        "approved_date": own["created_date"],
        "notes": "",
    }
    assert administrator.delete(f"/superuser/keys/{own['kid']}").status == 204
    assert application.request("GET", "/v2/devtable/simple/tags/list", auth=token).status == 401
    token = application.token(("devtable", "password"), pull)
    assert application.request("GET", "/v2/devtable/simple/tags/list", auth=token).status == 200
    assert audited(application, "service_key_delete")[-1][1]["kid"] == own["kid"]


@pytest.mark.parametrize("kid", ["unknown", "%C2%85", "a" * 300])
def test_keys_that_are_not_there(administrator, kid):
    """A key that there is not is 404, whatever is to be done with it."""
    assert administrator.get(f"/superuser/keys/{kid}").status == 404
    assert administrator.put(f"/superuser/keys/{kid}", {"name": "x"}).status == 404
    assert administrator.put(f"/superuser/keys/{kid}", {}).status == 404
    assert administrator.delete(f"/superuser/keys/{kid}").status == 404
    assert administrator.post(f"/superuser/approvedkeys/{kid}", {}).status == 404


@pytest.mark.parametrize(("auth", "status"), [(None, 401), ("reader", 403), (("devtable", "wrong"), 401)])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/superuser/keys"),
        ("POST", "/superuser/keys"),
        ("GET", "/superuser/keys/x"),
        ("PUT", "/superuser/keys/x"),
        ("DELETE", "/superuser/keys/x"),
        ("POST", "/superuser/approvedkeys/x"),
    ],
)
def test_who_may_not(application, auth, status, method, path):
    """Keys are for superusers, who are told apart before the request is looked at."""
    assert Client(application, auth).call(method, path, {} if method in ("PUT", "POST") else None).status == status
