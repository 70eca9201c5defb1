"""Users in the console: one's own account, what others see of it, and what stands around every page."""

import itertools
from urllib.parse import urlencode

import pyotp
import pytest

from quay.model import bell, message, namespace
from quay.model.bell import Audience
from quay.testdata.people import PASSWORD
from tests.http.api.client import Client, audited
from tests.http.console.test_organization import XSS, assert_harmless, make_application_page, secret_of, tabs
from tests.http.console.visitor import Visitor

BASE = "http://registry.test:5000"

_numbers = itertools.count(1)


@pytest.fixture
def username(application):
    """A new user."""
    name = f"leela{next(_numbers)}"
    answer = Client(application).post("/user/", {"username": name, "password": "password", "email": None})
    assert answer.status == 200
    application.clock.advance(60)  # a registry does not let many sign up at once
    return name


@pytest.fixture
def visitor(application, username):
    return Visitor(application, username)


def alerts(page):
    return [known for _, known in page.elements if known.get("role") == "alert"]


# --- who sees what


def test_for_oneself(visitor, username):
    """One's own page has all tabs, and each opens."""
    page = visitor.open(f"/user/{username}")
    everything = {"robots", "tokens", "authorizations", "sessions", "security", "logs", "notifications", "settings"}
    assert tabs(page) == everything
    for key in everything:
        tab = visitor.open(f"/user/{username}?tab={key}")
        assert (tab.status, tab.flaws()) == (200, set())
    assert f"docker push registry.test:5000/{username}/IMAGE:latest" in page.text


def test_for_others(application, visitor):
    """Others see a name and the repositories that they may see, and nothing of the account."""
    for somebody in (visitor, Visitor(application)):
        page = somebody.open("/user/devtable")
        assert page.status == 200
        assert not tabs(page)
        assert "@example.com" not in page.html
        assert "devtable/simple" not in page.html
        assert [form for form in page.forms if form.action not in ("/search", "/do/logout")] == []
    assert visitor.open("/user/devtable?tab=settings").status == 403
    assert Visitor(application).get("/user/devtable?tab=settings").status == 303


def test_not_there(visitor):
    """An organization, a robot and nobody have no page among the users."""
    for name in ("buynlarge", "devtable+dtrobot", "nosuch"):
        assert visitor.open(f"/user/{name}").status == 404


# --- tokens and robots


def test_app_tokens(application, visitor, username):
    """An app token is on the page that answers the form, logs in, is shown nowhere else, and is revoked."""
    tokens = f"/user/{username}?tab=tokens"
    shown = visitor.send(visitor.open(tokens).form("createAppToken"), field__title="laptop")
    token = secret_of(shown, "Token")
    assert "docker login -u '$app' --password-stdin registry.test:5000" in shown.text
    assert application.ask_token(("$app", token)).status == 200
    page = visitor.open(tokens)
    assert token not in page.html
    page = visitor.send(page.form("revokeAppToken"))
    assert "worthless" in page.text
    assert application.ask_token(("$app", token)).status == 401


def test_no_app_tokens(make_application):
    """Where there are no app tokens, the page says so and does not break."""
    page = Visitor(make_application(FEATURE_APP_SPECIFIC_TOKENS=False), "reader").open("/user/reader?tab=tokens")
    assert page.status == 200
    assert not page.has("createAppToken")


def test_robots(application, visitor, username):
    """One's own robots are made, shown with their token once, and deleted."""
    form = visitor.open(f"/user/{username}?tab=robots").form("createUserRobot")
    shown = visitor.send(form, path__robot_shortname="ci", field__description="Builds")
    token = secret_of(shown, "Token")
    assert application.ask_token((f"{username}+ci", token)).status == 200
    page = visitor.open(f"/user/{username}/robots/ci")
    assert token not in page.html
    again = visitor.send(page.form("regenerateUserRobotToken"))
    assert secret_of(again, "Token") not in ("", token)
    assert "is deleted" in visitor.send(page.form("deleteUserRobot"), _typed=f"{username}+ci").text


def test_robots_of_others(application, visitor, username):
    """At the address of somebody else's robot, nobody finds one, though he has one of this name himself."""
    Client(application, (username, "password")).put("/user/robots/dtrobot", {})
    assert visitor.open(f"/user/{username}/robots/dtrobot").status == 200
    assert visitor.open("/user/devtable/robots/dtrobot").status == 404


