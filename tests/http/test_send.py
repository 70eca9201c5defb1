"""Bodies out: through a StringTransport for every way to fail, through real sockets for sendfile and TLS."""

import contextlib
import datetime
import hashlib
import os
import socket
import tempfile
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor, ssl
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from quay.interfaces import IBlobSource, IFileSlice
from quay.oci.ranges import ByteRange
from quay.threads import ImmediatePool, Pool
from quay.web import send
from quay.web.body import ClientGone
from quay.web.factory import RegistrySite
from quay.web.pace import PagedFile
from quay.web.prompt import send_promptly
from quay.web.respond import run_handler
from quay.web.send import READ_BYTES, STALL_SECONDS, send_source

MIB = 1024 * 1024
GET = b"GET / HTTP/1.1\r\nHost: r\r\n%s\r\n"


@implementer(IBlobSource)
class MemorySource:
    """Bytes; counts how often it is closed."""

    def __init__(self, data, size=None):
        self.data, self.size, self.closed = data, len(data) if size is None else size, 0

    def read(self, offset, count):
        return succeed(self.data[offset : offset + count])

    def close(self):
        self.closed += 1


class SlowSource(MemorySource):
    """Reads that end when the test says so."""

    def __init__(self, data):
        super().__init__(data)
        self.reads = []

    def read(self, offset, count):
        assert not self.closed
        self.reads.append((Deferred(), self.data[offset : offset + count]))
        return self.reads[-1][0]

    def land(self):
        done, data = self.reads.pop(0)
        done.callback(data)


class BrokenSource(MemorySource):
    """A medium that fails after `good` bytes."""

    def __init__(self, data, good):
        super().__init__(data)
        self.good = good

    def read(self, offset, count):
        return super().read(offset, count) if offset < self.good else fail(OSError("the disk is gone"))


@implementer(IFileSlice)
class FileSource(MemorySource):
    """A plain file; `size` may be more than it has. `released` fires when it is closed, which may be after a read."""

    def __init__(self, path, pool, size=None):
        self._fd, self._pool, self.closed = os.open(path, os.O_RDONLY), pool, 0
        self.released = Deferred()
        self.size = os.fstat(self._fd).st_size if size is None else size

    def fileno(self):
        return self._fd

    def read(self, offset, count):
        return self._pool.run(os.pread, self._fd, count, offset)

    def close(self):
        self.closed += 1
        os.close(self._fd)
        self.released.callback(None)


class Blob(Resource):
    """Sends what `opened` gives for each request, and keeps how it went."""

    isLeaf = True

    def __init__(self, clock, pool):
        super().__init__()
        self.clock, self.pool, self.range = clock, pool, None
        self.sources, self.requests, self.channels, self.ends = [], [], [], []
        self.ended = Deferred()

    def render(self, request):
        self.requests.append(request)
        self.channels.append(request.channel)
        self.sources.append(self.opened())
        self.running = run_handler(request, self.handle(request, self.sources[-1]))
        return NOT_DONE_YET

    async def handle(self, request, source):
        try:
            sent = await send_source(request, source, self.range, reactor=self.clock, pool=self.pool)
        except Exception as error:
            self.end(type(error))
            raise
        self.end(sent)

    def end(self, how):
        self.ends.append(how)
        ended, self.ended = self.ended, Deferred()
        ended.callback(how)


