"""What is written to a connection leaves at once, in order, and whatever does not fit as ever."""

import socket
from unittest.mock import Mock

import pytest
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from quay.web.prompt import PromptConnection

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
