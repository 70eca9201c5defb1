"""HTTP as bytes on a socket: for requests that no client library would send, and answers that it would not show."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

import attrs

PATIENCE = 15.0


@attrs.frozen
class Reply:
    """One answer; headers by name in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """One connection to a server on the loopback."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def reply(self, method: str = "GET") -> Reply:
        """The next answer. Raises ConnectionError where there is none."""
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        status = int(head[0].split()[1])
        bodiless = method == "HEAD" or status in (204, 304) or status < 200
        length = 0 if bodiless else int(headers["content-length"])
        while len(self._rest) < length:
            self._receive()
        body, self._rest = self._rest[:length], self._rest[length:]
        return Reply(status, headers, body)

    def ended(self) -> bytes:
        """What still comes until the server hangs up, politely or not."""
        try:
            while True:
                self._receive()
        except ConnectionError:
            return self._rest

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            self._receive()
        found, _, self._rest = self._rest.partition(mark)
        return found

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server hung up")
        self._rest += data
