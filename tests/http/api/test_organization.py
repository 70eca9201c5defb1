"""Organizations through the API: what anybody sees of one, what its administrators do with it, who belongs to it."""

import pytest

from quay.model import credential, membership, namespace, removal, repository, team
from quay.model.permission import Role, grant
from quay.oci.reference import RepositoryName
from quay.testdata.people import PASSWORD, robot_token
from tests.http.api.client import Client, audited, rights

DEVTABLE = ("devtable", PASSWORD)
ORG = "/organization/buynlarge"


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def owner(application):
    return Client(application, "devtable")


def test_created(application, owner):
    """Whoever makes an organization administers it; it is on record."""
    maker = Client(application, "freshuser")
    answer = maker.post("/organization/", {"name": "neworg", "email": "New@Example.com", "recaptcha_response": "x"})
    assert (answer.status, answer.json) == (201, "Created")
    view = maker.get("/organization/neworg").json
    assert (view["is_admin"], view["email"], view["ordered_teams"]) == (True, "new@example.com", ["owners"])
    assert view["tag_expiration_s"] == application.config.default_tag_expiration
    assert owner.get("/organization/neworg").json["is_member"] is False
    assert audited(application, "org_create") == [("freshuser", {"namespace": "neworg", "email": "New@Example.com"})]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, "lacks 'name'"),
        ({"name": "buynlarge"}, "'buynlarge' is taken"),
        ({"name": "reader"}, "'reader' is taken"),
        ({"name": "A"}, "cannot be the name"),
        ({"name": "a+b"}, "cannot be the name"),
        ({"name": "good", "email": "nonsense"}, "not an e-mail address"),
        ({"name": "good", "email": "DEVTABLE@example.com"}, "belongs to another account"),
        ({"name": 5}, "type string"),
    ],
)
def test_not_created(application, owner, body, why):
    """A name or an address that cannot be, or is taken, is refused in a sentence, and nothing is on record."""
    answer = owner.post("/organization/", body)
    assert answer.status == 400
    assert why in answer.json["detail"]
    assert audited(application, "org_create") == []


def test_people_only(application):
    """Nobody in particular, robots and app tokens make no organizations."""
    assert Client(application).post("/organization/", {"name": "neworg"}).status == 401
    robot = ("devtable+dtrobot", robot_token("devtable+dtrobot"))
    assert Client(application, robot).post("/organization/", {"name": "neworg"}).status == 403


def test_superusers_only(make_application):
    """With FEATURE_SUPERUSERS_ORG_CREATION_ONLY nobody else makes an organization, by a push neither."""
    settings = {"FEATURE_SUPERUSERS_ORG_CREATION_ONLY": True, "CREATE_NAMESPACE_ON_PUSH": True}
    application = make_application(**settings)
    for who, status, actions in (("freshuser", 403, []), ("devtable", 201, ["push", "pull"])):
        assert Client(application, who).post("/organization/", {"name": f"of-{who}"}).status == status
        assert rights(application, (who, PASSWORD), f"repository:pushed-by-{who}/app:pull,push") == actions


def test_views(application, owner):
    """Anybody sees that there is one; its members see its teams; its administrators see its address and settings."""
    for stranger in (None, "freshuser"):
        assert Client(application, stranger).get(ORG).json == {
            "name": "buynlarge",
            "email": "",
            "avatar": owner.get(ORG).json["avatar"],
            "is_admin": False,
            "is_member": False,
        }
    seen = Client(application, "reader").get(ORG).json
    assert (seen["is_member"], seen["is_admin"], seen["email"]) == (True, False, "")
    assert {name: each["can_view"] for name, each in seen["teams"].items()} == {
        "owners": False,
        "readers": True,
        "creators": False,
    }
    assert not {"invoice_email", "tag_expiration_s"} & seen.keys()
    view = owner.get(ORG).json
    assert (view["email"], view["is_admin"]) == ("buynlarge@example.com", True)
    assert view["ordered_teams"] == ["owners", "readers", "creators"]
    assert all(each["can_view"] for each in view["teams"].values())
    counts = {key: view["teams"]["readers"][key] for key in ("repo_count", "member_count", "role")}
    assert counts == {"repo_count": 1, "member_count": 1, "role": "member"}
    assert (view["invoice_email"], view["invoice_email_address"]) == (False, None)
    for name in ("nothing", "reader", "a+b", "%00"):
        assert owner.get(f"/organization/{name}").status == 404


