"""The channel's contract, without a socket and without a reactor: a StringTransport and a Clock."""

import json
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from quay.oci.errors import InvalidRequest
from quay.web.body import BodyMalformed, BodyStalled, BodyTooLarge, ClientGone
from quay.web.connections import Limits
from quay.web.factory import RegistrySite
from quay.web.head import header_line, request_line

HEAD = b"PATCH /v2/a/blobs/uploads/1 HTTP/1.1\r\nHost: r\r\nContent-Length: 10\r\n%s\r\n"
GET = b"GET /%s HTTP/1.1\r\nHost: r\r\n\r\n"
CHUNKED = b"PATCH /u HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n"


@implementer(IConsumer)
class Sink:
    def __init__(self, pause_after=None, refuse_after=None):
        self.got, self.pause_after, self.refuse_after, self.producer = b"", pause_after, refuse_after, None

    def registerProducer(self, producer, streaming):
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def write(self, data):
        self.got += data
        if self.refuse_after is not None and len(self.got) >= self.refuse_after:
            raise OSError("the disk is full")
        if self.pause_after is not None and len(self.got) >= self.pause_after:
            self.producer.pauseProducing()


class Everything(Resource):
    """Takes every request; `answer` may answer it at once."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.requests = []
        self.answer = lambda request: None

    def render(self, request):
        self.requests.append(request)
        self.answer(request)
        return NOT_DONE_YET


class ChannelTestCase(SynchronousTestCase):
    limits = Limits()

    def setUp(self):
        self.resource, self.clock, self.observed = Everything(), Clock(), []
        self.site = RegistrySite(
            self.resource, reactor=self.clock, observer=self.observed.append, limits=self.limits, new_id=lambda: "id-1"
        )
        self.channel, self.transport = self.connect()

    def connect(self):
        channel, transport = self.site.buildProtocol(None), StringTransport()
        channel.makeConnection(transport)
        return channel, transport

    def send(self, data):
        self.channel.dataReceived(data)

    def lose(self):
        self.channel.connectionLost(Failure(ConnectionDone()))

    def finish(self, request, status=200, body=b""):
        request.setResponseCode(status)
        request.setHeader(b"Content-Length", b"%d" % len(body))
        request.write(body)
        request.finish()

    def assert_refused(self, status):
        """An answer that can be read, that closes, and after which nothing is parsed."""
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 %d " % status), head)
        self.assertIn(b"Connection: close", head)
        self.assertIn(b"Content-Length: %d" % len(body), head)
        self.assertTrue(json.loads(body)["errors"][0]["message"])
        routed = len(self.resource.requests)
        self.send(b"\r\n\r\n" + GET % b"smuggled")
        self.assertEqual(len(self.resource.requests), routed)
        self.assertNotIn(b"smuggled", b"".join(request.path for request in self.resource.requests))
        self.clock.advance(self.limits.linger_seconds)
        self.assertTrue(self.transport.disconnected)


class BodyTests(ChannelTestCase):
    def test_routed_at_the_end_of_the_head(self):
        """The resource is rendered with no byte of the body there, and the socket is not read until it wants one."""
        self.send(HEAD % b"")
        [request] = self.resource.requests
        self.assertEqual((request.method, request.path), (b"PATCH", b"/v2/a/blobs/uploads/1"))
        self.assertEqual((self.transport.producerState, request.body.length), ("paused", 10))
        self.assertIsNone(request.content)

    def test_continue_is_sent_when_the_body_is_wanted(self):
        """100 Continue comes with the first reader, once, and not before."""
        self.send(HEAD % b"Expect: 100-continue\r\n")
        self.assertEqual(self.transport.value(), b"")
        self.resource.requests[0].body.deliver_to(Sink())
        self.assertEqual(self.transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_refused_without_a_continue(self):
        """A request refused by its head is not invited to send its body, and cannot be continued."""
        self.send(HEAD % b"Expect: 100-continue\r\n")
        self.finish(self.resource.requests[0], 401)
        self.assertTrue(self.transport.value().startswith(b"HTTP/1.1 401"))
        self.assertIn(b"Connection: close", self.transport.value())
        self.send(GET % b"admin")
        self.assertEqual(len(self.resource.requests), 1)

    def test_delivery(self):
        """Every byte is delivered once and in order, those that came with the head included."""
        self.send(HEAD % b"" + b"abc")
        sink = Sink()
        done = self.resource.requests[0].body.deliver_to(sink)
        self.assertEqual(sink.got, b"abc")
        self.send(b"defg")
        self.assertNoResult(done)
        self.send(b"hij")
        self.assertEqual((self.successResultOf(done), sink.got, sink.producer), (10, b"abcdefghij", None))

    def test_read(self):
        """A small body is read into memory."""
        self.send(HEAD % b"")
        done = self.resource.requests[0].body.read(10)
        self.send(b"abcdefghij")
        self.assertEqual(self.successResultOf(done), b"abcdefghij")

    def test_read_nothing(self):
        """A request without a body has an empty one."""
        self.send(GET % b"")
        body = self.resource.requests[0].body
        self.assertEqual((body.length, self.successResultOf(body.read(0))), (0, b""))

    def test_announced_too_large(self):
        """A body that announces too much is refused before 100 Continue and before any byte of it."""
        self.send(HEAD % b"Expect: 100-continue\r\n")
        error = self.failureResultOf(self.resource.requests[0].body.read(9), BodyTooLarge).value
        self.assertEqual((error.status, self.transport.value()), (413, b""))
        self.assertEqual(self.transport.producerState, "paused")

    def test_chunked_too_large(self):
        """A chunked body is refused at the first byte too many, and the rest is not read."""
        self.send(CHUNKED)
        done = self.resource.requests[0].body.read(5)
        self.send(b"4\r\nabcd\r\n2\r\nef\r\n")
        self.failureResultOf(done, BodyTooLarge)
        self.assertEqual(self.transport.producerState, "paused")

    def test_chunked(self):
        """A chunked body is delivered without its framing; extensions and trailers are dropped."""
        self.send(CHUNKED)
        sink, request = Sink(), self.resource.requests[0]
        done = request.body.deliver_to(sink)
        self.send(b"5;a=b\r\nabcde\r\n3\r\nfgh\r\n0\r\nX-Evil: 1\r\nContent-Length: 99\r\n\r\n")
        self.assertEqual((self.successResultOf(done), sink.got), (8, b"abcdefgh"))
        self.assertFalse(request.requestHeaders.hasHeader(b"X-Evil"))

    def test_chunked_split_anywhere(self):
        """A chunked body may arrive byte by byte."""
        self.send(CHUNKED)
        done = self.resource.requests[0].body.read(100)
        for byte in b"5\r\nabcde\r\nA\r\n0123456789\r\n0\r\n\r\n":
            self.send(bytes([byte]))
        self.assertEqual(self.successResultOf(done), b"abcde0123456789")

    def test_backpressure(self):
        """A consumer's pause stops the reading; draining the answer does not start it, and no time runs."""
        self.send(HEAD % b"")
        sink = Sink(pause_after=4)
        self.resource.requests[0].body.deliver_to(sink)
        self.assertEqual(self.transport.producerState, "producing")
        self.send(b"abcd")
        self.assertEqual(self.transport.producerState, "paused")
        self.channel.resumeProducing()
        self.assertEqual(self.transport.producerState, "paused")
        self.clock.advance(3600)
        self.assertFalse(self.transport.disconnecting)
        sink.producer.resumeProducing()
        self.assertEqual(self.transport.producerState, "producing")

    def test_consumer_that_fails(self):
        """What the consumer raises comes out of the delivery, and the connection can still be answered."""
        self.send(CHUNKED)
        sink = Sink(refuse_after=3)
        done = self.resource.requests[0].body.deliver_to(sink)
        self.send(b"3\r\nabc\r\n")
        self.send(b"3\r\ndef\r\n")
        self.failureResultOf(done, OSError)
        self.assertEqual((sink.got, sink.producer), (b"abc", None))
        self.finish(self.resource.requests[0], 507)
        self.assert_refused_like(507)

    def assert_refused_like(self, status):
        self.assertIn(b"HTTP/1.1 %d " % status, self.transport.value())
        self.assertIn(b"Connection: close", self.transport.value())

    def test_cancelled_delivery(self):
        """Cancelling a delivery stops the reading and frees the consumer; the request can be answered."""
        self.send(HEAD % b"")
        sink = Sink()
        done = self.resource.requests[0].body.deliver_to(sink)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual((sink.producer, self.transport.producerState), (None, "paused"))
        self.finish(self.resource.requests[0], 503)
        self.assertIn(b"503", self.transport.value())

    def test_client_hangs_up(self):
        """A client that hangs up half-way fails the delivery with ClientGone, and is observed once."""
        self.send(HEAD % b"")
        sink = Sink()
        done = self.resource.requests[0].body.deliver_to(sink)
        self.send(b"abc")
        self.lose()
        self.failureResultOf(done, ClientGone)
        self.assertIsNone(sink.producer)
        self.assertEqual([request.disconnected for request in self.observed], [True])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_asked_for_after_the_client_hung_up(self):
        """A body that is wanted too late fails at once and leaves no timer."""
        self.send(HEAD % b"")
        [request] = self.resource.requests
        self.lose()
        self.failureResultOf(request.body.read(100), ClientGone)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_delivered_once(self):
        """A body cannot be delivered twice."""
        self.send(HEAD % b"")
        body = self.resource.requests[0].body
        body.deliver_to(Sink())
        self.assertRaises(RuntimeError, body.deliver_to, Sink())

    def test_malformed_chunk(self):
        """Broken chunked coding fails the reader; its answer is the last on this connection."""
        self.send(CHUNKED)
        done = self.resource.requests[0].body.read(100)
        self.send(b"3\r\nabcXX")
        self.failureResultOf(done, BodyMalformed)
        self.finish(self.resource.requests[0], 400)
        self.send(GET % b"smuggled")
        self.assertEqual(len(self.resource.requests), 1)
        self.assert_refused_like(400)

    def test_chunk_extension_bomb(self):
        """A chunk header without an end is refused, and so is a body that is mostly chunk headers."""
        for bomb in (b"1;" + b"x" * 2000, (b"1;" + b"x" * 1000 + b"\r\na\r\n") * 200):
            self.setUp()
            self.send(CHUNKED)
            done = self.resource.requests[0].body.read(1_000_000)
            for start in range(0, len(bomb), 4096):
                self.send(bomb[start : start + 4096])
            self.failureResultOf(done, BodyMalformed)

    def test_small_chunks_are_fine(self):
        """An honest client may send one byte per chunk."""
        self.send(CHUNKED)
        done = self.resource.requests[0].body.read(1_000_000)
        for _ in range(1000):
            self.send(b"1\r\na\r\n" * 100)
        self.send(b"0\r\n\r\n")
        self.assertEqual(len(self.successResultOf(done)), 100_000)

    def test_trailer_bomb(self):
        """Trailers without an end are refused."""
        self.send(CHUNKED)
        done = self.resource.requests[0].body.read(1_000_000)
        self.send(b"1\r\na\r\n0\r\n")
        for _ in range(100):
            self.send(b"X: " + b"y" * 1000 + b"\r\n")
        self.failureResultOf(done, BodyMalformed)


