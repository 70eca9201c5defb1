"""Teams through the API: made, changed and deleted, their members, and what they may do."""

import pytest

from quay.model import namespace, team
from quay.testdata.people import PASSWORD
from quay.web.api import team as teams
from tests.http.api.client import Client, audited, rights

TEAM = "/organization/buynlarge/team"
READER = ("reader", PASSWORD)
ORGREPO = "repository:buynlarge/orgrepo:pull,push"


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def owner(application):
    return Client(application, "devtable")


def test_made(application, owner):
    """A team that is not there is made by the same call that changes one that is."""
    view = owner.put(f"{TEAM}/crew", {"role": "creator", "description": "They *make*."}).json
    assert view == {
        "name": "crew",
        "description": "They *make*.",
        "can_view": True,
        "role": "creator",
        "avatar": view["avatar"],
        "repo_count": 0,
        "member_count": 0,
        "is_synced": False,
        "new_team": True,
    }
    assert owner.get("/organization/buynlarge").json["ordered_teams"][-1] == "crew"
    assert audited(application, "org_create_team") == [("devtable", {"namespace": "buynlarge", "team": "crew"})]
    assert owner.put(f"{TEAM}/crew", {"role": "creator"}).json == view | {"new_team": False}
    assert len(audited(application, "org_create_team")) == 1


def test_changed(application, owner):
    """Role and description change when they differ, each on record; what is not sent stays."""
    for _ in range(2):
        view = owner.put(f"{TEAM}/readers", {"role": "creator", "description": "d"}).json
        assert (view["role"], view["description"], view["new_team"]) == ("creator", "d", False)
    assert owner.put(f"{TEAM}/readers", {"role": "member"}).json["description"] == "d"
    assert [details["role"] for _, details in audited(application, "org_set_team_role")] == ["creator", "member"]
    assert audited(application, "org_set_team_description") == [
        ("devtable", {"namespace": "buynlarge", "team": "readers", "description": "d"})
    ]


@pytest.mark.parametrize(
    ("name", "body", "why"),
    [
        ("crew", {}, "lacks 'role'"),
        ("crew", {"role": "owner"}, "must be one of 'member', 'creator', 'admin'"),
        ("crew", {"role": "admin", "description": "x" * 4097}, "longer than 4096"),
        ("Crew", {"role": "admin"}, "A team cannot be called 'Crew'"),
        ("x", {"role": "admin"}, "A team cannot be called 'x'"),
        ("owners", {"role": "creator"}, "Nobody could administer the organization any more"),
    ],
)
def test_not_made(application, owner, name, body, why):
    """What cannot be is refused in a sentence, and is not on record."""
    answer = owner.put(f"{TEAM}/{name}", body)
    assert answer.status == 400
    assert why in answer.json["detail"]
    assert owner.get("/organization/buynlarge").json["ordered_teams"] == ["owners", "readers", "creators"]
    assert [audited(application, kind) for kind in ("org_create_team", "org_set_team_role")] == [[], []]


def test_a_refused_change_is_none_at_all(application, owner):
    """A role that is refused takes the description that came with it along."""
    assert owner.put(f"{TEAM}/owners", {"role": "member", "description": "new"}).status == 400
    assert owner.get("/organization/buynlarge").json["teams"]["owners"]["description"] == ""
    assert audited(application, "org_set_team_description") == []


def test_deleted(application, owner):
    """A team goes with the rights it gave; the last that administers stays; one that is not there is a bad request."""
    assert rights(application, READER, ORGREPO) == ["pull"]
    assert owner.delete(f"{TEAM}/readers").status == 204
    assert rights(application, READER, ORGREPO) == []
    assert owner.delete(f"{TEAM}/readers").status == 400
    assert "Nobody could administer" in owner.delete(f"{TEAM}/owners").json["detail"]
    assert audited(application, "org_delete_team") == [("devtable", {"namespace": "buynlarge", "team": "readers"})]


def test_another_organization_does_not_have_it(application, owner):
    """A team under a foreign organization is not there, even for somebody who administers both."""
    foreign = "/organization/titi/team/readers"
    assert owner.get(f"{foreign}/members").status == 404
    assert owner.get(f"{foreign}/permissions").status == 404
    assert owner.put(f"{foreign}/members/reader").status == 404
    assert owner.delete(f"{foreign}/members/reader").status == 404
    assert owner.delete(foreign).status == 400
    assert owner.get(f"{TEAM}/readers/members").json["members"][0]["name"] == "reader"


