"""
What stands behind one port: its resources, its connections, and who hears of each request that ended.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web import http, server
from twisted.web.resource import IResource

from quay.web.channel import RegistryChannel
from quay.web.connections import Connections, Limits
from quay.web.request import RegistryRequest, Translations
from quay.web.today import Today

log = Logger()


class RegistrySite(server.Site):
    """
    The resources behind one port, and its connections. `observer` is called once with each request that ended,
    whether its answer was sent or its client hung up (`request.disconnected`); nothing else is logged per request.
    `translations` are what `run_handler` tells clients of other layers' exceptions. `connections.retire()` lets the
    connections come to their ends.
    """

    requestFactory = RegistryRequest
    protocol: Any = RegistryChannel  # Site believes in a proxy that may turn into HTTP/2
    displayTracebacks = False

    express: Callable[[bytes, str], bytes | None] | None = None
    """What answers a request that came whole, from its bytes and its peer, if it can at once: `web/v2/express.py`."""
    noisy = False

    def __init__(
        self,
        resource: IResource,
        *,
        reactor: IReactorTime,
        observer: Callable[[RegistryRequest], None] | None = None,
        limits: Limits | None = None,
        translations: Translations | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        super().__init__(resource, reactor=reactor, parsePOSTFormSubmission=False)
        self.limits = limits or Limits()
        self.connections = Connections(self.limits.connections)
        self.today = Today(reactor.seconds)
        self.translations = translations or {}
        self.new_id = new_id or _names()
        self._observer = observer

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """No access log, and no clock that ticks for it."""

    def stopFactory(self) -> None:
        """See `startFactory`."""

    def log(self, request: http.Request) -> None:
        if self._observer is None:
            return
        assert isinstance(request, RegistryRequest)
        try:
            self._observer(request)
        except Exception:  # an observer must not cost a client its answer
            log.failure("the observer failed on request {request_id}", request_id=request.id)


def _names() -> Callable[[], str]:
    """Makes names for requests, of which no two are alike, before a restart and after it."""
    start, numbers = secrets.token_hex(4), itertools.count(1)
    return lambda: f"{start}{next(numbers):08x}"
