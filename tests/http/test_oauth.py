"""The OAuth provider: nobody is sent astray, a code is good once, and a token can do what its user allowed."""

import base64
import hashlib
import re
from html import unescape
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from quay.model import application as applications
from quay.model import namespace
from quay.testdata.people import PASSWORD
from quay.web.oauth import leads_home
from tests.http.api.browser import Browser
from tests.http.api.client import Client, audited

HOME = "https://deploy.example.com/cb"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def deployer(application):
    """An application of buynlarge: client id and secret."""

    def make(txn):
        owner = namespace.find(txn, "buynlarge").id
        made, secret = applications.create(txn, owner, "Deployer <b>", redirect_uri=HOME)
        return made.client_id, secret

    return application.write(make)


@pytest.fixture
def browser(application):
    signed_in = Browser(application)
    assert signed_in.sign_in("reader").status == 200
    return signed_in


def asked(deployer, **changes):
    fields = {"client_id": deployer[0], "redirect_uri": HOME, "scope": "repo:read", "response_type": "code"} | changes
    return {name: value for name, value in fields.items() if value is not None}


def ask(application, fields, browser=None):
    cookie = {"Cookie": f"session={browser.cookie}"} if browser else {}
    return application.request("GET", f"/oauth/authorize?{urlencode(fields)}", cookie)


def send(application, path, fields, browser=None, **headers):
    if browser:
        headers |= {"Cookie": f"session={browser.cookie}"}
    headers |= {"Content-Type": "application/x-www-form-urlencoded"}
    return application.request("POST", f"/oauth/{path}", headers, urlencode(fields).encode())


def consent(application, fields, browser):
    """What the form of the consent page sends."""
    page = ask(application, fields, browser)
    assert page.status == 200, page
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.body.decode())
    return {name: unescape(value) for name, value in found}


def answer_in(location, part="query"):
    return {name: values[0] for name, values in parse_qs(getattr(urlsplit(location), part)).items()}


def code_for(application, deployer, browser, **changes):
    form = consent(application, asked(deployer, **changes), browser)
    location = send(application, "authorizeapp", form, browser).headers["location"]
    assert location.startswith(HOME)
    return answer_in(location)["code"]


def fetch(application, deployer, code, **changes):
    fields = {"grant_type": "authorization_code", "client_id": deployer[0], "client_secret": deployer[1], "code": code}
    fields |= {"redirect_uri": HOME} | changes
    return send(application, "access_token", {name: value for name, value in fields.items() if value is not None})


def test_the_way_of_a_code(application, deployer, browser):
    """A user agrees, the application gets a code in its own address, and for it a token that reads and no more."""
    form = consent(application, asked(deployer, state="a b&c"), browser)
    answer = send(application, "authorizeapp", form, browser)
    assert answer.status == 302
    sent = answer_in(answer.headers["location"])
    assert sent["state"] == "a b&c"
    token = fetch(application, deployer, sent["code"]).json
    assert (token["token_type"], token["scope"]) == ("Bearer", "repo:read")
    script = Client(application, token["access_token"])
    assert script.get("/repository/devtable/shared").status == 200
    assert script.put("/repository/devtable/shared", {"description": "x"}).status == 403
    ((performer, details),) = audited(application, "oauth_token_assigned")
    assert (performer, details["scope"]) == ("reader", "repo:read")


def test_the_way_of_a_token(application, deployer, browser):
    """The older way gives the token in the fragment, which no server sees."""
    form = consent(application, asked(deployer, response_type="token"), browser)
    location = send(application, "authorizeapp", form, browser).headers["location"]
    assert urlsplit(location).query == ""
    sent = answer_in(location, "fragment")
    assert (sent["token_type"], sent["expires_in"]) == ("Bearer", "315576000")
    assert Client(application, sent["access_token"]).get("/repository/devtable/shared").status == 200


def test_nobody_signs_in_first(application, deployer):
    """Who is not signed in is asked to, and comes back to the same question."""
    answer = ask(application, asked(deployer))
    assert answer.status == 302
    path, _, query = answer.headers["location"].partition("?")
    assert path == "/signin/"
    assert answer_in(f"?{query}")["next"].startswith(f"/oauth/authorize?client_id={deployer[0]}")


def test_the_question_is_escaped_and_framed_by_nobody(application, deployer, browser):
    """What an application calls itself is text; the page runs no script and stands in nobody's frame."""
    page = ask(application, asked(deployer, state='"><script>'), browser)
    assert b"Deployer &lt;b&gt;" in page.body and b"<script>" not in page.body
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert policy.endswith("form-action 'self' https://deploy.example.com")


