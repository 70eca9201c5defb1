"""What holds for every call of the API, whatever its noun: who asks, what is refused, and how that is told."""

import json

import pytest

from quay.testdata.people import APP_TOKEN, OAUTH_TOKEN, PASSWORD, robot_token

URL = "/api/v1/error/not_found"


def test_an_answer_is_json(application):
    """A route answers with JSON that no cache keeps and any site may read that got it without a cookie."""
    answer = application.request("GET", URL)
    assert answer.status == 200
    assert answer.json["title"] == "not_found"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/", "/api", "/api/v2/error/not_found", "/api/v1/error/none"])
def test_what_is_not_there(application, path):
    """An unknown address is 404 in the API's own JSON, with both spellings of the message."""
    answer = application.request("GET", path)
    assert answer.status == 404
    body = answer.json
    assert body["error_type"] == body["title"] == "not_found"
    assert body["detail"] == body["error_message"]
    assert body["type"] == "http://registry.test:5000/api/v1/error/not_found"


def test_wrong_method(application):
    """A method that an address does not have is 405, with those that it has."""
    answer = application.request("PUT", URL, {"Content-Type": "application/json"}, b"{}")
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_slash_or_not(application):
    """An address is the same with a slash at its end and without one."""
    assert application.request("GET", URL + "/").json == application.request("GET", URL).json


def test_an_address_that_is_no_text(application):
    """Bytes that are not UTF-8 are a bad request, in JSON."""
    answer = application.request("GET", "/api/v1/error/%ff")
    assert (answer.status, answer.json["error_type"]) == (400, "invalid_request")


def test_preflight(application):
    """A browser that asks first is told what it may send from elsewhere, which does not include cookies."""
    answer = application.request("OPTIONS", URL)
    assert answer.status == 204
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers


CREDENTIALS = {
    "password": ("devtable", PASSWORD),
    "robot": ("devtable+dtrobot", robot_token("devtable+dtrobot")),
    "app token": ("$app", APP_TOKEN),
    "oauth token": ("$oauthtoken", OAUTH_TOKEN),
    "bearer oauth token": OAUTH_TOKEN,
    "bearer app token": APP_TOKEN,
    "bearer robot": robot_token("devtable+dtrobot"),
}


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_credentials_that_hold(application, kind):
    """People, robots, applications and OAuth clients may show what they have, as Basic or as Bearer."""
    assert application.request("GET", URL, auth=CREDENTIALS[kind]).status == 200


@pytest.mark.parametrize(
    "header",
    [
        "Bearer nobody-has-this",
        "Bearer",
        "Bearer a b",
        "Basic !!!",
        "Basic bm9ib2R5Onh5",
        "Digest x",
        "x",
        "Bearer \xff",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_credentials_that_do_not(application, header, method):
    """Wrong credentials are 401, and never taken for a missing CSRF token, nor for nobody in particular."""
    path = URL if method == "GET" else "/api/v1/error/not_found"
    answer = application.request("GET", path, {"Authorization": header})
    assert (answer.status, answer.json["error_type"]) == (401, "invalid_token")
    assert "www-authenticate" not in answer.headers


def test_a_registry_token_is_no_credential(application):
    """A token of the distribution API opens nothing here."""
    token = application.token(("devtable", PASSWORD), "repository:devtable/simple:pull")
    assert application.request("GET", URL, auth=token).status == 401


def test_errors_do_not_name_the_secret(application):
    """What was shown is not repeated in the answer."""
    answer = application.request("GET", URL, {"Authorization": "Bearer TOPSECRET"})
    assert "TOPSECRET" not in json.dumps(answer.json)
