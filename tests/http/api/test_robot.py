"""Robots through the API: of users and of organizations, with tokens that are shown once."""

import pytest

from quay.model import membership, namespace, repository, team
from quay.model.permission import Role, grant
from quay.oci.reference import RepositoryName
from quay.testdata.people import PASSWORD, robot_token
from quay.web.api import robot as robots
from quay.web.api import team as teams
from tests.http.api.client import Client, audited, rights
from tests.http.application import done

MINE = "/user/robots"
OURS = "/organization/buynlarge/robots"
ROOTS = {"devtable": MINE, "buynlarge": OURS}


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def owner(application):
    return Client(application, "devtable")


@pytest.mark.parametrize("whose", ROOTS)
def test_a_token_is_shown_once(application, owner, whose):
    """The token comes with the robot and opens the registry; no other answer has it, in no member."""
    root = ROOTS[whose]
    answer = owner.put(f"{root}/newbot", {"description": "Builds.", "unstructured_metadata": {"a": [1]}})
    assert answer.status == 201
    made = answer.json
    token = made.pop("token")
    assert len(token) == 64
    assert made == {
        "name": f"{whose}+newbot",
        "created": made["created"],
        "last_accessed": None,
        "description": "Builds.",
        "unstructured_metadata": {"a": [1]},
    }
    assert application.ask_token((f"{whose}+newbot", token)).status == 200
    for path in ("/newbot", "?token=true&permissions=true", "/newbot/permissions"):
        shown = owner.get(root + path)
        assert shown.status == 200
        assert token not in shown.body.decode()
        assert '"token"' not in shown.body.decode()
    assert owner.get(f"{root}/newbot").json == made
    ((performer, details),) = audited(application, "create_robot")
    assert performer == "devtable"
    assert {key: details[key] for key in ("robot", "description", "unstructured_metadata")} == {
        "robot": "newbot",
        "description": "Builds.",
        "unstructured_metadata": {"a": [1]},
    }


def test_without_a_body(application, owner):
    """A robot needs neither a description nor anything else, and null says as much."""
    assert owner.put(f"{MINE}/plain").json["unstructured_metadata"] == {}
    answer = owner.put(f"{MINE}/other", {"description": None, "unstructured_metadata": None})
    assert (answer.status, answer.json["description"]) == (201, "")


def nested(depth):
    return {"a": nested(depth - 1)} if depth else {}


@pytest.mark.parametrize(
    ("name", "body", "why"),
    [
        ("dtrobot", {}, "is taken"),
        ("A", {}, "A robot cannot be called 'A'"),
        ("x", {}, "A robot cannot be called 'x'"),
        ("a+b", {}, "A robot cannot be called 'a+b'"),
        ("x" * 250, {}, "A robot cannot be called"),
        ("new", {"description": "x" * 256}, "longer than 255"),
        ("new", {"unstructured_metadata": []}, "'unstructured_metadata'"),
        ("new", {"unstructured_metadata": {"a": "x" * 4096}}, "more than 4096 bytes"),
        ("new", {"unstructured_metadata": nested(80)}, "nested more than 64 levels"),
    ],
)
def test_not_made(application, owner, name, body, why):
    """What cannot be is refused in a sentence, and neither there nor on record."""
    answer = owner.put(f"{MINE}/{name}", body)
    assert answer.status == 400
    assert why in answer.json["detail"]
    assert [each["name"] for each in owner.get(MINE).json["robots"]] == ["devtable+dtrobot", "devtable+dtrobot2"]
    assert audited(application, "create_robot") == []


@pytest.mark.parametrize("whose", ROOTS)
def test_regenerated(application, owner, whose):
    """The old token opens nothing any more from the answer on, however often it was shown before; the new one does."""
    root = ROOTS[whose]
    old = owner.put(f"{root}/newbot").json["token"]
    name = f"{whose}+newbot"
    assert application.ask_token((name, old)).status == 200
    answer = owner.post(f"{root}/newbot/regenerate")
    assert (answer.status, answer.json["name"]) == (200, name)
    new = answer.json["token"]
    assert new != old
    assert application.ask_token((name, old)).status == 401
    assert Client(application, old).get("/user/robots").status == 401
    assert application.ask_token((name, new)).status == 200
    ((performer, details),) = audited(application, "regenerate_robot_token")
    assert (performer, details["robot"]) == ("devtable", "newbot")
    assert new not in str(details)


