"""
A Quay is taken over, from a database in its documented schema, on SQLite and on PostgreSQL, and from its storage: its
people log in with their old passwords and tokens, its tags are what they were, now and before.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.distribution import MANIFEST, Client, Image, digest_of
from tests.integration.test_import import command
from tests.other_quay import KEY, OtherQuay
from tests.postgres import PostgresServer
from tests.server import RunningQuay

INDEX = "application/vnd.oci.image.index.v1+json"
ROBOT_TOKEN = "R" * 64
APP_TOKEN = ("A" * 60, "B" * 60)
ACCESS_TOKEN = ("C" * 32, "D" * 32)
HOUR = 3_600_000
FIRST, SECOND, OTHER = Image.made("first"), Image.made("second"), Image.made("other")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database for the other Quay."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'other.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    server.create("other_quay")
    yield server.url("other_quay")
    server.drop("other_quay")


@pytest.fixture
def other(url: str, tmp_path: Path) -> Iterator[OtherQuay]:
    """The other Quay, with something of everything."""
    made = OtherQuay(url, tmp_path / "storage")
    _people(made)
    yield made
    made.close()


def _people(quay: OtherQuay) -> None:
    now = int(time.time() * 1000)
    ada = quay.account("ada", password="lovelace1", given_name="Ada")
    bob = quay.account("bob")
    off = quay.account("off", password="password1", enabled=False)
    acme = quay.account("acme", organization=True, removed_tag_expiration_s=86400)
    ci = quay.robot("acme+ci", ROBOT_TOKEN)
    quay.team(acme, "owners", "admin", ada)
    devs = quay.team(acme, "devs", "member", bob, ci)
    quay.add("permissionprototype", org_id=acme, uuid="x", delegate_team_id=devs, role_="read")
    name, secret = APP_TOKEN
    token = {"title": "laptop", "token_name": name, "token_secret": quay.encrypted(secret), "expiration": None}
    quay.add("appspecificauthtoken", user_id=ada, uuid="u", **token)
    application = {"redirect_uri": "https://x.example", "application_uri": "", "name": "shop", "description": ""}
    sealed = quay.encrypted("S" * 40)
    quay.add("oauthapplication", client_id="CLIENT", secure_client_secret=sealed, organization_id=acme, **application)
    app = quay.repository(acme, "app", public=True)
    first, second = quay.image(app, FIRST), quay.image(app, SECOND)
    quay.tag(app, "latest", first, now - 10 * HOUR, now - 5 * HOUR)
    quay.tag(app, "latest", second, now - 5 * HOUR)
    quay.tag(app, "old", first, now - 9 * HOUR, now - 8 * HOUR)
    quay.tag(app, "older", first, now - 90 * HOUR, now - 80 * HOUR)  # further back than the time machine goes
    quay.tag(app, "temporary", second, now - HOUR, now + 100 * HOUR)
    quay.tag(app, "$temp-x", first, now - HOUR, now + HOUR, hidden=True)
    child = {"mediaType": MANIFEST, "digest": digest_of(SECOND.moved), "size": len(SECOND.moved)}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}).encode()
    quay.tag(app, "all", quay.manifest(app, index, INDEX), now - HOUR, immutable=True)
    quay.label(app, second, "reviewed", "yes")
    quay.grant(app, "write", user=ci)
    quay.grant(app, "read", user=off)
    quay.add("star", user_id=bob, repository_id=app)
    quay.notification(app, "repo_push", "quay_notification", {"target": {"kind": "user", "name": "ada"}})
    quay.notification(app, "repo_push", "flowdock", {"flow_api_token": "x"})
    code = quay.encrypted(ACCESS_TOKEN[1])
    quay.add(
        "accesstoken", token_name=ACCESS_TOKEN[0], token_code=code, repository_id=app, role_="read", temporary=False
    )
    private = quay.repository(ada, "private", state=1)
    quay.tag(private, "1", quay.image(private, OTHER), now - HOUR)
    quay.repository(ada, "chart", kind="application")
    quay.repository(ada, "going", state=3)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[RunningQuay]:
    with RunningQuay(tmp_path / "target") as server:
        server.add_user("boss", superuser=True)
        yield server


def config(other: OtherQuay, tmp_path: Path) -> str:
    """Its config.yaml."""
    file = tmp_path / "config.yaml"
    written = {
        "DB_URI": other.url,
        "DATABASE_SECRET_KEY": KEY,
        "DISTRIBUTED_STORAGE_CONFIG": {"default": ["LocalStorage", {"storage_path": str(other.storage)}]},
        "SUPER_USERS": ["ada"],
    }
    file.write_text(json.dumps(written))
    return str(file)


def api(server: RunningQuay, path: str, login: tuple[str, str]) -> Any:
    """What the API says to somebody who logs in."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    basic = base64.b64encode(":".join(login).encode()).decode()
    connection.request("GET", f"/api/v1/{path}", headers={"Authorization": f"Basic {basic}"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, (answer.status, body)
    return json.loads(body)


def test_a_quay_is_taken_over(other: OtherQuay, target: RunningQuay, tmp_path: Path) -> None:
    """Everything that can come comes, and the rest is told; a second time, nothing more does."""
    written = config(other, tmp_path)
    status, said = command(target, "quay", "--user", "boss", "--config", written, "--dry-run")
    assert status == 1, said
    assert "users: 3" in said and "4 tags of 2 repositories would come" in said, said
    status, said = command(target, "quay", "--user", "boss", "--config", written)
    assert status == 1, said
    assert "did not come (2)" in said and "flowdock" in said and "ada/chart" in said, said
    assert "4 tags of 2 repositories came" in said, said
    assert "users: 3, app tokens: 1, organizations: 1, robots: 1, teams: 2, applications: 1" in said, said

    ada = Client(target.host, "ada", "lovelace1")
    ada.pull("acme/app", "latest", SECOND)
    ada.pull("acme/app", "temporary", SECOND)
    ada.pull("ada/private", "1", OTHER)
    index = ada.call("GET", "acme/app", "manifests/all", headers={"Accept": INDEX}).expect(200)
    assert digest_of(SECOND.moved).encode() in index.body
    assert ada.manifest("acme/app", "old") is None
    ada.close()

    robot = Client(target.host, "acme+ci", ROBOT_TOKEN)
    robot.push("acme/app", "pushed", Image.made("pushed by the robot"))
    robot.close()
    for name, password in (("$app", "".join(APP_TOKEN)), ("$token", "".join(ACCESS_TOKEN))):
        somebody = Client(target.host, name, password)
        somebody.pull("acme/app", "latest", SECOND)
        somebody.close()

    history = api(target, "repository/acme/app/tag/?limit=100", ("$app", "".join(APP_TOKEN)))["tags"]
    lifetimes = [(one["name"], one["manifest_digest"], "end_ts" in one) for one in reversed(history)]
    first, second = digest_of(FIRST.moved), digest_of(SECOND.moved)
    assert lifetimes[:4] == [
        ("latest", first, True),
        ("old", first, True),
        ("latest", second, False),
        ("temporary", second, True),
    ]
    assert "older" not in {name for name, _, _ in lifetimes}
    status, said = command(target, "quay", "--user", "boss", "--config", written)
    assert "0 tags of 0 repositories came; 4 were here already" in said, said


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_without_its_key(other: OtherQuay, target: RunningQuay, tmp_path: Path) -> None:
    """Where nobody knows the key, robots come without their tokens, and that is said; passwords do all the same."""
    storage = ("--database", other.url, "--storage", str(other.storage))
    _, said = command(target, "quay", *storage, "--repository", "acme/*")
    assert "DATABASE_SECRET_KEY is unknown" in said, said
    ada = Client(target.host, "ada", "lovelace1")
    ada.pull("acme/app", "latest", SECOND)
    ada.close()
    with pytest.raises(AssertionError):
        Client(target.host, "acme+ci", ROBOT_TOKEN).login("acme/app")
