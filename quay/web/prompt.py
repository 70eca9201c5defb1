"""
Connections that send at once: what is written goes to the kernel there and then, as far as it fits.

Twisted's own wait for the reactor to say that the socket can be written to, which it nearly always can: that is two
system calls and a turn of the reactor for every answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from OpenSSL.SSL import WantReadError
from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Port, Server
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory

RECORD: Final = 16 * 1024
RECORD_COST: Final = 64
"""What a record of TLS holds, and more than it adds to that, in bytes."""


class PromptConnection(Server):
    """
    A TCP connection whose `write` sends. Whatever the socket does not take waits for the reactor, as it always would.

    Private names of FileDescriptor that are used here: `_tempDataLen` (bytes that were written and not yet looked at),
    `_writeDisconnecting` (the client is to be told that nothing more comes).
    """

    SEND_LIMIT = 1024 * 1024  # what is given to the kernel at a time; what is cut at it is copied
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


class PromptTLS(BufferingTLSTransport):
    """
    TLS on such a connection: the records that one write becomes leave together.

    Private names of TLSMemoryBIOProtocol that are used here: `_write` and `_flushSendBIO`, which are overridden;
    `_tlsConnection`; `_lostTLSConnection` (nothing can be said any more).
    """

    transport: ITransport
    _gathering = False

    def _write(self, data: bytes) -> None:
        if self._lostTLSConnection:
            return
        self._gathering = True
        try:
            super()._write(data)
        finally:
            self._gathering = False
        self._pass_on(len(data) + (len(data) // RECORD + 1) * RECORD_COST)

    def _flushSendBIO(self) -> None:
        if not self._gathering:
            super()._flushSendBIO()

    def _pass_on(self, most: int) -> None:
        with suppress(WantReadError):  # there is nothing, or nothing more
            while len(data := self._tlsConnection.bio_read(most)) == most:
                self.transport.write(data)
            self.transport.write(data)


def send_promptly(port: Port) -> None:
    """Let the connections that `port` accepts be such ones."""
    port.transport = PromptConnection
    if isinstance(port.factory, TLSMemoryBIOFactory):
        port.factory.protocol = PromptTLS
