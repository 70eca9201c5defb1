"""Roles on a repository through the API: granted, shown, changed and taken back."""

import pytest

from quay.testdata.people import PASSWORD
from tests.http.api.client import Client, audited

SIMPLE = "/repository/devtable/simple/permissions"
ORG = "/repository/buynlarge/orgrepo/permissions"


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def devtable(application):
    return Client(application, "devtable")


def pulls(application, name):
    return bool(application.ask_token((name, PASSWORD), "repository:devtable/simple:pull").json["access"])


def test_a_role_comes_and_goes(application, devtable):
    """A role that is granted counts at once, changes, and counts no more when it is taken back; all is on record."""
    user = f"{SIMPLE}/user/freshuser"
    reader = Client(application, "freshuser")
    assert devtable.get(user).status == 404
    shown = devtable.put(user, {"role": "read"})
    assert shown.status == 200
    assert shown.json == {
        "role": "read",
        "name": "freshuser",
        "is_robot": False,
        "avatar": shown.json["avatar"],
    }
    assert shown.json["avatar"]["kind"] == "user"
    assert reader.get("/repository/devtable/simple").json["can_write"] is False
    assert devtable.put(user, {"role": "write"}).json["role"] == "write"
    assert reader.get("/repository/devtable/simple").json["can_write"] is True
    assert devtable.get(user).json["role"] == "write"
    assert devtable.get(f"{SIMPLE}/user/").json["permissions"] == {"freshuser": devtable.get(user).json}
    assert devtable.delete(user).status == 204
    assert devtable.delete(user).status == 400
    assert reader.get("/repository/devtable/simple").status == 403
    changes = [(details["username"], details["role"]) for _, details in audited(application, "change_repo_permission")]
    assert changes == [("freshuser", "read"), ("freshuser", "write")]
    assert [details["username"] for _, details in audited(application, "delete_repo_permission")] == ["freshuser"]


def test_robots(devtable):
    """Robots have roles as users have, and are shown as robots; members of the organization are marked."""
    robot = f"{ORG}/user/buynlarge+coolrobot"
    assert devtable.put(robot, {"role": "admin"}).json["avatar"]["kind"] == "robot"
    devtable.put(f"{ORG}/user/freshuser", {"role": "read"})
    devtable.put(f"{ORG}/user/creator", {"role": "read"})
    found = devtable.get(f"{ORG}/user/").json["permissions"]
    assert {name: (one["is_robot"], one["is_org_member"]) for name, one in found.items()} == {
        "buynlarge+coolrobot": (True, True),
        "creator": (False, True),
        "freshuser": (False, False),
    }


def test_teams(application, devtable):
    """A team of the organization has a role; its members have it, as long as the team has."""
    team = f"{ORG}/team/creators"
    creator = Client(application, "creator")
    assert devtable.get(team).status == 404
    assert creator.get("/repository/buynlarge/orgrepo").status == 403
    shown = devtable.put(team, {"role": "write"}).json
    assert (shown["role"], shown["name"], shown["avatar"]["kind"]) == ("write", "creators", "team")
    assert creator.get("/repository/buynlarge/orgrepo").json["can_write"]
    assert set(devtable.get(f"{ORG}/team/").json["permissions"]) == {"creators", "readers"}
    assert devtable.get(team).json == shown
    assert devtable.delete(team).status == 204
    assert devtable.delete(team).status == 400
    assert creator.get("/repository/buynlarge/orgrepo").status == 403
    assert [details["team"] for _, details in audited(application, "delete_repo_permission")] == ["creators"]


def test_transitive(devtable):
    """The roles that somebody has are those granted to him and to his teams, and what he is by his own right."""
    path = f"{ORG}/user/%s/transitive"
    devtable.put(f"{ORG}/user/reader", {"role": "write"})
    roles = {one["role"] for one in devtable.get(path % "reader").json["permissions"]}
    assert roles == {"read", "write"}
    assert devtable.get(path % "devtable").json == {"permissions": [{"role": "admin"}]}
    assert devtable.get(path % "freshuser").json == {"permissions": []}
    assert devtable.get(path % "nobody").status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("who", ["user/nobody", "user/buynlarge", "user/%20", "team/nobodies"])
def test_who_is_not_there(devtable, method, who):
    """Somebody who is not there, or is no user, is a bad request; so is a team of another organization."""
    assert devtable.call(method, f"{ORG}/{who}", {"role": "read"}).status == 400


def test_a_team_of_another_organization(devtable):
    """A team that has the name in another organization is not meant; users have no teams."""
    assert devtable.put(f"{SIMPLE}/team/readers", {"role": "read"}).status == 400


def test_the_owner(devtable):
    """The owner of the namespace administers it always, and is no one to grant a role."""
    answer = devtable.put(f"{SIMPLE}/user/devtable", {"role": "read"})
    assert (answer.status, "always administers it" in answer.json["detail"]) == (400, True)


@pytest.mark.parametrize("body", [{}, {"role": "owner"}, {"role": None}, {"role": ["read"]}])
def test_no_role(devtable, body):
    """A role is read, write or admin."""
    assert devtable.put(f"{SIMPLE}/user/reader", body).status == 400


@pytest.mark.parametrize("path", ["user/", "user/reader", "user/reader/transitive", "team/", "team/readers"])
def test_who_may(application, path):
    """Roles are the business of administrators: whoever may only read is not told of them."""
    assert Client(application, "reader").get(f"{ORG}/{path}").status == 403
    assert Client(application).get(f"{ORG}/{path}").status == 401
    assert Client(application, "devtable").get(f"/repository/public/publicrepo/permissions/{path}").status == 403


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_access_tokens_are_gone(application, method):
    """The calls for access tokens say that there are none any more, to those who might have had them."""
    path = "/repository/devtable/simple/tokens/" + ("x" if method in ("PUT", "DELETE") else "")
    assert Client(application, "devtable").call(method, path).status == 410
    assert Client(application, "reader").call(method, path).status == 403
