"""The database: whether it opens, is whole, has a schema that fits, and answers soon."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from appliance.doctor.patient import Patient
from quay.condition import Finding, fine, remarkable, unseen, wrong
from quay.database import probe
from quay.database.examination import Examined, examine
from quay.database.probe import DatabaseUnfit
from quay.database.schema import SCHEMA

AWAY: Final = "/docs/runbooks#database-away"
DAMAGED: Final = "/docs/runbooks#the-database-is-damaged"
SCHEMA_WRONG: Final = "/docs/runbooks#the-schema-does-not-fit"
SEARCH_S: Final = 8.0
SLOW_S: Final = 0.02
POOL: Final = 16
"""Connections that one server opens at most: see `core_of`."""


def look(patient: Patient) -> Iterator[Finding]:
    """Open it, then judge."""
    uri = patient.config.database_uri
    if uri.is_sqlite and not Path(uri.place).exists():
        yield unseen(f"{uri.place} is not there yet: the server makes it when it starts.", "quay serve")
        return
    try:
        if not uri.is_sqlite:
            probe.probe(patient.config.database_url)  # version, encoding, rights
        found = examine(patient.config.database_url, SEARCH_S)
    except DatabaseUnfit as unfit:
        damaged = any(word in str(unfit) for word in ("malformed", "not a database", "disk image"))
        yield wrong(str(unfit), _try(patient), DAMAGED if damaged else AWAY)
        return
    yield _schema(found)
    yield _latency(found, uri.place)
    if uri.is_sqlite:
        yield _whole(found, uri.place)
    else:
        yield _connections(found)


def _schema(found: Examined) -> Finding:
    status = found.status
    if status.too_new:
        return wrong(
            f"The database has schema {status.schema}, of a newer version, and this one has {SCHEMA}: install the "
            "newer one, or restore a backup.",
            "quay version",
            SCHEMA_WRONG,
        )
    if status.schema == 0:
        return fine(f"The database has no tables yet: the server makes those of schema {SCHEMA} when it starts.")
    if status.pending:
        return remarkable(
            f"The database has schema {status.schema}, and this version brings it to {SCHEMA} when it starts: make a "
            "backup first.",
            "quay migrate",
            SCHEMA_WRONG,
        )
    return fine(f"The database has schema {status.schema}, which this version knows.")


def _latency(found: Examined, place: str) -> Finding:
    said = f"{place} ({found.version}) answers in {found.latency_s * 1000:.1f} ms"
    if found.latency_s > SLOW_S:
        return remarkable(f"{said}: every request waits for that several times.", "", AWAY)
    return fine(f"{said}.")


def _whole(found: Examined, place: str) -> Finding:
    if found.damage:
        return wrong(
            f"{place} is damaged: {found.damage[0][:200]}. Stop the server, keep a copy of the file, and restore a "
            "backup.",
            f"sqlite3 {shlex.quote(place)} 'PRAGMA integrity_check'",
            DAMAGED,
        )
    if not found.searched:
        return unseen(
            f"{place} is too large to be looked through in {SEARCH_S:.0f} seconds.",
            f"sqlite3 {shlex.quote(place)} 'PRAGMA quick_check'",
        )
    return fine(f"{place} is whole.")


def _connections(found: Examined) -> Finding:
    now, most = found.connections or (0, 0)
    said = f"PostgreSQL has {now} of {most} connections in use"
    if most - now < POOL:
        return remarkable(f"{said}, and a server opens up to {POOL}: raise max_connections.", "", AWAY)
    return fine(f"{said}.")


def _try(patient: Patient) -> str:
    """How to try by hand; the password has to be typed."""
    uri = patient.config.database_uri
    if uri.is_sqlite:
        return f"sqlite3 {shlex.quote(uri.place)} 'PRAGMA integrity_check'"
    user = urlsplit(uri.reveal()).username
    return f"psql -W {shlex.quote(f'--username={unquote(user)}') + ' ' if user else ''}{shlex.quote(uri.place)}"
