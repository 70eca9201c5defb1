"""What superusers do to users and organizations, and what stays out of their reach."""

import pytest

from quay.model import namespace
from quay.testdata.people import PASSWORD
from tests.http.api.browser import Browser
from tests.http.api.client import Client, audited
from tests.http.application import done


@pytest.fixture
def application(make_application):
    return make_application(SUPER_USERS=["devtable"])


@pytest.fixture
def administrator(application):
    return Client(application, "devtable")


def test_the_registry_is_ready(application):
    """Nobody needs to log in to learn that the registry is set up."""
    assert Client(application).get("/superuser/registrystatus").json == {"status": "ready"}


# --- users


def test_everybody_is_listed(administrator):
    """All users are listed in order of name, robots and organizations not; disabled ones may be left out."""
    listed = administrator.get("/superuser/users/").json
    assert [user["username"] for user in listed["users"]] == [
        "creator", "devtable", "disabled", "freshuser", "public", "reader",
    ]  # fmt: skip
    assert "next_page" not in listed
    by_name = {user["name"]: user for user in listed["users"]}
    assert by_name["devtable"]["super_user"] is True
    assert by_name["reader"] == {
        "kind": "user",
        "name": "reader",
        "username": "reader",
        "email": by_name["reader"]["email"],
        "verified": True,
        "avatar": by_name["reader"]["avatar"],
        "super_user": False,
        "enabled": True,
        "last_accessed": None,
    }
    enabled = administrator.get("/superuser/users/?disabled=false").json["users"]
    assert {user["name"] for user in enabled} == by_name.keys() - {"disabled"}


@pytest.mark.parametrize(
    ("path", "member"), [("/superuser/users/", "users"), ("/superuser/organizations/", "organizations")]
)
def test_pages(administrator, path, member):
    """With a limit, the list comes in pages, each name once and in order."""
    whole = [found["name"] for found in administrator.get(path).json[member]]
    assert whole == sorted(whole)
    names, page = [], {"next_page": ""}
    while "next_page" in page:
        page = administrator.get(f"{path}?limit=2&next_page={page['next_page']}").json
        assert len(page[member]) <= 2
        names += [found["name"] for found in page[member]]
    assert names == whole
    other = "/superuser/organizations/" if member == "users" else "/superuser/users/"
    token = administrator.get(f"{path}?limit=2").json["next_page"]
    assert administrator.get(f"{other}?next_page={token}").status == 400


def test_a_new_user(application, administrator):
    """A user is made with a password that is shown once and lets him in; that is on record, and the password is not."""
    made = administrator.post("/superuser/users/", {"username": "newcomer", "email": "New@Example.org"}).json
    assert (made["username"], made["email"]) == ("newcomer", "New@Example.org")
    assert application.ask_token(("newcomer", made["password"])).status == 200
    assert administrator.get("/superuser/users/newcomer").json["email"] == "new@example.org"
    ((performer, details),) = audited(application, "user_create")
    assert (performer, details["username"]) == ("devtable", "newcomer")
    assert made["password"] not in str(details)


@pytest.mark.parametrize(
    "body", [{}, {"username": "Reader!"}, {"username": "reader"}, {"username": "buynlarge"}, {"username": "x" * 256}]
)
def test_users_that_cannot_be(administrator, body):
    """A name that is taken or cannot be is refused."""
    assert administrator.post("/superuser/users/", body).status == 400


def test_no_superuser_is_made(make_application):
    """A name to which the configuration gives power is not given away here: not to whoever holds a token, either."""
    administrator = Client(make_application(SUPER_USERS=["devtable", "second"]), "devtable")
    assert administrator.post("/superuser/users/", {"username": "second"}).status == 400
    assert administrator.get("/superuser/users/second").status == 404


@pytest.mark.parametrize("password", ["", "short", "has a space", "x" * 4097])
def test_passwords_that_cannot_be(application, administrator, password):
    """A password that nobody may choose is not given to anybody, either."""
    assert administrator.put("/superuser/users/reader", {"password": password}).status == 400
    assert application.ask_token(("reader", PASSWORD)).status == 200


def test_a_user_without_an_address(administrator):
    """A user needs no e-mail address."""
    assert administrator.post("/superuser/users/", {"username": "nomail", "email": None}).status == 200
    assert administrator.get("/superuser/users/nomail").json["email"] is None


