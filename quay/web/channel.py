"""
HTTP/1.1 for a registry: a request is routed when its head is complete, and its body streams.

What it promises beyond `twisted.web.http.HTTPChannel`: no byte of a body is read before a handler wants it, none is
spooled to a file, and backpressure reaches the client; `100 Continue` is sent when the body is wanted; after an answer
that came before the body, no byte of that body is ever parsed as a request; every wait for a client has an end; every
refusal is a sentence that the client gets to read. HTTP/2 is not spoken.

Source: RFC 9112 (HTTP/1.1), sections 6, 9.3 and 9.6; RFC 9110 section 10.1.1.

Private names of HTTPChannel that are used here: `_command`, `_path`, `_version` (the request line), `_networkProducer`
(the transport as a producer), `_dataBuffer` (bytes of the next requests), `_transferDecoder` (for the
coding of a body) and `_finishRequestBody` (what it calls at its end), `_waitingForTransport` (the answer's buffer is
full), and `_respondToBadRequestAndDisconnect`, which is overridden; and the decoder of a body of known length.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import (
    IAddress,
    IPullProducer,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http import _IdentityTransferDecoder as IdentityDecoder
from twisted.web.http_headers import Headers

from quay.oci.errors import RegistryError, Unavailable
from quay.web.addresses import peer_of
from quay.web.body import BodyMalformed, BodyStalled
from quay.web.connections import Limits
from quay.web.draught import READ, Draught
from quay.web.frames import FrameDecoder
from quay.web.head import Head, HeadMalformed, HeadReader, HeadTimeout
from quay.web.patience import Patience
from quay.web.prompt import PromptConnection
from quay.web.request import RegistryRequest, error_body

if TYPE_CHECKING:
    from quay.web.factory import RegistrySite

log = Logger()

TLS_HANDSHAKE = b"\x16\x03"
"""What a client begins with that tries https first, as engines do: refused at once, it goes on with http."""

AHEAD = 16 * 1024
"""So many bytes of requests are taken before their turn has come, and what one read brings on top."""


class Phase(Enum):
    """What a connection is waiting for."""

    IDLE = "the first byte of a request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    BROKEN = "an answer, after a body that cannot be read any further"
    ANSWER = "an answer"
    DRAIN = "the small rest of a body that nobody wants, before the next request"
    LINGER = "the client to read its answer and hang up"
    CLOSING = "the last bytes to leave"
    CLOSED = "nothing"


class RegistryChannel(Patience, http.HTTPChannel):
    """One connection: a machine of `Phase`s, each with its own patience."""

    limits: Limits
    site: RegistrySite
    requests: list[RegistryRequest]
    transport: ITCPTransport  # or a TLS transport, which has the same methods

    _networkProducer: Any  # the transport again, in its role as a producer and consumer
    _phase = Phase.IDLE
    _head: HeadReader
    _receiving = False  # what one read brought is being passed on
    _came_late = False
    _expects_continue = False
    _body_paused = False
    _body_mark = 0  # bytes of the body at the last look at its progress
    _wire_bytes = 0  # bytes of a chunked body with its framing
    _discarded = 0
    _brimming = False  # there was more in the socket than one read takes
    _draught: Draught | None = None  # a thread reads the body

    # Life and patience.

    def getPeer(self) -> IAddress:
        return self._ends[0]

    def getHost(self) -> IAddress:
        return self._ends[1]  # asked for each request, it would be a system call

    def isSecure(self) -> bool:
        return self._is_secure

    def connectionMade(self) -> None:
        self.limits, self.clock = self.site.limits, self.site.reactor
        self.timeOut = None
        super().connectionMade()
        self._ends = self.transport.getPeer(), self.transport.getHost()
        self._peer = peer_of(self._ends[0])
        self._is_secure = ISSLTransport.providedBy(self.transport)
        self.site.connections.opened(self)
        self._came_late = self.site.connections.crowded
        self._enter(Phase.IDLE, self.limits.idle_seconds)
        if self.site.connections.flooded:
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._phase = Phase.CLOSED
        self._stop_drawing()
        super().connectionLost(reason)
        self.never_time_out()
        self.site.connections.closed(self)

    def abort(self) -> None:
        """Break the connection now; what was not sent is lost."""
        self.transport.abortConnection()

    def retire(self) -> None:
        """Take no request after the one that is being answered."""
        self.persistent = False  # for an answer that has begun; `answer_begins` sees to the others
        if self._phase is Phase.IDLE:
            self.loseConnection()

    def loseConnection(self) -> None:
        if self._phase is not Phase.CLOSED:
            self._enter(Phase.CLOSING, self.limits.close_seconds)
            super().loseConnection()

    def _enter(self, phase: Phase, patience: int | None = None) -> None:
        self._phase = phase
        self.setTimeout(patience)

    def timeoutConnection(self) -> None:
        if self._phase is Phase.BODY:
            self._check_progress()
        elif self._phase is Phase.IDLE or (self._phase is Phase.HEAD and not self._head.lines):
            self.loseConnection()
        elif self._phase is Phase.HEAD:
            self.refuse(HeadTimeout("The head of this request did not arrive in time.", advice="Send it in one go."))
        else:
            self.abort()

    def _is_too_many(self) -> bool:
        """It came when there were too many, and there still are; those who were there before go on."""
        return self._came_late and self.site.connections.crowded

    # The head.

    def dataReceived(self, data: bytes) -> None:
        if self._phase is Phase.IDLE:
            if self.paused:
                self._keep_for_later(data)
                return
            if self._is_answered_at_once(data):
                return
            self._head_begins(data)
        self._brimming = False  # nothing is drawn before all of this has been passed on
        self._receiving = True
        self._receive(data)
        self._receiving = False
        if self._body_paused and self._phase is Phase.BODY:
            self._networkProducer.pauseProducing()
        self._brimming = len(data) >= READ
        self.draw_body()

    def _receive(self, data: bytes) -> None:
        if self._phase is Phase.HEAD:
            self._read_head(data)
        else:
            self.rawDataReceived(data)

    def setLineMode(self, extra: bytes = b"") -> None:
        """Bytes of the next requests came with those of the last one."""
        if extra:
            self.dataReceived(extra)

    def _is_answered_at_once(self, data: bytes) -> bool:
        """Whether the site had the answer to `data`, one whole request, in memory; then nothing else has happened."""
        express = self.site.express
        waiting = self._waitingForTransport  # for a client that has not read its answers
        if express is None or waiting or self._is_too_many() or self.site.connections.retiring:
            return False
        answer = express(data, self._peer)
        if answer is None:
            return False
        self.resetTimeout()
        self.transport.write(answer)
        return True

    def _head_begins(self, data: bytes) -> None:
        self._head = HeadReader(self.limits)
        self._phase = Phase.HEAD
        if self._is_too_many():
            busy = "This registry has too many connections."
            self.refuse(Unavailable(busy, advice="Try again soon.", headers={"Retry-After": "5"}))
        elif data.startswith(TLS_HANDSHAKE):
            self.refuse(HeadMalformed("it speaks TLS to a port that speaks plain HTTP"))

    def _read_head(self, data: bytes) -> None:
        is_first = self._head.is_fresh
        try:
            head = self._head.take(data)
        except RegistryError as error:
            self.refuse(error)
            return
        if head is not None:
            self._head_ends(head, self._head.rest)
        elif is_first:  # one time for all of it, from its first byte
            self.setTimeout(self.limits.head_seconds)

    def refuse(self, error: RegistryError) -> None:
        """Answer a request that never came to be, and hang up when the client has read it."""
        self.requests.clear()
        body = error_body(error)
        lines = [
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in error.headers.items()),
        ]
        self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self._linger()

    def _respondToBadRequestAndDisconnect(self) -> None:
        if self._phase is Phase.BODY:
            self._break_off(BodyMalformed("The chunked coding of this body is broken.", advice="Send it again."))

    def _head_ends(self, head: Head, rest: bytes) -> None:
        request = self.site.requestFactory(self)
        request.requestHeaders = head.headers
        self.requests.append(request)
        self._command, self._path, self._version = head.method, head.target, head.version
        self.length = head.length
        request.parseCookies()
        self.persistent = self.checkPersistence(request, head.version)
        request.gotLength(head.length)
        if head.length == 0:
            self._dataBuffer = [rest] if rest else []
            self.allContentReceived()  # which routes
            return
        deliver, ended = request.handleContentChunk, self._finishRequestBody
        self._transferDecoder = (
            FrameDecoder(deliver, ended) if head.length is None else IdentityDecoder(head.length, deliver, ended)
        )
        self._body_begins(request)
        if rest:
            self.rawDataReceived(rest)

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        options = b",".join(request.requestHeaders.getRawHeaders(b"Connection", [])).lower()
        return version == b"HTTP/1.1" and b"close" not in {option.strip() for option in options.split(b",")}

    # The body.

    def _body_begins(self, request: RegistryRequest) -> None:
        expect = request.requestHeaders.getRawHeaders(b"Expect", [b""])[0]
        self._expects_continue = expect.lower() == b"100-continue" and self._version == b"HTTP/1.1"
        self._wire_bytes = 0
        self._enter(Phase.BODY)
        self.pause_body()
        request.head_received(self._command, self._path, self._version)

    def want_body(self) -> None:
        """Somebody reads the body from here on."""
        if self._phase is Phase.BODY and self._expects_continue and not self.requests[0].startedWriting:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._expects_continue = False
        self.resume_body()

    def pause_body(self) -> None:
        """Read no further. Meanwhile we are the slow party, and the client's time does not run."""
        if self._phase is Phase.BODY and not self._body_paused:
            self._body_paused = True
            self.setTimeout(None)
            if not self._receiving:  # else it may be wanted before all that came together has been looked at
                self._networkProducer.pauseProducing()
            self._stop_drawing()

    def resume_body(self) -> None:
        """Read on."""
        if self._phase is Phase.BODY and self._body_paused:
            self._body_paused = False
            if self._draught is None:
                self._watch_progress()
                self._read_on()

    def draw_body(self) -> None:
        """Let a thread take what waits in the socket, if that is much, and whoever reads the body has one."""
        if self._phase is not Phase.BODY or self._body_paused or self._draught is not None or not self._brimming:
            return
        draught = Draught.of(self.transport, self._transferDecoder)
        if draught is None:
            return
        drawn = self.requests[0].body.draw(draught)
        if drawn is not None:
            self._draught = draught
            self._brimming = False
            self.setTimeout(None)
            self._networkProducer.pauseProducing()
            drawn.addCallback(self._drawn, draught).addErrback(self._stuck)

    def _drawn(self, _: None, draught: Draught) -> None:
        self._draught = None
        if self._phase is not Phase.BODY:
            return
        if not self._body_paused:
            self._watch_progress()
            self._read_on()
        if self.length is None:
            self._check_framing_ratio(draught.understood)
        self.rawDataReceived(draught.rest)
        self._brimming = draught.brimming
        self.draw_body()

    def _stuck(self, failure: Failure) -> None:
        # As the reactor does when a read fails: nothing may be left that nobody reads and no patience ends.
        log.failure("the body of a request could not be gone on with", failure)
        self.abort()

    def _stop_drawing(self) -> None:
        if self._draught is not None:
            self._draught.stop()

    def resumeProducing(self) -> None:  # the buffer of the answer has drained, which is no reason to read
        super().resumeProducing()
        if self._body_paused or self._draught is not None:
            self._networkProducer.pauseProducing()
        if self.paused:
            self.callLater(0, self._next_request)

    def _read_on(self) -> None:
        self._body_paused = False
        self._networkProducer.resumeProducing()

    def _watch_progress(self) -> None:
        self._body_mark = self.requests[0].body.received
        self.setTimeout(self.limits.body_seconds)

    def _check_progress(self) -> None:
        if self.requests[0].body.received - self._body_mark >= self.limits.body_progress:
            self._watch_progress()
        else:
            self._break_off(BodyStalled("The body of this request stopped arriving.", advice="Send it again."))

    def rawDataReceived(self, data: bytes) -> None:
        if self._phase is Phase.BODY and self.length is None:
            self._check_framing_ratio(len(data))
        if self._phase in _DEAF:
            self._discard(data)
        elif self._phase is Phase.ANSWER:
            self._keep_for_later(data)
        else:
            super().rawDataReceived(data)

    def _keep_for_later(self, data: bytes) -> None:
        """What the next requests are made of, whose turn has not come: a little of it, and no more is read."""
        # Not calling up: there it has no end as long as the client does not read the answer that is on its way.
        self._dataBuffer.append(data)
        if sum(map(len, self._dataBuffer)) > AHEAD:
            self._networkProducer.pauseProducing()

    def _check_framing_ratio(self, arrived: int) -> None:
        allowed = self.limits.drain_bytes + self.limits.framing_ratio * self.requests[0].body.received
        if self._wire_bytes > allowed:
            self._break_off(BodyMalformed("This body is mostly chunk headers.", advice="Send larger chunks."))
        self._wire_bytes += arrived

    def _break_off(self, error: RegistryError) -> None:
        self._networkProducer.pauseProducing()
        self._enter(Phase.BROKEN)
        self.requests[0].body.failed(Failure(error))

    def allContentReceived(self) -> None:
        if self._phase in _DEAF:
            return
        draining = self._phase is Phase.DRAIN
        self._enter(Phase.ANSWER)
        self._body_paused = False
        super().allContentReceived()
        if draining:
            self.requestDone(self.requests[0])

    # The answer.

    def answer_begins(self, request: RegistryRequest) -> None:
        """The head of an answer is about to be written: decide whether the connection outlives it."""
        if (
            self.site.connections.retiring
            or self._phase is Phase.BROKEN
            or (self._phase is Phase.BODY and not self._drainable())
        ):
            self.persistent = False
        if b"close" in request.responseHeaders.getRawHeaders(b"Connection", []):
            self.persistent = False
        if not self.persistent:
            request.setHeader(b"Connection", b"close")

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        # Not calling up: there the transport gets it in four pieces a header.
        fields = (b"%b: %b\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values)
        self.transport.write(b"%b %b %b\r\n%b\r\n" % (version, code, reason, b"".join(fields)))

    def sent_as_one(self) -> AbstractContextManager[None]:
        """Let what is written meanwhile leave together."""
        return self.transport.held() if isinstance(self.transport, PromptConnection) else nullcontext()

    def _drainable(self) -> bool:
        if self._phase is Phase.BROKEN or self.length is None or self._expects_continue or self._draught is not None:
            return False  # nobody knows how much would come, or whether anything will
        return self.length - self.requests[0].body.received <= self.limits.drain_bytes

    def requestDone(self, request: http.Request) -> None:
        if self._phase in (Phase.BODY, Phase.BROKEN):
            self._answered_early()
            return
        self._enter(Phase.IDLE, self.limits.idle_seconds)
        if any(self._dataBuffer):
            # Pipelined requests take turns with everybody else's, and wait for their client to read the answers.
            self.paused = True
            self.callLater(0, self._next_request)
        super().requestDone(request)

    def _next_request(self) -> None:
        if self.paused and not self._waitingForTransport and self._phase is not Phase.CLOSED:
            self.paused = False
            waiting, self._dataBuffer = b"".join(self._dataBuffer), []
            self._networkProducer.resumeProducing()
            if waiting:
                self.dataReceived(waiting)

    def _answered_early(self) -> None:
        self.requests[0].body.discard()
        if self._phase is Phase.BODY and self.persistent:
            self._enter(Phase.DRAIN, self.limits.linger_seconds)
            self._read_on()
        else:
            self.requests.clear()
            self._linger()

    def _linger(self) -> None:
        # Closing now would make the kernel answer the client's next byte with a reset, which eats our answer.
        self.persistent = False
        self._enter(Phase.LINGER, self.limits.linger_seconds)
        self._networkProducer.unregisterProducer()
        if ITCPTransport.providedBy(self.transport) and not self.isSecure():
            # Nothing more is coming. (TLS has no such half-close: there it would cut the answer off.)
            self.transport.loseWriteConnection()
        self._read_on()

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > self.limits.linger_bytes:
            self.abort()

    # The transport: for a producer of the answer, and for a body that leaves without passing through user space.

    def registerProducer(self, producer: IPushProducer | IPullProducer, streaming: bool) -> None:
        super().registerProducer(producer, streaming)
        if self._waitingForTransport and streaming:  # what came before it still fills the buffer
            cast(IPushProducer, producer).pauseProducing()

    def lend_transport(self, producer: IPullProducer) -> None:
        """Let `producer` be asked, in the channel's place, whenever the transport has sent all it was given."""
        self._networkProducer.unregisterProducer()
        self._networkProducer.registerProducer(producer, False)

    def reclaim_transport(self) -> None:
        """End the loan, when the body has left."""
        self._networkProducer.unregisterProducer()
        self._networkProducer.registerProducer(self, True)
        self.resumeProducing()  # whatever filled the buffer before the loan has left too


_DEAF = frozenset({Phase.BROKEN, Phase.LINGER, Phase.CLOSING, Phase.CLOSED})
