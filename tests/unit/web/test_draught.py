"""What a thread takes from a socket: the body and nothing else, from clients of every kind."""

import contextlib
import random
import socket
import struct
from threading import Thread
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from twisted.internet import tcp
from twisted.web.http import _ChunkedTransferDecoder, _IdentityTransferDecoder

from quay.storage.intake import BUFFER, pieces
from quay.web.draught import MOST, PATIENCE, READ, Draught
from quay.web.frames import FrameDecoder

MIB = 1024 * 1024
NEXT = b"GET /v2/ HTTP/1.1\r\n\r\n"


@pytest.fixture
def ends():
    """Both ends of a connection, the server's first."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def drawn(draught, most=MOST):
    """What a draught brings, fetched in a thread; it has ended then."""
    took = []
    thread = Thread(target=lambda: took.extend(bytes(piece) for piece in pieces(draught.fill, most)))
    thread.start()
    thread.join()
    draught.end()
    assert sum(map(len, took)) == draught.taken
    return b"".join(took)


def identity(length):
    return _IdentityTransferDecoder(length, lambda data: None, lambda rest: None)


def plain(ours, length):
    return Draught(SimpleNamespace(socket=ours), identity(length))


def sending(theirs, *parts):
    """A client that sends these, until it is cut off."""

    def send():
        with contextlib.suppress(OSError):
            for part in parts:
                theirs.sendall(part)

    thread = Thread(target=send)
    thread.start()
    return thread


@pytest.mark.parametrize("length", [READ, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER, 2 * MIB + 5])
def test_nothing_beyond_the_end(ends, length):
    """A body of known length is taken to its last byte, wherever that lies in a buffer; the next request stays."""
    ours, theirs = ends
    body = random.Random(length).randbytes(length)
    client = sending(theirs, body + NEXT)
    got, decoder = b"", identity(length)
    while len(got) < length:
        got += drawn(Draught(SimpleNamespace(socket=ours), decoder))
        assert decoder.contentLength == length - len(got)
    client.join()
    assert (got, ours.recv(MIB)) == (body, NEXT)


def test_as_much_as_is_asked_for(ends):
    """A draught ends at the size that it may have, and says that there is more."""
    ours, theirs = ends
    client = sending(theirs, bytes(2 * MIB))
    draught = plain(ours, 4 * MIB)
    draught._patience = 60.0
    assert (len(drawn(draught, MIB)), draught.brimming) == (MIB, True)
    theirs.shutdown(socket.SHUT_RDWR)
    client.join()


def test_a_slow_client_is_not_waited_for(ends):
    """When the client is silent the draught ends, with what there was."""
    ours, theirs = ends
    theirs.sendall(b"slow")
    draught = plain(ours, MIB)
    assert (drawn(draught), draught.brimming) == (b"slow", False)
    silent = plain(ours, MIB)
    assert (drawn(silent), silent.brimming) == (b"", False)


def test_all_waiting_is_counted(ends):
    """A client that brings a byte each time it is waited for does not hold a thread for long."""
    ours, theirs = ends
    draught = plain(ours, MIB)
    waits = []

    def poll(milliseconds):
        waits.append(milliseconds)
        theirs.send(b"x")
        draught._patience -= PATIENCE / 4

    draught._ready = SimpleNamespace(poll=poll)
    drawn(draught)
    assert 0 < len(waits) <= 4


def test_stopped(ends):
    """A draught that is stopped takes nothing, whatever there is."""
    ours, theirs = ends
    theirs.sendall(b"too late")
    draught = plain(ours, MIB)
    draught.stop()
    assert (drawn(draught), ours.recv(100)) == (b"", b"too late")


def test_the_connection_is_closed_meanwhile(ends):
    """The number of the socket cannot become another connection's under a thread: it has one of its own."""
    ours, theirs = ends
    theirs.sendall(b"of the old one")
    draught = plain(ours, MIB)
    number = ours.fileno()
    ours.close()
    stranger, other = socket.socketpair()
    with stranger, other:
        assert number in (stranger.fileno(), other.fileno())
        other.sendall(b"of the new one")
        assert drawn(draught) == b"of the old one"
        assert stranger.recv(100) == b"of the new one"


def test_a_client_that_hangs_up(ends):
    """The end of the connection ends the draught, after what came before; the reactor still finds it out."""
    ours, theirs = ends
    theirs.sendall(b"so far")
    theirs.close()
    assert drawn(plain(ours, MIB)) == b"so far"
    assert ours.recv(100) == b""


def test_a_reset():
    """A reset ends the draught; the reactor still finds it out."""
    with socket.create_server(("127.0.0.1", 0)) as port, socket.create_connection(port.getsockname()) as theirs:
        ours, _ = port.accept()
        ours.setblocking(False)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        assert drawn(plain(ours, MIB)) == b""
        with ours:
            assert ours.recv(100) == b""


