"""Organizations in the console: what each of those who look is shown, and what its forms do."""

import itertools

import pytest

from tests.http.api.client import Client, audited
from tests.http.console.visitor import Visitor

XSS = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
_numbers = itertools.count(1)


@pytest.fixture
def owner(application):
    return Visitor(application, "devtable")


@pytest.fixture
def orgname(owner):
    """A new organization of devtable's."""
    name = f"acme{next(_numbers)}"
    page = owner.send(owner.open("/organizations/new/").form("createOrganization"), field__name=name)
    assert page.status == 200
    return name


def assert_harmless(page):
    """Nothing that somebody wrote is an element of the page."""
    assert page.status == 200
    assert all("onerror" not in known and "onload" not in known for _, known in page.elements)
    scripts = [known for tag, known in page.elements if tag == "script"]
    assert all(known.get("src", "").startswith("/static/") for known in scripts)
    assert "alert(1)" in page.text or "alert(1)" in page.html


def tabs(page):
    """The keys of the tabs that a page offers."""
    return {link.partition("?tab=")[2] for link in page.links if "?tab=" in link}


# --- made, seen, ended


def test_new(application, owner):
    """The form makes an organization, and leads to it."""
    page = owner.send(owner.open("/organizations/new/").form("createOrganization"), field__name="planetexpress")
    assert page.status == 200
    assert "you administer it" in page.text
    assert audited(application, "org_create")[-1][0] == "devtable"


def test_new_that_cannot_be(owner):
    """A name that cannot be one is refused in a sentence, on the form's own page."""
    page = owner.send(owner.open("/organizations/new/").form("createOrganization"), field__name="No Name")
    assert page.has("createOrganization")
    assert any(known.get("role") == "alert" for _, known in page.elements)


def test_new_for_nobody(application):
    """Whoever has not signed in is asked to, and comes back."""
    answer = Visitor(application).get("/organizations/new/")
    assert (answer.status, answer.headers["location"]) == (303, "/signin/?next=%2Forganizations%2Fnew%2F")


def test_new_by_superusers_only(make_application):
    """Where only administrators of the registry make organizations, nobody else is shown the form."""
    application = make_application(FEATURE_SUPERUSERS_ORG_CREATION_ONLY=True, SUPER_USERS=["devtable"])
    assert not Visitor(application, "reader").open("/organizations/new/").has("createOrganization")
    assert Visitor(application, "devtable").open("/organizations/new/").has("createOrganization")


def test_for_an_administrator(owner):
    """Who administers an organization has all its tabs, and each opens."""
    page = owner.open("/organization/buynlarge")
    everything = {"teams", "members", "robots", "defaults", "applications", "logs", "settings"}
    assert tabs(page) == everything
    for key in everything | {"collaborators"}:
        page = owner.open(f"/organization/buynlarge?tab={key}")
        assert (page.status, page.flaws()) == (200, set())


def test_for_a_member(application):
    """A member sees teams and robots, and can change nothing."""
    member = Visitor(application, "reader")
    assert tabs(member.open("/organization/buynlarge")) == {"teams", "robots"}
    for key in ("repositories", "teams", "robots"):
        page = member.open(f"/organization/buynlarge?tab={key}")
        assert page.status == 200
        assert [form.action for form in page.forms if form.action.startswith("/do/")] == ["/do/logout"]
    assert member.open("/organization/buynlarge?tab=settings").status == 403


def test_for_others(application):
    """Who does not belong to it sees the repositories that are for him, and no tab more."""
    for visitor in (Visitor(application), Visitor(application, "freshuser")):
        page = visitor.open("/organization/buynlarge")
        assert page.status == 200
        assert not tabs(page)
        assert "New repository" not in page.text
    assert Visitor(application, "freshuser").open("/organization/buynlarge?tab=teams").status == 403
    assert Visitor(application).get("/organization/buynlarge?tab=teams").status == 303


