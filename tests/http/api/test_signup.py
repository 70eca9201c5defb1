"""New users: who may make an account for himself, and the very first one of a registry."""

import json

import pytest

from quay.model import namespace
from quay.testdata.people import PASSWORD
from tests.http.api.browser import Browser
from tests.http.api.client import Client, audited
from tests.http.application import Application

NEWCOMER = {"username": "newcomer", "password": "correct-horse", "email": "new@example.com"}
FIRST = {"username": "first", "password": "correct-horse", "email": "first@example.com", "access_token": True}


@pytest.fixture
def make_empty(sqlite_template, tmp_path_factory):
    """Start a server with nobody in it, and with these settings."""
    made = []

    def make(**settings):
        made.append(Application(tmp_path_factory.mktemp("empty"), sqlite_template, **settings).start())
        return made[-1]

    yield make
    for application in made:
        application.stop()


def test_sign_up(make_application):
    """Who makes an account is signed in by it, and sees it."""
    app = make_application()
    browser = Browser(app)
    view = browser.post("/user/", NEWCOMER).json
    assert (view["username"], view["email"], view["organizations"]) == ("newcomer", "new@example.com", [])
    assert browser.get("/user/").json == view
    assert Browser(app).sign_in("newcomer", "correct-horse").status == 200
    assert audited(app, "user_create") == [("", {"username": "newcomer", "email": "new@example.com"})]


@pytest.mark.parametrize(
    "changes",
    [
        {"username": "public"},
        {"username": "buynlarge"},
        {"username": "A"},
        {"username": "devtable+bot"},
        {"username": "~x"},
        {"username": "x" * 256},
        {"email": "public@example.com"},
        {"email": "none"},
        {"password": "short"},
        {"password": "white space"},
    ],
)
def test_unfit(make_application, changes):
    """A name or an address that is taken or none, and a weak password, are refused with a sentence; nobody is made."""
    app = make_application()
    answer = Browser(app).post("/user/", NEWCOMER | changes)
    assert (answer.status, answer.json["error_type"]) == (400, "invalid_request")
    assert audited(app, "user_create") == []


def test_incomplete(make_application):
    """An empty body is a bad request, as Quay has it."""
    assert Browser(make_application()).post("/user/").status == 400


def test_reserved_names(make_application):
    """Nobody becomes a superuser by taking a name that the configuration gives that power."""
    app = make_application(SUPER_USERS=["newcomer"])
    answer = Browser(app).post("/user/", NEWCOMER)
    assert answer.status == 400 and "reserved" in answer.json["detail"]


def test_by_invitation(make_application):
    """Where only those who were invited may, nobody else may."""
    assert Browser(make_application(FEATURE_INVITE_ONLY_USER_CREATION=True)).post("/user/", NEWCOMER).status == 403


@pytest.mark.parametrize("feature", ["FEATURE_USER_CREATION", "FEATURE_DIRECT_LOGIN"])
def test_off(make_application, feature):
    """Where nobody makes an account for himself, there is no such method."""
    assert Browser(make_application(**{feature: False})).post("/user/", NEWCOMER).status == 405


def test_many(make_application):
    """An address makes no more than a few accounts an hour."""
    app = make_application()
    for number in range(20):
        assert Browser(app).post("/user/", NEWCOMER | {"username": f"new{number}", "email": None}).status == 200
    answer = Browser(app).post("/user/", NEWCOMER | {"username": "another", "email": None})
    assert (answer.status, answer.headers["retry-after"]) == (429, "30")


# --- the very first


def test_initialize(make_empty):
    """The first user of an empty registry is made with one call, administers it, and has a token; a second is not."""
    app = make_empty(FEATURE_USER_INITIALIZE=True)
    answer = Client(app).post("/user/initialize", FIRST)
    assert answer.status == 200
    made = answer.json
    assert (made["username"], made["email"], made["encrypted_password"]) == (
        "first",
        "first@example.com",
        FIRST["password"],
    )
    view = Client(app, made["access_token"]).get("/user/").json
    assert view["super_user"] and view["email"] == "first@example.com"
    assert Client(app, made["access_token"]).post("/organization/", {"name": "company"}).status == 201
    again = Client(app).post("/user/initialize", FIRST | {"username": "second", "email": None})
    assert (again.status, again.json["detail"]) == (400, "Cannot initialize user in a non-empty database")


def test_initialize_without_a_token(make_empty):
    """Whoever wants no token gets none."""
    app = make_empty(FEATURE_USER_INITIALIZE=True)
    body = {key: FIRST[key] for key in ("username", "password")}
    assert "access_token" not in Client(app).post("/user/initialize", body).json
    assert Browser(app).sign_in("first", "correct-horse").status == 200


def test_initialize_once(make_empty):
    """It stays dead when the first user is gone again."""
    app = make_empty(FEATURE_USER_INITIALIZE=True)
    Client(app).post("/user/initialize", FIRST)
    browser = Browser(app)
    browser.sign_in("first", "correct-horse")
    assert browser.delete("/user/").status == 204
    assert not app.read(namespace.any_user)
    assert Client(app).post("/user/initialize", FIRST).status == 400


def test_initialize_when_unfit(make_empty):
    """A first user that cannot be made leaves the registry as it was."""
    app = make_empty(FEATURE_USER_INITIALIZE=True)
    for changes in ({"password": "short"}, {"username": "A"}, {"email": "none"}):
        assert Client(app).post("/user/initialize", FIRST | changes).status == 400
    assert Client(app).post("/user/initialize", FIRST).status == 200


def test_initialize_is_off(make_empty):
    """Unless it is wanted, it is not there."""
    assert Client(make_empty()).post("/user/initialize", FIRST).status == 404


def test_initialize_among_others(make_application):
    """Where there are users it is dead from the start."""
    app = make_application(FEATURE_USER_INITIALIZE=True)
    answer = Client(app).post("/user/initialize", FIRST)
    assert answer.status == 400 and PASSWORD not in json.dumps(answer.json)
