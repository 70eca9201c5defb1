"""The real server and a real receiver: a push is told, signed; what fails is told again, also by the next server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.distribution import Client, Image
from tests.receiver import Received, Receiver
from tests.server import RunningQuay

REPOSITORY = "dev/app"
PATH = f"/api/v1/repository/{REPOSITORY}/notification/"
PATIENCE = 60.0


class Api:
    """A client of the API, as the user dev."""

    def __init__(self, server: RunningQuay) -> None:
        self._server = server
        self._basic = "Basic " + base64.b64encode(b"dev:password123").decode()

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self._server.port, timeout=30)
        headers = {"Authorization": self._basic, "Content-Type": "application/json"}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            raw = answer.read()
            return answer.status, json.loads(raw) if raw else None
        finally:
            connection.close()

    def notify(self, url: str) -> Any:
        """Make a webhook for pushes; gives it with its secret."""
        body = {"event": "repo_push", "method": "webhook", "config": {"url": url}, "eventConfig": {}}
        status, made = self.call("POST", PATH, body)
        assert status == 201, made
        return made

    def deliveries(self, uuid: str) -> list[dict[str, Any]]:
        """The log, the oldest first."""
        status, answer = self.call("GET", f"{PATH}{uuid}/deliveries")
        assert status == 200, answer
        return list(reversed(answer["deliveries"]))

    def failures(self, uuid: str) -> int:
        _, found = self.call("GET", f"{PATH}{uuid}")
        number: int = found["number_of_failures"]
        return number


def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def verify(sent: Received, secret: str) -> None:
    """As a receiver does it, by Standard Webhooks."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    head = f"{sent.headers['webhook-id']}.{sent.headers['webhook-timestamp']}.".encode()
    expected = base64.b64encode(hmac.new(key, head + sent.body, hashlib.sha256).digest()).decode()
    assert hmac.compare_digest(sent.headers["webhook-signature"], f"v1,{expected}")
    assert abs(time.time() - int(sent.headers["webhook-timestamp"])) < 300


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningQuay]:
    """A running server that may call the loopback, with one user who has pushed."""
    with RunningQuay(tmp_path / "data", {"QUAY_EGRESS_NETWORKS": "127.0.0.1/32"}) as server:
        server.add_user("dev")
        make_repository(server)
        yield server


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def make_repository(server: RunningQuay) -> None:
    """By pushing a blob, of which nobody is told."""
    client = Client(server.host, "dev")
    client.push_blob(REPOSITORY, b"blob")
    client.close()


def push(server: RunningQuay, tag: str) -> None:
    """Push an image once, and wait for nothing."""
    client, image = Client(server.host, "dev"), Image.made(tag)
    for blob in (*image.layers, image.config):
        client.push_blob(REPOSITORY, blob)
    client.tag(REPOSITORY, tag, image.manifest)
    client.close()


def test_a_push_is_told(server: RunningQuay, receiver: Receiver) -> None:
    """A push leads to a signed request in a moment; nothing of the URL, nor of the answer, is in log or database."""
    api = Api(server)
    made = api.notify(f"{receiver.url}/hook-t0ken")
    push(server, "latest")
    (sent,) = receiver.wait(1)
    verify(sent, made["secret"])
    assert sent.json["updated_tags"] == ["latest"]
    assert sent.json["repository"] == REPOSITORY
    until(lambda: len(api.deliveries(made["uuid"])) == 1)
    (logged,) = api.deliveries(made["uuid"])
    assert (logged["delivered"], logged["outcome"]) == (True, "The receiver answered 200.")
    assert logged["event_uuid"] == sent.headers["webhook-id"]
    assert server.stop() == 0
    kept = b"".join(path.read_bytes() for path in server.data.glob("quay.db*"))
    assert b"hook-t0ken" in kept, "the address itself has to be kept somewhere"
    assert b"s3cr3t" not in kept
    assert made["secret"].removeprefix("whsec_").encode() not in kept
    assert "hook-t0ken" not in server.log
    assert "s3cr3t" not in server.log


def test_three_failures(server: RunningQuay, receiver: Receiver) -> None:
    """After three failures in a row nobody is told any more, until somebody resets it."""
    api = Api(server)
    receiver.statuses = [500]
    uuid = api.notify(receiver.url)["uuid"]
    for number in range(1, 4):
        assert api.call("POST", f"{PATH}{uuid}/test") == (200, {})
        until(lambda number=number: api.failures(uuid) == number)  # type: ignore[misc]
    receiver.statuses = [200]
    api.notify(f"{receiver.url}/other")
    push(server, "unheard")
    assert receiver.wait(4)[3].path == "/other", "it was told to the other, and so not kept for the first"
    assert api.call("POST", f"{PATH}{uuid}") == (204, None)
    push(server, "heard")
    told = [sent.json["updated_tags"] for sent in receiver.wait(6)[4:]]
    assert told == [["heard"], ["heard"]]
    until(lambda: [each["delivered"] for each in api.deliveries(uuid)] == [False, False, False, True])
    assert api.failures(uuid) == 0


def test_told_again_after_a_crash(server: RunningQuay, receiver: Receiver) -> None:
    """What could not be told is told by the next server, as the same event, after a kill in between."""
    api = Api(server)
    receiver.statuses = [503, 200]
    made = api.notify(receiver.url)
    push(server, "latest")
    receiver.wait(1)
    until(lambda: len(api.deliveries(made["uuid"])) == 1)
    server.kill()
    server.start()
    first, second = receiver.wait(2, PATIENCE)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    verify(second, made["secret"])
    until(lambda: [each["delivered"] for each in api.deliveries(made["uuid"])] == [False, True])
    assert [each["attempt"] for each in api.deliveries(made["uuid"])] == [1, 2]
    assert api.failures(made["uuid"]) == 0


def test_nobody_is_called_by_default(tmp_path: Path, receiver: Receiver) -> None:
    """Without a word of the administrator, neither this machine nor the registry's own port can be called."""
    with RunningQuay(tmp_path / "data") as server:
        server.add_user("dev")
        make_repository(server)
        api = Api(server)
        for url in (receiver.url, receiver.url.replace("127.0.0.1", "[::ffff:127.0.0.1]"), server.url):
            body = {"event": "repo_push", "method": "webhook", "config": {"url": url}, "eventConfig": {}}
            status, refused = api.call("POST", PATH, body)
            assert status == 400
            assert "EGRESS_NETWORKS" in refused["detail"]
        name = receiver.url.replace("127.0.0.1", "localhost")
        uuid = api.notify(name)["uuid"]  # a name is judged when it is called
        api.call("POST", f"{PATH}{uuid}/test")
        until(lambda: len(api.deliveries(uuid)) == 1)
        (logged,) = api.deliveries(uuid)
        assert not logged["delivered"]
        assert "loopback" in logged["outcome"]
    assert receiver.received == []


def test_the_registry_does_not_call_itself(server: RunningQuay) -> None:
    """Where the loopback is open, the registry's own port stays closed."""
    api = Api(server)
    uuid = api.notify(f"{server.url}/api/v1/user/")["uuid"]
    api.call("POST", f"{PATH}{uuid}/test")
    until(lambda: len(api.deliveries(uuid)) == 1)
    assert "itself" in api.deliveries(uuid)[0]["outcome"]
