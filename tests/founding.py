"""A server that nobody has set up yet, and what every test of the setup waits for."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Self
from urllib.parse import urlencode

from tests.distribution import Answer
from tests.server import PATIENCE, POLL, RunningQuay

PASSWORD = "correct-horse"


class Fresh(RunningQuay):
    """A server whose port is in its configuration file, where the setup can change it."""

    def __init__(self, data: Path, env: Mapping[str, str] | None = None) -> None:
        super().__init__(data, env)
        del self._environment["QUAY_LISTEN"]
        (data / "quay.yaml").write_text(f"# by hand\nLISTEN: 127.0.0.1:{self.port}\n")


def wait(until: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE:.0f} s"
        time.sleep(POLL)


def answers(port: int, tls: ssl.SSLContext) -> bool:
    connection = HTTPSConnection("127.0.0.1", port, timeout=10, context=tls)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def address(server: RunningQuay) -> str:
    """The path of the setup, as the start has printed it."""
    wait(lambda: "/setup/?token=" in server.log, "the invitation")
    found = re.findall(rf"http://127\.0\.0\.1:{server.port}(/setup/\?token=\S+)\n", server.log)
    assert len(found) == 1, server.log
    return str(found[0])


class Browser:
    """Keeps cookies; sends forms with what the page that they are on has in it. `connect` makes each connection."""

    def __init__(self, connect: Callable[[], HTTPConnection]) -> None:
        self._connect = connect
        self._cookies: dict[str, str] = {}

    @classmethod
    def at(cls, port: int) -> Self:
        """One that looks at what plain HTTP serves at this port."""
        return cls(lambda: HTTPConnection("127.0.0.1", port, timeout=30))

    def get(self, path: str) -> Answer:
        return self._request("GET", path)

    def send(self, path: str, fields: Mapping[str, str], page: str | None = None) -> Answer:
        csrf = re.search(rb'_csrf_token" value="(\w+)"', self.get(page or path).body)
        known = {"_csrf_token": csrf[1].decode()} if csrf else {}
        return self._request("POST", path, urlencode({**known, **fields}))

    def _request(self, method: str, path: str, body: str | None = None) -> Answer:
        connection = self._connect()
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        found = Answer(answer.status, answer.headers, answer.read())
        connection.close()
        return found