def test_no_descriptors_left(ends):
    """A draught gives its descriptor back."""
    ours, _ = ends
    draught = plain(ours, MIB)
    draught.end()
    assert draught._socket.fileno() == -1


@pytest.mark.parametrize("transport", ["a TLS connection", None])
def test_only_from_tcp(transport):
    """Where the bytes of the socket are not those of the body, only the reactor can read."""
    assert Draught.of(transport, identity(MIB)) is None


def test_no_descriptor_left():
    """Where there is no descriptor for a draught, the reactor reads on."""

    class Connection(tcp.Connection):
        def __init__(self):
            self.socket = SimpleNamespace(dup=Mock(side_effect=OSError(24, "Too many open files")))

    assert Draught.of(Connection(), identity(MIB)) is None


# --- chunked bodies


def coding(chance):
    """A body in chunks of all sizes, with extensions and trailers, and perhaps the beginning of another request."""
    parts = []
    for _ in range(chance.randrange(1, 20)):
        data = chance.randbytes(chance.choice((1, 100, 1023, 1024, 32768, READ - 9, READ, BUFFER, BUFFER + 1)))
        extension = chance.choice((b"", b"", b"", b"", b";name=value"))
        parts.append(b"%x%s\r\n%s\r\n" % (len(data), extension, data))
    parts.append(b"0\r\n" + chance.choice((b"", b"Trailer: a\r\n")) + b"\r\n")
    return b"".join(parts) + chance.choice((b"", NEXT, NEXT * 300))


def by_twisted(coded):
    body, following = [], []
    _ChunkedTransferDecoder(body.append, following.append).dataReceived(coded)
    return b"".join(body), b"".join(following)


@pytest.mark.parametrize("seed", range(30))
def test_frames(ends, seed):
    """Taken in turns by a thread and the reactor, a chunked body is what it is for Twisted, and so is what follows."""
    ours, theirs = ends
    coded = coding(random.Random(seed))
    client = sending(theirs, *(coded[at : at + 70_001] for at in range(0, len(coded), 70_001)))
    body, following, by_thread = [], [], 0
    decoder = FrameDecoder(body.append, following.append)
    while not following:
        if decoder.plain:
            draught = Draught(SimpleNamespace(socket=ours), decoder)
            draught._patience = 0.1
            body.append(drawn(draught))
            by_thread += draught.taken
            assert len(draught.rest) <= READ + BUFFER
            if draught.rest:
                decoder.dataReceived(draught.rest)
        if not following:
            ours.setblocking(True)
            decoder.dataReceived(ours.recv(READ))
            ours.setblocking(False)
    client.join()
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        following.append(ours.recv(MIB))
    assert (b"".join(body), b"".join(following)) == by_twisted(coded)
    assert by_thread > 0 or len(coded) < READ + BUFFER


def test_the_end_is_not_waited_at(ends):
    """When the end of a chunked body has come, its thread waits for nothing more."""
    ours, theirs = ends
    decoder = FrameDecoder(lambda data: None, lambda rest: None)
    decoder.dataReceived(b"1000\r\n")
    theirs.sendall(bytes(4096) + b"\r\n0\r\n\r\n")
    draught = Draught(SimpleNamespace(socket=ours), decoder)
    draught._ready = None  # to ask it would fail
    assert drawn(draught) == bytes(4096)
    assert draught.rest == b"\r\n0\r\n\r\n"
    assert draught.understood == 4096


def test_crumbs_are_left_to_the_reactor(ends):
    """Small chunks cost too much for their bytes to hold a thread: the reactor sees to them, and to their number."""
    ours, theirs = ends
    decoder = FrameDecoder(lambda data: None, lambda rest: None)
    decoder.dataReceived(b"1000\r\n")
    theirs.sendall(bytes(4096) + b"\r\n1\r\nx" * 100)
    draught = Draught(SimpleNamespace(socket=ours), decoder)
    assert drawn(draught) == bytes(4096)
    assert draught.rest == b"\r\n1\r\nx" * 100


def test_what_follows_is_bounded(ends):
    """Of what a client sends behind the end, a draught takes no more than the reactor would in one read."""
    ours, theirs = ends
    decoder = FrameDecoder(lambda data: None, lambda rest: None)
    decoder.dataReceived(b"1000\r\n")
    client = sending(theirs, bytes(4096) + b"\r\n0\r\n\r\n" + bytes(MIB))
    draught = Draught(SimpleNamespace(socket=ours), decoder)
    draught._patience = 10.0
    drawn(draught)
    assert len(draught.rest) <= READ
    theirs.shutdown(socket.SHUT_RDWR)
    client.join()