def test_not_there(owner):
    """There is no page of what there is not: neither an organization, nor a tab, team, robot, or application."""
    assert owner.open("/organization/nosuch").status == 404
    assert owner.open("/organization/buynlarge?tab=nosuch").status == 404
    assert owner.open("/organization/buynlarge/teams/nosuch").status == 404
    assert owner.open("/organization/buynlarge/robots/nosuch").status == 400
    assert owner.open("/organization/buynlarge/application/nosuch").status == 404


def test_who_may_create(application):
    """Who may make repositories in it is offered to."""
    assert "/new/?namespace=buynlarge" in Visitor(application, "creator").open("/organization/buynlarge").links
    assert "/new/?namespace=buynlarge" not in Visitor(application, "reader").open("/organization/buynlarge").links


def test_an_empty_one(owner, orgname):
    """Where nothing has been pushed yet, the page says how, with the names that belong there."""
    assert f"docker push registry.test:5000/{orgname}/IMAGE:latest" in owner.open(f"/organization/{orgname}").text


def test_delete(application, owner, orgname):
    """It is deleted when its name was typed, and not when another was."""
    form = owner.open(f"/organization/{orgname}?tab=settings").form("deleteAdminedOrganization")
    page = owner.send(form, _typed="something")
    assert "To be sure, type" in page.text
    owner.send(form, _typed=orgname)
    assert owner.open(f"/organization/{orgname}").status == 404


def test_settings(application, owner, orgname):
    """The e-mail address and the time machine are set by the form; each without the other."""
    settings = f"/organization/{orgname}?tab=settings"
    page = owner.open(settings)
    owner.send(page.form("changeOrganizationDetails", field__email=""), field__email="Boss@Example.com")
    page = owner.open(settings)
    owner.send(page.form("changeOrganizationDetails", field__tag_expiration_s="1209600"), field__tag_expiration_s="0")
    found = Client(application, "devtable").get(f"/organization/{orgname}").json
    assert (found["email"].lower(), found["tag_expiration_s"]) == ("boss@example.com", 0)


def test_settled_elsewhere(make_application):
    """Where nobody may choose how long tags can be restored, nobody is asked."""
    application = make_application(FEATURE_CHANGE_TAG_EXPIRATION=False)
    page = Visitor(application, "devtable").open("/organization/buynlarge?tab=settings")
    assert "tag_expiration_s" not in page.html


# --- teams and members


def test_teams(application, owner, orgname):
    """A team is made, described, given a role on a repository, filled, emptied and deleted."""
    home = f"/organization/{orgname}"
    page = owner.send(
        owner.open(f"{home}?tab=teams").form("updateOrganizationTeam", field__role="member", field__description=""),
        path__teamname="crew",
    )
    assert "Team crew" in page.text
    page = owner.send(page.form("updateOrganizationTeamMember"), path__membername="freshuser")
    assert page.form("deleteOrganizationTeamMember", path__membername="freshuser")
    page = owner.send(page.form("updateOrganizationTeam"), field__role="creator", field__description="Who flies")
    assert "Who flies" in page.text
    application_client = Client(application, "devtable")
    body = {"repository": "ship", "namespace": orgname, "visibility": "private", "description": ""}
    assert application_client.post("/repository", body).status == 201
    page = owner.send(page.form("changeTeamPermissions"), path__repository=f"{orgname}/ship", field__role="write")
    assert page.form("changeTeamPermissions", path__repository=f"{orgname}/ship", field__role="write")
    page = owner.send(page.form("deleteTeamPermissions", path__repository=f"{orgname}/ship"))
    assert "no role on any repository" in page.text
    assert page.flaws() == set()
    page = owner.send(page.form("deleteOrganizationTeamMember", path__membername="freshuser"))
    assert "Nobody is in it" in page.text
    page = owner.send(page.form("deleteOrganizationTeam"), _typed="crew")
    assert "crew is deleted" in page.text
    assert owner.open(f"{home}/teams/crew").status == 404


