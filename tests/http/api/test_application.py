"""OAuth applications: made and changed by those who administer the organization, and their tokens."""

from email.utils import formatdate, parsedate_to_datetime

import pytest

from quay.model import credential
from quay.model.namespace import find
from tests.http.api.client import Client, audited

ROOT = "/organization/buynlarge/applications"


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def owner(application):
    return Client(application, "devtable")


def made(owner, **fields):
    answer = owner.post(ROOT, {"name": "Deployer", "redirect_uri": "https://deploy.example.com/cb"} | fields)
    assert answer.status == 200, answer
    return answer.json


def test_life_of_an_application(application, owner):
    """It is made, shown, changed and deleted; its secret is shown when it is made and when it is reset, only."""
    new = made(owner)
    assert len(new["client_id"]) == 20 and len(new["client_secret"]) == 40
    shown = owner.get(f"{ROOT}/{new['client_id']}").json
    assert shown == new | {"client_secret": None}
    assert owner.get(ROOT).json == {"applications": [shown]}
    body = {"name": "Other", "redirect_uri": "", "application_uri": "https://example.com", "description": "d"}
    assert owner.put(f"{ROOT}/{new['client_id']}", body).json == shown | body
    again = owner.post(f"{ROOT}/{new['client_id']}/resetclientsecret").json
    assert again["client_secret"] not in (None, new["client_secret"])
    assert owner.delete(f"{ROOT}/{new['client_id']}").status == 204
    assert owner.get(f"{ROOT}/{new['client_id']}").status == 404
    for kind in ("create", "update", "delete"):
        ((performer, details),) = audited(application, f"{kind}_application")
        assert (performer, details["client_id"]) == ("devtable", new["client_id"])


def test_another_organization_does_not_have_it(owner):
    """A client id under a foreign organization is 404, even for somebody who administers both."""
    new = made(owner)
    assert owner.get(f"/organization/sellnsmall/applications/{new['client_id']}").status == 404
    assert owner.delete(f"/organization/sellnsmall/applications/{new['client_id']}").status == 404
    assert owner.get(f"{ROOT}/{new['client_id']}").status == 200


@pytest.mark.parametrize("who", ["reader", "creator", "freshuser"])
def test_only_administrators(application, owner, who):
    """Members who do not administer the organization see none of it, and change none of it."""
    new = made(owner)
    other = Client(application, who)
    assert other.get(ROOT).status == 403
    assert other.post(ROOT, {"name": "x"}).status == 403
    assert other.post(f"{ROOT}/{new['client_id']}/tokens", {"name": "x", "scope": "repo:read"}).status == 403


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "https://example.com/#x",
        "https://user@example.com/",
        "//example.com",
        "data:text/html,x",
        "https://",
        "https://exa mple.com",
        "https://example.com/\u202e",
        "http://[::1",
    ],
)
def test_addresses(owner, uri):
    """A redirect leads to a web address, and to nothing that a browser would run."""
    answer = owner.post(ROOT, {"name": "Deployer", "redirect_uri": uri})
    assert (answer.status, answer.json["error_type"]) == (400, "invalid_request")


def test_a_token_acts_for_its_maker(application, owner):
    """A token is shown once, opens what its scope says, is listed without its secret, and revoked at once."""
    tokens = f"{ROOT}/{made(owner)['client_id']}/tokens"
    answer = owner.post(tokens, {"name": "ci", "scope": "repo:create org:admin", "expiration": 3600})
    assert answer.status == 201
    token = answer.json
    script = Client(application, token["token"])
    assert script.get(ROOT).status == 200
    assert script.delete("/repository/devtable/simple").status == 403  # repo:create removes nothing
    (listed,) = owner.get(tokens).json["tokens"]
    assert "token" not in listed and listed["created_by"] == "devtable" and listed["scope"] == "org:admin repo:create"
    assert owner.delete(f"{tokens}/{token['uuid']}").status == 204
    assert script.get(ROOT).status == 401
    assert audited(application, "create_oauth_api_token")[0][1]["token_uuid"] == token["uuid"]
    assert audited(application, "revoke_oauth_api_token")[0][1]["token_uuid"] == token["uuid"]


def test_a_token_expires(application, owner):
    """A token is good for as long as it was asked for."""
    tokens = f"{ROOT}/{made(owner)['client_id']}/tokens"
    token = owner.post(tokens, {"name": "ci", "scope": "org:admin", "expiration": 60}).json["token"]
    assert Client(application, token).get(ROOT).status == 200
    application.clock.advance(61)
    assert Client(application, token).get(ROOT).status == 401
    assert owner.get(tokens).json == {"tokens": []}


