"""
The medium fails, or there are no file descriptors left: whoever asks is told so and when to come back, what can be
served is, and when it is over everything works without a restart.
"""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distribution import Client, digest_of
from tests.faults.server import BUSY, REPOSITORY, Served, await_that
from tests.server import RunningQuay

pytestmark = pytest.mark.long


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


@pytest.mark.parametrize(
    ("reason", "statuses"),
    [(errno.EIO, {503}), (errno.EROFS, {503}), (errno.EDQUOT, {503, 507})],
    ids=["EIO", "EROFS", "EDQUOT"],
)
def test_the_medium_fails(failing: Served, broken: Path, reason: int, statuses: set[int]) -> None:
    """With this for every write, pulls go on, pushes and deletions get 503 or 507, and no blob is kept half."""
    failing.client.push_blob(REPOSITORY, b"loose")
    before = failing.descriptors()
    broken.write_text(str(reason))
    for number in range(8):
        assert failing.refused(number.to_bytes(4) * 50_000).status in statuses
    for answer in (failing.client.call("DELETE", REPOSITORY, "manifests/kept"), failing.delete(b"loose")):
        assert int(answer.expect(*statuses).headers["Retry-After"]) > 0
    failing.pull()
    failing.await_health(lambda services: not any(services.values()))
    broken.unlink()
    failing.pull()
    failing.delete(b"loose").expect(202)
    failing.push("after")
    failing.await_health(lambda services: all(services.values()))
    failing.await_descriptors(before)
    failing.check()


@pytest.fixture
def failing_blobs(data: Path, library: Path, broken: Path) -> Iterator[Served]:
    """A server that collects garbage all the time, and whose medium of blobs can be broken."""
    root = {"QUAY_JOURNAL_ROOT": str(data / "blobs"), "QUAY_JOURNAL_BROKEN": str(broken)}
    with RunningQuay(data, BUSY | root | {"LD_PRELOAD": str(library)}) as server:
        yield Served.by(server)


def test_garbage_that_cannot_be_removed(failing_blobs: Served, broken: Path) -> None:
    """Bytes that the medium does not let go of are left for later; a push of them waits until that is settled."""
    served, garbage = failing_blobs, b"garbage" * 1000
    served.client.push_blob(REPOSITORY, garbage)
    broken.write_text(str(errno.EIO))
    served.delete(garbage).expect(202)
    served.await_failed_removal(garbage)
    served.pull()
    broken.unlink()
    served.refused(garbage)
    served.let_claims_run_out()
    served.await_removal(garbage)
    served.client.push_blob(REPOSITORY, garbage)
    assert served.client.has_blob(REPOSITORY, garbage)
    served.check()


def test_a_quota_is_a_full_disk(failing_blobs: Served, broken: Path) -> None:
    """With EDQUOT for the blobs, pushes get 507, and pulls, deletions and the collector go on."""
    served, garbage = failing_blobs, b"garbage" * 1000
    served.client.push_blob(REPOSITORY, garbage)
    broken.write_text(str(errno.EDQUOT))
    for number in range(8):
        assert served.refused(number.to_bytes(4) * 50_000).status == 507
    served.pull()
    served.delete(garbage).expect(202)
    served.await_removal(garbage)
    broken.unlink()
    served.push("after")
    served.check()


def limit_files(pid: int, most: int) -> None:
    """Let a running process have no more files open than `most`."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))


@pytest.fixture
def served(data: Path) -> Iterator[Served]:
    with RunningQuay(data, BUSY) as server:
        yield Served.by(server)


def test_no_descriptor_is_left(served: Served) -> None:
    """
    With no descriptor to open a file, blobs and pushes get 503; manifests in memory are served, and later all is;
    deletions are done or told to come back, and the collector comes to its work.
    """
    garbage = b"garbage" * 1000
    served.client.push_blob(REPOSITORY, garbage)
    before = served.descriptors()
    limit_files(served.server.pid, 3)
    served.refused(b"no descriptor")
    deleted = served.delete(garbage).expect(202, 503)
    answer = served.client.call("GET", REPOSITORY, f"blobs/{digest_of(served.image.layers[0])}")
    assert answer.expect(503).headers["Retry-After"]
    assert served.client.manifest(REPOSITORY, "kept") == served.image.moved
    waiting = [socket.create_connection(("127.0.0.1", served.server.port)) for _ in range(20)]
    limit_files(served.server.pid, 1024)
    newcomer = Client(served.server.host, "dev")
    newcomer.pull(REPOSITORY, "kept", served.image)
    newcomer.close()
    served.push("after")
    assert deleted.status == 202 or served.delete(garbage).expect(202)
    served.await_removal(garbage)
    for connection in waiting:
        connection.close()
    served.await_health(lambda services: all(services.values()))
    served.await_descriptors(before)
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