def test_a_new_password(application, administrator):
    """A password that a superuser sets lets the user in, the old one does not, and his sessions are over."""
    signed_in = application.request(
        "POST",
        "/api/v1/signin",
        {"Content-Type": "application/json"},
        b'{"username": "reader", "password": "password"}',
    )
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    assert application.request("GET", "/api/v1/user/apptoken", {"Cookie": cookie}).status == 200
    assert administrator.put("/superuser/users/reader", {"password": "another-password"}).status == 200
    assert application.ask_token(("reader", "another-password")).status == 200
    assert application.ask_token(("reader", PASSWORD)).status == 401
    assert application.request("GET", "/api/v1/user/apptoken", {"Cookie": cookie}).status == 401
    assert audited(application, "user_change_password") == [
        ("devtable", {"username": "reader", "superuser": "devtable"})
    ]


def test_a_new_address(application, administrator):
    """An e-mail address is changed, unless somebody has it; nothing else of what is sent is taken."""
    changed = administrator.put("/superuser/users/reader", {"email": "r@example.org", "superuser": True, "id": 1})
    assert (changed.json["email"], changed.json["super_user"]) == ("r@example.org", False)
    assert administrator.put("/superuser/users/creator", {"email": "r@example.org"}).status == 400
    assert administrator.put("/superuser/users/creator", {"email": "nonsense"}).status == 400
    assert len(audited(application, "user_change_email")) == 1


def test_disabling(application, administrator):
    """A disabled user is kept out at once, and let in again when enabled; saying it twice is on record once."""
    assert application.ask_token(("reader", PASSWORD)).status == 200
    for _ in range(2):
        assert administrator.put("/superuser/users/reader", {"enabled": False}).json["enabled"] is False
    assert application.ask_token(("reader", PASSWORD)).status == 401
    assert administrator.put("/superuser/users/reader", {"enabled": True}).json["enabled"] is True
    assert application.ask_token(("reader", PASSWORD)).status == 200
    assert len(audited(application, "user_disable")) == len(audited(application, "user_enable")) == 1


def test_deleting_a_user(application, administrator):
    """A deleted user is gone at once with what was his, and his name is free."""
    assert administrator.delete("/superuser/users/public").status == 204
    assert administrator.get("/superuser/users/public").status == 404
    assert administrator.delete("/superuser/users/public").status == 404
    assert application.ask_token(("public", PASSWORD)).status == 401
    assert application.ask_token(None, "repository:public/publicrepo:pull").json["token"]
    assert administrator.post("/superuser/users/", {"username": "public"}).status == 200
    assert audited(application, "user_delete") == [("devtable", {"username": "public", "superuser": "devtable"})]


@pytest.mark.parametrize("who", ["devtable", "second"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/superuser/users/{}", None),
        ("PUT", "/superuser/users/{}", {"password": "another-password"}),
        ("PUT", "/superuser/users/{}", {"enabled": False}),
        ("POST", "/superuser/takeownership/{}", {}),
    ],
)
def test_superusers_are_out_of_reach(make_application, who, method, path, body):
    """No superuser can change another one, nor himself this way."""
    application = make_application(SUPER_USERS=["devtable", "second"])
    administrator = Client(application, "devtable")
    hashed = done(application.core.passwords.hash(PASSWORD))
    application.write(namespace.create_user, "second", password_hash=hashed, time_machine_s=60)
    refused = administrator.call(method, path.format(who), body)
    assert (refused.status, refused.json["detail"]) == (400, f"{who} is a superuser, whom nobody can change here.")
    assert application.ask_token(("second", PASSWORD)).status == 200


# --- organizations


def test_renaming_an_organization(application, administrator):
    """An organization gets another name with all that is its own, and pulls go on under it; the old one is free."""
    renamed = administrator.put("/superuser/organizations/buynlarge", {"name": "bnl"})
    assert (renamed.status, renamed.json["name"]) == (200, "bnl")
    scope = "repository:{}/orgrepo:pull"
    assert (
        application.request(
            "GET", "/v2/bnl/orgrepo/tags/list", auth=application.token(("reader", PASSWORD), scope.format("bnl"))
        ).status
        == 200
    )
    assert application.request(
        "GET",
        "/v2/buynlarge/orgrepo/tags/list",
        auth=application.token(("devtable", PASSWORD), scope.format("buynlarge")),
    ).status in (401, 404)
    assert audited(application, "org_change_name") == [
        ("devtable", {"namespace": "bnl", "superuser": "devtable", "old_name": "buynlarge", "new_name": "bnl"})
    ]
    assert administrator.put("/superuser/organizations/bnl", {"name": "reader"}).status == 400
    assert administrator.put("/superuser/organizations/bnl", {}).json["name"] == "bnl"
    assert len(audited(application, "org_change_name")) == 1


