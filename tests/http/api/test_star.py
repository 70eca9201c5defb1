"""Stars through the API."""

import pytest

from quay.model import permission, repository
from quay.model.namespace import find
from quay.oci.reference import RepositoryName
from quay.testdata.people import APP_TOKEN, robot_token
from tests.http.api.client import Client

PUBLIC = {"namespace": "public", "repository": "publicrepo"}
SHARED = {"namespace": "devtable", "repository": "shared"}


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def reader(application):
    return Client(application, "reader")


def names(client):
    return [f"{one['namespace']}/{one['name']}" for one in client.get("/user/starred").json["repositories"]]


def test_star(application, reader):
    """A star is set once or more often, shows wherever the repository does, and is taken away once or more often."""
    for _ in range(2):
        answer = reader.post("/user/starred", PUBLIC)
        assert (answer.status, answer.json) == (201, PUBLIC)
    assert reader.post("/user/starred", SHARED).status == 201
    assert names(reader) == ["devtable/shared", "public/publicrepo"]
    assert reader.get("/repository/public/publicrepo").json["is_starred"]
    starred = reader.get("/repository?starred=true").json["repositories"]
    assert [(one["name"], one["is_starred"]) for one in starred] == [("shared", True), ("publicrepo", True)]
    assert not Client(application, "devtable").get("/repository/public/publicrepo").json["is_starred"]
    for _ in range(2):
        assert reader.delete("/user/starred/public/publicrepo").status == 204
    assert reader.delete("/user/starred/nobody/nothing").status == 204
    assert names(reader) == ["devtable/shared"]


@pytest.mark.parametrize("name", ["simple", "none", "UPPER", ""])
def test_what_one_may_not_see(reader, name):
    """What is private and what is not there cannot be told apart."""
    assert reader.post("/user/starred", {"namespace": "devtable", "repository": name}).status == 404


def test_what_one_may_see_no_more(application, reader):
    """A starred repository on which one has no role any more is in no list."""
    reader.post("/user/starred", SHARED)
    shared = application.read(repository.find, RepositoryName("devtable", "shared"))
    application.write(permission.revoke, shared.id, grantee_id=application.read(find, "reader").id)
    assert names(reader) == []
    assert reader.get("/repository?starred=true").json["repositories"] == []


def test_who_has_stars(application):
    """Users have stars, with a session or a password; nobody, robots and tokens for repositories have not."""
    assert Client(application).get("/user/starred").status == 401
    for credentials in (("devtable+dtrobot", robot_token("devtable+dtrobot")), APP_TOKEN):
        assert Client(application, credentials).get("/user/starred").status == 403
        assert Client(application, credentials).post("/user/starred", PUBLIC).status == 403