def test_roles_of_teams(application, owner, orgname):
    """In the list, a team is given another role; the last one that administers stays."""
    page = owner.open(f"/organization/{orgname}?tab=teams")
    page = owner.send(page.form("updateOrganizationTeam", path__teamname="owners"), field__role="member")
    assert any(known.get("role") == "alert" for _, known in page.elements)
    assert page.form("updateOrganizationTeam", path__teamname="owners", field__role="admin")


def test_a_team_for_its_members(application):
    """A member of a team sees who else is in it, and no form; who is not in it sees nothing."""
    page = Visitor(application, "reader").open("/organization/buynlarge/teams/readers")
    assert "reader" in page.text
    assert [form.action for form in page.forms if form.action.startswith("/do/")] == ["/do/logout"]
    assert Visitor(application, "creator").open("/organization/buynlarge/teams/readers").status == 403


def test_many_teams(application, owner, orgname):
    """Teams come in pages."""
    client = Client(application, "devtable")
    for number in range(100):
        client.put(f"/organization/{orgname}/team/t{number:03}", {"role": "member"})
    page = owner.open(f"/organization/{orgname}?tab=teams")
    assert f"/organization/{orgname}?tab=teams&page=2" in page.links
    last = owner.open(f"/organization/{orgname}?tab=teams&page=2")
    assert f"/organization/{orgname}/teams/t099" in last.links
    assert f"/organization/{orgname}/teams/t000" not in last.links


def test_members(application, owner, orgname):
    """Whoever is removed from the organization is in none of its teams any more."""
    client = Client(application, "devtable")
    client.put(f"/organization/{orgname}/team/crew", {"role": "member"})
    client.put(f"/organization/{orgname}/team/crew/members/freshuser")
    page = owner.open(f"/organization/{orgname}?tab=members")
    assert f"/organization/{orgname}/teams/crew" in page.links
    page = owner.send(page.form("removeOrganizationMember", path__membername="freshuser"))
    assert not [form for form in page.forms if form.first("path.membername") == "freshuser"]
    assert client.get(f"/organization/{orgname}/team/crew/members").json["members"] == []


def test_collaborators(application, owner, orgname):
    """Those with a role on a repository, and in no team, are listed beside the members."""
    client = Client(application, "devtable")
    client.post("/repository", {"repository": "ship", "namespace": orgname, "visibility": "private", "description": ""})
    client.put(f"/repository/{orgname}/ship/permissions/user/freshuser", {"role": "read"})
    page = owner.open(f"/organization/{orgname}?tab=collaborators")
    assert "/user/freshuser" in page.links


# --- robots


def test_robots(application, owner, orgname):
    """A robot's token is on the page that answers the form, good for a login, and on no page afterwards."""
    robots = f"/organization/{orgname}?tab=robots"
    form = owner.open(robots).form("createOrgRobot")
    page = owner.send(form, path__robot_shortname="ci", field__description="Builds")
    secret = page.html.partition('aria-label="Token">')[2].partition("<")[0]
    assert application.ask_token((f"{orgname}+ci", secret)).status == 200
    for snippet in ("docker login", "podman login", "dockerconfigjson", "hosts.toml", "registries.yaml"):
        assert snippet in page.text
    assert page.answer.headers["cache-control"] == "no-store"
    home = f"/organization/{orgname}/robots/ci"
    assert all(secret not in owner.open(path).html for path in (robots, home))


def test_a_robot_made_twice(owner, orgname):
    """Sent again, the form is refused: no page tells the token of a robot that is there."""
    form = owner.open(f"/organization/{orgname}?tab=robots").form("createOrgRobot")
    owner.send(form, path__robot_shortname="ci")
    page = owner.send(form, path__robot_shortname="ci")
    assert "docker login" not in page.text
    assert any(known.get("role") == "alert" for _, known in page.elements)


