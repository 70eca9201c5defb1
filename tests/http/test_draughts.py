"""Large bodies over real connections: a thread of the store takes them from the socket, and nobody can tell."""

import contextlib
import hashlib
import os
import shutil
import socket
import struct
from pathlib import Path
from tempfile import mkdtemp
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quay.oci.reference import Digest
from quay.storage import StorageFull
from quay.storage.local import LocalBlobs
from quay.threads import Pool
from quay.web.body import BodyMalformed, ClientGone
from quay.web.draught import MOST, Draught
from quay.web.factory import RegistrySite

MIB = 1024 * 1024
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
BODY = os.urandom(MIB) * 20 + b"end"
DIGEST = Digest.of(BODY)
GET = b"GET / HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n"


class Store(Resource):
    """Keeps the body of a PUT, and says how many bytes it had; `failed` fires with why it could not."""

    isLeaf = True

    def __init__(self, blobs):
        super().__init__()
        self.blobs, self.failed, self.uploads, self.ready = blobs, Deferred(), [], None

    def render_GET(self, request):
        return b"hello"

    def render_PUT(self, request):
        Deferred.fromCoroutine(self.keep(request)).addErrback(self.refuse, request)
        return NOT_DONE_YET

    async def keep(self, request):
        upload = self.ready or await self.blobs.begin(f"upload-{len(self.uploads)}", "sha256")
        self.uploads.append(upload)
        delivered = request.body.deliver_to(upload)
        upload.stopped().addCallback(lambda _: delivered.cancel())
        try:
            count = await delivered
        finally:
            await upload.flushed()
        await upload.commit(DIGEST)
        answer = b"%d bytes" % count
        request.setHeader(b"Content-Length", b"%d" % len(answer))
        request.write(answer)
        request.finish()

    def refuse(self, failure, request):
        if request.answerable:
            request.setResponseCode(507)
            request.setHeader(b"Content-Length", b"0")
            request.finish()
        self.failed.callback(failure.value)


def head(framing):
    return b"PUT / HTTP/1.1\r\nHost: r\r\n" + framing + b"\r\n\r\n"


WHOLE = head(b"Content-Length: %d" % len(BODY)) + BODY
CHUNKED = head(b"Transfer-Encoding: chunked")


def frames(size, body=BODY):
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