def test_authorizations(application, visitor, username):
    """What an application may do for one is listed, and taken back."""
    visitor.send(
        visitor.open("/organizations/new/").form("createOrganization"), field__name=f"{username}s", field__email=""
    )
    _, home = make_application_page(visitor, f"{username}s", "planner")
    form = visitor.open(home).form("createOrganizationApplicationToken")
    shown = visitor.send(form, field__name="ci", field__scope=["repo:read", "user:read"])
    page = visitor.open(f"/user/{username}?tab=authorizations")
    assert "planner" in page.text
    assert "repo:read" in page.text
    page = visitor.send(page.form("deleteUserAuthorization"))
    assert "You have authorized none" in page.text
    assert Client(application, secret_of(shown, "Token")).get("/user/").status == 401


# --- sessions, password, second factor


def test_sessions(application, visitor, username):
    """Where one is signed in is listed; another session can be ended, and all others."""
    others = [Visitor(application, username) for _ in range(2)]
    page = visitor.open(f"/user/{username}?tab=sessions")
    before = page.html.count('/do/deleteUserSession"')
    assert before == 3  # and that of the one who signed up
    page = visitor.send(page.form("deleteUserSession"))
    assert page.html.count('/do/deleteUserSession"') == before - 1
    page = visitor.send(page.form("deleteUserSessions"))
    assert not page.has("deleteUserSession")
    assert all(other.get(f"/user/{username}?tab=sessions").status == 303 for other in others)


def test_password(application, visitor, username):
    """A new password must be typed twice alike; then it is the one that signs in."""
    form = visitor.open(f"/user/{username}?tab=security").form("changeUserDetails")
    page = visitor.send(form, field__password="new-password", _repeated="new-pasword")
    assert "not the same" in page.text
    page = visitor.send(form, field__password="new-password", _repeated="new-password")
    assert not alerts(page)
    assert "Sign out" in Visitor(application).sign_in(username, "new-password").text
    assert "Sign out" not in Visitor(application).sign_in(username, "password").text


def begin_second_factor(visitor, username):
    page = visitor.open(f"/user/{username}?tab=security")
    return visitor.send(next(f for f in page.forms if f.action == "/do/beginSecondFactor"), field__password="password")


def test_second_factor(application, visitor, username):
    """Begun with the password, shown as a picture, confirmed by a code; then signing in takes one; and removed."""
    begun = begin_second_factor(visitor, username)
    secret = secret_of(begun, "Secret")
    assert any(tag == "path" and "d" in known for tag, known in begun.elements)
    assert "otpauth://totp/" in begun.text
    security = f"/user/{username}?tab=security"
    assert secret not in visitor.open(security).html
    code = pyotp.TOTP(secret).at(int(application.clock.seconds()))
    shown = visitor.send(begun.form("confirmSecondFactor"), field__code=code)
    codes = secret_of(shown, "Recovery codes").split()
    assert len(codes) > 5
    page = visitor.open(security)
    assert f"{len(codes)} recovery codes are left" in page.text
    assert not any(each in page.html for each in codes)
    assert "Sign out" not in Visitor(application).sign_in(username).text
    assert "Sign out" in Visitor(application).sign_in(username, **{"field.totp": codes[0]}).text
    assert secret_of(visitor.send(page.form("renewRecoveryCodes")), "Recovery codes").split() != codes
    page = visitor.send(visitor.open(security).form("removeSecondFactor"))
    assert page.has("beginSecondFactor")
    assert "Sign out" in Visitor(application).sign_in(username).text


def test_a_wrong_code(application, visitor, username):
    """A wrong code confirms nothing, and the right one still can be typed afterwards."""
    begun = begin_second_factor(visitor, username)
    page = visitor.send(begun.form("confirmSecondFactor"), field__code="000000")
    assert alerts(page)
    code = pyotp.TOTP(secret_of(begun, "Secret")).at(int(application.clock.seconds()))
    assert secret_of(visitor.send(page.form("confirmSecondFactor"), field__code=code), "Recovery codes")


