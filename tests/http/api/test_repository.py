"""Repositories through the API: what changes, who may change it, and what the audit log says of it."""

import pytest

from quay.model import namespace, permission, repository
from quay.model.permission import Role
from quay.oci.reference import RepositoryName
from quay.testdata import images
from quay.testdata.people import OAUTH_TOKEN, PASSWORD, robot_token
from tests.http.api.client import Client, audited
from tests.http.application import Repository

SIMPLE = "/repository/devtable/simple"
ORG = "/repository/buynlarge/orgrepo"
NEW = {"repository": "app", "visibility": "private", "description": "What it is."}


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def devtable(application):
    return Client(application, "devtable")


@pytest.fixture
def nobody(application):
    return Client(application)


def names(answer):
    assert answer.status == 200, answer
    return [f"{one['namespace']}/{one['name']}" for one in answer.json["repositories"]]


# --- create -------------------------------------------------------------------------------------------------------


def test_create(application, devtable):
    """A repository is made in the caller's namespace, or in the one that he names; that is on record once."""
    answer = devtable.post("/repository", NEW)
    assert (answer.status, answer.json) == (201, {"namespace": "devtable", "name": "app", "kind": "image"})
    assert devtable.get("/repository/devtable/app").json["description"] == "What it is."
    other = NEW | {"namespace": "buynlarge", "visibility": "public", "repo_kind": "application", "repository": "a/b"}
    assert devtable.post("/repository", other).json == {"namespace": "buynlarge", "name": "a/b", "kind": "application"}
    application.clock.advance(5)
    assert [(who, details["repo"]) for who, details in audited(application, "create_repo")] == [
        ("devtable", "app"),
        ("devtable", "a/b"),
    ]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (NEW | {"repository": "simple"}, "There is a repository devtable/simple already"),
        (NEW | {"repository": "UPPER"}, "is not a repository name"),
        (NEW | {"repository": ""}, "'repository' is shorter than 1 characters"),
        (NEW | {"repository": "x" * 250}, "is not a repository name"),
        (NEW | {"namespace": "devtable/nested"}, "a namespace has no slash in it"),
        (NEW | {"visibility": "secret"}, "'visibility' must be one of 'public', 'private'"),
        (NEW | {"description": "x" * 25_001}, "'description' is longer than 25000 characters"),
        ({}, "The body lacks 'repository', 'visibility', 'description'"),
    ],
)
def test_create_what_cannot_be(devtable, body, says):
    """What is taken or misspelled is a bad request, in a sentence."""
    answer = devtable.post("/repository", body)
    assert answer.status == 400
    assert says in answer.json["detail"]


def test_create_where_one_may_not(application, nobody):
    """Without a right in the namespace it is 403, also where there is none; nobody must say who he is."""
    reader = Client(application, "reader")
    assert reader.post("/repository", NEW).status == 201
    for place in ("devtable", "buynlarge", "nowhere", "devtable+dtrobot"):
        assert reader.post("/repository", NEW | {"namespace": place}).status in (400, 403)
    assert reader.post("/repository", NEW | {"namespace": "buynlarge"}).status == 403
    assert nobody.post("/repository", NEW).status == 400
    assert nobody.post("/repository", NEW | {"namespace": "devtable"}).status == 401
    creator = Client(application, "creator")
    assert creator.post("/repository", NEW | {"namespace": "buynlarge"}).status == 201
    assert creator.get("/repository/buynlarge/app").json["can_admin"]


def test_create_with_other_credentials(application):
    """An OAuth token for repositories makes one for its user; a robot says where, and may not elsewhere."""
    assert Client(application, OAUTH_TOKEN).post("/repository", NEW).json["namespace"] == "devtable"
    robot = Client(application, ("buynlarge+coolrobot", robot_token("buynlarge+coolrobot")))
    assert robot.post("/repository", NEW).status == 400
    assert robot.post("/repository", NEW | {"namespace": "buynlarge"}).status == 403