def test_members(application, owner):
    """A member has the team's rights from the answer on, and loses them so; each change is on record, once."""
    fresh = ("freshuser", PASSWORD)
    assert rights(application, fresh, ORGREPO) == []
    for _ in range(2):
        member = owner.put(f"{TEAM}/readers/members/freshuser").json
        assert (member["name"], member["kind"], member["is_robot"], member["invited"]) == (
            "freshuser",
            "user",
            False,
            False,
        )
    assert rights(application, fresh, ORGREPO) == ["pull"]
    robot = owner.put(f"{TEAM}/readers/members/buynlarge%2bcoolrobot").json
    assert (robot["name"], robot["is_robot"], robot["avatar"]["kind"]) == ("buynlarge+coolrobot", True, "robot")
    answer = owner.get(f"{TEAM}/readers/members?includePending=true").json
    assert (answer["name"], answer["can_edit"]) == ("readers", True)
    assert [each["name"] for each in answer["members"]] == ["buynlarge+coolrobot", "freshuser", "reader"]
    assert answer["members"][0] == robot
    assert owner.delete(f"{TEAM}/readers/members/freshuser").status == 204
    assert rights(application, fresh, ORGREPO) == []
    assert owner.delete(f"{TEAM}/readers/members/freshuser").status == 400
    assert [details["member"] for _, details in audited(application, "org_add_team_member")] == [
        "freshuser",
        "buynlarge+coolrobot",
    ]
    assert audited(application, "org_remove_team_member") == [
        ("devtable", {"namespace": "buynlarge", "member": "freshuser", "team": "readers"})
    ]


@pytest.mark.parametrize("name", ["nobody", "buynlarge", "devtable+dtrobot", "a%25", "%00", "x" * 300])
def test_who_cannot_join(application, owner, name):
    """Nobody, organizations and robots of others are no members; nothing is on record."""
    for call in (owner.put, owner.delete):
        assert call(f"{TEAM}/readers/members/{name}").status in ((404,) if name == "%00" else (400,))
    assert audited(application, "org_add_team_member") == []


def test_the_last_administrator_stays(application, owner):
    """One leaves the team of owners only when another user is in it."""
    answer = owner.delete(f"{TEAM}/owners/members/devtable")
    assert (answer.status, answer.json["error_type"]) == (400, "invalid_request")
    assert "Nobody could administer the organization any more" in answer.json["detail"]
    assert owner.put(f"{TEAM}/owners/members/buynlarge+coolrobot").status == 200
    assert owner.delete(f"{TEAM}/owners/members/devtable").status == 400
    assert audited(application, "org_remove_team_member") == []
    assert owner.put(f"{TEAM}/owners/members/creator").status == 200
    assert owner.delete(f"{TEAM}/owners/members/devtable").status == 204
    assert owner.put(f"{TEAM}/owners/members/devtable").status == 403
    assert Client(application, "creator").put(f"{TEAM}/owners/members/devtable").status == 200


def test_who_sees_the_members(application, owner):
    """The members of a team see one another, of other teams they do not; superusers see them all."""
    assert [Client(application, who).get(f"{TEAM}/readers/members").status for who in (None, "freshuser")] == [401, 403]
    reader = Client(application, "reader")
    assert (reader.get(f"{TEAM}/readers/members").status, reader.get(f"{TEAM}/owners/members").status) == (200, 403)
    assert reader.get(f"{TEAM}/readers/members").json["can_edit"] is False
    assert reader.get(f"{TEAM}/nothing/members").status == 403
    assert owner.get(f"{TEAM}/nothing/members").status == 404

    def without_devtable(txn):
        organization = namespace.find(txn, "buynlarge")
        owners = team.find(txn, organization.id, "owners").id
        team.add_member(txn, owners, namespace.find(txn, "creator").id)
        team.remove_member(txn, owners, namespace.find(txn, "devtable").id)

    application.write(without_devtable)
    answer = owner.get(f"{TEAM}/owners/members")
    assert (answer.status, answer.json["can_edit"]) == (200, False)


def test_permissions(application, owner):
    """What was granted to the team is listed, by the names of the repositories in the organization."""
    assert owner.get(f"{TEAM}/readers/permissions").json == {
        "permissions": [{"repository": {"name": "orgrepo", "is_public": False}, "role": "read"}]
    }
    assert owner.get(f"{TEAM}/creators/permissions").json == {"permissions": []}
    assert owner.get(f"{TEAM}/nothing/permissions").status == 404


def test_pages(application, owner, monkeypatch):
    """A large team comes in pages, and a page of one team begins no list of another."""
    monkeypatch.setattr(teams, "PAGE", 1)
    owner.put(f"{TEAM}/readers/members/freshuser")
    first = owner.get(f"{TEAM}/readers/members").json
    second = owner.get(f"{TEAM}/readers/members?next_page={first['next_page']}").json
    assert [page["members"][0]["name"] for page in (first, second)] == ["freshuser", "reader"]
    assert "next_page" not in second
    assert owner.get(f"{TEAM}/owners/members?next_page={first['next_page']}").status == 400


@pytest.mark.parametrize("who", [None, "freshuser", "reader", "creator"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/readers"),
        ("PUT", "/crew"),
        ("DELETE", "/readers"),
        ("GET", "/readers/permissions"),
        ("PUT", "/readers/members/reader"),
        ("DELETE", "/readers/members/nobody"),
    ],
)
def test_administrators_only(application, who, method, path):
    """Whoever does not administer the organization changes nothing, not even himself, and learns nothing by trying."""
    assert Client(application, who).call(method, TEAM + path, {"role": 5}).status == (401 if who is None else 403)
