"""Attacks that ask: what an answer tells of what somebody may not see, and how often one may guess."""

import pytest

from quay.auth.throttle import neighbourhood
from quay.testdata.people import robot_token
from tests.http.api.client import Client
from tests.http.application import Application


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.mark.parametrize("who", [None, "freshuser", "buynlarge+coolrobot"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("rest", ["", "/logs", "/permissions/user/", "/notification/", "/tag/x", "/changevisibility"])
def test_a_secret_repository_reads_as_none(application, who, method, rest):
    """Of a repository that one may not see, every answer is the one of a repository that there is not."""
    auth = (who, robot_token(who)) if who is not None and "+" in who else who
    client = Client(application, auth)
    answers = [client.call(method, f"/repository/devtable/{path}{rest}") for path in ("shared", "nobody")]
    bodies = [answer.body.replace(b"shared", b"nobody") for answer in answers]
    assert answers[0].status == answers[1].status
    assert bodies[0] == bodies[1]


def test_users_are_not_listed_to_nobody(application):
    """Nobody in particular finds users by their whole names only, wherever he looks."""
    nobody, reader = Client(application), Client(application, "reader")

    def users(client, path):
        return [one["name"] for one in client.get(path).json["results"] if one["kind"] == "user"]

    for path in ("/find/all?query=", "/entities/"):
        assert users(nobody, f"{path}cre") == []
        assert users(nobody, f"{path}creator") == ["creator"]
        assert users(reader, f"{path}cre") == ["creator"]


def test_nobody_is_completed(make_application):
    """Where names are not to be completed, a search for everything does not complete them either."""
    reader = Client(make_application(FEATURE_PARTIAL_USER_AUTOCOMPLETE=False), "reader")
    found = reader.get("/find/all?query=cre").json["results"]
    assert [one for one in found if one["kind"] == "user"] == []


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("", ""),
    ],
)
def test_whom_guesses_are_counted_with(address, counted):
    """An address of IPv6 is counted with its network, because one host has all of it."""
    assert neighbourhood(address) == counted


def test_guesses_from_a_whole_network(make_application):
    """Whoever takes another address of his IPv6 network for each guess is slowed down as if he had one."""
    application: Application = make_application(TRUSTED_PROXIES=["192.168.1.1"])
    statuses = []
    for number in range(12):
        forwarded = {"X-Forwarded-For": f"2001:db8::{number:x}"}
        body = {"username": "reader", "password": f"wrong{number}"}
        statuses.append(Client(application, None, **forwarded).post("/signin", body).status)
    assert statuses == [403] * 10 + [429] * 2
    body = {"username": "reader", "password": "password"}
    elsewhere = Client(application, None, **{"X-Forwarded-For": "2001:db8:0:1::1"})
    assert elsewhere.post("/signin", body).status == 200
