"""
The audit log as lines of a file: for archives, spreadsheets and the programs that watch over a company.

Each entry is one line of plain text, whatever it holds: control characters, among them those that end lines, move the
cursor of a terminal or turn the direction of text, are escaped. Source: RFC 4180 (CSV); jsonlines.org; OWASP, "CSV
Injection".
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import attrs

from quay.database import Database, Transaction
from quay.model import activity, log_export, logs
from quay.model.logs import Owner, Position, Recorded, Selection
from quay.registry.garbage import Time

Format = Literal["jsonl", "csv"]

PAGE: Final = 1000
FORGET_AT_ONCE: Final = 500
FIELDS: Final = ("id", "datetime", "kind", "namespace", "performer", "ip", "metadata")

_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA: Final = ("=", "+", "-", "@")


@attrs.frozen
class Chapter:
    """Some entries, in the order of time, and the namespaces in which they were made, by their numbers."""

    entries: Sequence[Recorded]
    owners: Mapping[int, Owner]


async def chapters(database: Database, selection: Selection) -> AsyncIterator[Chapter]:
    """All entries of the selection, the oldest first; a limited number at a time is in memory."""
    past: Position | None = None
    while True:
        chapter, past = await database.read(_chapter, selection, past)
        yield chapter
        if past is None:
            return


def _chapter(txn: Transaction, selection: Selection, past: Position | None) -> tuple[Chapter, Position | None]:
    page = logs.page(txn, selection, past=past, limit=PAGE, oldest_first=True)
    return Chapter(page.entries, logs.owners(txn, page.entries)), page.next


def heading(form: Format) -> str:
    """What stands before the first line."""
    return ",".join(FIELDS) + "\r\n" if form == "csv" else ""


def lines(chapter: Chapter, form: Format) -> str:
    """The entries of the chapter, each on a line of its own."""
    rows = (_row(one, chapter.owners.get(one.id)) for one in chapter.entries)
    return _csv(rows) if form == "csv" else "".join(_json(row) + "\n" for row in rows)


def _row(one: Recorded, owner: Owner | None) -> dict[str, Any]:
    entry = one.entry
    return {
        "id": one.id,
        "datetime": datetime.fromtimestamp(one.performed_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "kind": entry.kind,
        "namespace": entry.details.get("namespace") if owner is None else owner.name,
        "performer": entry.performer or None,
        "ip": entry.ip,
        "metadata": entry.details,
    }


_json: Final = json.JSONEncoder(separators=(",", ":")).encode  # what is not ASCII, or is no letter, is escaped


def _csv(rows: Any) -> str:
    table = io.StringIO()
    csv.writer(table).writerows([_cell(row[field]) for field in FIELDS] for row in rows)
    return table.getvalue()


def _cell(value: Any) -> str:
    """Text for a spreadsheet: no control characters, and nothing that it would take for a formula."""
    text = "" if value is None else value if isinstance(value, str) else _json(value)
    text = _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return f"'{text}" if text.startswith(_FORMULA) else text


async def forget_old(database: Database, time: Time) -> None:
    """Forget exports that have expired, and how active repositories were on days that nobody asks about."""
    for forget in (log_export.expire, activity.prune):
        while await database.write(forget, FORGET_AT_ONCE) and not time.spent:
            pass