def test_a_wrong_password(visitor, username):
    """Without the password, no second factor is begun."""
    page = visitor.open(f"/user/{username}?tab=security")
    page = visitor.send(page.form("beginSecondFactor"), field__password="wrong")
    assert alerts(page)
    assert "otpauth" not in page.html


def test_fresh_with_a_second_factor(application, visitor, username):
    """Who has a second factor shows a code with his password, where that is asked for once more."""
    begun = begin_second_factor(visitor, username)
    totp = pyotp.TOTP(secret_of(begun, "Secret"))
    shown = visitor.send(begun.form("confirmSecondFactor"), field__code=totp.at(int(application.clock.seconds())))
    codes = secret_of(shown, "Recovery codes").split()
    application.clock.advance(3600)
    asked = visitor.send(visitor.open(f"/user/{username}?tab=security").form("removeSecondFactor"))
    assert "Your password, please" in asked.text
    form = asked.form("removeSecondFactor")
    assert alerts(visitor.send(form, _password="password"))
    assert visitor.send(form, _password="password", _totp=codes[0]).has("beginSecondFactor")


# --- settings


def test_settings(application, visitor, username):
    """What one says of oneself is kept, and what a form does not name stays."""
    settings = f"/user/{username}?tab=settings"
    form = next(form for form in visitor.open(settings).forms if "field.company" in form.names)
    visitor.send(form, field__email=f"{username}@example.com", field__company="Planet Express", field__given_name="T")
    visitor.send(
        next(form for form in visitor.open(settings).forms if "field.tag_expiration_s" in form.names),
        field__tag_expiration_s="86400",
    )
    found = Client(application, (username, "password")).get("/user/").json
    known = (found["email"], found["company"], found["given_name"], found["location"], found["tag_expiration_s"])
    assert known == (f"{username}@example.com", "Planet Express", "T", None, 86400)


def test_delete(application, visitor, username):
    """One's account is deleted when one's name was typed."""
    form = visitor.open(f"/user/{username}?tab=settings").form("deleteCurrentUser")
    assert "nothing was done" in visitor.send(form, _typed="devtable").text
    page = visitor.send(form, _typed=username)
    assert page.status == 200
    assert Visitor(application).open(f"/user/{username}").status == 404


def test_convert(application, visitor, username):
    """An account becomes an organization, and whoever is to administer it is signed in."""
    form = visitor.open(f"/user/{username}?tab=settings").form("convertUserToOrganization")
    page = visitor.send(form, field__adminUser="freshuser", field__adminPassword="password", _typed=username)
    assert "you administer it" in page.text
    assert "/user/freshuser" in page.links


def test_rename(make_application):
    """Where users may rename themselves, the form does, and leads to the new name."""
    application = make_application(FEATURE_USER_RENAME=True)
    visitor = Visitor(application, "freshuser")
    page = visitor.open("/user/freshuser?tab=settings")
    form = next(form for form in page.forms if "field.username" in form.names)
    assert "this is you" in visitor.send(form, field__username="stalouser").text


def test_no_rename(visitor, username):
    """Where they may not, there is no such form."""
    page = visitor.open(f"/user/{username}?tab=settings")
    assert not any("field.username" in form.names for form in page.forms)


def test_logs(visitor, username):
    """One's log tells that one signed in."""
    assert "Signed in" in visitor.open(f"/user/{username}?tab=logs").text


# --- the bell and the messages


def ring(application, username, **details):
    def work(txn):
        target = namespace.find(txn, username)
        bell.ring(txn, "repo_push", details, Audience(target_id=target.id))

    application.write(work)


def test_bell(application, visitor, username):
    """The frame says how often the bell rang; what it rang for is listed, and dismissed."""
    assert f"/user/{username}?tab=notifications" not in visitor.open("/").links
    ring(application, username, repository="devtable/simple", updated_tags=["latest", XSS])
    assert f"/user/{username}?tab=notifications" in visitor.open("/").links
    page = visitor.open(f"/user/{username}?tab=notifications")
    assert_harmless(page)
    assert "devtable/simple was pushed to" in page.text
    page = visitor.send(page.form("updateUserNotification"))
    assert "There is nothing to know" in page.text
    assert f"/user/{username}?tab=notifications" not in visitor.open("/").links


