"""
A request of this server: routed when its head is complete, with a body that streams and an id for the log.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import IResource

from quay.oci.errors import RegistryError, Unsupported
from quay.web.body import ClientGone, RequestBody

if TYPE_CHECKING:
    from quay.web.channel import RegistryChannel
    from quay.web.factory import RegistrySite

log = Logger()

_ENTITY_TAG: Final = re.compile(rb'"[^"]*"')

Translations = Mapping[type[Exception], Callable[[Exception], RegistryError]]
"""What to tell a client of the exceptions of other layers, by class; a subclass is told as its nearest base."""


class InternalError(RegistryError):
    """Something broke that the client has no part in; the log knows more under the same id."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"The registry failed to answer this request ({request_id}).",
            advice="Try again; if it stays, tell whoever runs this registry the id of the request.",
            request_id=request_id,
        )


def not_a_method(method: bytes, methods: Iterable[bytes | str]) -> Unsupported:
    """What to tell a client of a method that an address does not have, and of those that it has."""
    return Unsupported(
        f"{method.decode('latin-1')} is not a method of this address.",
        advice="The Allow header lists those that are.",
        headers={"Allow": ", ".join(sorted(m if isinstance(m, str) else m.decode() for m in methods))},
    )


def error_body(error: RegistryError) -> bytes:
    """The error as the specification's JSON."""
    return json.dumps(error.body()).encode()


class RegistryRequest(server.Request):
    """
    A `twisted.web` request without `content`: its bytes are `body`. `args` holds the query only. `began` is the time
    at which the head was complete, in seconds of the site's clock.
    """

    body: RequestBody
    channel: RegistryChannel  # None after the client hung up, gone after the answer
    site: RegistrySite
    began = 0.0
    _id: str | None = None

    @property
    def id(self) -> str:
        """What the log and the client call this request."""
        if self._id is None:
            self._id = self.site.new_id()
        return self._id

    @property
    def answerable(self) -> bool:
        """Nothing of the answer is on its way yet, and somebody is there to read it."""
        return not (self.startedWriting or self.finished or self._disconnected)

    @property
    def disconnected(self) -> bool:
        """The client has hung up."""
        return self._disconnected

    def hang_up(self) -> None:
        """Break the connection, so that half an answer does not look whole. Harmless when all is said."""
        if not self.finished and self.channel is not None:
            self.channel.abort()

    def getRequestHostname(self) -> bytes:
        # Not calling up: Klein asks for it and fails where it can be none, and no address depends on it.
        return b""

    # From the channel.

    def gotLength(self, length: int | None) -> None:
        # Not calling up: there twisted.web would open a file.
        self.body = RequestBody(self.channel, length)

    def head_received(self, method: bytes, uri: bytes, version: bytes) -> None:
        """Route the request: everything but its body is known."""
        self.site = self.channel.site
        self.began = self.site.reactor.seconds()
        self.method, self.uri, self.clientproto = method, uri, version
        self.path, _, query = uri.partition(b"?")
        self.args = http.parse_qs(query, True) if query else {}
        self.process()

    def process(self) -> None:
        # Not calling up, except for `*`: there a date is made for each request.
        if self.path == b"*":
            super().process()
            return
        self.setHeader(b"Server", server.version)
        self.setHeader(b"Date", self.site.today())
        self.prepath, self.postpath = [], [unquote_to_bytes(segment) for segment in self.path[1:].split(b"/")]
        try:
            self.render(self.site.getResourceFor(self))
        except Exception:  # of a resource that answers at once
            self.processingFailed(Failure())

    def handleContentChunk(self, data: bytes) -> None:
        self.body.data_received(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self.body.completed()
        if self.body.length == 0:
            self.head_received(command, path, version)

    def connectionLost(self, reason: Failure) -> None:
        if self.finished:
            return  # its body was still being drained
        # notifyFinish comes first: a handler that waits for the body is cancelled rather than failed.
        super().connectionLost(reason)
        self.body.failed(Failure(ClientGone("the client hung up in the middle of its request")))
        self.site.log(self)

    # The answer.

    def setETag(self, etag: bytes) -> object:
        """
        Tell the client of GET or HEAD the tag of what it gets. `http.CACHED`, and the status 304, if it says that it
        has that. Source: RFC 9110 section 13.1.2.
        """
        # Not calling up: there only spaces part a list, and a tag that a proxy has made weak is another one.
        self.etag = etag
        had = b",".join(self.requestHeaders.getRawHeaders(b"If-None-Match", []))
        if had.strip() != b"*" and etag not in _ENTITY_TAG.findall(had):
            return None
        self.setResponseCode(http.NOT_MODIFIED)
        return http.CACHED

    def render(self, resource: IResource) -> None:
        """Let `resource` answer."""
        # Not calling up: there a HEAD is logged with its query, and a method is refused with a page for people.
        try:
            body = resource.render(self)
        except UnsupportedMethod as unsupported:
            methods: Iterable[bytes] = unsupported.allowedMethods
            self._refuse(not_a_method(self.method, methods))
            return
        if body is not server.NOT_DONE_YET:
            self._send(body)

    def write(self, data: bytes) -> None:
        if self.answerable:
            self.channel.answer_begins(self)
            with self.channel.sent_as_one():
                super().write(data)  # the head, too
        else:
            super().write(data)

    def processingFailed(self, reason: Failure) -> Failure:
        """The last resort, for what a resource or Klein let through: logged under the id, and told without detail."""
        log.failure("request {request_id} failed: {summary}", reason, request_id=self.id, summary=self.summary)
        if not self.answerable:
            self.hang_up()
            return reason
        self._refuse(InternalError(self.id))
        return reason

    def _refuse(self, error: RegistryError) -> None:
        self.setResponseCode(error.status)
        self.setHeader(b"Content-Type", b"application/json")
        for name, value in error.headers.items():
            self.setHeader(name, value)
        self._send(error_body(error))

    def _send(self, body: bytes) -> None:
        self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)
        self.finish()

    @property
    def summary(self) -> str:
        """What may be logged of this request: no query and no header, which can hold secrets."""
        return f"{self.method.decode('ascii', 'replace')} {self.path.decode('ascii', 'replace')}"
