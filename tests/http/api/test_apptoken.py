"""App-specific tokens: made, shown once, listed, revoked."""

import pytest

from quay.model import apptoken, credential, namespace
from quay.testdata.people import APP_TOKEN, OAUTH_TOKEN
from tests.http.api.client import Client, audited

DAY_S = 86400


@pytest.fixture
def application(make_application):
    return make_application(SUPER_USERS=["devtable"], APP_SPECIFIC_TOKEN_EXPIRATION="30d")


def test_the_life_of_a_token(application):
    """A token's code is shown once and opens the registry until the token is revoked; both ends are on record."""
    reader = Client(application, "reader")
    made = reader.post("/user/apptoken", {"title": "laptop"}).json["token"]
    code = made.pop("token_code")
    assert len(code) == 120
    assert made["title"] == "laptop"
    assert made["last_accessed"] is None
    assert made["created"] == "Mon, 21 Sep 2026 14:13:20 -0000"
    assert made["expiration"] == "Wed, 21 Oct 2026 14:13:20 -0000"
    assert reader.get("/user/apptoken").json == {"tokens": [made], "only_expiring": False}
    assert reader.get(f"/user/apptoken/{made['uuid']}").json == {"token": made}
    assert application.ask_token(("$app", code), "repository:devtable/shared:pull").status == 200
    assert reader.delete(f"/user/apptoken/{made['uuid']}").status == 204
    assert application.ask_token(("$app", code), "repository:devtable/shared:pull").status == 401
    assert reader.get("/user/apptoken").json["tokens"] == []
    details = {"app_specific_token_title": "laptop", "app_specific_token": made["uuid"]}
    for kind in ("create_app_specific_token", "revoke_app_specific_token"):
        assert audited(application, kind) == [("reader", details)]


def test_somebody_elses_token(application):
    """A token is nobody's but its user's: for others it is not there, and it stays."""
    made = Client(application, "reader").post("/user/apptoken", {"title": "mine"}).json["token"]
    for other in ("creator", "devtable"):
        client = Client(application, other)
        assert client.get(f"/user/apptoken/{made['uuid']}").status == 404
        assert client.delete(f"/user/apptoken/{made['uuid']}").status == 404
        assert made["uuid"] not in [token["uuid"] for token in client.get("/user/apptoken").json["tokens"]]
    assert len(Client(application, "reader").get("/user/apptoken").json["tokens"]) == 1


def test_other_credentials_are_no_app_tokens(application):
    """An OAuth token of the same user is neither listed nor revoked here."""
    found = application.read(credential.find, "oauth", OAUTH_TOKEN)
    client = Client(application, "devtable")
    assert client.delete(f"/user/apptoken/{found.uuid}").status == 404
    assert application.read(credential.find, "oauth", OAUTH_TOKEN) is not None


@pytest.mark.parametrize(
    "auth", [("$app", APP_TOKEN), ("devtable+dtrobot", "x")], ids=["an app token", "a wrong robot"]
)
def test_a_token_makes_no_tokens(application, auth):
    """What lies about on machines cannot be used to make more of it."""
    assert Client(application, auth).post("/user/apptoken", {"title": "more"}).status in (401, 403)
    assert audited(application, "create_app_specific_token") == []


@pytest.mark.parametrize("body", [{}, {"title": ""}, {"title": "x" * 256}, {"title": 5}, []])
def test_titles_that_cannot_be(application, body):
    """A token has a title of 1 to 255 characters."""
    assert Client(application, "reader").post("/user/apptoken", body).status == 400


def test_what_expires_soon(application):
    """Asked for it, the list has those that have a tenth of their life left, and not those that are over."""
    reader = Client(application, "reader")
    reader.post("/user/apptoken", {"title": "first"})
    application.clock.advance(28 * DAY_S)
    reader.post("/user/apptoken", {"title": "second"})
    listed = reader.get("/user/apptoken?expiring=true").json
    assert ([token["title"] for token in listed["tokens"]], listed["only_expiring"]) == (["first"], True)
    application.clock.advance(3 * DAY_S)
    assert reader.get("/user/apptoken?expiring=true").json["tokens"] == []
    assert len(reader.get("/user/apptoken").json["tokens"]) == 2


def test_superusers_see_that_there_are_tokens(application):
    """A superuser sees everybody's tokens and whose they are, but no code."""
    made = Client(application, "reader").post("/user/apptoken", {"title": "laptop"})
    code = made.json["token"]["token_code"]
    answer = Client(application, "devtable").get("/superuser/apptokens")
    assert ("laptop", "reader") in [(token["title"], token["user"]) for token in answer.json["tokens"]]
    assert code not in answer.body.decode()
    assert Client(application, "reader").get("/superuser/apptokens").status == 403


def test_pages(application):
    """More tokens than a page has are read page by page, each once; a page token of another user is refused."""

    def make(txn):
        user = namespace.find(txn, "reader")
        for number in range(501):
            credential.create(txn, user.id, "app", title=str(number))

    application.write(make)
    first = Client(application, "reader").get("/user/apptoken").json
    assert len(first["tokens"]) == 500
    rest = Client(application, "reader").get(f"/user/apptoken?next_page={first['next_page']}").json
    assert [token["title"] for token in rest["tokens"]] == ["500"]
    assert "next_page" not in rest
    assert Client(application, "creator").get(f"/user/apptoken?next_page={first['next_page']}").status == 400


def test_expired_tokens_are_forgotten(application):
    """What was over at a given time is removed, so many at a time; what is good, or of another kind, stays."""

    def make(txn):
        user = namespace.find(txn, "reader")
        for number in range(3):
            credential.create(txn, user.id, "app", title=str(number), expires_ms=txn.now_ms - number)
        credential.create(txn, user.id, "app", title="good", expires_ms=txn.now_ms + 1)
        credential.create(txn, user.id, "access", title="other", expires_ms=txn.now_ms)

    application.write(make)
    now_ms = int(application.clock.seconds() * 1000)
    assert application.write(apptoken.forget_expired, now_ms, 2) == 2
    assert application.write(apptoken.forget_expired, now_ms, 2) == 1
    assert application.write(apptoken.forget_expired, now_ms, 2) == 0
    assert [token["title"] for token in Client(application, "reader").get("/user/apptoken").json["tokens"]] == ["good"]


def test_without_the_feature(make_application):
    """Where there are no app-specific tokens, there is nothing at these addresses."""
    application = make_application(FEATURE_APP_SPECIFIC_TOKENS=False)
    assert Client(application, "reader").get("/user/apptoken").status == 404