class EarlyAnswerTests(ChannelTestCase):
    limits = Limits(drain_bytes=64, linger_bytes=1000)

    def test_cannot_desynchronise(self):
        """After an early answer no byte of a large body is ever parsed as a request."""
        self.send(b"PUT / HTTP/1.1\r\nHost: r\r\nContent-Length: 1000\r\n\r\n")
        self.finish(self.resource.requests[0], 401)
        self.assertIn(b"Connection: close", self.transport.value())
        self.assertEqual(self.transport.producerState, "producing")
        self.send(GET % b"admin")
        self.assertEqual(len(self.resource.requests), 1)
        self.clock.advance(self.limits.linger_seconds)
        self.assertTrue(self.transport.disconnected)

    def test_small_rest_is_drained(self):
        """A small unread body is thrown away, and the connection goes on with the next request."""
        self.send(HEAD % b"" + b"abc")
        self.finish(self.resource.requests[0], 400)
        self.assertNotIn(b"close", self.transport.value())
        self.send(b"defghij" + GET % b"next")
        self.clock.advance(0)
        self.assertEqual([request.path for request in self.resource.requests][1:], [b"/next"])
        self.assertEqual([request.code for request in self.observed], [400])

    def test_rest_that_was_there_is_drained(self):
        """The same with an answer during the routing, and the whole body in the same segment."""
        self.resource.answer = lambda request: self.finish(request, 404)
        self.send((HEAD % b"" + b"0123456789") * 3)
        self.clock.pump([0] * 3)
        self.assertEqual(self.transport.value().count(b"HTTP/1.1 404"), 3)

    def test_invited_rest_is_drained(self):
        """A client that was told to continue does send its body: a small rest of it is drained, too."""
        self.send(HEAD % b"Expect: 100-continue\r\n")
        done = self.resource.requests[0].body.deliver_to(Sink(refuse_after=1))
        self.send(b"abc")
        self.failureResultOf(done, OSError)
        self.finish(self.resource.requests[0], 507)
        self.assertNotIn(b"close", self.transport.value())
        self.send(b"defghij" + GET % b"next")
        self.clock.advance(0)
        self.assertEqual(self.resource.requests[1].path, b"/next")

    def test_drain_is_bounded(self):
        """A client that never sends its small rest is hung up on."""
        self.send(HEAD % b"")
        self.finish(self.resource.requests[0], 400)
        self.clock.advance(self.limits.linger_seconds)
        self.assertTrue(self.transport.disconnected)

    def test_hung_up_while_draining(self):
        """A request whose rest was being drained is observed once."""
        self.send(HEAD % b"")
        self.finish(self.resource.requests[0], 400)
        self.lose()
        self.assertEqual(len(self.observed), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_linger_is_bounded(self):
        """A client that goes on sending is hung up on."""
        self.send(CHUNKED)
        self.finish(self.resource.requests[0], 401)
        self.send(b"x" * 1001)
        self.assertTrue(self.transport.disconnected)

    def test_end_of_the_body_while_lingering(self):
        """A body that ends after a closing answer changes nothing."""
        self.send(CHUNKED)
        self.finish(self.resource.requests[0], 401)
        self.send(b"1\r\na\r\n0\r\n\r\n" + GET % b"next")
        self.assertEqual(len(self.resource.requests), 1)

    def test_answer_from_within_the_delivery(self):
        """An answer given by the consumer's failure, in the middle of decoding, leaves a sane connection."""
        self.send(CHUNKED)
        [request] = self.resource.requests
        request.body.deliver_to(Sink(refuse_after=1)).addErrback(lambda _: self.finish(request, 507))
        self.send(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n" + GET % b"next")
        self.assertEqual(self.transport.value().count(b"HTTP/1.1"), 1)
        self.assertEqual(len(self.resource.requests), 1)


class PatienceTests(ChannelTestCase):
    def test_idle(self):
        """A connection without a request is closed, without a word."""
        self.clock.advance(self.limits.idle_seconds)
        self.assertEqual((self.transport.disconnecting, self.transport.value()), (True, b""))

    def test_slowloris(self):
        """A head has one time limit from its first byte, however steadily it drips; the client is told."""
        for byte in b"GET / HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":
            self.send(bytes([byte]))
            self.clock.advance(0.5)
        self.assert_refused(408)

    def test_between_requests(self):
        """After an answer the idle time runs, then the time of the next head."""
        self.send(GET % b"a")
        self.clock.advance(3600)  # our own slowness costs the client nothing
        self.finish(self.resource.requests[0])
        self.clock.advance(self.limits.idle_seconds - 1)
        self.assertFalse(self.transport.disconnecting)
        self.send(GET % b"b")
        self.assertEqual(len(self.resource.requests), 2)

    def test_stalled_body(self):
        """A body that makes too little progress fails its reader, whose answer still gets through."""
        self.send(b"PUT / HTTP/1.1\r\nHost: r\r\nContent-Length: 100000\r\n\r\n")
        done = self.resource.requests[0].body.read(100000)
        self.send(b"x" * self.limits.body_progress)
        self.clock.advance(self.limits.body_seconds)
        self.assertNoResult(done)
        self.send(b"x" * (self.limits.body_progress - 1))
        self.clock.advance(self.limits.body_seconds)
        error = self.failureResultOf(done, BodyStalled).value
        self.finish(self.resource.requests[0], error.status)
        self.assertIn(b"HTTP/1.1 408", self.transport.value())
        self.clock.advance(self.limits.linger_seconds)
        self.assertTrue(self.transport.disconnected)

    def test_close_is_bounded(self):
        """A client that never reads its last answer is hung up on."""
        self.send(b"GET / HTTP/1.0\r\n\r\n")
        self.finish(self.resource.requests[0])
        self.assertTrue(self.transport.disconnecting)
        self.clock.advance(self.limits.close_seconds)
        self.assertTrue(self.transport.disconnected)


class ConnectionsTests(ChannelTestCase):
    limits = Limits(connections=2)

    def test_too_many(self):
        """A connection too many is told so when it asks for something; those before it are served."""
        self.connect()
        late = self.connect()
        self.send(GET % b"")
        self.assertEqual(len(self.resource.requests), 1)
        self.channel, self.transport = late
        self.send(GET % b"")
        self.assertIn(b"Retry-After: 5", self.transport.value())
        self.assert_refused(503)

    def test_flood(self):
        """Many too many are not even told."""
        transports = [self.connect()[1] for _ in range(5)]
        self.assertEqual([transport.disconnected for transport in transports], [False, False, False, True, True])

    def test_room_again(self):
        """A closed connection makes room."""
        self.connect()
        self.lose()
        self.channel, self.transport = self.connect()
        self.send(GET % b"")
        self.assertEqual(len(self.resource.requests), 1)

    def test_retire(self):
        """A retiring site closes idle connections now, busy ones after their answer, and then is done."""
        idle, idle_transport = self.connect()
        self.send(GET % b"")
        done = self.site.connections.retire()
        self.assertEqual((idle_transport.disconnecting, self.transport.disconnecting), (True, False))
        self.finish(self.resource.requests[0])
        self.assertIn(b"Connection: close", self.transport.value())
        self.assertTrue(self.transport.disconnecting)
        self.assertNoResult(done)
        idle.connectionLost(Failure(ConnectionDone()))
        self.lose()
        self.successResultOf(done)

    def test_retire_during_an_answer(self):
        """An answer that began before the site retires ends, and its connection with it."""
        self.send(GET % b"")
        request = self.resource.requests[0]
        request.setHeader("Content-Length", "10")
        request.write(b"01234")
        self.site.connections.retire()
        request.write(b"56789")
        self.assertFalse(self.transport.disconnecting)
        request.finish()
        self.assertTrue(self.transport.value().endswith(b"0123456789"))
        self.assertTrue(self.transport.disconnecting)

    def test_observer_that_fails(self):
        """An observer that raises is logged, and costs no answer."""
        self.site._observer = lambda request: 1 / 0
        self.send(GET % b"")
        self.finish(self.resource.requests[0], 200, b"hello")
        self.assertTrue(self.transport.value().endswith(b"hello"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class RequestsTests(ChannelTestCase):
    def test_pipelining_keeps_order(self):
        """A pipelined request waits for the answer before it."""
        self.send(HEAD % b"")
        first = self.resource.requests[0]
        first.body.deliver_to(Sink())
        self.send(b"abcdefghij" + GET % b"next" + GET % b"last")
        self.assertEqual(len(self.resource.requests), 1)
        self.finish(first)
        self.clock.advance(0)
        self.assertEqual([request.path for request in self.resource.requests[1:]], [b"/next"])
        self.finish(self.resource.requests[1])
        self.clock.advance(0)
        self.assertEqual(self.resource.requests[2].path, b"/last")

    def test_nothing_overtakes_a_pipelined_request(self):
        """A request that could be answered at once waits its turn behind one that came before it."""
        self.resource.answer = lambda request: self.finish(request, body=request.path)
        self.site.express = lambda data, peer: b"/express" if data == GET % b"express" else None
        self.channel.callLater = self.clock.callLater
        self.send(GET % b"first" + GET % b"second")
        self.send(GET % b"express")
        self.clock.pump([0, 0, 0])
        answers = self.transport.value()
        self.assertLess(answers.index(b"/second"), answers.index(b"/express"))

    def test_pipelined_requests_take_turns(self):
        """However many requests come in one segment, each turn of the reactor answers one."""
        self.resource.answer = lambda request: self.finish(request, 200, request.path)
        self.send(b"".join(GET % b"%d" % number for number in range(2000)))
        self.assertEqual(len(self.resource.requests), 1)
        self.clock.pump([0] * 2000)
        self.assertEqual([request.path for request in self.resource.requests], [b"/%d" % n for n in range(2000)])

    def test_pipelined_requests_wait_for_their_client(self):
        """A client that does not read its answers gets no more of them made."""
        self.resource.answer = lambda request: self.finish(request, 200, bytes(1000))
        self.send(GET % b"0")
        self.channel.pauseProducing()
        self.send((GET % b"1") * 50)
        self.clock.pump([0] * 60)
        self.assertEqual(len(self.resource.requests), 2)
        self.channel.resumeProducing()
        self.clock.pump([0] * 60)
        self.assertEqual(len(self.resource.requests), 51)

    def test_what_comes_before_its_turn_is_bounded(self):
        """A client that reads no answer and sends on is not read for long, and goes on when it has read."""
        for full in (False, True):
            self.setUp()
            self.resource.answer = lambda request: None
            self.send(GET % b"first")
            if full:
                self.channel.pauseProducing()
            self.send(GET % (b"x" * 8000))
            self.assertEqual(self.transport.producerState, "producing")
            self.send(GET % (b"y" * 8000) + b"GET /last")
            self.send(b"z" * 1000)
            self.assertEqual(self.transport.producerState, "paused")
            if full:
                self.channel.resumeProducing()
            self.resource.answer = lambda request: self.finish(request)
            self.finish(self.resource.requests[0])
            self.clock.pump([0] * 4)
            self.assertEqual(self.transport.producerState, "producing")
            self.send(b" HTTP/1.1\r\nHost: r\r\n\r\n")
            self.assertEqual([len(request.path) for request in self.resource.requests], [6, 8001, 8001, 1005])

    def test_a_flood_while_the_next_request_waits(self):
        """The same while it is the next request that waits for the client to read."""
        self.resource.answer = lambda request: self.finish(request)
        self.channel.callLater = self.clock.callLater
        self.send(GET % b"a" + GET % b"b")
        self.channel.pauseProducing()
        self.clock.pump([0] * 3)
        for _ in range(3):
            self.send(GET % (b"x" * 8000))
        self.assertEqual((len(self.resource.requests), self.transport.producerState), (1, "paused"))
        self.channel.resumeProducing()
        self.clock.pump([0] * 6)
        self.assertEqual((len(self.resource.requests), self.transport.producerState), (5, "producing"))

    def test_loan_of_the_transport(self):
        """A loan that begins while the buffer is full ends with the buffer empty: pipelined requests go on."""
        self.send(GET % b"a")
        self.channel.pauseProducing()
        borrower = mock.Mock()
        self.channel.lend_transport(borrower)
        self.assertIs(self.transport.producer, borrower)
        self.channel.reclaim_transport()
        self.assertIs(self.transport.producer, self.channel)
        self.send(GET % b"b")
        self.finish(self.resource.requests[0])
        self.clock.advance(0)
        self.assertEqual([request.path for request in self.resource.requests], [b"/a", b"/b"])

    def test_hung_up_in_the_head(self):
        """A client that hangs up in the middle of a head was never a request."""
        self.send(b"GET / HTTP/1.1\r\nHost: ")
        self.lose()
        self.assertEqual((self.resource.requests, self.observed, self.clock.getDelayedCalls()), ([], [], []))

    def test_hung_up_while_answering(self):
        """A client that does not wait for its answer is observed, once."""
        self.send(GET % b"")
        self.lose()
        self.assertEqual([request.disconnected for request in self.observed], [True])

    def test_http_1_0(self):
        """HTTP/1.0 is answered and closed, with or without a Host."""
        self.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        self.finish(self.resource.requests[0], 200, b"x")
        self.assertIn(b"Connection: close", self.transport.value())
        self.assertTrue(self.transport.disconnecting)

    def test_connection_close(self):
        """`Connection: close` is honoured wherever it stands in the list, from the client and from the handler."""
        self.send(b"GET / HTTP/1.1\r\nHost: r\r\nConnection: foo,Close\r\n\r\n")
        self.finish(self.resource.requests[0])
        self.assertTrue(self.transport.disconnecting)
        self.channel, self.transport = self.connect()
        self.send(GET % b"")
        self.resource.requests[1].setHeader(b"Connection", b"close")
        self.finish(self.resource.requests[1])
        self.assertTrue(self.transport.disconnecting)

    def test_head(self):
        """HEAD has the headers of the answer and no body, and the connection goes on."""
        self.send(b"HEAD / HTTP/1.1\r\nHost: r\r\n\r\n")
        self.finish(self.resource.requests[0], 200, b"four")
        self.assertTrue(self.transport.value().endswith(b"\r\n\r\n"))
        self.assertIn(b"Content-Length: 4", self.transport.value())
        self.send(GET % b"next")
        self.assertEqual(len(self.resource.requests), 2)

    def test_query(self):
        """The query is parsed; a form in the body is not."""
        self.send(b"GET /a%2Fb?n=1&n=2&e= HTTP/1.1\r\nHost: r\r\n\r\n")
        [request] = self.resource.requests
        self.assertEqual((request.path, request.args), (b"/a%2Fb", {b"n": [b"1", b"2"], b"e": [b""]}))

    def test_resource_that_fails(self):
        """An exception from a resource is logged under the request's id and told without detail."""
        self.resource.answer = lambda request: 1 / 0
        self.send(GET % b"")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn(b"HTTP/1.1 500", self.transport.value())
        self.assertIn(b"id-1", self.transport.value())
        self.assertNotIn(b"division", self.transport.value())


class RefusalTests(ChannelTestCase):
    """What could be read in two ways, or is too much, is refused with an answer that can be read."""

    def refuse(self, data, status):
        self.send(data)
        self.assertEqual(self.resource.requests, [])
        self.assert_refused(status)

    def head(self, *lines, method=b"POST"):
        return b"\r\n".join([method + b" / HTTP/1.1", b"Host: r", *lines, b"", b""])

    def test_length_and_chunked(self):
        """Content-Length and Transfer-Encoding together."""
        self.refuse(self.head(b"Content-Length: 3", b"Transfer-Encoding: chunked"), 400)

    def test_chunked_and_length(self):
        """The same in the other order."""
        self.refuse(self.head(b"Transfer-Encoding: chunked", b"Content-Length: 3", b"X: y"), 400)

    def test_two_lengths(self):
        """Two lengths, equal or not."""
        self.refuse(self.head(b"Content-Length: 3", b"Content-Length: 3"), 400)

    def test_list_of_lengths(self):
        """A list of lengths."""
        self.refuse(self.head(b"Content-Length: 3, 3"), 400)

    def test_signed_length(self):
        """A sign."""
        self.refuse(self.head(b"Content-Length: +3"), 400)

    def test_endless_length(self):
        """A length with thousands of digits."""
        self.refuse(self.head(b"Content-Length: " + b"9" * 5000), 400)

    def test_unknown_coding(self):
        """Another coding, or chunked spelled oddly."""
        self.refuse(self.head(b"Transfer-Encoding: xchunked"), 400)

    def test_identity(self):
        """The coding that no longer exists."""
        self.refuse(self.head(b"Transfer-Encoding: identity", b"Content-Length: 3"), 400)

    def test_coding_with_a_control_character(self):
        """A vertical tab before the coding."""
        self.refuse(self.head(b"Transfer-Encoding: \x0bchunked"), 400)

    def test_space_before_the_colon(self):
        """A space before the colon."""
        self.refuse(self.head(b"Transfer-Encoding : chunked"), 400)

    def test_chunked_in_http_1_0(self):
        """Chunked coding in HTTP/1.0."""
        self.refuse(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400)

    def test_folded(self):
        """A folded header."""
        self.refuse(self.head(b"X: a", b" b"), 400)

    def test_bare_line_feed(self):
        """A bare line feed in a header."""
        self.refuse(self.head(b"X: a\nContent-Length: 3"), 400)

    def test_bare_line_feeds_only(self):
        """A whole head with bare line feeds is one long line; it never becomes a request."""
        self.send(b"GET / HTTP/1.1\nHost: r\n\n")
        self.clock.advance(self.limits.head_seconds)
        self.assertEqual(self.resource.requests, [])

    def test_nul(self):
        """A NUL in a header."""
        self.refuse(self.head(b"X: a\x00b"), 400)

    def test_nul_in_the_target(self):
        """A control character in the target."""
        self.refuse(b"GET /\x00 HTTP/1.1\r\nHost: r\r\n\r\n", 400)

    def test_no_host(self):
        """HTTP/1.1 without Host."""
        self.refuse(b"GET / HTTP/1.1\r\n\r\n", 400)

    def test_two_hosts(self):
        """Two hosts."""
        self.refuse(self.head(b"Host: other"), 400)

    def test_proxy_request(self):
        """A target that is not a path."""
        self.refuse(b"GET http://other/ HTTP/1.1\r\nHost: r\r\n\r\n", 400)

    def test_http_2(self):
        """HTTP/2 with prior knowledge."""
        self.refuse(b"PRI /* HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)

    def test_not_http(self):
        """Something else altogether, such as a TLS hello."""
        self.refuse(b"\x16\x03\x01\x02\x00\x01\x00\r\n", 400)

    def test_tls_on_a_plain_port(self):
        """A TLS hello without a line end is refused at once, so that an engine goes on with http."""
        self.send(b"\x16\x03\x01\x02\x00\x01\x00")
        self.assertIn(b"speaks TLS", self.transport.value())
        self.assert_refused(400)

    def test_long_target(self):
        """A URL beyond 8 KiB."""
        self.refuse(b"GET /" + b"a" * self.limits.target_bytes + b" HTTP/1.1\r\nHost: r\r\n\r\n", 414)

    def test_endless_target(self):
        """A URL without an end."""
        self.refuse(b"GET /" + b"a" * 20_000, 414)

    def test_longest_target(self):
        """A URL of exactly 8 KiB is served."""
        self.send(b"GET /" + b"a" * (self.limits.target_bytes - 1) + b" HTTP/1.1\r\nHost: r\r\n\r\n")
        self.assertEqual(len(self.resource.requests), 1)

    def test_many_headers(self):
        """More headers than are read."""
        self.refuse(self.head(*[b"X: y"] * self.limits.headers), 431)

    def test_as_many_headers_as_allowed(self):
        """Exactly as many headers as are read."""
        self.send(self.head(*[b"X: y"] * (self.limits.headers - 1)))
        self.assertEqual(len(self.resource.requests), 1)

    def test_long_headers(self):
        """More bytes of headers than are read."""
        self.refuse(self.head(*[b"X: " + b"y" * 8000] * 5), 431)

    def test_endless_header(self):
        """A header without an end."""
        self.refuse(b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000, 431)

    def test_not_utf8(self):
        """A header that is not UTF-8."""
        self.refuse(self.head(b"User-Agent: \xff\xfe"), 400)

    def test_keep_alive_before_a_refusal(self):
        """A bad request after good ones is refused after their answers."""
        self.resource.answer = lambda request: self.finish(request, 200, b"ok")
        self.send(GET % b"a" + b"nonsense\r\n\r\n" + GET % b"b")
        self.clock.pump([0] * 3)
        self.assertEqual(len(self.resource.requests), 1)
        self.assertLess(self.transport.value().index(b" 200 "), self.transport.value().index(b" 400 "))


class Uploads:
    """A Klein application as any other."""

    app = Klein()

    def __init__(self):
        self.trail = []

    @app.handle_errors(PermissionError)
    def denied(self, request, failure):
        request.setResponseCode(401)
        return b"no"

    @app.route("/uploads/<uuid>", methods=["PATCH"])
    async def patch(self, request, uuid):
        if request.getHeader(b"authorization") is None:
            raise PermissionError
        try:
            return b"%s %s" % (uuid.encode(), await request.body.read(100))
        except CancelledError:
            self.trail.append("cancelled")
            raise

    @app.route("/broken")
    async def broken(self, request):
        raise ZeroDivisionError


class KleinTests(SynchronousTestCase):
    """Klein, unchanged, above the channel."""

    def setUp(self):
        self.uploads, self.clock = Uploads(), Clock()
        self.channel = RegistrySite(self.uploads.app.resource(), reactor=self.clock).buildProtocol(None)
        self.transport = StringTransport()
        self.channel.makeConnection(self.transport)

    def patch_upload(self, headers, body=b""):
        head = b"PATCH /uploads/u-1 HTTP/1.1\r\nHost: r\r\nContent-Length: 6\r\n%s\r\n" % headers
        self.channel.dataReceived(head + body)
        return self.transport.value()

    def test_upload(self):
        """A handler reads the body of its request."""
        self.assertIn(b"u-1 abcdef", self.patch_upload(b"Authorization: x\r\n", b"abcdef"))

    def test_denied_before_the_body(self):
        """An error handler answers before the body is asked for."""
        answer = self.patch_upload(b"Expect: 100-continue\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 401"), answer)

    def test_disconnect(self):
        """A handler is cancelled where it waits for the body."""
        self.patch_upload(b"Authorization: x\r\n", b"ab")
        self.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.uploads.trail, ["cancelled"])

    def test_not_allowed(self):
        """Routing errors are Klein's."""
        self.channel.dataReceived(GET % b"uploads/u-1")
        self.assertIn(b"HTTP/1.1 405", self.transport.value())

    def test_broken(self):
        """An unhandled exception is logged, and answered without detail."""
        self.channel.dataReceived(GET % b"broken")
        self.assertIn(b"HTTP/1.1 500", self.transport.value())
        self.assertIn(b'"UNKNOWN"', self.transport.value())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


@given(st.binary(max_size=200))
def test_any_line(line):
    """No line makes the grammar fail in another way than by refusing it."""
    for check in (lambda: request_line(line, 100), lambda: header_line(line)):
        try:
            check()
        except InvalidRequest as error:
            assert error.message


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_bytes(pieces):
    """No sequence of bytes raises out of the channel, and every answer is a whole one."""
    resource, clock = Everything(), Clock()
    resource.answer = lambda request: request.finish()
    channel, transport = RegistrySite(resource, reactor=clock).buildProtocol(None), StringTransport()
    channel.makeConnection(transport)
    for piece in (b"GET / HTTP/1.1\r\nHost: r\r\n", *pieces, b"\r\n\r\n"):
        channel.dataReceived(piece)
        clock.advance(0)
    channel.connectionLost(Failure(ConnectionDone()))
    assert not clock.getDelayedCalls() or all(call.func == channel._next_request for call in clock.getDelayedCalls())
    assert not transport.value() or transport.value().startswith(b"HTTP/1.1 ")
