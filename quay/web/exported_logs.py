"""
`/exportedlogs/<export>?token=…`: a part of the audit log as one JSON document, for whoever has the link, for an hour;
with `&format=csv`, as a table.

The log is read a page at a time, and the next page when the client has taken the one before: so an export of millions
of entries takes no more memory than a small one. An error half-way breaks the connection, so that no part looks whole.
"""

from __future__ import annotations

import json
import re
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quay.database import Database, Transaction
from quay.model import log_export, logs, namespace, repository
from quay.model.logs import Selection
from quay.oci.errors import InvalidRequest, NameUnknown
from quay.registry.logbook import Chapter, chapters, heading, lines
from quay.web.api.logs import entry_view
from quay.web.api.views import http_date
from quay.web.pace import Pace
from quay.web.request import RegistryRequest
from quay.web.respond import run_handler
from quay.web.send import STALL_SECONDS

_UUID: Final = re.compile("[0-9a-f-]{36}")
_TYPES: Final = {"json": "application/json", "csv": "text/csv; charset=utf-8"}
_HEADERS: Final = {
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
        form = request.args.get(b"format", [b"json"])[0].decode("ascii", "replace")
        if form not in _TYPES:
            raise InvalidRequest("An export can be had in these forms: json, csv.")
        found = await self._database.read(_find, uuid, secret)
        if found is None:
            raise NameUnknown(
                "There is no such export of the log, or this is not the link to it.",
                advice="An export can be fetched for an hour: ask for a new one.",
            )
        selection, head = found
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        request.setHeader("Content-Type", _TYPES[form])
        request.setHeader("Content-Disposition", f'attachment; filename="{uuid}.{form}"')
        if request.method == b"HEAD":
            request.finish()
        else:
            await self._send(request, selection, _Table() if form == "csv" else _Document(head))

    async def _send(self, request: RegistryRequest, selection: Selection, form: _Form) -> None:
        pace = Pace(request, self._clock, STALL_SECONDS)
        try:
            request.write(form.beginning().encode())
            request.registerProducer(pace, True)
            async for chapter in chapters(self._database, selection):
                await pace.ready()
                request.write(form.some(chapter).encode())
            await pace.ready()
            request.unregisterProducer()
            request.write(form.end().encode())
            request.finish()
        except BaseException:  # cancellation too: half a document must not look whole
            request.hang_up()
            raise


class _Form(Protocol):
    """How an export is written: its beginning, some entries at a time, its end."""

    def beginning(self) -> str: ...
    def some(self, chapter: Chapter) -> str: ...
    def end(self) -> str: ...


class _Document:
    """One JSON object, with the entries as the API shows them."""

    def __init__(self, head: dict[str, str]) -> None:
        self._head = head
        self._between = "\n"

    def beginning(self) -> str:
        return json.dumps(self._head)[:-1] + ', "logs": ['

    def some(self, chapter: Chapter) -> str:
        text = ",\n".join(json.dumps(entry_view(one)) for one in chapter.entries)
        between, self._between = (self._between, ",\n") if text else ("", self._between)
        return between + text

    def end(self) -> str:
        return "\n]}\n"


class _Table:
    """CSV, as `quay audit export` writes it."""

    def beginning(self) -> str:
        return heading("csv")

    def some(self, chapter: Chapter) -> str:
        return lines(chapter, "csv")

    def end(self) -> str:
        return ""


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