def test_a_granted_code_needs_no_second_question(application, deployer, browser):
    """Where the user has agreed to these scopes, a code comes at once; a wider scope, or a token, is asked for."""
    fetch(application, deployer, code_for(application, deployer, browser, scope="repo:read repo:write"))
    again = ask(application, asked(deployer), browser)
    assert again.status == 302 and "code" in answer_in(again.headers["location"])
    assert ask(application, asked(deployer, scope="repo:admin"), browser).status == 200
    assert ask(application, asked(deployer, response_type="token"), browser).status == 200


def test_denied(application, deployer, browser):
    """Who does not agree is sent back with that, and the application gets nothing."""
    form = consent(application, asked(deployer), browser)
    location = send(application, "denyapp", form, browser).headers["location"]
    assert answer_in(location) == {"error": "access_denied"}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"client_id": None}, 400),
        ({"redirect_uri": None}, 400),
        ({"scope": None}, 400),
        ({"response_type": None}, 400),
        ({"client_id": "UNKNOWN"}, 404),
        ({"client_id": "a\0b"}, 400),
        ({"scope": "repo:everything"}, 404),
        ({"scope": "direct_user_login"}, 404),
        ({"response_type": "password"}, 400),
        ({"redirect_uri": "https://evil.example.com/cb"}, 400),
        ({"redirect_uri": "https://deploy.example.com.evil.example/cb"}, 400),
        ({"redirect_uri": HOME + "@evil.example"}, 400),
        ({"redirect_uri": "javascript:alert(1)"}, 400),
        ({"code_challenge": "plain", "code_challenge_method": "plain"}, 400),
        ({"code_challenge": "too-short"}, 400),
    ],
)
def test_nobody_is_sent_astray(application, deployer, browser, changes, status):
    """A request that makes no sense is told to the person, who is sent nowhere."""
    answer = ask(application, asked(deployer, **changes), browser)
    assert answer.status == status
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("registered", "there", "home"),
    [
        (HOME, HOME, True),
        ("https://a.example", "https://a.example/cb", True),
        ("https://a.example/x/", "https://a.example/x/y?z=1", True),
        ("https://a.example/x", "https://a.example/xy", False),
        ("https://a.example/x", "https://a.example/x/../y", False),
        ("https://a.example/x", "https://a.example/x/%2e%2E/y", False),
        ("https://a.example/x", "http://a.example/x/y", False),
        ("https://a.example/x", "https://a.example:444/x/y", False),
        ("https://a.example/x", "https://a.example/x/y#f", False),
        ("https://a.example/x?q", "https://a.example/x?q&r", False),
        ("https://a.example", "https://a.example.evil", False),
        ("https://a.example", "https://a.example\\@evil/", False),
    ],
)
def test_what_is_home(registered, there, home):
    """An address is an application's own if it is the registered one, or lies below it on the same server."""
    assert leads_home(registered, there) is home


def test_a_form_of_another_session(application, deployer, browser):
    """Without the session's own token, or from another site, no form makes anything."""
    form = consent(application, asked(deployer), browser)
    for wrong in ("", "0" * 64):
        assert send(application, "authorizeapp", form | {"_csrf_token": wrong}, browser).status == 403
    foreign = {"Origin": "https://evil.example.com"}
    assert send(application, "authorizeapp", form, browser, **foreign).status == 403
    assert send(application, "authorizeapp", form).status == 401


def test_a_code_is_good_once(application, deployer, browser):
    """A code that was used is worthless, also after a failed attempt."""
    code = code_for(application, deployer, browser)
    assert fetch(application, deployer, code).status == 200
    assert fetch(application, deployer, code).json["error"] == "invalid_grant"
    code = code_for(application, deployer, browser, scope="repo:write")
    assert fetch(application, deployer, code, redirect_uri="https://elsewhere.example").status == 400
    assert fetch(application, deployer, code).json["error"] == "invalid_grant"


def test_a_code_expires(application, deployer, browser):
    """A code that nobody fetched a token for is worthless after ten minutes."""
    code = code_for(application, deployer, browser)
    application.clock.advance(601)
    assert fetch(application, deployer, code).json["error"] == "invalid_grant"


def test_a_code_is_its_application_s(application, deployer, browser):
    """Another application cannot use it, even with its own right secret."""

    def make(txn):
        made, secret = applications.create(txn, namespace.find(txn, "titi").id, "Other", redirect_uri=HOME)
        return made.client_id, secret

    other = application.write(make)
    code = code_for(application, deployer, browser)
    assert fetch(application, other, code).json["error"] == "invalid_grant"
    assert fetch(application, deployer, code).status == 200


