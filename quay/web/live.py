"""
What goes on, as it goes on: server-sent events for the pages of the console, `/live/jobs/<uuid>`.

A stream tells what the API's `getJob` tells, whenever it has changed, and ends with the job. It looks into the
database, since the job may be at work on another node. Only a session opens one, so that no other site can; there are
so many streams at once and no more, and whoever does not read his is left. Source: HTML Standard, "Server-sent events".
"""

from __future__ import annotations

import json
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quay.model.job import ENDED
from quay.oci.errors import NameUnknown, RegistryError, Unavailable
from quay.web.api import RestAPI
from quay.web.api.identity import Identifier, required
from quay.web.pace import Pace
from quay.web.request import RegistryRequest
from quay.web.respond import run_handler

STREAMS: Final = 32
LOOK_S: Final = 1.0
BEAT_S: Final = 15.0
"""After so long in silence a comment is sent: proxies end what is silent, and a client that is gone is found out."""
STALL_S: Final = 30.0

_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


class Live(Resource):
    """Everything below `/live/`."""

    isLeaf = True

    def __init__(self, clock: IReactorTime, api: RestAPI, identifier: Identifier) -> None:
        super().__init__()
        self._clock = clock
        self._api = api
        self._identifier = identifier
        self.open = 0

    def render_GET(self, request: RegistryRequest) -> int:
        run_handler(request, self._answer(request))
        return NOT_DONE_YET

    async def _answer(self, request: RegistryRequest) -> None:
        kind, _, uuid = b"/".join(request.postpath or []).decode("utf-8", "replace").partition("/")
        if kind != "jobs":
            raise NameUnknown("There is no such stream.")
        job = await self._look(request, uuid)
        if self.open >= STREAMS:
            raise Unavailable(
                "Too many pages are being kept up to date.",
                advice="Load the page again to see how it is now.",
                headers={"Retry-After": "30"},
            )
        self.open += 1
        try:
            await self._stream(request, uuid, job)
        finally:
            self.open -= 1

    async def _look(self, request: RegistryRequest, uuid: str) -> Any:
        """The job, if whoever asks may still see it."""
        identity = await self._identifier.identify(request)
        if identity.session is None:
            raise required()
        return await self._api.invoke(request, identity, "getJob", {"uuid": uuid})

    async def _stream(self, request: RegistryRequest, uuid: str, job: Any) -> None:
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        pace = Pace(request, self._clock, STALL_S)
        try:
            request.write(_event(job))
            request.registerProducer(pace, True)
            await self._follow(request, pace, uuid, job)
            request.unregisterProducer()
            request.finish()
        except BaseException:  # cancellation too
            request.hang_up()
            raise

    async def _follow(self, request: RegistryRequest, pace: Pace, uuid: str, job: Any) -> None:
        """Until the job has ended, or the server is to stop, or whoever looks may not any more."""
        silent = 0.0
        while job["state"] not in ENDED and not request.site.connections.retiring:
            await deferLater(self._clock, LOOK_S)
            await pace.ready()
            before = job
            try:
                job = await self._look(request, uuid)
            except RegistryError:
                return
            silent += LOOK_S
            if job != before:
                request.write(_event(job))
                silent = 0.0
            elif silent >= BEAT_S:
                request.write(b":\n\n")
                silent = 0.0


def _event(job: Any) -> bytes:
    return b"event: job\ndata: " + json.dumps(job, separators=(",", ":")).encode() + b"\n\n"