def test_no_token_exceeds_the_one_it_is_made_with(application, owner):
    """Whoever shows a token cannot make one with another scope; nor can a robot or an app token make any."""
    tokens = f"{ROOT}/{made(owner)['client_id']}/tokens"
    narrow = owner.post(tokens, {"name": "ci", "scope": "org:admin"}).json["token"]
    answer = Client(application, narrow).post(tokens, {"name": "more", "scope": "org:admin super:user"})
    assert (answer.status, "super:user" in answer.json["detail"]) == (403, True)
    assert Client(application, narrow).post(tokens, {"name": "same", "scope": "org:admin"}).status == 201


def test_no_token_outlives_the_one_it_is_made_with(application, owner):
    """However long it is asked for, a token that is made with another one ends with it."""
    tokens = f"{ROOT}/{made(owner)['client_id']}/tokens"
    first = owner.post(tokens, {"name": "ci", "scope": "org:admin", "expiration": 3600}).json
    application.clock.advance(600)
    asked = {"name": "more", "scope": "org:admin"}
    for more, seconds in (({}, None), ({"expiration": 86400}, None), ({"expiration": 60}, 60)):
        second = Client(application, first["token"]).post(tokens, asked | more).json
        begun = parsedate_to_datetime(second["created"])
        expected = first["expires_at"] if seconds is None else formatdate(begun.timestamp() + seconds)
        assert second["expires_at"] == expected, more


@pytest.mark.parametrize("scope", ["", " ", "repo:everything", "direct_user_login", "org:admin,nothing"])
def test_scopes_that_there_are_not(owner, scope):
    """A scope that is none makes no token."""
    answer = owner.post(f"{ROOT}/{made(owner)['client_id']}/tokens", {"name": "ci", "scope": scope})
    assert answer.status == 400


def test_deleting_the_application_ends_its_tokens(application, owner):
    """The tokens of an application that is gone open nothing."""
    new = made(owner)
    token = owner.post(f"{ROOT}/{new['client_id']}/tokens", {"name": "ci", "scope": "org:admin"}).json["token"]
    assert Client(application, token).get(ROOT).status == 200
    owner.delete(f"{ROOT}/{new['client_id']}")
    assert Client(application, token).get(ROOT).status == 401


def test_pages_of_tokens(owner):
    """A long list comes in pages, the latest first, none twice."""
    tokens = f"{ROOT}/{made(owner)['client_id']}/tokens"
    for number in range(53):
        owner.post(tokens, {"name": f"t{number}", "scope": "repo:read"})
    first = owner.get(tokens).json
    second = owner.get(f"{tokens}?next_page={first['next_page']}").json
    names = [token["name"] for token in first["tokens"] + second["tokens"]]
    assert names == [f"t{number}" for number in reversed(range(53))]
    assert "next_page" not in second
    other = f"{ROOT}/{made(owner)['client_id']}/tokens"
    assert owner.get(f"{other}?next_page={first['next_page']}").status == 400


def test_information_for_everybody(application, owner):
    """Anybody may know who an application is; an unknown one is 404."""
    new = made(owner, description="Deploys")
    answer = Client(application).get(f"/app/{new['client_id']}")
    assert answer.json["organization"]["name"] == "buynlarge"
    assert "redirect_uri" not in answer.json and "client_secret" not in answer.json
    assert Client(application).get("/app/UNKNOWN").status == 404


def test_authorizations(application, owner):
    """A user sees which applications act for him, and takes that back; another user's are not there."""
    tokens = f"{ROOT}/{made(owner)['client_id']}/tokens"
    token = owner.post(tokens, {"name": "ci", "scope": "repo:read"}).json
    (given,) = owner.get("/user/authorizations").json["authorizations"]
    assert given["uuid"] == token["uuid"]
    assert [scope["scope"] for scope in given["scopes"]] == ["repo:read"]
    assert owner.get(f"/user/authorizations/{token['uuid']}").json == given
    other = Client(application, "reader")
    assert other.get("/user/authorizations").json == {"authorizations": []}
    assert other.delete(f"/user/authorizations/{token['uuid']}").status == 404
    assert owner.delete(f"/user/authorizations/{token['uuid']}").status == 204
    assert Client(application, token["token"]).get(f"/app/{token['uuid']}").status == 401
    ((_, details),) = audited(application, "oauth_token_revoked")
    assert details == {"oauth_token_application": "Deployer"}


def test_tokens_without_an_application_are_no_authorization(application, owner):
    """A token that an administrator made by himself is not shown as something that an application has."""
    application.write(lambda txn: credential.create(txn, find(txn, "devtable").id, "oauth", scope="repo:read"))
    assert owner.get("/user/authorizations").json == {"authorizations": []}
