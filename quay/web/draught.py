"""
A draught of a large body: what a thread takes from the socket in one go, while the reactor does not read it.

It is taken where the client has sent more than one read of the reactor brings. It ends when it is large enough, so
that others get their turn; with the body; and when the client does not keep up, so that no thread waits for a slow one:
that is for the reactor. So is all that is no plain part of the body: one place knows where bodies end, and what is
wrong with them.

What is used of Twisted's beside its interfaces: `socket` of a connection, `contentLength` of the identity decoder.
"""

from __future__ import annotations

from select import POLLIN, poll
from time import perf_counter
from typing import Any, Final

from twisted.internet.tcp import Connection

from quay.web.frames import FrameDecoder

MOST: Final = 8 * 1024 * 1024
"""The size of a draught, in bytes: some milliseconds of work."""

READ: Final = 64 * 1024
"""What the reactor reads at a time, in bytes."""

PATIENCE: Final = 0.005
"""So long a draught waits for its client, all in all, in seconds."""


class Draught:
    """
    From `connection`, what belongs to the body that `decoder` decodes. In a thread, `fill` takes bytes. Afterwards
    `taken` is how many these were; `rest` is what came with them and is not understood yet, by a decoder in the state
    that it needs for it; `understood` is how many bytes came before that, framing included.
    """

    def __init__(self, connection: Connection, decoder: Any) -> None:
        self._socket = connection.socket.dup()  # its number stays ours, whoever closes the connection meanwhile
        self._decoder = decoder
        self._frames = decoder if isinstance(decoder, FrameDecoder) else None
        self._ready = poll()
        self._ready.register(self._socket, POLLIN)
        self._patience = PATIENCE
        self._over = False
        self.taken = self.understood = 0
        self.rest = b""

    @classmethod
    def of(cls, transport: object, decoder: Any) -> Draught | None:
        """None where only the reactor can read: from TLS, between frames that are not plain, or a small rest."""
        worth_it = decoder.plain if isinstance(decoder, FrameDecoder) else decoder.contentLength >= READ
        if not worth_it or not isinstance(transport, Connection):
            return None
        try:
            return cls(transport, decoder)
        except OSError:  # no descriptor is left for it
            return None

    @property
    def brimming(self) -> bool:
        """There is more where that came from."""
        return self.taken > 0 and not self._over

    def stop(self) -> None:
        """Take nothing more."""
        self._over = True

    def end(self) -> None:
        """Let go of the socket; `fill` is not called any more."""
        self._socket.close()
        if self._frames is None:
            self._decoder.contentLength -= self.taken

    # --- in a thread

    def fill(self, buffer: memoryview) -> int:
        """Put bytes of the body at the beginning of `buffer`, as many as there are and fit; how many."""
        if self._frames is None:
            count = self._plainly(buffer[: self._decoder.contentLength - self.taken])
        else:
            count = self._framed(buffer, self._frames)
        self.taken += count
        return count

    def _plainly(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer) and not self._over:
            filled += self._received(buffer[filled:])
        return filled

    def _framed(self, buffer: memoryview, frames: FrameDecoder) -> int:
        filled = 0
        while len(buffer) - filled > READ and not self._over:
            begun = filled + len(self.rest)
            buffer[filled:begun] = self.rest
            came = begun + self._received(buffer[begun : begun + frames.ahead + READ])
            count, used = frames.unframe(buffer[filled:came])
            self.rest = bytes(buffer[filled + used : came])
            self.understood += used
            filled += count
            self._over = self._over or not frames.may_go_on(self.rest)
        return filled

    def _received(self, into: memoryview) -> int:
        """How many bytes there were, which are now in `into`; 0 if it is over."""
        while not self._over:
            try:
                if count := self._socket.recv_into(into):
                    return count
                break
            except BlockingIOError:
                self._wait()
            except OSError:
                break  # the reactor will meet it, too
        self._over = True
        return 0

    def _wait(self) -> None:
        began = perf_counter()
        self._ready.poll(self._patience * 1000)
        self._patience -= perf_counter() - began
        self._over = self._over or self._patience <= 0
