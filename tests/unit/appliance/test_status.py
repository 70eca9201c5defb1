"""How a server does, seen from outside: by what systemd says of it, and by what really answers."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from appliance import systemd
from appliance.layout import Layout, point
from appliance.status import Health, Status, look
from quay import authority, config
from quay.lock import DataLock
from quay.setup import CertificateFiles

WELL = {"database": True, "storage:default": True}
NOW = datetime.now(UTC)


class Server:
    """Answers at /health what it is told, over TLS if it has a certificate that began then."""

    def __init__(self, directory: Path, begun: datetime | None = None) -> None:
        self.body = json.dumps({"status_code": 200, "data": {"services": WELL}}).encode()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        if begun is not None:
            CertificateFiles(directory).make(("127.0.0.1",), begun)
            shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            shown.load_cert_chain(CertificateFiles(directory).server)
            self._server.socket = shown.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"{'http' if begun is None else 'https'}://0.0.0.0:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def say(self, services: Mapping[str, bool]) -> None:
        self.body = json.dumps({"data": {"services": services}}).encode()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A machine on which something is installed."""
    made = Layout(tmp_path / "machine")
    point(made.pointer, tmp_path / "data")
    (tmp_path / "data").mkdir()
    return made


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path, NOW)
    yield made
    made.stop()


def unit(monkeypatch: pytest.MonkeyPatch, **properties: str) -> None:
    """systemd says this of the unit."""
    monkeypatch.setattr(systemd, "shown", lambda: {"LoadState": "loaded", "NRestarts": "0", **properties})


def active(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    unit(monkeypatch, ActiveState="active", SubState="running", StatusText=said, ActiveEnterTimestamp="Fri 2026-11-27")


def test_healthy(layout: Layout, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unit runs, the server answers where it says that it serves, and all parts work: nobody needs to be root."""
    active(monkeypatch, f"quay 1.2.3 serves {server.url}")
    found = look(layout, layout.data, None)
    assert (found.health, found.version, found.urls, found.services) == (Health.HEALTHY, "1.2.3", (server.url,), WELL)
    assert found.certificate_ends == (NOW + authority.SERVER_LIFE).replace(microsecond=0)
    assert found.free and found.total and found.free <= found.total
    lines = list(found.lines(NOW))
    assert lines[0] == "Quay 1.2.3 is healthy."
    assert any("in 364 days" in line or "in 365 days" in line for line in lines)


def test_a_part_that_does_not_work(layout: Layout, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not work is named, whatever systemd thinks."""
    active(monkeypatch, f"quay 1.2.3 serves {server.url}; The database is away.")
    server.say({"database": False, "storage:default": True})
    found = look(layout, layout.data, None)
    assert (found.health, found.trouble) == (Health.ILL, "database does not work.")


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"data": {"services": 7}}', b"\xff" * 70000])
def test_something_else_answers(layout: Layout, server: Server, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """Whatever is at the port, the answer is a sentence."""
    active(monkeypatch, f"quay 1.2.3 serves {server.url}")
    server.body = body
    found = look(layout, layout.data, None)
    assert found.health is Health.ILL
    assert "/health does not answer" in found.trouble


def test_nothing_answers(layout: Layout, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that runs and does not serve is ill."""
    active(monkeypatch, f"quay 1.2.3 serves {server.url}")
    server.stop()
    found = look(layout, layout.data, None)
    assert found.health is Health.ILL
    assert "Connection refused" in found.trouble
    server.__init__(layout.root)  # type: ignore[misc]  # for the fixture, which stops one


def test_a_certificate_that_has_ended(tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no reason not to look, and a reason not to be well."""
    ended = Server(tmp_path / "ended", NOW - authority.SERVER_LIFE - timedelta(days=1))
    try:
        active(monkeypatch, f"quay 1.2.3 serves {ended.url}")
        found = look(layout, layout.data, None)
    finally:
        ended.stop()
    assert (found.health, found.trouble) == (Health.ILL, "The certificate has ended.")


@pytest.mark.parametrize(
    ("state", "health"),
    [
        ("inactive", Health.STOPPED),
        ("failed", Health.STOPPED),
        ("activating", Health.ILL),
        ("deactivating", Health.STOPPED),
    ],
)
def test_not_active(layout: Layout, monkeypatch: pytest.MonkeyPatch, state: str, health: Health) -> None:
    """What systemd has stopped does not run; what it starts again and again is ill, and says why."""
    unit(monkeypatch, ActiveState=state, SubState="auto-restart", StatusText="Port 443 is taken.")
    found = look(layout, layout.data, None)
    assert found.health is health
    assert state == "inactive" or "Port 443 is taken." in found.trouble


def test_without_systemd(tmp_path: Path) -> None:
    """A server that somebody has started by himself is found by its lock and its configuration."""
    data, nothing = tmp_path / "data", Layout(tmp_path / "machine")
    assert look(nothing, data, None).health is Health.STOPPED
    server, lock = Server(tmp_path), DataLock(data)
    try:
        used = config.parse(f"LISTEN: 127.0.0.1:{server.port}", {}, tmp_path, data=str(data))
        assert look(nothing, data, used).health is Health.STOPPED
        lock.acquire()
        found = look(nothing, data, used)
    finally:
        lock.release()
        server.stop()
    assert (found.health, found.certificate_ends) == (Health.HEALTHY, None)


def test_for_programs() -> None:
    """All of it can be read as JSON."""
    made = Status(health=Health.ILL, data=Path("/data"), certificate_ends=NOW, services=WELL, urls=("https://a",))
    read = json.loads(json.dumps(made.plain))
    assert (read["health"], read["data"], read["services"]) == ("ill", "/data", WELL)
    assert datetime.fromisoformat(read["certificate_ends"]) == NOW