def test_a_robot(application, owner, orgname):
    """A robot is given a role, a new token that ends the old one, and an end."""
    client = Client(application, "devtable")
    old = client.put(f"/organization/{orgname}/robots/ci", {}).json["token"]
    body = {"repository": "ship", "namespace": orgname, "visibility": "private", "description": ""}
    client.post("/repository", body)
    home = f"/organization/{orgname}/robots/ci"
    page = owner.send(
        owner.open(home).form("changeUserPermissions"), path__repository=f"{orgname}/ship", field__role="write"
    )
    assert page.form("changeUserPermissions", path__repository=f"{orgname}/ship", field__role="write")
    shown = owner.send(page.form("regenerateOrgRobotToken"))
    assert f"{orgname}+ci" in shown.text
    assert application.ask_token((f"{orgname}+ci", old)).status == 401
    page = owner.send(page.form("deleteOrgRobot"), _typed=f"{orgname}+ci")
    assert "is deleted" in page.text
    assert "ci" not in [robot["name"] for robot in client.get(f"/organization/{orgname}/robots").json["robots"]]


def test_many_robots(application, owner, orgname):
    """Robots come in pages, and the first page is found again."""
    client = Client(application, "devtable")
    for number in range(51):
        client.put(f"/organization/{orgname}/robots/r{number:02}", {})
    page = owner.open(f"/organization/{orgname}?tab=robots")
    following = next(link for link in page.links if "next_page=" in link)
    last = owner.open(following)
    assert f"/organization/{orgname}/robots/r50" in last.links
    assert f"/organization/{orgname}?tab=robots" in last.links


# --- default permissions and applications


def test_default_permissions(application, owner, orgname):
    """A default permission is made for a team or a user, changed, and deleted."""
    defaults = f"/organization/{orgname}?tab=defaults"
    page = owner.open(defaults)
    kind = {"field__delegate.kind": "user"}
    form = page.form("createOrganizationPrototypePermission", **kind)
    page = owner.send(form, **{"field__delegate.name": "freshuser", "field__role": "write"})
    page = owner.send(page.form("updateOrganizationPrototypePermission", field__role="write"), field__role="admin")
    assert page.form("updateOrganizationPrototypePermission", field__role="admin")
    page = owner.send(page.form("deleteOrganizationPrototypePermission"))
    assert not page.has("updateOrganizationPrototypePermission")
    team = page.form("createOrganizationPrototypePermission", **{"field__delegate.kind": "team"})
    page = owner.send(team, **{"field__delegate.name": "owners"})
    assert page.has("deleteOrganizationPrototypePermission")


def test_default_permissions_of_one(application, owner, orgname):
    """A default permission can be for what one user makes."""
    page = owner.open(f"/organization/{orgname}?tab=defaults")
    form = next(form for form in page.forms if "field.activating_user.name" in form.names)
    fields = {
        "field__activating_user.name": "devtable",
        "field__delegate.kind": "team",
        "field__delegate.name": "owners",
    }
    owner.send(form, **fields)
    found = Client(application, "devtable").get(f"/organization/{orgname}/prototypes").json["prototypes"]
    assert [(one["activating_user"]["name"], one["delegate"]["name"]) for one in found] == [("devtable", "owners")]


def make_application_page(owner, orgname, name="app"):
    """What follows the form for a new application: the page with its secret, and then its own."""
    form = owner.open(f"/organization/{orgname}?tab=applications").form("createOrganizationApplication")
    shown = owner.send(form, field__name=name, field__description="", field__redirect_uri="", field__application_uri="")
    home = next(link for link in shown.links if "/application/" in link)
    return shown, home


def secret_of(page, label):
    return page.html.partition(f'aria-label="{label}">')[2].partition("<")[0]


