"""
Machines that can reach nothing: a network of one's own with only a loopback, where Python and this checkout are hidden.

What runs there has what a bare Linux has, and the file that was copied to it. Needs root.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.clients.programs import PATIENCE, Program
from tests.server import REPOSITORY, RunningQuay

CLONE_NEWNET = 0x40000000
NSENTER = shutil.which("nsenter") or "nsenter"
NOTHING = "/nonexistent"
"""A PATH on which nothing is found."""


class IslandMissing(Exception):
    """This process may not make networks and mounts of its own; the message says why."""


def hidden() -> list[Path]:
    """What a bare machine does not have: every Python, this checkout's code, and what it was built in."""
    pythons = {Path(sys.prefix), Path(sys.base_prefix)} - {Path("/usr")}
    built = [REPOSITORY / name for name in ("quay", "appliance", "build", ".venv")]
    return sorted({path for path in (*pythons, *built) if path.is_dir()})


class Island:
    """One such machine, from `with` to its end; several cannot reach each other either."""

    _holder: subprocess.Popen[Any]

    def __enter__(self) -> Self:
        script = [
            "ip link set lo up",
            *(f"mount -t tmpfs -o size=1m none {shlex.quote(str(path))}" for path in hidden()),
            "for python in /usr/bin/python3*; do [ -f $python ] && mount --bind /dev/null $python; done",
            "mount -t tmpfs none /var/cache",  # where root unpacks it
            "echo ready",
            "exec cat",  # until this process lets go of its end
        ]
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", "set -e\n" + "\n".join(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None and self._holder.stderr is not None
        if self._holder.stdout.readline() != "ready\n":
            self._holder.wait(PATIENCE)
            raise IslandMissing(self._holder.stderr.read().strip() or "unshare does not work here")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._holder.communicate(timeout=PATIENCE)

    def command(self, *arguments: object, directory: Path = Path("/")) -> list[str]:
        """The command line that runs a command there; it is the same process, for signals and for its status."""
        entrance = (NSENTER, f"--target={self._holder.pid}", "--net", "--mount", f"--wdns={directory}")
        return [*entrance, "--", *map(str, arguments)]

    def program(self, *command: object, env: Mapping[str, object] | None = None) -> Program:
        """A program there, in an environment that has only `env`."""
        return Program(tuple(self.command(*command)), {name: str(value) for name, value in (env or {}).items()})

    def connect(self, port: int, timeout: float = 10.0) -> socket.socket:
        """A connection to a port of its loopback, for the process of the test. Raises `OSError`."""
        with open(f"/proc/{self._holder.pid}/ns/net") as network:
            made = _in_thread(lambda: _socket_of(network.fileno()))
        try:
            made.settimeout(timeout)
            made.connect(("127.0.0.1", port))
        except OSError:
            made.close()
            raise
        return made

    def http(self, port: int, tls: ssl.SSLContext | None = None) -> HTTPConnection:
        """An HTTP client of the test that is connected to a port of its loopback. Raises `OSError`."""
        client = HTTPConnection("127.0.0.1", port)
        plain = self.connect(port)
        client.sock = tls.wrap_socket(plain, server_hostname=client.host) if tls else plain
        return client


def _socket_of(network: int) -> socket.socket:
    """A socket in another network: what the calling thread makes belongs to the network that the thread is in."""
    if ctypes.CDLL(None, use_errno=True).setns(network, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return socket.socket()


def _in_thread(work: Any) -> socket.socket:
    """What `work` gives in a thread that ends with it."""
    made: list[socket.socket] = []
    thread = threading.Thread(target=lambda: made.append(work()))
    thread.start()
    thread.join()
    return made[0]


class BinaryQuay(RunningQuay):
    """
    The built file as a server on an island, with nothing in its environment but where its data are, and `env`. What it
    unpacks lies beside the file, for all that run it. Once it serves by TLS, `tls` is whom the test trusts.
    """

    tls: ssl.SSLContext | None = None

    def __init__(self, binary: Path, island: Island, data: Path, env: Mapping[str, str] | None = None) -> None:
        super().__init__(data, {"PATH": NOTHING, "XDG_CACHE_HOME": str(binary.parent), **(env or {})})
        self.binary = binary
        self.island = island

    def _connection(self) -> HTTPConnection:
        return self.island.http(self.port, self.tls)

    def _command(self, *arguments: str) -> list[str]:
        return self.island.command(self.binary, *arguments, directory=self.data.parent)
