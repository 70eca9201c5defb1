"""One's own account: what it shows to whom, what can be changed, its end, and its conversion."""

import pytest

from quay.model import credential, namespace, removal, second_factor, session, team
from quay.testdata.people import APP_TOKEN, OAUTH_TOKEN, PASSWORD
from tests.http.api.browser import Browser
from tests.http.api.client import Client, audited

FRESH_S = 600
DAY = 86400
NEW = "correct-horse"


@pytest.fixture
def app(make_application):
    return make_application()


def signed_in(app, name="devtable"):
    browser = Browser(app)
    assert browser.sign_in(name).status == 200
    return browser


def find(app, name):
    return app.read(namespace.find, name)


def oauth(app, name, scope):
    """A token of this user's that is good for `scope`."""
    return app.write(lambda txn: credential.create(txn, namespace.find(txn, name).id, "oauth", scope=scope)[1])


# --- what is shown


def test_oneself(app):
    """A user sees what belongs to his account, and in which organizations he may do what."""
    view = signed_in(app).get("/user/").json
    assert (view["username"], view["email"], view["anonymous"]) == ("devtable", "devtable@example.com", False)
    assert view["is_me"] and view["super_user"] and view["has_password_set"] and view["can_create_repo"]
    assert (view["prompts"], view["logins"], view["tag_expiration_s"]) == ([], [], 14 * DAY)
    assert view["avatar"]["kind"] == "user"
    assert [each["name"] for each in view["organizations"]] == ["buynlarge", "library", "sellnsmall", "titi"]
    assert all(each["is_org_admin"] and each["can_create_repo"] for each in view["organizations"])
    (organization,) = signed_in(app, "creator").get("/user/").json["organizations"]
    assert (organization["can_create_repo"], organization["is_org_admin"]) == (True, False)
    (organization,) = Client(app, "reader").get("/user/").json["organizations"]
    assert not organization["can_create_repo"]


def test_nobody(app):
    """Nobody in particular is told that he has to sign in, but not that a session of his is over."""
    answer = Client(app).get("/user/")
    assert (answer.status, answer.json["error_type"], answer.json["session_required"]) == (401, "invalid_token", False)
    assert Client(app, ("devtable+dtrobot", "x")).get("/user/").status == 401


def test_by_token(app):
    """A token shows as much as its scope is good for."""
    assert Client(app, OAUTH_TOKEN).get("/user/").status == 401
    reading = Client(app, oauth(app, "devtable", "user:read")).get("/user/").json
    assert "organizations" in reading and "email" not in reading
    assert not any(each.get("is_org_admin") for each in reading["organizations"])
    administering = Client(app, oauth(app, "devtable", "user:admin")).get("/user/").json
    assert administering["email"] == "devtable@example.com"
    assert "email" not in Client(app, ("$app", APP_TOKEN)).get("/user/").json


def test_others(app):
    """Of others, everybody sees the name and the picture; robots and organizations are no users."""
    view = Client(app).get("/users/public").json
    assert view == {"anonymous": False, "username": "public", "avatar": view["avatar"]}
    assert Client(app, "reader").get("/users/public").json == view
    assert "email" in Client(app, "public").get("/users/public").json
    for name in ("nobody", "buynlarge", "devtable+dtrobot", "PUBLIC", "%25", "x" * 300):
        assert Client(app).get(f"/users/{name}").status == 404


# --- what is changed


def test_change_nothing(app):
    """A change of nothing changes nothing, and is not on record."""
    browser = signed_in(app)
    assert browser.put("/user/").json == browser.get("/user/").json
    assert browser.put("/user/", {"email": "devtable@example.com", "username": "devtable"}).status == 200
    for kind in ("user_change_email", "user_change_metadata", "account_change_password"):
        assert audited(app, kind) == []


def test_change_profile(app):
    """What a user says of himself is kept, as long as it is not too long."""
    browser = signed_in(app)
    changes = {"given_name": "Dev", "company": "Table", "invoice_email": True, "invoice_email_address": "x@y"}
    view = browser.put("/user/", changes).json
    assert {key: view[key] for key in changes} == changes
    assert view["location"] is None
    assert browser.put("/user/", {"given_name": None}).json["given_name"] is None
    assert browser.put("/user/", {"company": "x" * 256}).status == 400
    assert audited(app, "user_change_metadata")[0] == ("devtable", {"given_name": "Dev", "company": "Table"})


