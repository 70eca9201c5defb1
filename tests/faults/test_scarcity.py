"""
The medium fails, or there are no file descriptors left: whoever asks is told so and when to come back, what can be
served is, and when it is over everything works without a restart.
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distribution import Client, digest_of
from tests.faults.server import REPOSITORY, Served, await_that
from tests.server import RunningQuay


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """While this file exists, no write and no sync below the data directory succeeds."""
    return tmp_path / "broken"


@pytest.fixture
def failing(data: Path, library: Path, broken: Path) -> Iterator[Served]:
    """A server whose medium can be broken."""
    breaking = {"LD_PRELOAD": str(library), "QUAY_JOURNAL_ROOT": str(data), "QUAY_JOURNAL_BROKEN": str(broken)}
    with RunningQuay(data, breaking) as server:
        yield Served.by(server)


def test_the_medium_fails(failing: Served, broken: Path) -> None:
    """With EIO for every write, pulls go on and pushes get 503; a blob that was being kept then is not kept half."""
    before = failing.descriptors()
    broken.touch()
    for number in range(8):
        assert failing.refused(number.to_bytes(4) * 50_000).status == 503
    failing.pull()
    failing.await_health(lambda services: not any(services.values()))
    broken.unlink()
    failing.push("after")
    failing.await_health(lambda services: all(services.values()))
    failing.await_descriptors(before + 4)
    failing.check()


def limit_files(pid: int, most: int) -> None:
    """Let a running process have no more files open than `most`."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))


@pytest.fixture
def served(data: Path) -> Iterator[Served]:
    with RunningQuay(data) as server:
        yield Served.by(server)


def test_no_descriptor_is_left(served: Served) -> None:
    """With no descriptor to open a file, blobs and pushes get 503; manifests in memory are served, and later all is."""
    before = served.descriptors()
    limit_files(served.server.pid, 3)
    served.refused(b"no descriptor")
    answer = served.client.call("GET", REPOSITORY, f"blobs/{digest_of(served.image.layers[0])}")
    assert answer.expect(503).headers["Retry-After"]
    assert served.client.manifest(REPOSITORY, "kept") == served.image.moved
    waiting = [socket.create_connection(("127.0.0.1", served.server.port)) for _ in range(20)]
    limit_files(served.server.pid, 1024)
    newcomer = Client(served.server.host, "dev")
    newcomer.pull(REPOSITORY, "kept", served.image)
    newcomer.close()
    served.push("after")
    for connection in waiting:
        connection.close()
    served.await_health(lambda services: all(services.values()))
    served.await_descriptors(before + 4)
    served.check()


def test_abandoned_uploads_leave_nothing_open(served: Served) -> None:
    """A hundred uploads that were begun, fed half and abandoned cost at most their descriptors, and keep nobody out."""
    connections = []
    for number in range(100):
        upload = served.client.begin(REPOSITORY, b"x" * 1000)
        connections.append(_half_a_chunk(served, upload.location, number))
    for connection in connections:
        connection.close()
    served.push("meanwhile")
    await_that(lambda: served.descriptors() < 250, "descriptors of a hundred uploads and no more")


def _half_a_chunk(served: Served, location: str, number: int) -> socket.socket:
    """A connection on which a chunk has begun and does not end."""
    connection = socket.create_connection(("127.0.0.1", served.server.port))
    head = (
        f"PATCH {location.partition(served.server.host)[2]} HTTP/1.1\r\nHost: {served.server.host}\r\n"
        f"Authorization: Bearer {served.client.tokens[REPOSITORY]}\r\nContent-Length: 1000\r\n\r\n"
    )
    connection.sendall(head.encode() + b"x" * number)
    return connection