def test_create_in_a_disabled_namespace(application):
    """Nothing is made in a namespace that is disabled, by whoever administers it."""
    found = application.read(namespace.find, "buynlarge")
    application.write(namespace.set_enabled, found.id, False)
    assert Client(application, "devtable").post("/repository", NEW | {"namespace": "buynlarge"}).status == 403


def test_nested_names_off(make_application):
    """Where names have no slashes, none is made with one."""
    client = Client(make_application(FEATURE_EXTENDED_REPOSITORY_NAMES=False), "devtable")
    assert client.post("/repository", NEW | {"repository": "a/b"}).status == 400


# --- list ---------------------------------------------------------------------------------------------------------


def test_list_needs_a_filter(devtable, nobody):
    """Nobody asks for everything; and only who is somebody has starred anything."""
    assert devtable.get("/repository").json["detail"].startswith("namespace, starred or public are required")
    assert nobody.get("/repository").status == 400
    assert nobody.get("/repository?starred=true").status == 400
    assert devtable.get("/repository?public=true&repo_kind=helm").status == 400


def test_recent(application, devtable, nobody):
    """Those that were pushed to last come first, with when that was, and without what one may not see."""
    for name in ("devtable/simple", "public/publicrepo", "devtable/shared"):
        Repository(application, name, (name.partition("/")[0], "password")).push(images.image(name), "latest")
    found = devtable.get("/repository?recent=true").json["repositories"]
    assert [one["name"] for one in found] == ["shared", "publicrepo", "simple"]
    assert found[0]["last_modified"] == int(application.clock.seconds())
    assert [one["name"] for one in nobody.get("/repository?recent=true").json["repositories"]] == ["publicrepo"]


def test_list_shows_what_one_may_see(application, devtable, nobody):
    """A list of a namespace has what the caller has a role on; public ones are in it if that is asked for."""
    reader = Client(application, "reader")
    assert names(reader.get("/repository?namespace=devtable")) == ["devtable/shared"]
    assert names(reader.get("/repository?namespace=buynlarge")) == ["buynlarge/orgrepo"]
    assert names(reader.get("/repository?namespace=public")) == []
    assert names(reader.get("/repository?namespace=public&public=true")) == ["public/publicrepo"]
    assert names(nobody.get("/repository?namespace=devtable&public=true")) == []
    assert names(nobody.get("/repository?public=true")) == ["public/publicrepo"]
    assert "devtable/someapp" not in names(devtable.get("/repository?namespace=devtable"))
    assert names(devtable.get("/repository?namespace=devtable&repo_kind=application")) == ["devtable/someapp"]
    assert names(devtable.get("/repository?namespace=nobodys")) == []


def test_list_without_a_scope(application):
    """An app token lists what its user sees; a robot what it sees itself."""
    robot = Client(application, ("devtable+dtrobot", robot_token("devtable+dtrobot")))
    assert names(robot.get("/repository?namespace=devtable")) == ["devtable/mirrored"]


def test_list_leaves_out_the_disabled(application, devtable):
    """What lies in a disabled namespace is in no list."""
    application.write(namespace.set_enabled, application.read(namespace.find, "buynlarge").id, False)
    assert names(devtable.get("/repository?namespace=buynlarge")) == []


def test_item_of_a_list(application, devtable):
    """An item has what was asked for, and not what was not."""
    assert devtable.get("/repository?public=true&namespace=public").json["repositories"] == [
        {
            "namespace": "public",
            "name": "publicrepo",
            "description": "A repository that everybody may pull from.",
            "is_public": True,
            "kind": "image",
            "state": "NORMAL",
            "is_starred": False,
        }
    ]
    answer = devtable.get("/repository?namespace=buynlarge&last_modified=true&popularity=1").json["repositories"]
    assert [(one["last_modified"], one["popularity"]) for one in answer] == [(None, 0), (None, 0)]