def test_deleting_an_organization(application, administrator):
    """A deleted organization is gone at once."""
    assert administrator.delete("/superuser/organizations/titi").status == 204
    assert administrator.delete("/superuser/organizations/titi").status == 404
    names = [found["name"] for found in administrator.get("/superuser/organizations/").json["organizations"]]
    assert names == ["buynlarge", "library", "sellnsmall"]
    assert audited(application, "org_delete") == [("devtable", {"namespace": "titi", "superuser": "devtable"})]


def test_the_kinds_are_told_apart(administrator):
    """A user is no organization, an organization no user, and a robot neither."""
    for method, path in (
        ("GET", "/superuser/users/buynlarge"),
        ("PUT", "/superuser/users/buynlarge"),
        ("DELETE", "/superuser/users/buynlarge"),
        ("DELETE", "/superuser/users/devtable+dtrobot"),
        ("PUT", "/superuser/organizations/reader"),
        ("DELETE", "/superuser/organizations/reader"),
        ("POST", "/superuser/takeownership/devtable+dtrobot"),
        ("POST", "/superuser/takeownership/nobody"),
    ):
        assert administrator.call(method, path, {} if method != "GET" else None).status == 404, (method, path)


# --- taking over


def test_taking_an_organization(application, administrator):
    """A superuser who takes an organization is one of its owners, and can administer what is in it."""
    creator = Client(application, "creator")
    assert creator.post("/organization/", {"name": "hidden"}).status == 201
    url = "/organization/hidden/applications"
    assert administrator.get(url).status == 403
    assert administrator.post("/superuser/takeownership/hidden").json == {"namespace": "hidden"}
    assert administrator.get(url).status == 200
    assert creator.get(url).status == 200
    ((performer, details),) = audited(application, "take_ownership")
    assert (performer, details["entity_type"]) == ("devtable", "organization")


def test_taking_a_user(application, administrator):
    """A user who is taken becomes an organization of the superuser's, and cannot log in."""
    assert administrator.post("/superuser/takeownership/public").json == {"namespace": "public"}
    assert application.ask_token(("public", PASSWORD)).status == 401
    assert administrator.get("/superuser/users/public").status == 404
    assert administrator.get("/organization/public/applications").status == 200
    push = application.ask_token(("devtable", PASSWORD), "repository:public/publicrepo:push")
    assert push.status == 200


# --- who may


@pytest.mark.parametrize(("auth", "status"), [(None, 401), ("reader", 403)])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/superuser/users/"),
        ("POST", "/superuser/users/"),
        ("GET", "/superuser/users/reader"),
        ("PUT", "/superuser/users/reader"),
        ("DELETE", "/superuser/users/reader"),
        ("GET", "/superuser/organizations/"),
        ("PUT", "/superuser/organizations/titi"),
        ("DELETE", "/superuser/organizations/titi"),
        ("POST", "/superuser/takeownership/titi"),
    ],
)
def test_who_may_not(application, auth, status, method, path):
    """Whoever is no superuser is told so, whatever he sends."""
    assert Client(application, auth).call(method, path, {} if method in ("POST", "PUT") else None).status == status


def test_without_superusers(make_application):
    """Where FEATURE_SUPER_USERS is off, there is nothing at these addresses."""
    application = make_application(SUPER_USERS=["devtable"], FEATURE_SUPER_USERS=False)
    assert Client(application, "devtable").get("/superuser/users/").status == 404


def test_no_session_outlives_a_disabling(make_application):
    """Somebody who was disabled signs in anew when he is enabled again: his old sessions stay dead."""
    application = make_application()
    browser = Browser(application)
    assert browser.sign_in("reader").status == 200
    administrator = Client(application, "devtable")
    for enabled in (False, True):
        assert administrator.put("/superuser/users/reader", {"enabled": enabled}).status == 200
        assert browser.get("/user/").status == 401
    assert browser.sign_in("reader").status == 200
