"""Who watches a server, for tests: a socket on which sd_notify(3) is heard, as systemd hears it."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from select import select
from types import TracebackType
from typing import Self

PATIENCE = 60.0


class Listener:
    """Listens at `path`; `heard` has each line that was said, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []
        self._fresh: deque[str] = deque()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def await_line(self, wanted: Callable[[str], bool] | str) -> str:
        """The first line, of those not looked at before, that is `wanted`, or for which that is true."""
        fits = wanted if callable(wanted) else wanted.__eq__
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            select([self._socket], [], [], 0.1)
            self._receive()
            while self._fresh:
                line = self._fresh.popleft()
                if fits(line):
                    return line
        raise AssertionError(f"{wanted} was not said within {PATIENCE:.0f} s, but {self.heard[-20:]}")

    def now(self) -> list[str]:
        """All that has been said, and not been looked at before."""
        self._receive()
        found = list(self._fresh)
        self._fresh.clear()
        return found

    def _receive(self) -> None:
        with suppress(BlockingIOError):
            while True:
                lines = self._socket.recv(4096).decode().splitlines()
                self.heard += lines
                self._fresh += lines