class DraughtTests(TestCase):
    def setUp(self):
        self.root = Path(mkdtemp(dir=SCRATCH))
        self.addCleanup(shutil.rmtree, self.root)
        self.pool, self.clients = Pool(reactor, "blobs", 2), Pool(reactor, "clients", 1)
        for pool in (self.pool, self.clients):
            pool.startService()
            self.addCleanup(pool.stopService)
        self.store = Store(LocalBlobs("here", self.root, self.pool))
        self.site = RegistrySite(self.store, reactor=reactor)
        self.port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.addCleanup(self.site.connections.retire)
        self.draughts = []
        made = Draught.__init__

        def noted(draught, *args):
            self.draughts.append(draught)
            made(draught, *args)

        # On a machine that has much else to do, a client is slow without meaning it.
        for patch in (mock.patch.object(Draught, "__init__", noted), mock.patch("quay.web.draught.PATIENCE", 60.0)):
            patch.start()
            self.addCleanup(patch.stop)

    def send(self, *parts, reset=False):
        """What the server answers to these; with `reset`, the connection is broken after them."""
        return self.clients.run(self._send, parts, reset)

    def _send(self, parts, reset):
        with socket.create_connection(("127.0.0.1", self.port.getHost().port)) as client:
            with contextlib.suppress(ConnectionError):  # refused in the middle: the answer says why
                for part in parts:
                    client.sendall(part)
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return b""
            answer = b""
            with contextlib.suppress(OSError):  # cut off after the refusal
                while data := client.recv(MIB):
                    answer += data
            return answer

    def by_threads(self):
        return sum(draught.taken for draught in self.draughts)

    async def kept(self):
        source = await self.store.blobs.open(DIGEST)
        try:
            return hashlib.sha256(await source.read(0, source.size)).hexdigest() == DIGEST.hex
        finally:
            source.close()

    def assert_answered(self, answers):
        """The body was kept and the request behind it was answered."""
        first, _, second = answers.partition(b"\r\n\r\n%d bytes" % len(BODY))
        self.assertEqual((first[:15], second[-9:]), (b"HTTP/1.1 200 OK", b"\r\n\r\nhello"))

    async def test_whole(self):
        """A body of known length, and a request behind it, which is answered next."""
        self.assert_answered(await self.send(WHOLE + GET))
        self.assertTrue(await self.kept())
        self.assertGreater(self.by_threads(), len(BODY) // 2)

    async def test_chunked(self):
        """A chunked body as engines send it, and a request behind it."""
        self.assert_answered(await self.send(CHUNKED + frames(32768) + b"0\r\n\r\n" + GET))
        self.assertTrue(await self.kept())
        self.assertGreater(self.by_threads(), len(BODY) // 2)

    async def test_chunks_of_all_sizes(self):
        """Large and small chunks in turns: the thread and the reactor take turns, too."""
        parts, at = [], 0
        for size in (200_000, 1, 5000, 3 * MIB, 7, 65536, 1023, 12 * MIB):
            parts.append(frames(size, BODY[at : at + size]))
            at += size
        coded = b"".join(parts) + frames(MIB, BODY[at:]) + b"0\r\nTrailer: x\r\n\r\n"
        self.assert_answered(await self.send(CHUNKED + coded + GET))
        self.assertTrue(await self.kept())

    async def test_wanted_at_once(self):
        """The bytes that came with the head come first, also when the body is wanted before they were looked at."""
        for number in range(10):
            self.store.ready = await self.store.blobs.begin(f"ready-{number}", "sha256")
            self.assert_answered(await self.send(WHOLE + GET))

    async def test_no_draught_takes_all(self):
        """A draught is bounded, so that nobody has a thread for himself as long as his body lasts."""
        await self.send(WHOLE + GET)
        self.assertLessEqual(max(draught.taken for draught in self.draughts), MOST)
        self.assertGreater(len(self.draughts), 2)

    async def test_reset(self):
        """A client that breaks off is gone, as for any body, and what had come can be gone on with."""
        await self.send(WHOLE[: 10 * MIB], reset=True)
        self.assertIsInstance(await self.store.failed, ClientGone)
        upload = self.store.uploads[0]
        await upload.suspend()
        upload = await self.store.blobs.resume("upload-0")
        self.assertLessEqual(upload.offset, 10 * MIB)
        upload.write(BODY[upload.offset :])
        await upload.commit(DIGEST)
        self.assertTrue(await self.kept())

    async def test_broken_chunks(self):
        """A coding that breaks behind megabytes of plain frames is refused."""
        answer = await self.send(CHUNKED + frames(32768) + b"zz\r\n" + BODY[: MIB // 2])
        self.assertIsInstance(await self.store.failed, BodyMalformed)
        self.assertIn(b"507", answer[:20])
        await self.store.uploads[0].cancel()

    async def test_full_disk(self):
        """A disk that fills up under a thread ends the body at once; the client is told, and the upload as well."""
        write, left = os.write, iter(range(30))

        def filling(fd, data):
            if len(data) > MIB // 8 and next(left, None) is None:
                raise OSError(28, "No space left on device")
            return write(fd, data)

        with mock.patch.object(os, "write", filling):
            answer = await self.send(WHOLE)
        self.assertIsInstance(await self.store.failed, StorageFull)
        self.assertIn(b"507", answer[:20])
        await self.store.uploads[0].cancel()

    async def test_cancelled_meanwhile(self):
        """An upload that is cancelled under a thread takes no more, and leaves nothing."""
        began, fill, first = Deferred(), Draught.fill, iter([True])

        def telling(draught, buffer):
            if next(first, False):
                reactor.callFromThread(began.callback, None)
            return fill(draught, buffer)

        with mock.patch.object(Draught, "fill", telling):
            sending = self.send(WHOLE)
            await began
            await self.store.uploads[0].cancel()
            await sending
        self.assertIsNotNone(await self.store.failed)
        self.assertEqual(os.listdir(self.root / "uploads"), [])