def test_applications(application, owner, orgname):
    """The secret of an application is shown once: when it is made, and when it is replaced."""
    shown, home = make_application_page(owner, orgname)
    secret = secret_of(shown, "Client secret")
    assert len(secret) > 20
    page = owner.open(home)
    assert secret not in page.html
    again = owner.send(page.form("resetOrganizationApplicationClientSecret"))
    assert secret_of(again, "Client secret") not in ("", secret)
    assert secret_of(again, "Client secret") not in owner.open(home).html
    page = owner.send(
        page.form("updateOrganizationApplication"),
        field__name="renamed",
        field__application_uri="https://example.com/",
        field__redirect_uri="https://example.com/back",
    )
    assert "Application renamed" in page.text
    page = owner.send(page.form("deleteOrganizationApplication"), _typed="renamed")
    assert owner.open(home).status == 404


def test_application_tokens(application, owner, orgname):
    """A token has the scopes that were checked, is shown once, and can be revoked."""
    _, home = make_application_page(owner, orgname)
    form = owner.open(home).form("createOrganizationApplicationToken")
    shown = owner.send(form, field__name="ci", field__scope=["repo:read", "user:read"], field__expiration="2592000")
    token = secret_of(shown, "Token")
    assert Client(application, token).get("/user/").json["username"] == "devtable"
    page = owner.open(home)
    assert token not in page.html
    assert "repo:read" in page.text
    assert page.flaws() == set()
    owner.send(page.form("deleteOrganizationApplicationToken"))
    assert Client(application, token).get("/user/").status == 401


def test_tokens_of_nothing(owner, orgname):
    """A token for nothing is refused, in a sentence."""
    _, home = make_application_page(owner, orgname)
    page = owner.send(owner.open(home).form("createOrganizationApplicationToken"), field__name="ci")
    assert "scope" in next(iter([page.text]))
    assert not page.has("deleteOrganizationApplicationToken")


def test_logs(owner, orgname):
    """The log tells what was done, and is filtered by who did it."""
    assert "Made the organization" in owner.open(f"/organization/{orgname}?tab=logs").text
    assert "Made the organization" not in owner.open(f"/organization/{orgname}?tab=logs&performer=freshuser").text


# --- what people write


def test_harmless(application, owner, orgname):
    """Names and descriptions with markup in them are text on every page."""
    client = Client(application, "devtable")
    client.put(f"/organization/{orgname}/team/crew", {"role": "member", "description": XSS})
    client.put(f"/organization/{orgname}/robots/ci", {"description": XSS})
    body = {"repository": "ship", "namespace": orgname, "visibility": "public", "description": XSS}
    client.post("/repository", body)
    made = client.post(f"/organization/{orgname}/applications", {"name": XSS, "description": XSS}).json
    path = f"/organization/{orgname}/applications/{made['client_id']}/tokens"
    home = f"/organization/{orgname}"
    form = owner.open(f"{home}/application/{made['client_id']}").form("createOrganizationApplicationToken")
    shown = owner.send(form, field__name=XSS, field__scope=["repo:read"])
    assert client.get(path).json["tokens"][0]["name"] == XSS
    assert_harmless(shown)
    for where in (
        home,
        f"{home}/teams/crew",
        f"{home}?tab=robots",
        f"{home}/robots/ci",
        f"{home}?tab=applications",
        f"{home}/application/{made['client_id']}",
        f"{home}?tab=logs",
    ):
        assert_harmless(owner.open(where))


def test_not_by_another_site(owner, orgname):
    """A form without the token of this session does nothing."""
    form = owner.open(f"/organization/{orgname}?tab=settings").form("deleteAdminedOrganization")
    answer = owner.post(form, _csrf_token="guessed", _typed=orgname)
    assert answer.status == 403
    assert owner.open(f"/organization/{orgname}").status == 200


def test_not_fresh(application, orgname, owner):
    """What is not easily undone asks for the password first when one signed in a while ago, and then is done."""
    form = owner.open(f"/organization/{orgname}?tab=settings").form("deleteAdminedOrganization")
    application.clock.advance(3600)
    asked = owner.send(form, _typed=orgname)
    assert "Your password, please" in asked.text
    assert owner.open(f"/organization/{orgname}").status == 200
    owner.send(asked.form("deleteAdminedOrganization"), _password="password")
    assert owner.open(f"/organization/{orgname}").status == 404
