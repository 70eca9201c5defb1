"""Signing in and out: sessions and their cookies, what is told of wrong passwords, and what is on record."""

import json

import pytest

from quay.model import namespace, session
from quay.testdata.people import APP_TOKEN, PASSWORD, robot_token
from tests.http.api.browser import Browser
from tests.http.api.client import audited

FRESH_S = 600
DAY = 86400


def disable(application, name):
    application.write(lambda txn: namespace.set_enabled(txn, namespace.find(txn, name).id, False))


def sessions_of(application, name):
    return application.read(lambda txn: session.of_user(txn, namespace.find(txn, name).id))


def test_sign_in(make_application):
    """Who signs in gets a cookie that no script reads, and the CSRF token of the session; it is on record."""
    application = make_application()
    browser = Browser(application)
    answer = browser.sign_in("devtable")
    assert (answer.status, answer.json) == (200, {"success": True})
    cookie = answer.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=lax", "path=/", f"max-age={30 * DAY}"))
    assert "secure" not in cookie
    assert browser.get("/error/not_found").status == 200
    assert browser.post("/signin/verify", {"password": PASSWORD}).status == 200
    ((performer, details),) = audited(application, "login_success")
    assert (performer, details["type"]) == ("devtable", "quayauth")


def test_by_address(make_application):
    """An e-mail address is as good as a name."""
    browser = Browser(make_application())
    assert browser.sign_in("devtable@example.com").status == 200


def test_https(make_application):
    """Where clients use https, the cookie travels over nothing else."""
    browser = Browser(make_application(EXTERNAL_TLS_TERMINATION=True))
    assert "secure" in browser.sign_in("devtable").headers["set-cookie"].lower()


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("devtable", "wrong"),
        ("nobody", PASSWORD),
        ("buynlarge", PASSWORD),
        ("disabled", PASSWORD),
        ("devtable+dtrobot", robot_token("devtable+dtrobot")),
        ("$app", APP_TOKEN),
        ("", PASSWORD),
        ("devtable", ""),
        ("x\ny", PASSWORD),
        ("é" * 255, PASSWORD),
    ],
)
def test_wrong(make_application, username, password):
    """Wrong credentials are 403 as Quay words it; the record has the name, cut to a bounded length, no password."""
    application = make_application()
    answer = Browser(application).sign_in(username, password)
    assert answer.status == 403
    assert answer.json["invalidCredentials"] is True and answer.json["needsEmailVerification"] is False
    assert answer.json["message"] == "Invalid Username or Password"
    assert "set-cookie" not in answer.headers
    ((performer, details),) = audited(application, "login_failure")
    assert performer == "" and len(details["username"]) <= 255
    assert not password or f'"{password}' not in json.dumps(details)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_no_forms_of_other_sites(application, content_type):
    """What a form of another site can send is no sign-in."""
    raw = json.dumps({"username": "devtable", "password": PASSWORD}).encode()
    answer = application.request("POST", "/api/v1/signin", {"Content-Type": content_type}, raw)
    assert answer.status == 415
    assert "set-cookie" not in answer.headers


def test_guessing_is_slow(make_application):
    """After ten wrong passwords for an account from an address, even the right one has to wait, and hears how long."""
    application = make_application()
    browser = Browser(application)
    for _ in range(10):
        assert browser.sign_in("devtable", "wrong").status == 403
    answer = browser.sign_in("devtable")
    assert (answer.status, answer.headers["retry-after"]) == (429, "6")
    assert "next try is in 6 s" in answer.json["detail"]
    assert len(audited(application, "login_failure")) == 10
    assert browser.sign_in("public").status == 200
    application.clock.advance(6)
    assert Browser(application).sign_in("devtable").status == 200


def test_rotation(make_application):
    """A sign-in in a session ends that session and begins another one: a cookie that was planted opens nothing."""
    application = make_application()
    browser = Browser(application)
    browser.sign_in("devtable")
    planted = Browser(application)
    planted.cookie, planted.csrf = browser.cookie, browser.csrf
    assert browser.sign_in("devtable").status == 200
    assert browser.cookie != planted.cookie and browser.csrf != planted.csrf
    assert planted.post("/signin/verify", {"password": PASSWORD}).status == 401
    assert len(sessions_of(application, "devtable")) == 1


