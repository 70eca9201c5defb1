"""
`/exportedlogs/<export>?token=…`: a part of the audit log as one JSON document, for whoever has the link, for an hour.

The log is read a page at a time, and the next page when the client has taken the one before: so an export of millions
of entries takes no more memory than a small one. An error half-way breaks the connection, so that no part looks whole.
"""

from __future__ import annotations

import json
import re
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quay.database import Database, Transaction
from quay.model import log_export, logs, namespace, repository
from quay.model.logs import Selection
from quay.oci.errors import InvalidRequest, NameUnknown
from quay.registry.logbook import Chapter, chapters
from quay.web.api.logs import entry_view
from quay.web.api.views import http_date
from quay.web.pace import Pace
from quay.web.request import RegistryRequest
from quay.web.respond import run_handler
from quay.web.send import STALL_SECONDS

_UUID: Final = re.compile("[0-9a-f-]{36}")
_HEADERS: Final = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class ExportedLogs(Resource):
    """Streams exports."""

    isLeaf = True

    def __init__(self, database: Database, clock: IReactorTime) -> None:
        super().__init__()
        self._database = database
        self._clock = clock

    def render(self, request: RegistryRequest) -> int:
        run_handler(request, self._answer(request))
        return NOT_DONE_YET

    async def _answer(self, request: RegistryRequest) -> None:
        if request.method not in (b"GET", b"HEAD"):
            raise InvalidRequest("An export can only be fetched: use GET.")
        uuid, secret = _asked(request)
        found = await self._database.read(_find, uuid, secret)
        if found is None:
            raise NameUnknown(
                "There is no such export of the log, or this is not the link to it.",
                advice="An export can be fetched for an hour: ask for a new one.",
            )
        selection, head = found
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        request.setHeader("Content-Disposition", f'attachment; filename="{uuid}.json"')
        if request.method == b"HEAD":
            request.finish()
        else:
            await self._send(request, selection, head)

    async def _send(self, request: RegistryRequest, selection: Selection, head: dict[str, str]) -> None:
        pace = Pace(request, self._clock, STALL_SECONDS)
        try:
            request.write((json.dumps(head)[:-1] + ', "logs": [').encode())
            request.registerProducer(pace, True)
            between = "\n"
            async for chapter in chapters(self._database, selection):
                await pace.ready()
                text = _text(chapter)
                if text:
                    request.write((between + text).encode())
                    between = ",\n"
            await pace.ready()
            request.unregisterProducer()
            request.write(b"\n]}\n")
            request.finish()
        except BaseException:  # cancellation too: half a document must not look whole
            request.hang_up()
            raise


def _text(chapter: Chapter) -> str:
    return ",\n".join(json.dumps(entry_view(one)) for one in chapter.entries)


def _asked(request: RegistryRequest) -> tuple[str, str]:
    """The number and the secret in the link; whatever cannot be a number is none."""
    path: list[bytes] = request.postpath or []
    secret: bytes = request.args.get(b"token", [b""])[0]
    uuid = b"/".join(path).decode("ascii", "replace")
    return uuid if _UUID.fullmatch(uuid) else "", secret.decode("ascii", "replace")


def _find(txn: Transaction, uuid: str, secret: str) -> tuple[Selection, dict[str, str]] | None:
    """What is exported, and what its document begins with."""
    export = log_export.find(txn, uuid, secret)
    if export is None:
        return None
    selection = export.selection
    head = {"start_time": http_date(selection.start_ms), "end_time": http_date(selection.end_ms)}
    if selection.namespace_id is not None:
        owner = namespace.by_id(txn, selection.namespace_id)
        head |= {} if owner is None else {"namespace": owner.name}
    if selection.repository_id is not None:
        found = repository.by_id(txn, selection.repository_id)
        head |= {} if found is None else {"namespace": found.name.namespace, "repository": found.name.path}
    return logs.owned(txn, selection), head
