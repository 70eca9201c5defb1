"""
Bodies out: a blob, or a range of one, at the pace of its client.

A plain file on a plain TCP connection leaves by sendfile(2), straight from the page cache; everything else is read in
threads, one piece ahead of the client. The reactor never waits for a disk. What is announced is what is sent: an error
half-way breaks the connection, so that no part looks whole.

Source: RFC 9110 sections 8.6 (Content-Length) and 14 (ranges); sendfile(2); preadv2(2), RWF_NOWAIT.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IReactorTime, ISSLTransport
from twisted.internet.tcp import Connection

from quay.interfaces import IBlobSource, IFileSlice, IPool
from quay.oci.ranges import ByteRange
from quay.web.body import ClientGone
from quay.web.pace import HeldSource, Pace, PagedFile
from quay.web.request import RegistryRequest

READ_BYTES: Final = 512 * 1024
SENDFILE_BYTES: Final = 1024 * 1024
STALL_SECONDS: Final = 120
SOCKET_BYTES: Final = 4 * 1024 * 1024
"""
What a socket is let hold of a large body, where the machine allows so much. Server and client take turns at it, and
on a busy machine each of these turns waits for a processor: the fewer, the better. What sendfile(2) puts there are
pages of the page cache, so it takes no memory of its own.
"""


async def send_source(
    request: RegistryRequest,
    source: IBlobSource,
    byte_range: ByteRange | None = None,
    *,
    reactor: IReactorTime,
    pool: IPool,
    stall_seconds: float = STALL_SECONDS,
) -> int:
    """
    Answer `request` with `source`, or with the part of it that `byte_range` is, and be done with the request;
    returns the number of bytes sent. For HEAD, all but the body. The source is closed whatever happens, once.

    Raises `ClientGone` if the client hangs up, or takes nothing for `stall_seconds`; and what the source raises: that
    can still be answered before the first byte, and has broken the connection after it.
    """
    held = HeldSource(source)
    span = range(source.size) if byte_range is None else range(byte_range.start, byte_range.end + 1)
    if request.method == b"HEAD":
        span = range(0)
    try:
        _announce(request, source.size, byte_range)
        await _send(request, held, span, Pace(request, reactor, stall_seconds), pool)
        request.finish()
    except BaseException:  # cancellation too: half a body must not look whole
        if request.startedWriting:
            request.hang_up()
        raise
    finally:
        held.close()
    return len(span)


def _announce(request: RegistryRequest, size: int, byte_range: ByteRange | None) -> None:
    if byte_range is not None:
        request.setResponseCode(206)
        request.setHeader("Content-Range", byte_range.content_range(size))
    request.setHeader("Accept-Ranges", "bytes")
    request.setHeader("Content-Length", str(size if byte_range is None else byte_range.length))


async def _send(request: RegistryRequest, held: HeldSource, span: range, pace: Pace, pool: IPool) -> None:
    pace.check()
    if not span:
        return
    file = _file(request, held.source, pool)
    if file is None:
        await _send_by_reading(request, held, span, pace)
    else:
        await _send_by_sendfile(request, held, file, span, pace)


def _file(request: RegistryRequest, source: IBlobSource, pool: IPool) -> PagedFile | None:
    """The file behind `source`, if sendfile(2) can take it to the client."""
    transport = request.channel.transport
    plain = isinstance(transport, Connection) and not ISSLTransport.providedBy(transport)
    file = IFileSlice(source, None)
    return PagedFile(file.fileno(), pool) if plain and file is not None and hasattr(os, "sendfile") else None


async def _send_by_reading(request: RegistryRequest, held: HeldSource, span: range, pace: Pace) -> None:
    """One piece is being read while the client takes the one before."""
    while span:
        data = await held.use(held.source.read(span.start, min(len(span), READ_BYTES)))
        pace.check()
        if not data:
            raise EOFError(f"the blob ended {len(span)} bytes too early, at {span.start}")
        if request.producer is None:
            request.registerProducer(pace, True)
        await pace.ready()
        request.write(data[: len(span)])
        span = span[len(data) :]
    await pace.ready()
    request.unregisterProducer()


async def _send_by_sendfile(
    request: RegistryRequest, held: HeldSource, file: PagedFile, span: range, pace: Pace
) -> None:
    """Whenever the transport has sent all it was given, the kernel moves what the socket takes."""
    channel, transport = request.channel, request.channel.transport
    assert isinstance(transport, Connection)
    await _warm(held, file, span)
    pace.check()
    _widen(transport.socket, len(span))
    request.write(b"")  # the head, into the transport's buffer
    channel.lend_transport(pace)
    while span:
        transport.startWriting()
        await pace.turn()
        await _warm(held, file, span)
        pace.check()
        sent = _sendfile(transport.fileno(), file, span)
        request.sentLength += sent
        span = span[sent:]
    channel.reclaim_transport()


def _widen(connected: socket.socket, size: int) -> None:
    # To set it where less is allowed would fix it at that, and keep the kernel from finding a better size by itself.
    if size > SOCKET_BYTES and _allowed() >= SOCKET_BYTES:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)


@cache
def _allowed() -> int:
    """The most that SO_SNDBUF takes here, in bytes; 0 where that is not known."""
    try:
        return int(Path("/proc/sys/net/core/wmem_max").read_text())
    except (OSError, ValueError):
        return 0


async def _warm(held: HeldSource, file: PagedFile, span: range) -> None:
    piece = span[:SENDFILE_BYTES]
    if not file.resident(piece):
        await held.use(file.load(piece))


def _sendfile(descriptor: int, file: PagedFile, span: range) -> int:
    """Bytes moved, perhaps none. Raises `ClientGone`, `EOFError`, or the `OSError` of the medium."""
    try:
        sent = os.sendfile(descriptor, file.descriptor, span.start, min(len(span), SENDFILE_BYTES))
    except BlockingIOError:
        return 0
    except ConnectionError as lost:
        raise ClientGone("the client hung up in the middle of its answer") from lost
    if sent == 0:
        raise EOFError(f"the blob ended {len(span)} bytes too early, at {span.start}")
    return sent