def test_change_email(app):
    """An address is changed, unless it is none or somebody else's."""
    browser = signed_in(app)
    assert browser.put("/user/", {"email": "New@Example.com"}).json["email"] == "new@example.com"
    assert Browser(app).sign_in("new@example.com").status == 200
    for address in ("public@example.com", "nonsense", "x" * 256):
        assert browser.put("/user/", {"email": address}).status == 400
    ((_, details),) = audited(app, "user_change_email")
    assert details == {"email": "New@Example.com", "old_email": "devtable@example.com"}


def test_change_password(app):
    """A new password ends all other sessions and what was remembered of the old one; this session goes on."""
    other, browser = signed_in(app), signed_in(app)
    basic = Client(app, "devtable")
    assert basic.get("/user/").status == 200
    assert browser.put("/user/", {"password": NEW}).status == 200
    assert browser.get("/user/").status == 200
    assert other.get("/user/").status == 401
    assert basic.get("/user/").status == 401
    assert Browser(app).sign_in("devtable").status == 403
    assert Browser(app).sign_in("devtable", NEW).status == 200
    assert audited(app, "account_change_password") == [("devtable", {})]


@pytest.mark.parametrize("password", ["short", "with a space", "tab\there1", "", "x" * 4097, "é" * 3000])
def test_weak_password(app, password):
    """A password is 8 characters at least, without whitespace, and not endless; nothing changes otherwise."""
    assert signed_in(app).put("/user/", {"password": password}).status == 400
    assert Browser(app).sign_in("devtable").status == 200


def test_stale(app):
    """Dangerous things take a session in which the password was shown of late."""
    browser = signed_in(app)
    app.clock.advance(FRESH_S + 1)
    for answer in (browser.put("/user/", {"password": NEW}), browser.delete("/user/")):
        assert (answer.status, answer.json["error_type"]) == (401, "fresh_login_required")
    browser.post("/signin/verify", {"password": PASSWORD})
    assert browser.put("/user/", {"password": NEW}).status == 200


def test_tokens_do_not_take_over(app):
    """No token changes what opens the account, or ends it."""
    client = Client(app, oauth(app, "devtable", "user:admin"))
    assert client.put("/user/", {"company": "x"}).status == 200
    for body in ({"password": NEW}, {"email": "x@example.com"}, {"username": "other"}):
        assert client.put("/user/", body).status == 403
    assert client.delete("/user/").status == 403
    assert client.post("/user/totp", {"password": PASSWORD}).status == 403
    assert Client(app, ("$app", APP_TOKEN)).put("/user/", {"company": "y"}).status == 403


def test_mass_assignment(app):
    """Whatever else a body brings along changes nothing."""
    browser = signed_in(app, "freshuser")
    before = find(app, "freshuser")
    extra = {
        "superuser": True,
        "super_user": True,
        "verified": False,
        "enabled": False,
        "id": 1,
        "uuid": "x",
        "kind": "organization",
        "owner_id": 1,
        "password_hash": "x",
        "metadata": {"x": 1},
    }
    assert browser.put("/user/", extra).status == 200
    assert find(app, "freshuser") == before
    answer = Client(app).post("/user/", {"username": "newcomer", "password": NEW} | extra)
    assert answer.status == 200
    made = find(app, "newcomer")
    assert (made.superuser, made.enabled, made.kind, made.owner_id) == (False, True, "user", None)


def test_tag_expiration(make_application):
    """How long deleted tags can be restored is one of the options, where users may choose."""
    app = make_application(TAG_EXPIRATION_OPTIONS=["0s", "1d", "2w"])
    browser = signed_in(app)
    assert browser.put("/user/", {"tag_expiration_s": DAY}).json["tag_expiration_s"] == DAY
    answer = browser.put("/user/", {"tag_expiration_s": 2 * DAY})
    assert (answer.status, "86400 (1d)" in answer.json["detail"]) == (400, True)
    assert audited(app, "user_change_tag_expiration") == [("devtable", {"tag_expiration": DAY})]
    app = make_application(FEATURE_CHANGE_TAG_EXPIRATION=False)
    browser = signed_in(app)
    assert browser.put("/user/", {"tag_expiration_s": DAY}).status == 400
    assert browser.put("/user/", {"tag_expiration_s": 14 * DAY}).status == 200