class ReadingTests(SynchronousTestCase):
    """Without a file or a socket, bodies are read and written piece by piece."""

    def setUp(self):
        self.clock = Clock()
        self.blob = Blob(self.clock, ImmediatePool())
        self.channel, self.transport = (
            RegistrySite(self.blob, reactor=self.clock).buildProtocol(None),
            StringTransport(),
        )
        self.channel.makeConnection(self.transport)

    def ask(self, source, byte_range=None, request=GET % b""):
        self.source, self.blob.range, self.blob.opened = source, byte_range, lambda: source
        self.channel.dataReceived(request)

    def answer(self):
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        return head, body

    def test_whole(self):
        """A whole blob: its length, its bytes, the source closed once, and the connection goes on."""
        data = os.urandom(3 * READ_BYTES + 7)
        self.ask(MemorySource(data))
        head, body = self.answer()
        self.assertIn(b"HTTP/1.1 200 OK\r\n", head)
        self.assertIn(b"Content-Length: %d" % len(data), head)
        self.assertIn(b"Accept-Ranges: bytes", head)
        self.assertEqual(body, data)
        self.assertEqual((self.source.closed, self.blob.ends), (1, [len(data)]))
        self.transport.clear()
        self.ask(MemorySource(b"next"))
        self.assertEqual(self.answer()[1], b"next")

    def test_range(self):
        """A part: 206, its place, and nothing else of the blob."""
        self.ask(MemorySource(b"0123456789"), ByteRange(2, 5))
        head, body = self.answer()
        self.assertIn(b"HTTP/1.1 206 ", head)
        self.assertIn(b"Content-Range: bytes 2-5/10", head)
        self.assertIn(b"Content-Length: 4", head)
        self.assertEqual((body, self.blob.ends), (b"2345", [4]))

    def test_head(self):
        """HEAD: the same headers, no byte of the body, no read of the source."""
        self.ask(SlowSource(b"0123"), request=b"HEAD / HTTP/1.1\r\nHost: r\r\n\r\n")
        head, body = self.answer()
        self.assertIn(b"Content-Length: 4", head)
        self.assertEqual((body, self.source.closed, self.blob.ends), (b"", 1, [0]))

    def test_empty(self):
        """An empty blob is an empty body."""
        self.ask(MemorySource(b""))
        self.assertIn(b"Content-Length: 0", self.answer()[0])
        self.assertEqual((self.source.closed, self.blob.ends), (1, [0]))

    def test_many_pieces(self):
        """A body of thousands of pieces needs no deep stack."""
        self.ask(MemorySource(bytes(READ_BYTES * 1500)))
        self.assertEqual(self.blob.ends, [READ_BYTES * 1500])

    def test_backpressure(self):
        """A client that falls behind holds one piece in the transport and one that was read; no more is read."""
        self.ask(SlowSource(bytes(4 * READ_BYTES)))
        self.channel.pauseProducing()
        self.source.land()
        self.assertEqual(self.source.reads, [])
        self.channel.resumeProducing()
        self.assertEqual(len(self.answer()[1]), READ_BYTES)
        self.assertEqual(len(self.source.reads), 1)

    def test_buffer_full_from_before(self):
        """A body that begins while an earlier answer fills the buffer waits for it."""
        self.channel.pauseProducing()
        self.ask(MemorySource(b"later"))
        self.assertEqual(self.transport.value(), b"")
        self.channel.resumeProducing()
        self.assertEqual(self.answer()[1], b"later")

    def test_stall(self):
        """A client that takes nothing is hung up on, and the source closed."""
        self.ask(SlowSource(bytes(2 * READ_BYTES)))
        self.source.land()
        self.channel.pauseProducing()
        self.source.land()
        self.clock.advance(STALL_SECONDS)
        self.assertEqual((self.blob.ends, self.source.closed), ([ClientGone], 1))
        self.assertTrue(self.transport.disconnected)

    def test_hung_up_while_waiting_for_the_client(self):
        """The client hangs up while it is behind."""
        self.ask(SlowSource(bytes(2 * READ_BYTES)))
        self.channel.pauseProducing()
        self.source.land()
        self.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.blob.ends, self.source.closed), ([ClientGone], 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hung_up_while_reading(self):
        """The client hangs up during a read: the source is closed when the read has ended, not under it."""
        self.ask(SlowSource(bytes(READ_BYTES)))
        self.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.blob.ends, self.source.closed), ([CancelledError], 0))
        self.source.land()
        self.assertEqual(self.source.closed, 1)

    def test_hung_up_before(self):
        """A client that is gone before its blob is opened costs one close."""
        self.ask(SlowSource(b"x"))
        [request] = self.blob.requests
        self.channel.connectionLost(Failure(ConnectionDone()))
        source = MemorySource(b"y")
        late = Deferred.fromCoroutine(send_source(request, source, reactor=self.clock, pool=ImmediatePool()))
        self.failureResultOf(late, ClientGone)
        self.assertEqual(source.closed, 1)
        self.source.land()

    def test_cancelled(self):
        """A download that we break off is broken, not ended."""
        self.ask(SlowSource(bytes(2 * READ_BYTES)))
        self.source.land()
        self.blob.running.cancel()
        self.source.land()
        self.assertEqual((self.transport.disconnected, self.source.closed), (True, 1))

    def test_medium_fails_first(self):
        """A medium that fails before the first byte is an error answer, on a connection that goes on."""
        self.ask(BrokenSource(b"x" * 10, 0), ByteRange(1, 5))
        head, _ = self.answer()
        self.assertTrue(head.startswith(b"HTTP/1.1 500 "))
        self.assertNotIn(b"Content-Range", head)
        self.assertEqual((self.source.closed, self.transport.disconnected), (1, False))
        self.flushLoggedErrors(OSError)

    def test_breaks_the_connection_itself(self):
        """Whoever calls, also without `run_handler`: an error half-way breaks the connection before it is raised."""
        self.blob.render = lambda request: self.blob.requests.append(request) or NOT_DONE_YET
        self.channel.dataReceived(GET % b"")
        source = BrokenSource(bytes(3 * READ_BYTES), READ_BYTES)
        sending = send_source(self.blob.requests[0], source, reactor=self.clock, pool=ImmediatePool())
        self.failureResultOf(Deferred.fromCoroutine(sending), OSError)
        self.assertEqual((source.closed, self.transport.disconnected), (1, True))

    def test_medium_fails_half_way(self):
        """A medium that fails half-way breaks the connection: no short body looks whole."""
        self.ask(BrokenSource(bytes(3 * READ_BYTES), READ_BYTES))
        self.assertLess(len(self.answer()[1]), 3 * READ_BYTES)
        self.assertEqual((self.source.closed, self.transport.disconnected), (1, True))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_medium_ends_early(self):
        """A medium with fewer bytes than it said breaks the connection."""
        self.ask(MemorySource(b"x" * 10, size=11))
        self.assertEqual((self.blob.ends, self.source.closed, self.transport.disconnected), ([EOFError], 1, True))
        self.flushLoggedErrors(EOFError)

    def test_medium_says_too_much(self):
        """A medium that gives more than was asked for does not break the framing."""
        self.ask(MemorySource(b"0123456789", size=4))
        self.source.read = lambda offset, count: succeed(b"0123456789")
        self.channel.dataReceived(GET % b"")
        self.assertTrue(self.transport.value().endswith(b"\r\n\r\n0123"))


