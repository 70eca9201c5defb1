"""A server that nobody has set up yet, and what every test of the setup waits for."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

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
