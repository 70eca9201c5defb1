"""A real server tells who watches it how it does, as it tells systemd."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quay import __version__
from quay.setup import CertificateFiles
from tests.server import RunningQuay
from tests.supervisor import Listener

PATIENCE_US = 600_000


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    with Listener(tmp_path / "notify") as made:
        yield made


def watched(data: Path, listener: Listener, **settings: str) -> RunningQuay:
    return RunningQuay(data, {"NOTIFY_SOCKET": str(listener.path), "WATCHDOG_USEC": str(PATIENCE_US), **settings})


def test_from_start_to_stop(tmp_path: Path, listener: Listener) -> None:
    """It says that it starts, that it is ready, where it serves, again and again that it is well, and its stop."""
    server = watched(tmp_path / "data", listener)
    server.start(await_health=False)  # and listen meanwhile: of what nobody listens to, the socket holds little
    try:
        listener.await_line("READY=1")
        assert listener.heard[0].startswith("EXTEND_TIMEOUT_USEC=")
        listener.await_line(f"STATUS=quay {__version__} serves {server.url}")
        for _ in range(3):
            listener.await_line("WATCHDOG=1")
        assert server.stop() == 0
        listener.await_line("STOPPING=1")
    finally:
        server.kill()
    assert not [line for line in listener.now() if line.startswith("READY")]


def test_a_reload(tmp_path: Path, listener: Listener) -> None:
    """SIGHUP is a reload for the supervisor, too: it begins, and it ends."""
    CertificateFiles(tmp_path / "data").make(("127.0.0.1",), datetime.now(UTC))
    tls = {"QUAY_TLS_CERTIFICATE": "tls/server.pem", "QUAY_TLS_KEY": "tls/server.pem"}
    server = watched(tmp_path / "data", listener, **tls)
    server.start(await_health=False)
    try:
        listener.await_line("READY=1")
        os.kill(server.pid, signal.SIGHUP)
        listener.await_line("RELOADING=1")
        listener.await_line("READY=1")
    finally:
        server.kill()


def test_a_start_that_fails(tmp_path: Path, listener: Listener) -> None:
    """Why it could not start is its status."""
    with watched(tmp_path / "data", listener) as first:
        second = watched(first.data, listener)
        second.start(await_health=False)
        listener.await_line(lambda line: line.startswith("STATUS=Another server is using"))
        assert second.wait() == 1