class PagedFileTests(SynchronousTestCase):
    def setUp(self):
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(bytes(300_000))
        self.addCleanup(os.unlink, file.name)
        self.fd = os.open(file.name, os.O_RDONLY)
        self.addCleanup(os.close, self.fd)

    def test_load(self):
        """What a thread has read is there, whether or not the kernel can say so."""
        paged = PagedFile(self.fd, ImmediatePool())
        self.assertIsNone(self.successResultOf(paged.load(range(300_000))))
        self.assertIn(paged.resident(range(300_000)), (True, False))

    def test_cannot_ask(self):
        """Where RWF_NOWAIT is not supported nothing counts as resident, and it is asked once."""
        with mock.patch("os.preadv", side_effect=OSError(95, "Operation not supported")) as preadv:
            paged = PagedFile(self.fd, ImmediatePool())
            self.assertEqual([paged.resident(range(10)) for _ in range(3)], [False] * 3)
        self.assertEqual(preadv.call_count, 1)

    def test_not_there(self):
        """A page that would have to be waited for is not resident; the next question is asked again."""
        with mock.patch("os.preadv", side_effect=BlockingIOError) as preadv:
            paged = PagedFile(self.fd, ImmediatePool())
            self.assertEqual([paged.resident(range(10)) for _ in range(2)], [False] * 2)
        self.assertEqual(preadv.call_count, 2)


