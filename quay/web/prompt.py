"""
Connections that send at once: what is written goes to the kernel there and then, as far as it fits.

Twisted's own wait for the reactor to say that the socket can be written to, which it nearly always can: that is two
system calls and a turn of the reactor for every answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.tcp import Port, Server


class PromptConnection(Server):
    """
    A TCP connection whose `write` sends. Whatever the socket does not take waits for the reactor, as it always would.

    Private names of FileDescriptor that are used here: `_tempDataLen` (bytes that were written and not yet looked at),
    `_writeDisconnecting` (the client is to be told that nothing more comes).
    """

    _held = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Send what is written meanwhile in one go, at the end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._tempDataLen:
                self.startWriting()

    def startWriting(self) -> None:
        if self._held:
            return
        if self._may_send() and self.doWrite() is None and not self.dataBuffer:
            return
        super().startWriting()

    def _may_send(self) -> bool:
        """Whether there is something to send that nothing goes before, and nobody is to be told when it has left."""
        untold = self.producer is None or (self.streamingProducer and not self.producerPaused)
        ending = self.disconnecting or self._writeDisconnecting
        return bool(self._tempDataLen) and not self.dataBuffer and not ending and untold


def send_promptly(port: Port) -> None:
    """Let the connections that `port` accepts be such ones."""
    port.transport = PromptConnection