def test_pages(application, devtable):
    """A list of more than a page goes on where the last page ended, for this list only."""
    for number in range(105):
        made = devtable.post("/repository", NEW | {"namespace": "titi", "repository": f"r-{number:03}"})
        assert made.status == 201
    first = devtable.get("/repository?namespace=titi")
    assert len(names(first)) == 100
    mark = first.json["next_page"]
    second = devtable.get(f"/repository?namespace=titi&next_page={mark}")
    assert names(first) + names(second) == [f"titi/r-{number:03}" for number in range(105)]
    assert "next_page" not in second.json
    assert devtable.get(f"/repository?namespace=devtable&next_page={mark}").status == 400
    assert devtable.get("/repository?namespace=titi&next_page=forged").status == 400


# --- show and change ----------------------------------------------------------------------------------------------


def test_show(devtable):
    """A repository shows what it is, and what the caller may do with it."""
    assert devtable.get(SIMPLE + "?includeTags=false").json == {
        "namespace": "devtable",
        "name": "simple",
        "kind": "image",
        "description": "Simple repository.",
        "is_public": False,
        "is_organization": False,
        "is_starred": False,
        "status_token": "",
        "trust_enabled": False,
        "tag_expiration_s": 1209600,
        "is_free_account": True,
        "state": "NORMAL",
        "can_write": True,
        "can_admin": True,
    }
    shown = devtable.get(SIMPLE + "?includeStats=true").json
    assert shown["tags"] == {}
    assert len(shown["stats"]) == 92
    assert set(shown["stats"][0]) == {"date", "count"}


def test_who_is_shown_what(application, nobody):
    """A reader may read; a stranger and nobody learn nothing of what is private, not even whether it is there."""
    reader, stranger = Client(application, "reader"), Client(application, "freshuser")
    shown = reader.get(ORG).json
    assert (shown["can_write"], shown["can_admin"], shown["is_organization"]) == (False, False, True)
    for path in (SIMPLE, "/repository/devtable/none"):
        assert stranger.get(path).status == 403
        assert nobody.get(path).status == 401
    assert nobody.get("/repository/public/publicrepo").status == 200


def test_description(application, devtable):
    """Who may write describes it; who may only read does not."""
    body = {"description": "# Better"}
    assert devtable.put(ORG, body).json == {"success": True}
    assert devtable.get(ORG).json["description"] == "# Better"
    assert Client(application, "reader").put(ORG, body).status == 403
    assert audited(application, "set_repo_description")[0][1]["description"] == "# Better"


def test_delete(application, devtable):
    """Deleting is done once, and on record once; asking again is no mistake of who might have done it."""
    assert Client(application, "reader").delete(ORG).status == 403
    assert devtable.delete(ORG).status == 204
    assert devtable.delete(ORG).status == 204
    assert Client(application, "reader").delete(ORG).status == 403
    assert Client(application).delete(ORG).status == 401
    assert [details["repo"] for _, details in audited(application, "delete_repo")] == ["orgrepo"]


def test_visibility(application, devtable, nobody):
    """A repository is published and hidden again; everybody sees that at once, and it is on record."""
    url = SIMPLE + "/changevisibility"
    assert devtable.post(url, {"visibility": "public"}).json == {"success": True}
    assert nobody.get(SIMPLE).status == 200
    assert application.token(None, "repository:devtable/simple:pull")
    answer = devtable.post(url, {"visibility": "secret"})
    assert (answer.status, answer.json["detail"]) == (400, "'visibility' must be one of 'public', 'private'.")
    assert devtable.post(url, {"visibility": "private"}).status == 200
    assert nobody.get(SIMPLE).status == 401
    assert nobody.post(url, {"visibility": "secret"}).status == 401
    assert Client(application, "reader").post(url).status == 403
    assert [details["visibility"] for _, details in audited(application, "change_repo_visibility")] == [
        "public",
        "private",
    ]


