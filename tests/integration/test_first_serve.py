"""`quay serve`, as it is installed: it begins a registry where there is none, and only there."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.server import RunningQuay


class Installed(RunningQuay):
    """A server that the installed command starts."""

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "appliance", *arguments]


def test_whoever_decides_is_obeyed(tmp_path: Path) -> None:
    """One setting in the environment, and nothing is begun for anybody: the defaults do, as ever."""
    with Installed(tmp_path / "data") as server:
        assert server.healthy()
        assert not (server.data / "quay.yaml").exists()
        assert not (server.data / "tls").exists()


def test_what_is_there_stays(tmp_path: Path) -> None:
    """A configuration that somebody has written is what counts."""
    server = Installed(tmp_path / "data")
    del server._environment["QUAY_LISTEN"]
    written = f"LISTEN: 127.0.0.1:{server.port}\n"
    (server.data / "quay.yaml").write_text(written)
    with server:
        assert server.healthy()
    assert (server.data / "quay.yaml").read_text() == written