def test_an_oauth_token_sees_what_it_is_for(application):
    """A token for repositories only is a stranger's view of the organization of the one behind it."""

    def issue(txn, scope):
        return credential.create(txn, namespace.find(txn, "devtable").id, "oauth", scope=scope)[1]

    views = {
        scope: Client(application, application.write(issue, scope)).get(ORG).json
        for scope in ("repo:admin", "user:read", "org:admin")
    }
    assert [(views[scope]["is_admin"], views[scope]["is_member"]) for scope in views] == [
        (False, False),
        (False, True),
        (True, True),
    ]
    assert views["user:read"]["email"] == ""


def test_changed(application, owner):
    """What is named changes, once, and is on record; the rest stays."""
    body = {"email": "a@b.c", "invoice_email": True, "invoice_email_address": "bills@b.c", "tag_expiration_s": 86400}
    for _ in range(2):
        view = owner.put(ORG, body).json
        assert {key: view[key] for key in body} == body
    assert owner.put(ORG, {}).json == view
    assert audited(application, "org_change_email") == [
        ("devtable", {"namespace": "buynlarge", "email": "a@b.c", "old_email": "buynlarge@example.com"})
    ]
    assert [details for _, details in audited(application, "org_change_invoicing")] == [
        {"namespace": "buynlarge", "invoice_email": True},
        {"namespace": "buynlarge", "invoice_email_address": "bills@b.c"},
    ]
    assert audited(application, "org_change_tag_expiration") == [
        ("devtable", {"namespace": "buynlarge", "tag_expiration": 86400})
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"tag_expiration_s": 3},
        {"tag_expiration_s": -1},
        {"tag_expiration_s": "86400"},
        {"email": "reader@example.com"},
        {"email": "no address"},
        {"invoice_email": "yes"},
        {"invoice_email": True, "email": "x" * 256},
        {"invoice_email": True, "email": "titi@example.com"},
    ],
)
def test_not_changed(application, owner, body):
    """A change that cannot be is refused as a whole: nothing of it is there, and nothing on record."""
    before = owner.get(ORG).json
    assert owner.put(ORG, body).status == 400
    assert owner.get(ORG).json == before
    assert audited(application, "org_change_invoicing") == []


def test_expiration_is_the_registry_s(make_application):
    """The choice of how long tags can be restored has the configured options, and can be withheld."""
    client = Client(make_application(TAG_EXPIRATION_OPTIONS=["3d"]), "devtable")
    assert client.put(ORG, {"tag_expiration_s": 3 * 86400}).status == 200
    assert "259200 (3d)" in client.put(ORG, {"tag_expiration_s": 86400}).json["detail"]
    client = Client(make_application(FEATURE_CHANGE_TAG_EXPIRATION=False), "devtable")
    assert client.put(ORG, {"tag_expiration_s": 86400}).status == 400


@pytest.mark.parametrize("who", [None, "freshuser", "reader", "creator"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", ""),
        ("DELETE", ""),
        ("GET", "/members"),
        ("GET", "/collaborators"),
        ("GET", "/members/reader"),
        ("GET", "/members/nobody"),
        ("DELETE", "/members/reader"),
    ],
)
def test_administrators_only(application, who, method, path):
    """Whoever does not administer the organization is told so, whatever he asks and whether there is such a thing."""
    body = {"email": 5} if method == "PUT" else None
    assert Client(application, who).call(method, ORG + path, body).status == (401 if who is None else 403)
    assert application.read(lambda txn: namespace.find(txn, "buynlarge")).enabled


def test_deleted(application, owner):
    """It is gone at once with its repositories and robots, whose tokens open nothing any more; it is on record."""
    robot = ("buynlarge+ownerbot", robot_token("buynlarge+ownerbot"))
    assert application.ask_token(robot).status == 200
    assert application.token(DEVTABLE, "repository:buynlarge/orgrepo:pull")
    number = application.read(lambda txn: namespace.find(txn, "buynlarge")).id
    assert owner.delete(ORG).status == 204
    assert owner.get(ORG).status == 404
    assert owner.delete(ORG).status == 404
    assert application.ask_token(robot).status == 401
    name = RepositoryName("buynlarge", "orgrepo")
    assert application.read(repository.find, name) is None
    assert audited(application, "org_delete") == [("devtable", {"namespace": "buynlarge"})]
    assert application.read(namespace.by_id, number).kind == "deleted"
    assert owner.post("/organization/", {"name": "buynlarge"}).status == 201