def test_many_bells(application, visitor, username):
    """More than a page of them comes in pages; the frame counts to nine."""
    for number in range(21):
        ring(application, username, repository=f"devtable/r{number}")
    page = visitor.open(f"/user/{username}?tab=notifications")
    assert "9+" in page.text
    assert "devtable/r0 " not in page.text
    assert "devtable/r0 " in visitor.open(f"/user/{username}?tab=notifications&page=2").text


def test_messages(make_application):
    """Messages for all stand above every page, with their severity, and nothing in them is markup but Markdown's."""
    application = make_application()
    application.write(message.create, f"Plain {XSS}", "text/plain", "warning")
    application.write(message.create, f"**Down** on Sunday {XSS}", "text/markdown", "error")
    for somebody in (Visitor(application), Visitor(application, "reader")):
        for path in ("/", "/organization/buynlarge", "/user/reader"):
            page = somebody.open(path)
            assert_harmless(page)
            assert "Warning: Plain" in page.text
            assert any(known.get("class") == "flash error" for _, known in page.elements)
            assert ("strong", {}) in page.elements


def test_no_messages_for_nobody(make_application):
    """Where nobody is told anything before he signs in, neither is he told the messages."""
    application = make_application(FEATURE_ANONYMOUS_ACCESS=False)
    application.write(message.create, "Secret plans", "text/plain", "info")
    assert "Secret plans" not in Visitor(application).open("/").text
    assert "Secret plans" in Visitor(application, "reader").open("/").text


# --- signing in


def test_signing_in_again(application):
    """A form that was open before somebody signed in signs in anew, if a browser says that it is a form of ours."""
    visitor = Visitor(application)
    form = visitor.open("/signin/?next=/new/").form("signinUser")
    visitor.sign_in("reader")
    sent = {"field.username": "devtable", "field.password": PASSWORD, "_next": "/new/"}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for origin, status in (({}, 403), ({"Origin": "https://evil.example"}, 403), ({"Origin": BASE}, 303)):
        answer = visitor._request("POST", form.action, headers | origin, urlencode(sent).encode())
        assert answer.status == status, origin
    assert answer.headers["location"] == "/new/"
    assert "/user/devtable" in visitor.open("/").links
    assert visitor.get("/signin/?next=/new/").headers["location"] == "/new/"
    assert visitor.get("/signin/?next=//evil.example").headers["location"] == "/"


# --- signing up


def test_sign_up(make_application):
    """Who has no account makes one, and is signed in."""
    application = make_application()
    visitor = Visitor(application)
    assert "/signup/" in visitor.open("/signin/").links
    form = visitor.open("/signup/").form("createNewUser")
    fields = {"field__username": "amy", "field__email": "amy@example.com"}
    page = visitor.send(form, **fields, field__password="password", _repeated="pasword")
    assert alerts(page)
    page = visitor.send(form, **fields, field__password="password", _repeated="password")
    assert "/user/amy" in page.links
    assert audited(application, "user_create")[-1][1]["username"] == "amy"
    assert visitor.get("/signup/").status == 303


@pytest.mark.parametrize("settings", [{"FEATURE_USER_CREATION": False}, {"FEATURE_INVITE_ONLY_USER_CREATION": True}])
def test_no_sign_up(make_application, settings):
    """Where one cannot make an account, no page says that one can."""
    visitor = Visitor(make_application(**settings))
    assert visitor.open("/signup/").status == 404
    assert "/signup/" not in visitor.open("/signin/").links


# --- what people write


def test_harmless(application, visitor, username):
    """Titles, names and descriptions with markup in them are text on every page."""
    client = Client(application, (username, "password"))
    client.put("/user/robots/ci", {"description": XSS})
    assert_harmless(visitor.send(visitor.open(f"/user/{username}?tab=tokens").form("createAppToken"), field__title=XSS))
    form = next(f for f in visitor.open(f"/user/{username}?tab=settings").forms if "field.company" in f.names)
    visitor.send(form, field__company=XSS, field__given_name=XSS)
    for key in ("robots", "tokens", "settings", "logs"):
        assert_harmless(visitor.open(f"/user/{username}?tab={key}"))
    assert_harmless(visitor.open(f"/user/{username}/robots/ci"))
    Visitor(application, username, agent=XSS)
    assert_harmless(visitor.open(f"/user/{username}?tab=sessions"))
