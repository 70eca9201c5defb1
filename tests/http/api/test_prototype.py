"""Default permissions through the API, and the repositories that begin with them."""

import pytest

from quay.testdata.people import PASSWORD
from tests.http.api.client import Client, audited, rights

ROOT = "/organization/buynlarge/prototypes"


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def owner(application):
    return Client(application, "devtable")


def body(name, kind="user", role="read", **more):
    return {"role": role, "delegate": {"name": name, "kind": kind}} | more


def test_life_of_a_prototype(application, owner):
    """It is made, listed, changed and deleted; each is on record with who gets what."""
    made = owner.post(ROOT, body("reader", activating_user={"name": "creator"})).json
    assert (made["role"], made["activating_user"]["name"]) == ("read", "creator")
    assert {key: made["delegate"][key] for key in ("name", "kind", "is_robot", "is_org_member")} == {
        "name": "reader",
        "kind": "user",
        "is_robot": False,
        "is_org_member": True,
    }
    assert owner.get(ROOT).json == {"prototypes": [made]}
    changed = owner.put(f"{ROOT}/{made['id']}", {"role": "admin"}).json
    assert changed == made | {"role": "admin"}
    assert owner.put(f"{ROOT}/{made['id']}", {"role": "admin"}).json == changed
    assert owner.delete(f"{ROOT}/{made['id']}").status == 204
    assert owner.get(ROOT).json == {"prototypes": []}
    details = {
        "namespace": "buynlarge",
        "prototypeid": made["id"],
        "username": "devtable",
        "activating_username": "creator",
        "delegate_user": "reader",
    }
    assert audited(application, "create_prototype_permission") == [("devtable", details | {"role": "read"})]
    assert audited(application, "modify_prototype_permission") == [
        ("devtable", details | {"role": "admin", "original_role": "read"})
    ]
    assert audited(application, "delete_prototype_permission") == [("devtable", details | {"role": "admin"})]


def test_delegates(application, owner):
    """Teams of the organization, robots, and users who are no members, may be delegates; null is for everybody's."""
    views = [
        owner.post(ROOT, body("readers", "team", activating_user=None)).json,
        owner.post(ROOT, body("buynlarge+coolrobot")).json,
        owner.post(ROOT, body("freshuser")).json,
    ]
    assert [view["activating_user"] for view in views] == [None] * 3
    assert views[0]["delegate"] == {"name": "readers", "kind": "team", "avatar": views[0]["delegate"]["avatar"]}
    assert [(view["delegate"]["is_robot"], view["delegate"]["is_org_member"]) for view in views[1:]] == [
        (True, True),
        (False, False),
    ]
    assert audited(application, "create_prototype_permission")[0][1]["delegate_team"] == "readers"


def test_it_applies(application, owner):
    """A repository that is pushed afterwards gives the delegate his role."""
    assert owner.post(ROOT, body("freshuser", role="write")).status == 200
    application.token(("devtable", PASSWORD), "repository:buynlarge/new:pull,push")
    assert rights(application, ("freshuser", PASSWORD), "repository:buynlarge/new:pull,push") == ["push", "pull"]
    assert rights(application, ("freshuser", PASSWORD), "repository:buynlarge/orgrepo:pull") == []


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ({}, "lacks 'role', 'delegate'"),
        ({"role": "read", "delegate": {}}, "lacks 'name', 'kind'"),
        (body("reader", role="owner"), "'role' must be one of"),
        (body("reader", "robot"), "'delegate.kind' must be one of"),
        (body("nobody"), "no user or robot 'nobody' to be the delegate"),
        (body("titi"), "no user or robot 'titi' to be the delegate"),
        (body("nothing", "team"), "no team 'nothing'"),
        (body("reader", activating_user={"name": "nobody"}), "'nobody' to be the activating user"),
        (body("reader", activating_user={"name": "titi"}), "'titi' to be the activating user"),
        (body("reader", activating_user={}), "'activating_user' lacks 'name'"),
    ],
)
def test_not_made(application, owner, sent, why):
    """Somebody who is not there is a bad request in a sentence, and nothing is on record."""
    answer = owner.post(ROOT, sent)
    assert answer.status == 400
    assert why in answer.json["detail"]
    assert owner.get(ROOT).json == {"prototypes": []}
    assert audited(application, "create_prototype_permission") == []


def test_a_team_of_another_organization(application, owner):
    """Each organization has its own teams: one of another organization is no delegate, even if it is called alike."""
    assert owner.post("/organization/titi/prototypes", body("readers", "team")).status == 400


def test_another_organization_does_not_have_it(application, owner):
    """A prototype under a foreign organization is 404, even for somebody who administers both."""
    made = owner.post(ROOT, body("reader")).json
    foreign = f"/organization/titi/prototypes/{made['id']}"
    assert owner.put(foreign, {"role": "admin"}).status == 404
    assert owner.delete(foreign).status == 404
    assert owner.delete(f"{ROOT}/nothing").status == 404
    assert owner.get(ROOT).json["prototypes"] == [made]
    assert [audited(application, f"{verb}_prototype_permission") for verb in ("modify", "delete")] == [[], []]


@pytest.mark.parametrize("who", [None, "freshuser", "reader", "creator"])
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", ""), ("PUT", "/x"), ("DELETE", "/x")])
def test_administrators_only(application, who, method, path):
    """Whoever does not administer the organization neither sees nor changes what its repositories begin with."""
    assert Client(application, who).call(method, ROOT + path, {"role": 5}).status == (401 if who is None else 403)