def test_a_cookie_of_ones_own_choice(make_application):
    """A secret that the client brings along does not become that of its session."""
    application = make_application()
    browser = Browser(application)
    browser.cookie = "A" * 64
    assert browser.sign_in("devtable").status == 200
    assert browser.cookie != "A" * 64


def test_sign_out(make_application):
    """Signing out ends the session, not only its cookie; whoever is in none may do it too."""
    application = make_application()
    browser = Browser(application)
    browser.sign_in("devtable")
    kept = browser.cookie
    answer = browser.post("/signout")
    assert (answer.status, answer.json) == (200, {"success": True})
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    assert sessions_of(application, "devtable") == []
    browser.cookie = kept
    assert browser.post("/signin/verify", {"password": PASSWORD}).status == 401
    assert Browser(application).post("/signout").status == 200
    assert [performer for performer, _ in audited(application, "logout_success")] == ["devtable"]


def test_verify(make_application):
    """The right password makes a session fresh again, a wrong one does not, and somebody else's neither."""
    application = make_application()
    browser = Browser(application)
    browser.sign_in("devtable")
    application.clock.advance(FRESH_S + 1)
    before = sessions_of(application, "devtable")[0].fresh_ms
    assert browser.post("/signin/verify", {"password": "wrong"}).status == 403
    assert sessions_of(application, "devtable")[0].fresh_ms == before
    assert browser.post("/signin/verify", {"password": PASSWORD}).json == {"success": True}
    assert sessions_of(application, "devtable")[0].fresh_ms == before + (FRESH_S + 1) * 1000
    assert Browser(application).post("/signin/verify", {"password": PASSWORD}).status == 401


def test_csrf_token(make_application):
    """A page of ours asks for the token of its session; whoever has no session gets none, and no cookie."""
    application = make_application()
    browser = Browser(application)
    browser.sign_in("devtable")
    answer = application.request("GET", "/csrf_token", {"Cookie": f"session={browser.cookie}"})
    assert answer.json == {"csrf_token": browser.csrf}
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers
    nobody = application.request("GET", "/csrf_token")
    assert nobody.json == {"csrf_token": ""} and "set-cookie" not in nobody.headers


@pytest.mark.parametrize("shown", ["", "0" * 64, "é", "of another session"])
def test_csrf(make_application, shown):
    """A change that comes with a cookie needs the token of that session: none, a wrong one, another's do not do."""
    application = make_application()
    browser, other = Browser(application), Browser(application)
    browser.sign_in("devtable")
    other.sign_in("devtable")
    right, browser.csrf = browser.csrf, other.csrf if shown.startswith("of") else shown
    answer = browser.post("/signin/verify", {"password": PASSWORD})
    assert (answer.status, answer.json["detail"]) == (403, "CSRF token was invalid or missing.")
    browser.csrf = right
    assert browser.post("/signin/verify", {"password": PASSWORD}).status == 200
    browser.csrf = None
    assert browser.post(f"/signin/verify?_csrf_token={right}", {"password": PASSWORD}).status == 200


def test_disabled_meanwhile(make_application):
    """The cookie of a user who has been disabled is nobody's."""
    application = make_application()
    browser = Browser(application)
    browser.sign_in("devtable")
    disable(application, "devtable")
    assert browser.post("/signin/verify", {"password": PASSWORD}).status == 401


def test_expired(make_application):
    """A session ends when it was not in use for its lifetime, and each use begins that anew."""
    application = make_application(SESSION_LIFETIME="2d")
    browser = Browser(application)
    browser.sign_in("devtable")
    for _ in range(3):
        application.clock.advance(1.5 * DAY)
        assert browser.post("/signin/verify", {"password": PASSWORD}).status == 200
    application.clock.advance(2 * DAY + 1)
    assert browser.post("/signin/verify", {"password": PASSWORD}).status == 401


def test_without_passwords(make_application):
    """Where nobody logs in with a password, there is no sign-in."""
    application = make_application(FEATURE_DIRECT_LOGIN=False)
    assert Browser(application).sign_in("devtable").status == 404


def test_read_only(make_application):
    """People sign in and out while the registry is read-only."""
    browser = Browser(make_application(REGISTRY_STATE="readonly"))
    assert browser.sign_in("devtable").status == 200
    assert browser.post("/signout").status == 200
