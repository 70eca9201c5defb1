"""
Upgrades with data, and the way back: a registry of the version before is migrated, used, and rolled back; what a
program must not touch, it does not, and says why.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from quay.database.schema import SCHEMA
from tests.distribution import Client, Image
from tests.predecessor import turned_back
from tests.server import RunningQuay, ServerFailed, rows

pytestmark = pytest.mark.long

APP = "dev/app"
BEFORE, AFTER = Image.made("before the upgrade"), Image.made("after it")


class Installed(RunningQuay):
    """A server of the program that is copied to machines, or of the same commands from this tree."""

    def __init__(self, data: Path, program: list[str], env: dict[str, str] | None = None) -> None:
        super().__init__(data, env)
        self._program = program

    def _command(self, *arguments: str) -> list[str]:
        return [*self._program, *arguments]


@pytest.fixture(params=["tree", "binary"])
def program(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "tree":
        return [sys.executable, "-m", "appliance"]
    return [str(request.getfixturevalue("binary"))]


def schema(data: Path) -> int:
    return int(str(rows(data, "SELECT value FROM setting WHERE key = 'schema'")[0][0]))


def test_there_and_back(tmp_path: Path, program: list[str]) -> None:
    """
    A registry of the version before keeps all it had, when it is served by this one; going back, its database is what
    it was, and what was pushed since is lost, as was said.
    """
    server = Installed(tmp_path, program)
    with server:
        server.add_user("dev")
        client = Client(server.host, "dev")
        client.push(APP, "before", BEFORE)
        client.close()
        server.stop()
    turned_back(tmp_path / "quay.db", SCHEMA - 1)
    with server:
        assert schema(tmp_path) == SCHEMA
        client = Client(server.host, "dev")
        client.pull(APP, "before", BEFORE)
        client.push(APP, "after", AFTER)
        with pytest.raises(ServerFailed, match=rf"Another server is using {tmp_path}: process {server.pid} "):
            server.command("rollback", "--yes")
        client.close()
        server.stop()
    said = server.command("rollback", "--yes")
    assert f"the database with schema {SCHEMA - 1}" in said and "Lost will be 2 pushes" in said
    assert schema(tmp_path) == SCHEMA - 1
    assert rows(tmp_path, "SELECT name FROM tag WHERE end_ms IS NULL AND NOT hidden") == [("before",)]
    with server:
        client = Client(server.host, "dev")
        client.pull(APP, "before", BEFORE)
        assert client.manifest(APP, "after") is None
        client.push(APP, "after", AFTER)
        client.pull(APP, "after", AFTER)
        client.close()
        server.stop()
    assert "0 problems" in server.command("fsck")


def test_a_newer_database(tmp_path: Path, program: list[str]) -> None:
    """A database of a later version is neither served nor changed, and it is said which version that was."""
    server = Installed(tmp_path, program)
    server.command("migrate")
    for key, value in (("schema", SCHEMA + 2), ("schema_compat", SCHEMA + 1), ("version", "'9.8.7'")):
        rows(tmp_path, f"UPDATE setting SET value = {value} WHERE key = '{key}'")
    server.start(await_health=False)
    assert server.wait() == 1
    assert f"schema {SCHEMA + 2}, made by version 9.8.7" in server.log
    assert f"nothing older than the version with schema {SCHEMA + 1} may use it" in server.log
    with pytest.raises(ServerFailed, match=r"made by version 9\.8\.7"):
        server.command("migrate")
    assert schema(tmp_path) == SCHEMA + 2


def test_nothing_to_go_back_to(tmp_path: Path, program: list[str]) -> None:
    """A registry that began with this version has no way back, which is said."""
    server = Installed(tmp_path, program)
    server.command("migrate")
    with pytest.raises(ServerFailed, match=r"nothing to go back to: version .* has not migrated"):
        server.command("rollback", "--yes")
