"""What is written to a connection leaves at once, in order, and whatever does not fit as ever."""

import contextlib
import socket
import ssl
from datetime import UTC, datetime
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from quay.service.tls import Certificates
from quay.setup import CertificateFiles
from quay.web.prompt import PromptConnection, send_promptly

MUCH = 8 * 1024 * 1024


class Reactor:
    """Which connections it is to look after."""

    def __init__(self):
        self.writers = set()

    def addReader(self, reader):
        """Nobody reads here."""

    removeReader = addReader

    def addWriter(self, writer):
        self.writers.add(writer)

    def removeWriter(self, writer):
        self.writers.discard(writer)


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture
def ends(reactor):
    """The connection, and the other end of it."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with ours, theirs:
        yield PromptConnection(ours, Protocol(), ("127.0.0.1", 1), Mock(), 1, reactor), theirs


def everything(connection, theirs):
    """What the other end gets while the reactor sees to the rest."""
    got = b""
    while True:
        try:
            got += theirs.recv(MUCH)
        except BlockingIOError:
            if connection not in connection.reactor.writers:
                return got
            connection.doWrite()


def test_it_leaves_at_once(reactor, ends):
    """What the socket takes is with the other end when `write` returns, and the reactor has nothing to do with it."""
    connection, theirs = ends
    connection.write(b"hello")
    connection.writeSequence([b", ", b"world"])
    assert (theirs.recv(100), reactor.writers) == (b"hello, world", set())


def test_what_does_not_fit_waits(reactor, ends):
    """What the socket does not take is the reactor's, and nothing that is written later comes before it."""
    connection, theirs = ends
    data = bytes(range(256)) * 4096
    for at in range(0, len(data), 60_000):
        connection.write(data[at : at + 60_000])
    assert reactor.writers == {connection}
    connection.write(b"last")
    assert everything(connection, theirs) == data + b"last"
    connection.write(b"again")
    assert (theirs.recv(100), reactor.writers) == (b"again", set())


def test_as_one(reactor, ends):
    """What is written while it is held leaves in one go, at the end."""
    connection, theirs = ends
    with connection.held():
        connection.write(b"head")
        connection.write(b"body")
        with pytest.raises(BlockingIOError):
            theirs.recv(100)
    assert (theirs.recv(100), reactor.writers) == (b"headbody", set())
    with connection.held():
        """Nothing is written."""
    assert reactor.writers == set()


def test_held_when_it_fails(ends):
    """A failure while it is held lets go of it."""
    connection, theirs = ends
    with pytest.raises(ValueError, match="no"), connection.held():
        connection.write(b"half")
        raise ValueError("no")
    assert theirs.recv(100) == b"half"


def test_the_end_is_the_reactors(reactor, ends):
    """Closing after a write is left to the reactor, which has nothing more to send."""
    connection, theirs = ends
    connection.write(b"bye")
    connection.loseConnection()
    assert (theirs.recv(100), reactor.writers) == (b"bye", {connection})


def test_a_half_close_is_the_reactors(reactor, ends):
    """The same for the end of what we say."""
    connection, theirs = ends
    connection.write(b"bye")
    connection.loseWriteConnection()
    assert reactor.writers == {connection}
    assert connection.doWrite() is None
    assert (theirs.recv(100), theirs.recv(100)) == (b"bye", b"")


def test_nobody_is_there(reactor, ends):
    """A write to a connection that is broken raises nothing: the reactor finds it out."""
    connection, theirs = ends
    theirs.close()
    connection.write(b"hello")
    assert reactor.writers == {connection}
    assert isinstance(connection.doWrite(), Exception)


@implementer(IPullProducer)
class Pulled:
    asked = 0

    def resumeProducing(self):
        self.asked += 1

    def stopProducing(self):
        """It ends."""


def test_a_producer_that_is_asked(reactor, ends):
    """Whoever is asked for more when all has left is asked by the reactor, and never from within his own write."""
    connection, theirs = ends
    producer = Pulled()
    connection.registerProducer(producer, False)
    connection.write(b"piece")
    assert (producer.asked, reactor.writers) == (1, {connection})
    connection.doWrite()
    assert (producer.asked, theirs.recv(100)) == (2, b"piece")


@implementer(IPushProducer)
class Pushing(Pulled):
    paused = False

    def pauseProducing(self):
        self.paused = True

    def resumeProducing(self):
        self.paused = False


def test_a_producer_that_is_paused(reactor, ends):
    """A producer that filled the buffer goes on when the reactor has emptied it."""
    connection, theirs = ends
    producer = Pushing()
    connection.registerProducer(producer, True)
    connection.write(b"a")
    assert (producer.paused, reactor.writers) == (False, set())
    connection.write(bytes(MUCH))
    assert (producer.paused, reactor.writers) == (True, {connection})
    assert len(everything(connection, theirs)) == 1 + MUCH
    assert not producer.paused


# --- TLS


class Written(StringTransport):
    """How often something was written."""

    times = 0

    def write(self, data):
        self.times += 1
        super().write(data)


class Client:
    """The other end of a TLS connection, in memory."""

    def __init__(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)

    def shake_hands(self, server):
        for _ in range(2):
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
            self.talk(server)

    def talk(self, server):
        """Let the server hear what there is, and hear it."""
        if said := self._outgoing.read():
            server.dataReceived(said)
        self._incoming.write(server.transport.value())
        server.transport.clear()

    def read(self):
        got = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while piece := self._tls.read(MUCH):
                got += piece
        return got


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tls(tmp_path, clock):
    """Our end of a TLS connection."""
    files = CertificateFiles(tmp_path)
    files.make(("registry.example.org",), datetime.now(UTC))
    certificates = Certificates(files.server, files.server)
    certificates.load()
    factory = TLSMemoryBIOFactory(certificates, False, Factory.forProtocol(Protocol), clock)
    send_promptly(SimpleNamespace(factory=factory))
    made = factory.buildProtocol(None)
    made.makeConnection(Written())
    return made


@pytest.fixture
def client(tls):
    """The other end, which has shaken hands."""
    made = Client()
    made.shake_hands(tls)
    return made


def test_records_leave_together(tls, client):
    """What one write becomes, however many records that are, leaves in one piece; the other end reads what it was."""
    data = bytes(range(256)) * 4096
    tls.transport.times = 0
    tls.write(data)
    assert tls.transport.times == 1
    client.talk(tls)
    assert client.read() == data


def test_a_small_write_waits_for_others(tls, client, clock):
    """Small writes are gathered by Twisted until the next turn, and then leave as one."""
    tls.transport.times = 0
    for _ in range(10):
        tls.write(b"small")
    clock.advance(0)
    assert tls.transport.times == 1
    client.talk(tls)
    assert client.read() == b"small" * 10


def test_a_write_after_the_end(tls, client):
    """Whatever is written when the client has gone, by whichever way, is dropped without a word."""
    tls.connectionLost(Failure(ConnectionLost()))
    tls.transport.times = 0
    tls.write(b"too late")
    tls._write(b"and what was kept back until now")
    assert tls.transport.times == 0
