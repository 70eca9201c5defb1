"""
The disk is full, or takes no writes: pulls go on, pushes are told when to come back, and when there is room again
everything works without a restart. Nothing leaks meanwhile.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distribution import Client
from tests.faults.medium import MIB, Tmpfs
from tests.faults.server import BUSY, REPOSITORY, Served
from tests.server import RunningQuay

pytestmark = pytest.mark.long

REFUSALS = 12


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Where the data directory is going to be: file systems are mounted there first."""
    return tmp_path / "data"


@pytest.fixture
def blobs(data: Path) -> Iterator[Tmpfs]:
    """A file system for the blobs alone."""
    with Tmpfs(data / "blobs", 16 * MIB) as mounted:
        yield mounted


@pytest.fixture
def everything(data: Path) -> Iterator[Tmpfs]:
    """A file system for the whole data directory, the database and the log of the server with it."""
    with Tmpfs(data, 32 * MIB) as mounted:
        yield mounted


@pytest.fixture
def served(template: Path, data: Path) -> Iterator[Served]:
    """A server on what has been mounted."""
    shutil.copytree(template, data, dirs_exist_ok=True)
    with RunningQuay(data, BUSY) as server:
        yield Served.by(server)


def refuse_many(served: Served, statuses: set[int]) -> None:
    """Pushes are refused, again and again, and leave nothing open."""
    served.refused(b"warm" * 100_000)
    before = served.descriptors()
    for number in range(REFUSALS):
        assert served.refused(number.to_bytes(4) * 100_000).status in statuses
    served.await_descriptors(before)


def test_blobs_have_no_room(blobs: Tmpfs, served: Served) -> None:
    """With no room for blobs, pushes are answered 507 and the rest goes on; with room again, so do pushes."""
    blobs.fill()
    refuse_many(served, {507})
    served.pull()
    served.await_health(lambda services: services["database"] and not services["storage:default"])
    blobs.empty()
    served.push("after")
    served.await_health(lambda services: all(services.values()))
    assert [path.name for path in blobs.path.glob("uploads/*")] == []


def test_an_upload_goes_on_after_a_full_disk(blobs: Tmpfs, served: Served) -> None:
    """An upload that met a full disk is gone on with, from where the server says, when there is room."""
    client, data = served.client, bytes(range(256)) * 8192
    upload = client.begin(REPOSITORY, data)
    client.append(REPOSITORY, upload, MIB)
    blobs.fill()
    answer = client.call("PATCH", REPOSITORY, upload.location, data[MIB:])
    assert answer.expect(507).headers["Retry-After"]
    blobs.empty()
    held = client.held(REPOSITORY, upload)
    assert held is not None
    assert MIB <= held <= len(data)
    upload.sent = held
    client.finish(REPOSITORY, upload)
    assert client.has_blob(REPOSITORY, data)


def test_blobs_are_read_only(blobs: Tmpfs, served: Served) -> None:
    """A file system that went read-only refuses pushes with 503, serves pulls, and is used again when it can be."""
    blobs.protect()
    refuse_many(served, {503})
    served.pull()
    served.await_health(lambda services: not services["storage:default"])
    blobs.protect(read_only=False)
    served.push("after")
    served.await_health(lambda services: all(services.values()))


def test_space_returns_from_a_full_disk(blobs: Tmpfs, served: Served) -> None:
    """With no room for blobs, one can still be deleted; its space returns, and somebody else can push."""
    large = bytes(4 * MIB)
    served.client.push_blob(REPOSITORY, large)
    blobs.fill()
    served.refused(b"no room" * 100_000)
    served.delete(large).expect(202)
    served.await_removal(large)
    served.push("after")
    served.pull()
    served.check()


def test_garbage_on_a_read_only_medium(blobs: Tmpfs, served: Served) -> None:
    """Where bytes cannot be removed, deletions are answered as ever, and the bytes go when they can."""
    garbage = b"garbage" * 1000
    served.client.push_blob(REPOSITORY, garbage)
    blobs.protect()
    served.delete(garbage).expect(202)
    served.await_failed_removal(garbage)
    assert not served.client.has_blob(REPOSITORY, garbage)
    served.pull()
    blobs.protect(read_only=False)
    served.let_claims_run_out()
    served.await_removal(garbage)
    served.push("after")
    served.check()


def test_nothing_has_room(everything: Tmpfs, served: Served) -> None:
    """With no room for the database either, what is there can be pulled; with room again, everything works."""
    served.client.push_blob(REPOSITORY, b"loose")
    everything.fill()
    refuse_many(served, {503, 507})
    served.pull()
    with pytest.raises(AssertionError, match=r"50[37]"):
        served.client.finish(REPOSITORY, served.client.begin(REPOSITORY, b"no room"))
    for answer in (served.client.call("DELETE", REPOSITORY, "manifests/kept"), served.delete(b"loose")):
        assert int(answer.expect(503, 507).headers["Retry-After"]) > 0
    served.pull()
    served.await_health(lambda services: not any(services.values()))
    everything.empty()
    served.push("after")
    served.await_health(lambda services: all(services.values()))
    served.pull()
    served.check()


def test_somebody_new_can_log_in_and_pull_without_room(everything: Tmpfs, served: Served) -> None:
    """A full disk keeps nobody from getting a token and pulling, though neither logins nor pulls can be recorded."""
    everything.fill()
    newcomer = Client(served.server.host, "dev")
    newcomer.login(REPOSITORY, "pull")
    newcomer.pull(REPOSITORY, "kept", served.image)
    newcomer.close()