def test_rename(make_application):
    """Where users may change their names, what is theirs is found under the new one; a reserved name is nobody's."""
    app = make_application(FEATURE_USER_RENAME=True, SUPER_USERS=["boss"])
    browser = signed_in(app, "public")
    assert browser.put("/user/", {"username": "boss"}).status == 400
    assert browser.put("/user/", {"username": "devtable"}).status == 400
    assert browser.put("/user/", {"username": "published"}).json["username"] == "published"
    assert browser.get("/user/").json["username"] == "published"
    assert app.token(None, "repository:published/publicrepo:pull")
    assert audited(app, "user_change_name")[0][1] == {"old_username": "public", "new_username": "published"}


def test_no_rename(app):
    """Where they may not, they are told so."""
    answer = signed_in(app).put("/user/", {"username": "other"})
    assert (answer.status, "FEATURE_USER_RENAME" in answer.json["detail"]) == (400, True)


# --- the end


def test_delete(app):
    """A user deletes himself, with all that is his; a cookie of his opens nothing any more, and it is on record."""
    app.write(lambda txn: namespace.create_robot(txn, namespace.find(txn, "public").id, "bot"))
    browser = signed_in(app, "public")
    assert browser.delete("/user/").status == 204
    assert browser.get("/user/").status == 401
    assert Client(app).get("/users/public").status == 404
    assert find(app, "public+bot") is None
    assert app.ask_token(None, "repository:public/publicrepo:pull").json["token"]
    assert audited(app, "user_delete") == [("public", {"username": "public"})]
    while app.write(removal.proceed):
        pass
    assert Client(app).post("/user/", {"username": "public", "password": NEW}).status == 200


def test_sole_administrator(app):
    """Who alone administers an organization cannot go before that has another administrator, or is gone."""
    answer = signed_in(app).delete("/user/")
    assert answer.status == 400
    assert "buynlarge, library, sellnsmall, titi" in answer.json["detail"]

    def share(txn):
        for name in ("buynlarge", "library", "sellnsmall", "titi"):
            owners = team.find(txn, namespace.find(txn, name).id, "owners")
            team.add_member(txn, owners.id, namespace.find(txn, "freshuser").id)

    app.write(share)
    assert signed_in(app).delete("/user/").status == 204


# --- conversion


def test_convert(app):
    """A user becomes an organization that another one administers, who is signed in by it."""
    browser = signed_in(app, "public")
    body = {"adminUser": "freshuser", "adminPassword": PASSWORD}
    assert browser.post("/user/convert", body).json == {"success": True}
    assert browser.get("/user/").json["username"] == "freshuser"
    assert browser.get("/organization/public").json["is_admin"]
    assert Browser(app).sign_in("public").status == 403
    assert audited(app, "account_convert")[0][0] == "public"


@pytest.mark.parametrize(
    "body",
    [
        {"adminUser": "freshuser", "adminPassword": "wrong"},
        {"adminUser": "public", "adminPassword": PASSWORD},
        {"adminUser": "disabled", "adminPassword": PASSWORD},
        {"adminUser": "buynlarge", "adminPassword": PASSWORD},
    ],
)
def test_convert_for_nobody(app, body):
    """It takes the password of another user who can sign in."""
    answer = signed_in(app, "public").post("/user/convert", body)
    assert (answer.status, answer.json["reason"]) == (400, "invaliduser")
    assert find(app, "public").kind == "user"


def test_detach(app):
    """There are no external logins to be detached from, so one is."""
    assert signed_in(app).post("/detachexternal/github").json == {"success": True}
    assert Client(app).post("/detachexternal/github").status == 401


# --- sessions


def test_sessions(app):
    """A user sees where he is signed in, and ends what is not his any more; nobody else's is found."""
    first, browser, stranger = signed_in(app), signed_in(app), signed_in(app, "public")
    listed = browser.get("/user/sessions").json["sessions"]
    assert [each["current"] for each in sorted(listed, key=lambda each: each["current"])] == [False, True]
    (uuid,) = (each["uuid"] for each in listed if not each["current"])
    assert stranger.delete(f"/user/sessions/{uuid}").status == 404
    assert browser.delete(f"/user/sessions/{uuid}").status == 204
    assert browser.delete(f"/user/sessions/{uuid}").status == 404
    assert first.get("/user/").status == 401
    another = signed_in(app)
    assert browser.delete("/user/sessions").status == 204
    assert (another.get("/user/").status, browser.get("/user/").status) == (401, 200)


def test_second_factor_goes_with_its_user(app):
    """A user who is removed leaves no second factor behind."""
    user = find(app, "public")
    app.write(second_factor.begin, user.id, "sealed")
    app.write(removal.begin, user.id)
    assert app.read(second_factor.find, user.id) is None
    assert app.read(session.of_user, user.id) == []
