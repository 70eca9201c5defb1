"""Attacks on the browser of somebody who is signed in, and on who waits for the same thread."""

import json

import pytest

from quay.testdata.people import PASSWORD
from quay.web.api import VALUES_LIMIT
from tests.http.api.browser import Browser
from tests.http.api.client import Client
from tests.http.application import HOST, basic
from tests.http.console.visitor import Visitor

DEVTABLE = ("devtable", PASSWORD)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SECRET = "XSS<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"https://{HOST}", f"http://{HOST}.evil"])
def test_a_password_that_a_browser_remembers(application, origin):
    """A browser that was asked for name and password sends them for every site: for a foreign one nothing changes."""
    path = "/organization/buynlarge/robots/coolrobot/regenerate"
    answer = Client(application, "devtable", Origin=origin).post(path)
    assert answer.status == 403 and "another site" in answer.json["detail"]
    assert Client(application, "devtable", Origin=origin).get("/user/").status == 200


def test_a_password_from_here_or_from_no_browser(application):
    """A page of the registry, and a script, change things with a password; a token does from anywhere."""
    path = "/organization/buynlarge/robots/coolrobot/regenerate"
    assert Client(application, "devtable", Origin=f"http://{HOST}").post(path).status == 200
    token = Client(application, "devtable").post(path).json["token"]
    stranger = Client(application, ("buynlarge+coolrobot", token), Origin="https://app.example")
    assert stranger.get("/organization/buynlarge/robots").status == 200


@pytest.mark.parametrize("where", ["do", "do-each"])
@pytest.mark.parametrize("nickname", ["logout", "createOrganization", "nothing", "deleteRepository"])
def test_a_form_of_another_site(application, where, nickname):
    """A form that another site sends changes nothing, whoever's browser sends it, and is no error of the server."""
    browser = Browser(application)
    browser.sign_in("devtable")
    for origin, body in (("https://evil.example", b""), ("null", b""), (f"http://{HOST}", b"_csrf_token=x")):
        headers = FORM | {"Cookie": f"session={browser.cookie}", "Origin": origin}
        answer = application.request("POST", f"/{where}/{nickname}", headers, body)
        assert answer.status in (403, 404), (origin, answer)
    assert browser.get("/user/").status == 200


@pytest.mark.parametrize("nickname", ["signinUser", "createOrganization", "createNewUser"])
def test_each_of_nothing(application, nickname):
    """A form for several things where there is only one is refused in a sentence."""
    headers = FORM | {"Authorization": basic(*DEVTABLE)}
    answer = application.request("POST", f"/do-each/{nickname}", headers, b"")
    assert answer.status == 303


def test_a_session_is_new(application):
    """The cookie that a browser brings to the sign-in is not the one that it has afterwards, and ends if it was one."""
    browser = Browser(application)
    browser.cookie = "A" * 64
    browser.sign_in("reader")
    first = browser.cookie
    assert first != "A" * 64
    browser.sign_in("reader")
    assert browser.cookie != first
    assert application.request("GET", "/api/v1/user/", {"Cookie": f"session={first}"}).status == 401


NEXT = (
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/%0d%0aSet-Cookie:x=y",
    "javascript:alert(1)",
    "///evil.example",
    "/\n/evil.example",
    " //evil.example",
    "http:/evil.example",
    "@evil.example",
)


@pytest.mark.parametrize("next_", NEXT)
def test_nobody_is_sent_away(application, next_):
    """Whatever stands in `next` of the sign-in, who has signed in is on a page of the registry."""
    visitor = Visitor(application)
    page = visitor.open("/signin/")
    form = page.form("signinUser")
    form.fields = [(name, value) for name, value in form.fields if name != "_next"] + [("_next", next_)]
    answer = visitor.post(form, **{"field.username": "reader", "field.password": PASSWORD})
    where = answer.headers["location"]
    assert answer.status == 303 and where.startswith("/") and not where.startswith(("//", "/\\"))
    assert "\r" not in where and "\n" not in where and "\t" not in where


def test_what_people_write_is_text(application):
    """Whatever somebody writes somewhere is shown as text on every page that shows it."""
    owner = Client(application, "devtable", **{"User-Agent": SECRET})
    org = "/organization/buynlarge"
    made = owner.post(f"{org}/applications", {"name": SECRET, "description": SECRET}).json
    owner.post(f"{org}/applications/{made['client_id']}/tokens", {"name": SECRET, "scope": "repo:read"})
    owner.put(f"{org}/robots/odd", {"description": SECRET, "unstructured_metadata": {SECRET: SECRET}})
    owner.put(f"{org}/team/readers", {"role": "member", "description": SECRET})
    owner.post("/user/apptoken", {"title": SECRET})
    owner.put("/user/", {"company": SECRET, "given_name": SECRET})
    owner.put("/repository/buynlarge/orgrepo", {"description": SECRET})
    message = {"content": SECRET, "media_type": "text/markdown", "severity": "info"}
    owner.post("/messages", {"message": message})
    owner.post("/messages", {"message": message | {"media_type": "text/plain"}})
    told = {"event": "repo_push", "method": "webhook", "config": {"url": "http://x.example/'><b>"}, "eventConfig": {}}
    assert owner.post("/repository/buynlarge/orgrepo/notification/", told | {"title": SECRET}).status in (201, 400)
    bell = {"method": "quay_notification", "config": {"target": {"kind": "user", "name": "devtable"}}}
    assert owner.post("/repository/buynlarge/orgrepo/notification/", told | bell | {"title": SECRET}).status == 201
    owner.post("/superuser/keys", {"service": "other", "expiration": None, "name": SECRET, "notes": SECRET})
    Browser(application).sign_in(SECRET, SECRET)
    visitor = Visitor(application, "devtable", agent=SECRET)
    shown = 0
    for path in (*PAGES, f"{org}/application/{made['client_id']}"):
        page = visitor.open(path)
        assert page.status == 200, path
        assert "<script>alert" not in page.html and "<img src=x" not in page.html, path
        shown += "XSS" in page.html
    assert shown > 8


PAGES = tuple(
    f"{home}?tab={tab}" if tab else home
    for home, tabs in {
        "/organization/buynlarge": ("", "teams", "robots", "applications", "members", "defaults", "logs", "settings"),
        "/organization/buynlarge/teams/readers": ("",),
        "/organization/buynlarge/robots/odd": ("",),
        "/repository/buynlarge/orgrepo": ("", "tags", "settings", "logs", "history"),
        "/user/devtable": ("", "tokens", "authorizations", "sessions", "security", "logs", "notifications", "settings"),
        "/superuser": ("", "users", "organizations", "logs", "messages", "keys"),
        "/": ("",),
        "/search?q=XSS": ("",),
    }.items()
    for tab in tabs
)


@pytest.mark.parametrize("value", [[[]] * 85_000, [1] * 120_000, {str(n): 1 for n in range(25_000)}, [""] * 80_000])
def test_many_small_values(application, value):
    """A body with many values is refused, before each is looked at: nobody else waits for it."""
    body = {"username": "x", "password": "x", "more": value}
    raw = json.dumps(body, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json"}
    answer = application.request("POST", "/api/v1/signin", headers, raw)
    assert answer.status == 400 and f"more than {VALUES_LIMIT} values" in answer.json["detail"]