@pytest.mark.parametrize("whose", ROOTS)
def test_deleted(application, owner, whose):
    """A deleted robot is gone with its token and its roles, and its name is free for one that has neither."""
    root, name = ROOTS[whose], f"{whose}+newbot"
    token = owner.put(f"{root}/newbot").json["token"]

    def give(txn):
        simple = repository.find(txn, RepositoryName("devtable", "simple"))
        grant(txn, simple.id, grantee_id=namespace.find(txn, name).id, role=Role.READ)

    application.write(give)
    assert rights(application, (name, token), "repository:devtable/simple:pull") == ["pull"]
    assert owner.delete(f"{root}/newbot").status == 204
    assert application.ask_token((name, token)).status == 401
    assert owner.delete(f"{root}/newbot").status == 400
    assert [details["robot"] for _, details in audited(application, "delete_robot")] == ["newbot"]
    again = owner.put(f"{root}/newbot").json["token"]
    assert application.ask_token((name, token)).status == 401
    assert rights(application, (name, again), "repository:devtable/simple:pull") == []


def test_a_mirror_keeps_its_robot(application, owner):
    """The robot that fills a mirror cannot be deleted."""

    def mirror(txn):
        mirrored = repository.find(txn, RepositoryName("devtable", "mirrored"))
        repository.set_mirror(txn, mirrored.id, namespace.find(txn, "devtable+dtrobot").id)

    application.write(mirror)
    answer = owner.delete(f"{MINE}/dtrobot")
    assert (answer.status, "fills the mirror devtable/mirrored" in answer.json["detail"]) == (400, True)
    assert owner.get(f"{MINE}/dtrobot").status == 200
    assert audited(application, "delete_robot") == []


@pytest.mark.parametrize("root", ROOTS.values())
@pytest.mark.parametrize("name", ["nothing", "d%25", "dtrobot%00", "_oolrobot"])
def test_not_there(owner, root, name):
    """A robot that is not there is a bad request, as with Quay, whatever is asked of it."""
    unfit = 404 if "%00" in name else 400
    assert owner.get(f"{root}/{name}").status == unfit
    assert owner.get(f"{root}/{name}/permissions").status == unfit
    assert owner.delete(f"{root}/{name}").status == unfit
    assert owner.post(f"{root}/{name}/regenerate").status == unfit


def test_robots_never_mix(application):
    """Owners whose names match each other's as patterns see and delete their own robots only."""
    clients = {}

    def populate(txn):
        hashed = namespace.password_hash(txn, namespace.find(txn, "devtable").id)
        for name in ("a_b", "axb"):
            namespace.create_user(txn, name, password_hash=hashed, time_machine_s=0)

    application.write(populate)
    for name in ("a_b", "axb"):
        clients[name] = Client(application, name)
        assert clients[name].put(f"{MINE}/bot_{name[1]}").status == 201
    assert [each["name"] for each in clients["a_b"].get(MINE).json["robots"]] == ["a_b+bot__"]
    assert clients["a_b"].delete(f"{MINE}/bot_x").status == 400
    assert clients["a_b"].delete(f"{MINE}/bot__").status == 204
    assert [each["name"] for each in clients["axb"].get(MINE).json["robots"]] == ["axb+bot_x"]


def test_what_they_may_do(application, owner):
    """With `permissions`, administrators are told teams and repositories; other members see the names alone."""

    def give(txn):
        organization, robot = namespace.find(txn, "buynlarge"), namespace.find(txn, "buynlarge+coolrobot")
        team.add_member(txn, team.find(txn, organization.id, "readers").id, robot.id)
        for name in (RepositoryName("buynlarge", "orgrepo"), RepositoryName("devtable", "simple")):
            grant(txn, repository.find(txn, name).id, grantee_id=robot.id, role=Role.WRITE)

    application.write(give)
    cool, _ = owner.get(f"{OURS}?permissions=true").json["robots"]
    assert cool["name"] == "buynlarge+coolrobot"
    assert [each["name"] for each in cool["teams"]] == ["readers"]
    assert cool["repositories"] == ["orgrepo", "simple"]
    assert owner.get(OURS).json["robots"][0] | {"teams": cool["teams"], "repositories": cool["repositories"]} == cool
    assert owner.get(f"{OURS}/coolrobot/permissions").json == {
        "permissions": [
            {"repository": {"name": "orgrepo", "is_public": False}, "role": "write"},
            {"repository": {"name": "simple", "is_public": False}, "role": "write"},
        ]
    }
    seen = Client(application, "reader").get(f"{OURS}?permissions=true&token=true").json["robots"]
    assert [(each["name"], each["teams"], each["repositories"]) for each in seen] == [
        ("buynlarge+coolrobot", [], []),
        ("buynlarge+ownerbot", [], []),
    ]