@pytest.mark.parametrize("secret", [None, "", "WRONG"])
def test_a_code_without_a_challenge_takes_the_secret(application, deployer, browser, secret):
    """An application that does not prove itself gets no token for a code that anybody may have seen."""
    code = code_for(application, deployer, browser)
    answer = fetch(application, deployer, code, client_secret=secret)
    assert answer.json["error"] in ("invalid_grant", "invalid_client")


@pytest.mark.parametrize(
    ("verifier", "works"),
    [(VERIFIER, True), ("w" * 43, False), (None, False), ("short", False), ("v" * 42 + "é", False)],
)
def test_pkce(application, deployer, browser, verifier, works):
    """With a challenge, the verifier is the proof, and a public client needs no secret; nothing else will do."""
    code = code_for(application, deployer, browser, code_challenge=CHALLENGE, code_challenge_method="S256")
    answer = fetch(application, deployer, code, client_secret=None, code_verifier=verifier)
    assert (answer.status == 200) is works


def test_a_verifier_without_a_challenge(application, deployer, browser):
    """A verifier for a code that had no challenge is refused: somebody has taken the challenge away."""
    code = code_for(application, deployer, browser)
    assert fetch(application, deployer, code, code_verifier=VERIFIER).json["error"] == "invalid_grant"


def test_a_client_may_prove_itself_in_the_header(application, deployer, browser):
    """The secret may come as Basic, as RFC 6749 prefers."""
    code = code_for(application, deployer, browser)
    shown = base64.b64encode(":".join(deployer).encode()).decode()
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": HOME}
    answer = send(application, "access_token", fields, Authorization=f"Basic {shown}")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"


def test_revoking(application, deployer, browser):
    """An application gives its token back, and that is on record; of one that is not its own it learns nothing."""
    token = fetch(application, deployer, code_for(application, deployer, browser)).json["access_token"]
    client = {"client_id": deployer[0], "client_secret": deployer[1]}
    assert send(application, "revoke", client | {"token": "UNKNOWN"}).status == 200
    assert send(application, "revoke", {"client_id": deployer[0], "token": token}).status == 401
    assert Client(application, token).get("/repository/devtable/shared").status == 200
    assert send(application, "revoke", client | {"token": token}).status == 200
    assert Client(application, token).get("/repository/devtable/shared").status == 401
    assert send(application, "revoke", client | {"token": token}).status == 200
    ((performer, told),) = audited(application, "oauth_token_revoked")
    assert (performer, told["client_id"]) == ("reader", deployer[0])
    assert token not in repr(told)


def test_a_token_for_oneself(application, deployer, browser):
    """Any application may have the token shown on the registry's own page, from which nothing leads on."""
    local = "http://registry.test:5000/oauth/localapp"
    form = consent(application, asked(deployer, response_type="token", redirect_uri=local), browser)
    location = send(application, "authorizeapp", form, browser).headers["location"]
    assert location.startswith(f"{local}#access_token=")
    assert application.request("GET", "/oauth/localapp").status == 401
    page = application.request("GET", "/oauth/localapp", {"Cookie": f"session={browser.cookie}"})
    assert page.status == 200 and b"Your access token" in page.body


def test_listed_applications_take_a_password(make_application, sqlite_template):
    """An application that the administrator lists gets a token for a name and password; others do not."""
    application = make_application(DIRECT_OAUTH_CLIENTID_WHITELIST=["LISTED"])

    def make(txn):
        made, secret = applications.create(txn, namespace.find(txn, "titi").id, "CLI", redirect_uri=HOME)
        applications.change(txn, made.id, client_id="LISTED")
        other, _ = applications.create(txn, namespace.find(txn, "titi").id, "Other", redirect_uri=HOME)
        return other.client_id, secret

    other, _ = application.write(make)
    shown = "Basic " + base64.b64encode(f"reader:{PASSWORD}".encode()).decode()
    fields = asked(("LISTED", ""), response_type="token")
    answer = send(application, "authorizeapp", fields, Authorization=shown)
    assert answer.status == 302 and "access_token" in answer.headers["location"]
    fields["client_id"] = other
    assert send(application, "authorizeapp", fields, Authorization=shown).status == 401


def test_what_is_not_there(application):
    """Other addresses are a page that says so."""
    assert application.request("GET", "/oauth/nothing").status == 404
    assert application.request("GET", f"/oauth/{quote('../x')}").status == 404
    assert application.request("POST", "/oauth/authorize").status == 404
