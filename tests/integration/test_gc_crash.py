"""The server dies in the middle of collecting garbage: nothing is lost or wrong, and the next one finishes the work."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.distribution import Client, digest_of
from tests.server import RunningQuay, rows

pytestmark = pytest.mark.long

HASTE = {"QUAY_GARBAGE_COLLECTION_FREQUENCY": "1", "QUAY_UPLOAD_EXPIRATION": "1"}
CALM = {"QUAY_FEATURE_GARBAGE_COLLECTION": "false"}
GARBAGE, KEPT = b"nobody names this", b"this is named later"


def file_of(data: Path, content: bytes) -> Path:
    hexadecimal = digest_of(content).partition(":")[2]
    return data / "blobs" / "blobs" / "sha256" / hexadecimal[:2] / hexadecimal


@pytest.mark.parametrize("point", ["gc.row-deleted", "gc.bytes-deleted"])
def test_a_collection_survives_a_crash(tmp_path: Path, point: str) -> None:
    """Rows and bytes agree after the crash; the work is finished when the claim has run out; a push brings it back."""
    with RunningQuay(tmp_path, HASTE | {"QUAY_CRASH_AT": point}) as server:
        server.add_user("dev")
        client = Client(server.host, "dev")
        client.push_blob("dev/app", GARBAGE)
        assert server.wait() == -signal.SIGKILL
    assert rows(tmp_path, "SELECT digest, gone FROM condemned") == [(digest_of(GARBAGE), 0)]
    assert rows(tmp_path, "SELECT count(*) FROM blob") == [(0,)]
    assert file_of(tmp_path, GARBAGE).exists() == (point == "gc.row-deleted")
    with RunningQuay(tmp_path, CALM) as server:
        assert "0 problems" in server.command("fsck")
    rows(tmp_path, "UPDATE condemned SET until_ms = 0")
    with RunningQuay(tmp_path, HASTE) as server:
        deadline = time.monotonic() + 30
        while rows(tmp_path, "SELECT gone FROM condemned") == [(0,)]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not file_of(tmp_path, GARBAGE).exists()
    with RunningQuay(tmp_path, CALM) as server:
        client = Client(server.host, "dev")
        client.push_blob("dev/app", GARBAGE)
        assert client.has_blob("dev/app", GARBAGE)
        assert "0 problems" in server.command("fsck")


def test_a_command_beside_the_server(tmp_path: Path) -> None:
    """`quay gc` beside a running server has the server do it, so that its caches know, even where that is off."""
    with RunningQuay(tmp_path, CALM | {"QUAY_GARBAGE_COLLECTION_FREQUENCY": "1"}) as server:
        server.add_user("dev")
        client = Client(server.host, "dev")
        for content in (GARBAGE, KEPT):
            client.push_blob("dev/app", content)
            assert client.has_blob("dev/app", content)
        rows(
            tmp_path,
            "UPDATE repository_blob SET leased_until_ms = 1 WHERE blob_id ="
            f" (SELECT id FROM blob WHERE digest = '{digest_of(GARBAGE)}')",
        )
        assert "links it" in server.command("gc", "--explain", digest_of(GARBAGE))
        assert f"1 links, 1 blobs, {len(GARBAGE)} bytes" in server.command("gc", "--dry-run")
        assert client.has_blob("dev/app", GARBAGE)
        said = server.command("gc")
        assert f"1 links, 1 blobs, {len(GARBAGE)} bytes" in said and "running server" in said
        assert not client.has_blob("dev/app", GARBAGE) and client.has_blob("dev/app", KEPT)
