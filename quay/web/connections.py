"""
How much of its clients a server bears, and who is connected.
"""

from __future__ import annotations

from typing import Protocol

import attrs
from twisted.internet.defer import Deferred, succeed


@attrs.frozen
class Limits:
    """Sizes in bytes, times in seconds."""

    connections: int = 4000  # more are answered 503, and more than twice as many not at all
    target_bytes: int = 8 * 1024
    head_bytes: int = 32 * 1024
    headers: int = 100
    head_seconds: int = 20  # for a whole head, from its first byte
    idle_seconds: int = 75  # between two requests
    body_seconds: int = 30  # a body that is being read must make …
    body_progress: int = 1024  # … this much progress in each such period
    framing_ratio: int = 16  # a chunked body may take so many bytes on the wire for one of its own
    drain_bytes: int = 64 * 1024  # an unread rest up to this is read and thrown away, to keep the connection
    linger_bytes: int = 8 * 1024 * 1024  # what is thrown away while a client reads its refusal …
    linger_seconds: int = 5  # … and for how long
    close_seconds: int = 120  # for the last bytes of a last answer to leave


class Connection(Protocol):
    """What can be asked of one connection."""

    def retire(self) -> None: ...


class Connections:
    """The open connections of one site, counted against its limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: set[Connection] = set()
        self._retired: Deferred[None] | None = None
        self.retiring = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def crowded(self) -> bool:
        """There are more than can be served."""
        return len(self._open) > self._limit

    @property
    def flooded(self) -> bool:
        """There are more than can even be told so."""
        return len(self._open) > 2 * self._limit

    def opened(self, connection: Connection) -> None:
        self._open.add(connection)

    def closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        retired = self._retired
        if retired is not None and not self._open:
            self._retired = None
            retired.callback(None)

    def retire(self) -> Deferred[None]:
        """Close each connection after the answer it waits for, idle ones now; fires when the last is gone. Once."""
        self.retiring = True
        if not self._open:
            return succeed(None)
        retired = self._retired = Deferred()
        for connection in tuple(self._open):
            connection.retire()
        return retired