def test_pages_that_name_much(application, owner, monkeypatch):
    """A page that names teams and repositories ends when it has named enough, with one robot at least."""
    monkeypatch.setattr(membership, "ENTRIES", 2)

    def give(txn):
        for name in ("simple", "shared", "complex"):
            found = repository.find(txn, RepositoryName("devtable", name))
            for robot in ("devtable+dtrobot", "devtable+dtrobot2"):
                grant(txn, found.id, grantee_id=namespace.find(txn, robot).id, role=Role.READ)

    application.write(give)
    first = owner.get(f"{MINE}?permissions=1").json
    second = owner.get(f"{MINE}?permissions=1&next_page={first['next_page']}").json
    assert [len(page["robots"]) for page in (first, second)] == [1, 1]
    assert second["robots"][0]["repositories"] == ["complex", "mirrored", "shared", "simple"]
    assert "next_page" not in second
    assert len(owner.get(MINE).json["robots"]) == 2


def test_last_accessed(application, owner):
    """When a robot was here last is known some time afterwards."""
    application.ask_token(("devtable+dtrobot", robot_token("devtable+dtrobot")))
    done(application.core.portal.record_use())
    assert owner.get(f"{MINE}/dtrobot").json["last_accessed"].endswith("-0000")
    assert owner.get(f"{MINE}/dtrobot2").json["last_accessed"] is None


def test_pages(application, owner, monkeypatch):
    """Many robots, and many permissions, come in pages, each once; `limit` makes them smaller, never larger."""
    monkeypatch.setattr(robots, "PAGE", 2)
    monkeypatch.setattr(teams, "PAGE", 1)
    owner.put(f"{MINE}/third")
    first = owner.get(f"{MINE}?limit=1000000").json
    assert [each["name"] for each in first["robots"]] == ["devtable+dtrobot", "devtable+dtrobot2"]
    second = owner.get(f"{MINE}?next_page={first['next_page']}").json
    assert [each["name"] for each in second["robots"]] == ["devtable+third"]
    assert "next_page" not in second
    assert owner.get(f"{OURS}?next_page={first['next_page']}").status == 400
    assert len(owner.get(f"{MINE}?limit=1").json["robots"]) == 1
    for limit in ("0", "-1", "x"):
        assert owner.get(f"{MINE}?limit={limit}").status == 400


ALL = [
    ("GET", ""),
    ("GET", "/coolrobot"),
    ("PUT", "/newbot"),
    ("DELETE", "/coolrobot"),
    ("GET", "/coolrobot/permissions"),
    ("POST", "/coolrobot/regenerate"),
]


@pytest.mark.parametrize(("method", "path"), ALL)
def test_who_may(application, method, path):
    """Of an organization's robots its members see the list, and nobody else anything; robots have no robots."""

    def status(auth, root):
        return Client(application, auth).call(method, root + path, {"description": 5}).status

    member = 200 if path == "" else 403
    assert [status(who, OURS) for who in (None, "freshuser", "reader", "creator")] == [401, 403, member, member]
    robot = ("devtable+dtrobot", robot_token("devtable+dtrobot"))
    assert [status(who, MINE) for who in (None, robot)] == [401, 403]
    assert status(("buynlarge+ownerbot", robot_token("buynlarge+ownerbot")), OURS) == member
    assert application.ask_token(("buynlarge+coolrobot", robot_token("buynlarge+coolrobot"))).status == 200


def test_a_robot_that_administers(application, owner):
    """A robot in a team with the role admin makes robots of its organization, with its own token, and of no other."""
    owner.put("/organization/buynlarge/team/owners/members/buynlarge+ownerbot")
    robot = Client(application, ("buynlarge+ownerbot", robot_token("buynlarge+ownerbot")))
    assert robot.put(f"{OURS}/made").status == 201
    assert robot.put("/organization/titi/robots/made").status == 403
    ((performer, details),) = audited(application, "create_robot")
    assert (performer, details["auth"]) == ("buynlarge+ownerbot", "robot")
    assert PASSWORD not in str(details)


def test_robots_are_disallowed(make_application):
    """With ROBOTS_DISALLOW, robots neither log in nor come to be, but for those of ROBOTS_WHITELIST; people do."""
    allowed = ["devtable+dtrobot", "devtable+newbot"]
    application = make_application(ROBOTS_DISALLOW=True, ROBOTS_WHITELIST=allowed)
    owner = Client(application, "devtable")
    for name, status in (("devtable+dtrobot", 200), ("devtable+dtrobot2", 401), ("buynlarge+ownerbot", 401)):
        assert application.ask_token((name, robot_token(name))).status == status
        assert Client(application, robot_token(name)).get("/error/not_found").status == status
    assert [owner.put(f"{MINE}/{short}").status for short in ("newbot", "other")] == [201, 400]
    assert owner.put(f"{OURS}/newbot").status == 400
    assert "ROBOTS_WHITELIST" in owner.put(f"{MINE}/other").json["detail"]
    assert owner.delete(f"{MINE}/dtrobot2").status == 204