def test_state(application, devtable):
    """A repository takes no more pushes, and takes them again; a mirror needs somebody who mirrors."""
    url = SIMPLE + "/changestate"
    assert devtable.put(url, {"state": "READ_ONLY"}).status == 200
    assert devtable.get(SIMPLE).json["state"] == "READ_ONLY"
    refused = devtable.put(SIMPLE + "/tag/latest", {"manifest_digest": "sha256:" + "0" * 64})
    assert (refused.status, refused.json["is_readonly"]) == (503, True)
    assert devtable.put(url, {"state": "NORMAL"}).status == 200
    assert "no robot that mirrors" in devtable.put(url, {"state": "MIRROR"}).json["detail"]
    assert devtable.put(url, {"state": "normal"}).status == 400
    assert len(audited(application, "change_repo_state")) == 2


def test_trust(make_application):
    """Content trust is said of a repository where the registry knows of it, and else there is no such call."""
    on, off = make_application(FEATURE_SIGNING=True), make_application()
    body = {"trust_enabled": True}
    assert Client(off, "devtable").post(SIMPLE + "/changetrust", body).status in (404, 405)
    client = Client(on, "devtable")
    assert client.post(SIMPLE + "/changetrust", body).status == 200
    assert client.get(SIMPLE).json["trust_enabled"]


# --- rename -------------------------------------------------------------------------------------------------------


def test_rename(application, devtable):
    """A repository goes by its new name at once, and by the old one no more; roles and record go with it."""
    reader = Client(application, "reader")
    assert devtable.post("/repository/devtable/shared/rename", {"name": "team/shared"}).json == {
        "namespace": "devtable",
        "name": "team/shared",
    }
    assert reader.get("/repository/devtable/team/shared").status == 200
    assert devtable.get("/repository/devtable/shared").status == 404
    assert names(reader.get("/repository?namespace=devtable")) == ["devtable/team/shared"]
    assert application.ask_token(("reader", PASSWORD), "repository:devtable/team/shared:pull").status == 200
    ((_, details),) = audited(application, "rename_repo")
    assert (details["old_repo"], details["repo"]) == ("shared", "team/shared")
    assert devtable.post("/repository", NEW | {"repository": "shared"}).status == 201


def test_rename_into_another_namespace(application, devtable):
    """What moves to another namespace leaves the roles of its organization's teams behind."""
    reader = Client(application, "reader")
    assert devtable.post(ORG + "/rename", {"name": "orgrepo", "namespace": "devtable"}).status == 200
    assert reader.get("/repository/devtable/orgrepo").status == 403
    assert names(reader.get("/repository?namespace=buynlarge")) == []
    assert devtable.get("/repository/devtable/orgrepo").json["is_organization"] is False
    assert len(audited(application, "rename_repo")) == 2


def test_rename_what_one_may_not(application, devtable):
    """A name that is taken or misspelled, or a namespace of somebody else, is refused; nothing has changed then."""
    for name in ("complex", "UPPER", "", "x" * 255):
        assert devtable.post(SIMPLE + "/rename", {"name": name}).status == 400
    assert devtable.post(SIMPLE + "/rename", {"name": "simple", "namespace": "public"}).status == 403
    assert Client(application, "reader").post(ORG + "/rename", {"name": "mine", "namespace": "reader"}).status == 403
    assert devtable.get(SIMPLE).status == 200
    assert audited(application, "rename_repo") == []


def test_an_administrator_who_may_not_create(application):
    """Who administers a repository, but may make none in its namespace, cannot rename it."""
    reader = Client(application, "reader")
    assert Client(application, "devtable").post("/repository", NEW | {"namespace": "titi"}).status == 201
    found = application.read(repository.find, RepositoryName("titi", "app"))
    who = application.read(namespace.find, "reader")
    application.write(permission.grant, found.id, grantee_id=who.id, role=Role.ADMIN)
    assert reader.get("/repository/titi/app").json["can_admin"]
    assert reader.post("/repository/titi/app/rename", {"name": "other"}).status == 403
