"""
Files that were damaged behind the back of a running server: they are found, never served, and healed by a push.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distribution import digest_of
from tests.faults.server import BUSY, REPOSITORY, Served, await_that
from tests.server import RunningQuay, ServerFailed

pytestmark = pytest.mark.long


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with RunningQuay(tmp_path / "data", BUSY) as server:
        server.add_user("dev")
        yield Served.by(server)


def complaint(served: Served, *command: str) -> str:
    """What a command says that finds something wrong. Raises AssertionError if it finds nothing."""
    with pytest.raises(ServerFailed) as caught:
        served.server.command(*command)
    return str(caught.value)


def status(served: Served, data: bytes) -> int:
    return served.client.call("GET", REPOSITORY, f"blobs/{digest_of(data)}").expect(200, 503).status


def test_damaged_files(served: Served) -> None:
    """
    A missing, a truncated and a rotten blob, and a stray file: `quay fsck` and `quay scrub` beside the server find each
    of them; from then on nothing wrong is served, and a push of the image heals it.
    """
    image = served.image
    missing, truncated, rotten = image.layers
    stray = b"stray"
    served.file_of(missing).unlink()
    served.file_of(truncated).write_bytes(truncated[:-1])
    flipped = bytes([rotten[0] ^ 1]) + rotten[1:]
    served.file_of(rotten).write_bytes(flipped)
    served.file_of(stray).write_bytes(stray)
    assert status(served, missing) == status(served, truncated) == 503
    assert "2 problems remain" in complaint(served, "fsck", "--repair")  # what a push alone can mend
    assert "1 blobs had rotted" in complaint(served, "scrub", "--rate", "1000")
    assert not served.file_of(stray).exists()
    await_that(lambda: all(status(served, one) == 503 for one in image.layers), "nothing wrong is served")
    served.client.push(REPOSITORY, "kept", image)
    assert "0 problems" in served.server.command("fsck")
    assert "No blob has rotted" in served.server.command("scrub", "--rate", "1000")
    served.pull()
    served.check()
