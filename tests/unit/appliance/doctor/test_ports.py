"""Who listens where the server is to, and what comes back through each of its URLs."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from appliance.doctor.patient import Host, Patient
from appliance.doctor.ports import look
from quay.condition import State
from tests.unit.appliance.doctor.patients import machine, only, patient, states

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LINE = (
    "   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 777 1 x\n"
)


def listens(tmp_path: Path, address: str, *, state: str = "0A", comm: str = "nginx") -> Host:
    """A machine on which process 4321 has the port 8443."""
    host = machine(
        tmp_path / "machine",
        {
            "/proc/net/tcp": HEAD + LINE.format(address=address, port=8443, state=state),
            "/proc/4321/comm": f"{comm}\n",
            "/proc/locks": "",
        },
    )
    descriptors = host.path("/proc/4321/fd")
    descriptors.mkdir()
    (descriptors / "7").symlink_to("socket:[777]")
    return host


@contextmanager
def serving(whom: Patient, pid: int) -> Iterator[None]:
    """A process that has the lock of the data directory."""
    lock = whom.config.data / "server.lock"
    lock.write_text(f"process {pid} on this-machine\n")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        line = f"1: FLOCK  ADVISORY  WRITE {pid} fe:00:{os.stat(lock).st_ino} 0 EOF\n"
        whom.host.path("/proc/locks").parent.mkdir(parents=True, exist_ok=True)
        whom.host.path("/proc/locks").write_text(line)
        yield


def test_a_free_port(tmp_path: Path) -> None:
    """Nobody listens, and the server does not run: it is free, and nothing can be asked."""
    whom = patient(tmp_path, machine(tmp_path / "machine"), LISTEN="127.0.0.1:8443")
    assert [state for state, _ in states(look, whom)] == [State.FINE, State.UNSEEN]


@pytest.mark.parametrize("address", ["00000000", "0100007F"])
def test_somebody_else(tmp_path: Path, address: str) -> None:
    """Who it is stands in the sentence, also where he listens on every address."""
    whom = patient(tmp_path, listens(tmp_path, address), LISTEN="127.0.0.1:8443")
    finding = only(look, whom, State.WRONG)
    assert finding.sentence.startswith("127.0.0.1:8443 is held by nginx (process 4321)")
    assert finding.fix == "ps -fp 4321"


def test_another_address(tmp_path: Path) -> None:
    """A program at another address of the machine is in nobody's way."""
    whom = patient(tmp_path, listens(tmp_path, "0500000A"), LISTEN="127.0.0.1:8443")
    assert states(look, whom)[0] == (State.FINE, "127.0.0.1:8443 is free.")


def test_the_server_itself(tmp_path: Path) -> None:
    """Its own port is its own."""
    whom = patient(tmp_path, listens(tmp_path, "0100007F"), LISTEN="127.0.0.1:8443")
    with serving(whom, 4321):
        assert states(look, whom)[0] == (State.FINE, "The server listens on 127.0.0.1:8443.")


def test_a_server_that_listens_elsewhere(tmp_path: Path) -> None:
    """It was started with another configuration."""
    whom = patient(tmp_path, machine(tmp_path / "machine"), LISTEN="127.0.0.1:8443")
    with serving(whom, 4321):
        found = states(look, whom)
    assert found[0][0] is State.WRONG
    assert "nothing listens on 127.0.0.1:8443" in found[0][1]


def test_an_address_of_six(tmp_path: Path) -> None:
    """The kernel writes IPv6 addresses in words of four bytes."""
    host = machine(
        tmp_path / "machine",
        {"/proc/net/tcp6": HEAD + LINE.format(address="00000000000000000000000001000000", port=8443, state="0A")},
    )
    whom = patient(tmp_path, host, LISTEN="[::1]:8443")
    assert "Something listens on [::1]:8443" in only(look, whom, State.REMARKABLE).sentence


# --- answers


@contextmanager
def answering(status: int, headers: dict[str, str]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "headers", "state", "word"),
    [
        (401, {"Docker-Distribution-Api-Version": "registry/2.0"}, State.FINE, "answers as a registry"),
        (200, {"Docker-Distribution-Api-Version": "registry/2.0"}, State.FINE, "answers as a registry"),
        (200, {}, State.WRONG, "not as a registry"),
        (503, {}, State.WRONG, "answers 503"),
    ],
)
def test_answers(tmp_path: Path, status: int, headers: dict[str, str], state: State, word: str) -> None:
    """Only a registry answers as one."""
    with answering(status, headers) as port:
        whom = patient(tmp_path, machine(tmp_path / "machine"), LISTEN=f"127.0.0.1:{port}")
        with serving(whom, 4321):
            *_, last = states(look, whom)
    assert last[0] is state
    assert word in last[1]


def test_nobody_answers(tmp_path: Path) -> None:
    """How far the call came is said."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        whom = patient(tmp_path, machine(tmp_path / "machine"), LISTEN=f"127.0.0.1:{port}")
        with serving(whom, 4321):
            *_, last = states(look, whom)
    assert last[0] is State.WRONG
    assert f"No connection to 127.0.0.1, port {port}: Connection refused." in last[1]
