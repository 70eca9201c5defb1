"""What the tests of failing media and scarce resources share: a server with an image in it, and what must hold."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

import attrs

from tests.distribution import Answer, Client, Image, digest_of
from tests.integration.test_crash import Oracle
from tests.server import PATIENCE, RunningQuay

BUSY = {"QUAY_GARBAGE_COLLECTION_FREQUENCY": "1"}
"""The environment of a server that collects garbage all the time."""
REPOSITORY = "dev/app"


@attrs.frozen
class Served:
    """A server that holds an image, and a client who may push and pull there."""

    server: RunningQuay
    client: Client
    image: Image

    @classmethod
    def by(cls, server: RunningQuay) -> Served:
        client, image = Client(server.host, "dev"), Image.made("kept")
        client.push(REPOSITORY, "kept", image)
        return cls(server, client, image)

    def pull(self) -> None:
        """Every byte is there."""
        self.client.pull(REPOSITORY, "kept", self.image)

    def push(self, seed: object) -> None:
        """A whole new image goes in, and comes out again."""
        image = Image.made(seed)
        self.client.push(REPOSITORY, str(seed), image)
        self.client.pull(REPOSITORY, str(seed), image)

    def check(self) -> None:
        """What is on the disk is right, by the oracle of the crash tests."""
        Oracle(self.server.data).check()

    def refused(self, data: bytes) -> Answer:
        """The answer to a blob that cannot be taken now: an error of the specification that says when to come back."""
        answer = self.client.call("POST", REPOSITORY, f"blobs/uploads/?digest={digest_of(data)}", data)
        answer.expect(503, 507)
        (error,) = json.loads(answer.body)["errors"]
        assert error["code"] == "UNAVAILABLE"
        assert error["message"].endswith(".")
        assert int(answer.headers["Retry-After"]) > 0
        return answer

    def delete(self, data: bytes) -> Answer:
        """What is said to the deletion of a blob."""
        return self.client.call("DELETE", REPOSITORY, f"blobs/{digest_of(data)}")

    def file_of(self, data: bytes) -> Path:
        """Where its bytes lie while they are there."""
        algorithm, _, hexadecimal = digest_of(data).partition(":")
        return self.server.data / "blobs" / "blobs" / algorithm / hexadecimal[:2] / hexadecimal

    def await_removal(self, data: bytes) -> None:
        """Wait until the collector has removed the bytes of a blob."""
        await_that(lambda: not self.file_of(data).exists(), "garbage is removed")

    def await_failed_removal(self, data: bytes) -> None:
        """Wait until the collector has tried to remove the bytes of a blob, and could not."""
        said = f"{digest_of(data)} could not be removed"
        await_that(lambda: said in self.server.log, said)
        assert self.file_of(data).read_bytes() == data

    def let_claims_run_out(self) -> None:
        """As if two minutes had passed since the collector tried."""
        database = sqlite3.connect(self.server.data / "quay.db", timeout=10)
        with database:
            database.execute("UPDATE condemned SET until_ms = 0 WHERE NOT gone")
        database.close()

    def services(self) -> dict[str, bool]:
        """What /health says."""
        connection = HTTPConnection(self.server.host, timeout=10)
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            found: dict[str, bool] = json.loads(answer.read())["data"]["services"]
            assert answer.status == (200 if all(found.values()) else 503)
            return found
        finally:
            connection.close()

    def await_health(self, expected: Callable[[dict[str, bool]], bool]) -> None:
        """Wait until /health says so; it remembers what it found for a second."""
        await_that(lambda: expected(self.services()), "what /health should say")

    def descriptors(self) -> int:
        """How many files the server has open, without its database: that opens more when more is read at once."""
        return sum(not name.startswith(f"{self.server.data}/quay.db") for name in self._open())

    def _open(self) -> Iterator[str]:
        for descriptor in Path(f"/proc/{self.server.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it has been closed meanwhile
                yield str(descriptor.readlink())

    def await_descriptors(self, most: int) -> None:
        """Wait until it has no more open than `most`."""
        await_that(lambda: self.descriptors() <= most, f"at most {most} open files")


def await_that(holds: Callable[[], bool], what: str) -> None:
    """Raises AssertionError if it does not come true in time."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:.0f} s"
        time.sleep(0.1)