def test_members(application, owner):
    """Members come with their teams and their own repositories, collaborators with their repositories."""

    def more(txn):
        orgrepo = repository.find(txn, RepositoryName("buynlarge", "orgrepo"))
        for name in ("reader", "freshuser"):
            grant(txn, orgrepo.id, grantee_id=namespace.find(txn, name).id, role=Role.READ)

    application.write(more)
    members = {each["name"]: each for each in owner.get(f"{ORG}/members").json["members"]}
    assert list(members) == ["creator", "devtable", "reader"]
    assert members["reader"]["kind"] == "user"
    assert [each["name"] for each in members["reader"]["teams"]] == ["readers"]
    assert members["reader"]["repositories"] == ["orgrepo"]
    assert owner.get(f"{ORG}/members/reader").json == members["reader"]
    (collaborator,) = owner.get(f"{ORG}/collaborators").json["collaborators"]
    assert (collaborator["name"], collaborator["repositories"]) == ("freshuser", ["orgrepo"])
    assert owner.get(f"{ORG}/members/buynlarge+coolrobot").json["kind"] == "robot"
    for name in ("freshuser", "nobody", "buynlarge", "devtable+dtrobot"):
        assert owner.get(f"{ORG}/members/{name}").status == 404


def test_pages(application, owner, monkeypatch):
    """Long lists come in pages, each once; a page of one list begins no other."""
    monkeypatch.setattr(membership, "PEOPLE", 2)
    first = owner.get(f"{ORG}/members").json
    assert [each["name"] for each in first["members"]] == ["creator", "devtable"]
    second = owner.get(f"{ORG}/members?next_page={first['next_page']}").json
    assert [each["name"] for each in second["members"]] == ["reader"]
    assert "next_page" not in second
    for path in (f"{ORG}/collaborators", "/organization/titi/members"):
        assert owner.get(f"{path}?next_page={first['next_page']}").status == 400
    assert owner.get(f"{ORG}/members?next_page=nonsense").status == 400


def test_a_member_is_removed(application, owner):
    """Whoever is removed can pull no more, from the answer on; each team he was in is on record."""
    reader = ("reader", PASSWORD)
    orgrepo = "repository:buynlarge/orgrepo:pull"

    assert rights(application, reader, orgrepo) == ["pull"]
    assert owner.delete(f"{ORG}/members/reader").status == 204
    assert rights(application, reader, orgrepo) == []
    assert owner.get(f"{ORG}/members/reader").status == 404
    assert owner.delete(f"{ORG}/members/reader").status == 404
    assert audited(application, "org_remove_team_member") == [
        ("devtable", {"namespace": "buynlarge", "member": "reader", "team": "readers"})
    ]


def test_the_last_administrator_stays(application, owner):
    """An organization that nobody could administer is not made; robots are not removed so, nor strangers."""
    answer = owner.delete(f"{ORG}/members/devtable")
    assert answer.status == 400
    assert "Nobody could administer the organization any more" in answer.json["detail"]
    assert owner.get(ORG).json["is_admin"]
    for name in ("freshuser", "buynlarge+coolrobot", "nobody"):
        assert owner.delete(f"{ORG}/members/{name}").status == 404
    assert audited(application, "org_remove_team_member") == []

    def join(txn):
        organization = namespace.find(txn, "buynlarge")
        robot = namespace.find(txn, "buynlarge+coolrobot")
        team.add_member(txn, team.find(txn, organization.id, "readers").id, robot.id)
        return organization.id, robot.id

    organization_id, robot_id = application.write(join)
    assert owner.delete(f"{ORG}/members/buynlarge+coolrobot").status == 404
    assert application.read(team.ids_of_member, organization_id, robot_id)


def test_it_is_gone_meanwhile(application, owner, monkeypatch):
    """A change of an organization that was deleted after it was looked up is 404."""
    found = application.read(lambda txn: namespace.find(txn, "buynlarge"))
    monkeypatch.setattr("quay.web.api.needs.organization_named", lambda txn, name: found)
    monkeypatch.setattr("quay.model.permission.administers", lambda *_: True)
    application.write(removal.begin, found.id)
    assert owner.put(ORG, {"email": "a@b.c"}).status == 404
    assert owner.delete(ORG).status == 404
