"""Attacks with a token that is good for something else: for what had the name before, or for less."""

import base64
import json

import pytest

from quay.model import credential, namespace
from quay.model.repository import set_state
from quay.oci.reference import Digest, RepositoryName
from quay.testdata.images import image
from quay.testdata.people import PASSWORD
from tests.http.api.client import Client
from tests.http.application import Repository, done

SECRET = image("a base", "a secret")
DEVTABLE, READER = ("devtable", PASSWORD), ("reader", PASSWORD)
NAME = "buynlarge/orgrepo"


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def owner(application):
    return Client(application, "devtable")


def attempts(application, name, token):
    """What a token gets of the tag `latest` of a repository: of all that is read, written and listed, the statuses."""
    digest = SECRET.digest
    return [
        application.request(method, f"/v2/{name}/{rest}", {"Accept": SECRET.media_type}, auth=token).status
        for method, rest in (
            ("GET", "manifests/latest"),
            ("HEAD", "manifests/latest"),
            ("GET", f"manifests/{digest}"),
            ("GET", f"blobs/{Digest.of(SECRET.blobs[0])}"),
            ("GET", f"referrers/{digest}"),
            ("GET", "tags/list"),
        )
    ]


def pushed(application, name):
    Repository(application, name, DEVTABLE).push(SECRET, "latest")


def made_anew(owner, name):
    place, _, path = name.partition("/")
    body = {"namespace": place, "repository": path, "visibility": "private", "description": ""}
    assert owner.post("/repository", body).status == 201


def test_a_token_ends_with_its_repository(application, owner):
    """
    A token for a repository that was deleted is good for nothing in the one that has its name now, from the cache
    neither; whoever has a right there gets another token.
    """
    token = application.token(READER, f"repository:{NAME}:pull")
    pushed(application, NAME)
    assert set(attempts(application, NAME, token)) == {200}
    assert owner.delete(f"/repository/{NAME}").status == 204
    made_anew(owner, NAME)
    pushed(application, NAME)
    fresh = application.token(DEVTABLE, f"repository:{NAME}:pull")
    for _ in range(2):  # the second time, everything is cached
        assert set(attempts(application, NAME, fresh)) == {200}
        assert set(attempts(application, NAME, token)) == {401}
    answer = application.request("GET", f"/v2/{NAME}/manifests/latest", auth=token)
    assert f'scope="repository:{NAME}:pull"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("state", ["read_only", "mirror"])
def test_a_token_ends_with_the_state(application, state):
    """When a repository becomes read-only or a mirror, a token that was made before pulls from it and does no more."""
    repository = Repository(application, NAME, DEVTABLE)
    repository.push(SECRET, "latest")
    found = done(application.core.registry.find(RepositoryName.parse(NAME)))
    application.write(set_state, found.id, state)
    assert set(attempts(application, NAME, repository.token)) == {200}
    for answer in (
        repository.put("another", SECRET.raw, SECRET.media_type),
        repository.request("POST", "blobs/uploads/"),
        repository.request("DELETE", "manifests/latest"),
    ):
        assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    application.write(set_state, found.id, "normal")
    repository.push(SECRET, "another")


def test_a_token_does_not_follow_a_name(application, owner):
    """A repository that is renamed leaves its tokens behind, and none of them opens the next one of its name."""
    token = application.token(READER, f"repository:{NAME}:pull")
    pushed(application, NAME)
    assert owner.post(f"/repository/{NAME}/rename", {"name": "moved"}).status == 200
    assert set(attempts(application, "buynlarge/moved", token)) == {401}
    made_anew(owner, NAME)
    pushed(application, NAME)
    assert set(attempts(application, NAME, token)) == {401}


def test_a_token_does_not_outlive_a_namespace(application, owner):
    """Who takes the name of a namespace that is gone is not visited with the tokens for what was in it."""
    token = application.token(READER, f"repository:{NAME}:pull,push")
    assert owner.delete("/organization/buynlarge").status == 204
    assert owner.post("/organization/", {"name": "buynlarge"}).status == 201
    made_anew(owner, NAME)
    pushed(application, NAME)
    assert set(attempts(application, NAME, token)) == {401}


def test_a_token_for_what_is_not_there_is_for_nothing_later(application, owner):
    """Who may ask for a repository that is not there has no token for it when somebody makes it."""
    token = application.token(DEVTABLE, "repository:buynlarge/later:pull")
    assert application.request("GET", "/v2/buynlarge/later/tags/list", auth=token).status == 404
    made_anew(owner, "buynlarge/later")
    assert application.request("GET", "/v2/buynlarge/later/tags/list", auth=token).status == 401


def test_nothing_is_mounted_from_a_name(application, owner):
    """A token for what had the name before mounts nothing from what has it now."""
    stranger = ("freshuser", PASSWORD)
    assert owner.put(f"/repository/{NAME}/permissions/user/freshuser", {"role": "read"}).status == 200
    scopes = (f"repository:{NAME}:pull", "repository:freshuser/own:pull,push")
    token = application.token(stranger, *scopes)
    assert owner.delete(f"/repository/{NAME}").status == 204
    made_anew(owner, NAME)
    pushed(application, NAME)
    where = f"/v2/freshuser/own/blobs/uploads/?mount={Digest.of(SECRET.blobs[0])}&from={NAME}"
    assert application.request("POST", where, auth=token).status == 202


def test_a_token_does_not_tell_of_what_it_is_not_for(application):
    """The token of somebody who may do nothing is the same, whether there is such a repository or not."""

    def repositories(name):
        payload = application.token(("freshuser", PASSWORD), f"repository:{name}:pull").split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return claims["context"].get("repositories"), claims["access"][0]["actions"]

    assert repositories("devtable/shared") == repositories("devtable/nothing") == (None, [])


@pytest.mark.parametrize("scope", ["user:admin", "user:admin org:admin", "user:admin repo:read"])
def test_no_token_makes_one_that_may_more(application, scope):
    """An OAuth token that may not touch repositories gets no app token, which may."""
    user_id = application.read(namespace.find, "devtable").id
    token = application.write(credential.create, user_id, "oauth", scope=scope)[1]
    answer = Client(application, token).post("/user/apptoken", {"title": "t"})
    assert answer.status == 403 and "repo:" in answer.json["detail"]
    whole = application.write(credential.create, user_id, "oauth", scope="user:admin repo:admin")[1]
    assert Client(application, whole).post("/user/apptoken", {"title": "t"}).status == 200


def test_reserved_names(make_application):
    """The name that the configuration gives to a superuser to come is taken by no organization, in no way."""
    application = make_application(SUPER_USERS=["boss"], CREATE_NAMESPACE_ON_PUSH=True)
    owner = Client(application, "devtable")
    assert "reserved" in owner.post("/organization/", {"name": "boss"}).json["detail"]
    assert "reserved" in owner.put("/superuser/organizations/titi", {"name": "boss"}).json["detail"]
    application.token(DEVTABLE, "repository:boss/app:pull,push")
    assert application.read(namespace.find, "boss") is None
    application.token(DEVTABLE, "repository:clerk/app:pull,push")
    assert application.read(namespace.find, "clerk") is not None
