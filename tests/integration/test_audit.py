"""The audit log of a running server is sealed by it, and verified beside it."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from tests.distribution import Client, Image
from tests.server import PATIENCE, RunningQuay, ServerFailed

REPOSITORY = "dev/simple"


def sealed(database: Path) -> int:
    """How many entries are under a seal."""
    with sqlite3.connect(database) as connection:
        found: int = connection.execute("SELECT count(seal_id) FROM audit").fetchone()[0]
    return found


def test_a_server_seals_its_log(tmp_path: Path) -> None:
    """What was pushed is soon under a seal; whoever then changes the database is found out, with the server running."""
    with RunningQuay(tmp_path) as server:
        server.add_user("dev")
        client = Client(server.host, "dev")
        client.push(REPOSITORY, "latest", Image.made("audit"))
        client.close()
        database = tmp_path / "quay.db"
        deadline = time.monotonic() + PATIENCE
        while not sealed(database):
            assert time.monotonic() < deadline, server.log
            time.sleep(0.1)
        assert ": no problems." in server.command("audit", "verify")
        with sqlite3.connect(database) as connection:
            connection.execute("UPDATE audit SET performer = 'nobody' WHERE seal_id = 1")
        with pytest.raises(ServerFailed, match="not as it was sealed"):
            server.command("audit", "verify")