class Reader(Protocol):
    """A client that counts and hashes bodies; `expect` says how many bodies, of how many bytes in all."""

    def connectionMade(self):
        self.head, self.count, self.hash = b"", 0, hashlib.sha256()
        self.until, self.reached, self.closed = None, Deferred(), Deferred()
        self.in_head = True

    def ask(self, size, headers=b""):
        """Fires with the digest of the next body, of `size` bytes."""
        self.head, self.count, self.hash, self.in_head = b"", 0, hashlib.sha256(), True
        self.until, self.reached = size, Deferred()
        self.transport.write(GET % headers)
        return self.reached

    def dataReceived(self, data):
        if self.in_head:
            self.head, end, data = (self.head + data).partition(b"\r\n\r\n")
            self.in_head = not end
        self.count += len(data)
        self.hash.update(data)
        self.progress()

    def progress(self):
        if not self.in_head and self.until is not None and self.count >= self.until:
            reached, self.reached, self.until = self.reached, Deferred(), None
            reached.callback(self.hash.hexdigest())

    def connectionLost(self, reason):
        self.closed.callback(self.count)


class SocketTestCase(TestCase):
    size = 64 * MIB

    def setUp(self):
        self.pool = Pool(reactor, "blobs", 2)
        self.pool.startService()
        self.addCleanup(self.pool.stopService)
        with tempfile.NamedTemporaryFile(delete=False) as file:
            piece = os.urandom(MIB)
            for number in range(self.size // MIB):
                file.write(bytes([number]) + piece[1:])
        self.path = file.name
        self.addCleanup(os.unlink, self.path)
        self.blob = Blob(reactor, self.pool)
        self.blob.opened = lambda: FileSource(self.path, self.pool)
        self.site = RegistrySite(self.blob, reactor=reactor)
        self.port = self.listen()
        send_promptly(self.port)
        self.addCleanup(self.port.stopListening)

    def listen(self):
        return reactor.listenTCP(0, self.site, interface="127.0.0.1")

    def connect_factory(self, factory):
        reactor.connectTCP("127.0.0.1", self.port.getHost().port, factory)

    async def connected(self):
        made = Deferred()

        class Telling(Reader):
            def connectionMade(self):
                super().connectionMade()
                made.callback(self)

        factory = ClientFactory.forProtocol(Telling)
        factory.noisy = False
        self.connect_factory(factory)
        return await made

    async def leave(self, reader):
        if reader.transport.connected:
            reader.transport.abortConnection()
        with contextlib.suppress(Exception):
            await reader.closed
        if len(self.site.connections):
            await self.site.connections.retire()

    def digest(self, start=0, stop=None):
        with open(self.path, "rb") as file:
            file.seek(start)
            return hashlib.sha256(file.read((stop or self.size) - start)).hexdigest()

    def count_sendfile(self):
        """How many bytes went by sendfile, as a list of calls."""
        sent, sendfile = [], os.sendfile

        def counting(*args):
            sent.append(sendfile(*args))
            return sent[-1]

        patch = mock.patch("os.sendfile", counting)
        patch.start()
        self.addCleanup(patch.stop)
        return sent


class SendfileTests(SocketTestCase):
    async def test_two_downloads(self):
        """Two downloads of 64 MiB on one connection, by sendfile to the last byte."""
        sent = self.count_sendfile()
        reader = await self.connected()
        for _ in range(2):
            self.assertEqual(await reader.ask(self.size), self.digest())
        self.assertEqual((sum(sent), [source.closed for source in self.blob.sources]), (2 * self.size, [1, 1]))
        self.assertEqual([request.sentLength for request in self.blob.requests], [self.size] * 2)
        await self.leave(reader)

    async def test_role_given_back(self):
        """After a body by sendfile the channel is the transport's producer again, and not a finished download."""
        self.blob.range = ByteRange(0, MIB - 1)
        reader = await self.connected()
        ended = self.blob.ended
        digest = reader.ask(MIB)
        await ended
        self.assertIs(self.blob.requests[0].transport.producer, self.blob.channels[0])
        await digest
        await self.leave(reader)

    async def test_pipelined(self):
        """Two downloads asked for at once arrive in order, one after the other."""
        self.blob.range = ByteRange(0, 5 * MIB - 1)
        reader = await self.connected()
        reader.ask(0)
        ended = self.blob.ended
        digest = reader.ask(10 * MIB)
        await ended
        await digest
        self.assertEqual(self.blob.ends, [5 * MIB, 5 * MIB])
        await self.leave(reader)

    async def test_range(self):
        """A range that begins and ends inside pages."""
        self.blob.range = ByteRange(1_000_003, 20_000_001)
        reader = await self.connected()
        self.assertEqual(await reader.ask(19_000_000 - 1), self.digest(1_000_003, 20_000_002))
        self.assertIn(b"206", reader.head)
        await self.leave(reader)

    async def test_cold(self):
        """Where nothing counts as resident, threads load what sendfile then sends."""
        self.patch(PagedFile, "resident", lambda self, piece: False)
        self.blob.range = ByteRange(0, 8 * MIB - 1)
        reader = await self.connected()
        self.assertEqual(await reader.ask(8 * MIB), self.digest(0, 8 * MIB))
        await self.leave(reader)

    async def test_slow_reader(self):
        """A reader that pauses gets everything, and the reactor serves others meanwhile."""
        slow, quick = await self.connected(), await self.connected()
        slow_digest = slow.ask(self.size)
        slow.transport.pauseProducing()
        self.assertEqual(await quick.ask(self.size), self.digest())
        self.assertLess(slow.count, self.size)
        slow.transport.resumeProducing()
        self.assertEqual(await slow_digest, self.digest())
        quick.transport.abortConnection()
        await self.leave(slow)

    async def test_hung_up_half_way(self):
        """A client that disconnects half-way ends the download, closes the source once and logs nothing."""
        reader = await self.connected()
        ended = self.blob.ended
        half = reader.ask(MIB)
        await half
        reader.transport.abortConnection()
        self.assertIn(await ended, (ClientGone, CancelledError))
        await self.blob.sources[0].released
        self.assertEqual(self.blob.sources[0].closed, 1)
        await self.leave(reader)

    async def test_hung_up_while_loading(self):
        """A client that disconnects while a thread loads pages: the file is closed after the thread is done."""
        loading = Deferred()
        self.patch(PagedFile, "resident", lambda self, piece: False)
        self.patch(PagedFile, "load", lambda self, piece: loading)
        reader = await self.connected()
        reader.ask(1)
        while not self.blob.sources:
            await self.turn()
        ended = self.blob.ended
        reader.transport.abortConnection()
        self.assertIn(await ended, (ClientGone, CancelledError))
        self.assertEqual(self.blob.sources[0].closed, 0)
        loading.callback(None)
        self.assertEqual(self.blob.sources[0].closed, 1)
        await self.leave(reader)

    def turn(self):
        turned = Deferred()
        reactor.callLater(0, turned.callback, None)
        return turned

    async def test_truncated_file(self):
        """A file with fewer bytes than were announced breaks the connection."""
        self.blob.opened = lambda: FileSource(self.path, self.pool, size=self.size + 1)
        reader = await self.connected()
        reader.ask(self.size + 1)
        self.assertLessEqual(await reader.closed, self.size)
        self.assertEqual((self.blob.ends, self.blob.sources[0].closed), ([EOFError], 1))
        self.assertEqual(len(self.flushLoggedErrors(EOFError)), 1)
        await self.leave(reader)

    async def test_medium_fails(self):
        """An error of the disk half-way breaks the connection."""
        sendfile, calls = os.sendfile, []

        def failing(*args):
            calls.append(args)
            if len(calls) > 3:
                raise OSError(5, "Input/output error")
            return sendfile(*args)

        self.patch(os, "sendfile", failing)
        reader = await self.connected()
        reader.ask(self.size)
        self.assertLess(await reader.closed, self.size)
        self.assertEqual(self.blob.sources[0].closed, 1)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        await self.leave(reader)

    async def test_stall(self):
        """A reader that stops for good is hung up on after the patience of the server."""
        clock = Clock()
        self.blob.clock = clock
        reader = await self.connected()
        ended = self.blob.ended
        await reader.ask(MIB)
        reader.transport.pauseProducing()
        while not ended.called:
            await self.turn()
            clock.advance(STALL_SECONDS / 50)
        self.assertEqual((self.blob.ends, self.blob.sources[0].closed), ([ClientGone], 1))
        reader.transport.resumeProducing()
        await self.leave(reader)


class EarlyAnswerTests(SocketTestCase):
    size = MIB

    async def test_unread_upload(self):
        """A client that is in the middle of sending a large body gets to read its refusal."""
        self.blob.render = lambda request: b"no"
        reader = await self.connected()
        reader.until = 2
        reached = reader.reached
        reader.transport.write(b"PUT / HTTP/1.1\r\nHost: r\r\nContent-Length: 999999999\r\n\r\n" + bytes(4 * MIB))
        self.assertEqual(await reached, hashlib.sha256(b"no").hexdigest())
        self.assertEqual(await reader.closed, 2)
        await self.leave(reader)


class TLSTests(SocketTestCase):
    size = 8 * MIB

    def listen(self):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ) + certificate.public_bytes(serialization.Encoding.PEM)
        context = ssl.PrivateCertificate.loadPEM(pem).options()
        return reactor.listenSSL(0, self.site, context, interface="127.0.0.1")

    def connect_factory(self, factory):
        context = ssl.CertificateOptions(verify=False)
        reactor.connectSSL("127.0.0.1", self.port.getHost().port, factory, context)

    async def test_two_downloads(self):
        """Over TLS the same bytes leave by threaded reads, twice on one connection."""
        sent = self.count_sendfile()
        reader = await self.connected()
        for _ in range(2):
            self.assertEqual(await reader.ask(self.size), self.digest())
        self.assertEqual((sent, [source.closed for source in self.blob.sources]), ([], [1, 1]))
        await self.leave(reader)

    async def test_hung_up_half_way(self):
        """Over TLS, too, a client that disconnects half-way closes the source once."""
        reader = await self.connected()
        ended = self.blob.ended
        await reader.ask(MIB)
        reader.transport.abortConnection()
        self.assertIn(await ended, (ClientGone, CancelledError))
        await self.blob.sources[0].released
        await self.leave(reader)
        self.assertEqual(self.blob.sources[0].closed, 1)

    async def test_refusal(self):
        """A refusal can be read over TLS, although the rest of the request is never read."""
        reader = await self.connected()
        reader.transport.write(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + bytes(MIB))
        while b"400" not in reader.head:
            turned = Deferred()
            reactor.callLater(0, turned.callback, None)
            await turned
        await self.leave(reader)


def test_a_large_body_has_more_room_where_the_machine_allows_it(monkeypatch):
    """The send buffer is widened for a large body, and left alone for a small one, or where less would be allowed."""
    for size, allowed, widened in ((send.SOCKET_BYTES + 1, 1 << 30, True), (1000, 1 << 30, False), (1 << 30, 0, False)):
        monkeypatch.setattr(send, "_allowed", lambda allowed=allowed: allowed)
        with socket.socket() as connected:
            before = connected.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            send._widen(connected, size)
            assert (connected.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) != before) == widened
