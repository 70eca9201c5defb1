"""
Reading the audit log: what was done in a namespace, to a repository, by somebody, or at all, in the order of time.

Each question is answered from a range of one index, and looks at a fixed number of entries at most, however long the
log is. So where a filter lets few of them pass, a page may be shorter than was asked for, or empty, and still have
a next one: the end is where `next` is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import audit, namespace, repository
from quay.model.activity import DAY_MS
from quay.model.audit import Entry

LATEST: Final = 2**63 - 1
LOOKED_AT: Final = 10_000
"""Entries that a page with a filter looks at, at most."""

COUNTED: Final = 100_000
"""Entries that one call of `count` counts, at most."""


@attrs.frozen(order=True)
class Position:
    """The place of an entry in the order of the log: by time in milliseconds, then by number."""

    performed_ms: int
    id: int


@attrs.frozen(kw_only=True)
class Selection:
    """
    Entries of a repository, a performer and a namespace, by their numbers, as far as these are given; performed from
    `start_ms` until before `end_ms`; of one of these `kinds`, if there are any; in the name of `performer`, if given.
    """

    repository_id: int | None = None
    performer_id: int | None = None
    namespace_id: int | None = None
    start_ms: int = 0
    end_ms: int = LATEST
    kinds: frozenset[str] = frozenset()
    performer: str | None = None


@attrs.frozen
class Recorded:
    """An entry as the log has it."""

    id: int
    performed_ms: int
    entry: Entry

    @property
    def position(self) -> Position:
        return Position(self.performed_ms, self.id)


@attrs.frozen
class Page:
    """Some entries, and the position past which the next page begins."""

    entries: list[Recorded]
    next: Position | None


@attrs.frozen
class Owner:
    """A namespace as it is called now, since when there is it, and its kind: user, robot or organization."""

    name: str
    kind: str
    since_ms: int


@attrs.frozen
class Counts:
    """How many entries there are of each kind on each day since the epoch, UTC; `next` is past those counted."""

    counts: dict[tuple[str, int], int]
    next: Position | None


def page(
    txn: Transaction, selection: Selection, *, past: Position | None = None, limit: int, oldest_first: bool = False
) -> Page:
    """At most `limit` entries past the position `past`, or from the beginning of the order; the latest first."""
    reading = _Reading.of(selection, past, oldest_first)
    last = reading.nth(txn, LOOKED_AT) if reading.filters else None
    rows = txn.execute(reading.entries(last).limit(limit + 1)).all()
    found = [_recorded(row) for row in rows[:limit]]
    return Page(found, found[-1].position if len(rows) > limit and found else last)


def count(txn: Transaction, selection: Selection, *, past: Position | None = None) -> Counts:
    """Count the latest `COUNTED` entries, or the next ones past the position `past`."""
    reading = _Reading.of(selection, past, False)
    last = reading.nth(txn, COUNTED)
    return Counts({(row.kind, row.day): row.many for row in txn.execute(reading.counts(last))}, last)


def owners(txn: Transaction, entries: Sequence[Recorded]) -> dict[int, Owner]:
    """The namespaces in which entries were made, by the numbers of the entries; those that are gone have none."""
    ids = sorted({one.entry.namespace_id for one in entries if one.entry.namespace_id is not None})
    columns = (namespace.c.id, namespace.c.name, namespace.c.kind, namespace.c.created_ms)
    rows = txn.execute(sa.select(*columns).where(namespace.c.id.in_(ids), namespace.c.kind != "deleted"))
    found = {row.id: Owner(row.name, row.kind, row.created_ms) for row in rows}
    placed = ((one, found.get(one.entry.namespace_id)) for one in entries if one.entry.namespace_id is not None)
    return {one.id: owner for one, owner in placed if owner is not None and owner.since_ms <= one.performed_ms}


def owned(txn: Transaction, selection: Selection) -> Selection:
    """
    The selection without what was done before its namespace and its repository were made: it was done to others, whose
    numbers they have got. SQLite gives the number of the last row again when that row is gone.
    """
    made = (
        sa.select(table.c.created_ms).where(table.c.id == number)
        for table, number in ((namespace, selection.namespace_id), (repository, selection.repository_id))
        if number is not None
    )
    times = [txn.execute(query).scalar() or 0 for query in made]
    return attrs.evolve(selection, start_ms=max([selection.start_ms, *times]))


# --- one range of one index ---------------------------------------------------------------------------------------

_ENTRY: Final = tuple(column for column in audit.c if column.name != "seal_id")
_placed: Final = sa.tuple_(audit.c.performed_ms, audit.c.id)
_SCOPES: Final = (audit.c.repository_id, audit.c.performer_id, audit.c.namespace_id)
"""What has an index, the one with the fewest entries first."""


@attrs.frozen
class _Reading:
    """
    The range of an index past a position, in one direction, up to its end, and the conditions that no index answers.
    """

    begin: Sequence[sa.ColumnElement[bool]]
    end: sa.ColumnElement[bool]
    filters: Sequence[sa.ColumnElement[bool]]
    oldest_first: bool

    @classmethod
    def of(cls, selection: Selection, past: Position | None, oldest_first: bool) -> _Reading:
        given = [(column, getattr(selection, column.name)) for column in _SCOPES]
        scopes = [(column, value) for column, value in given if value is not None]
        # adding 0 tells the engine not to look for the others in an index: only the first one's range is bounded
        filters = [column + 0 == value for column, value in scopes[1:]]
        if selection.kinds:
            filters.append(audit.c.kind.in_(sorted(selection.kinds)))
        if selection.performer is not None:
            filters.append(audit.c.performer == selection.performer)
        within = [column == value for column, value in scopes[:1]]
        begin, end = _between(selection, past, oldest_first)
        return cls([*within, begin], end, filters, oldest_first)

    def nth(self, txn: Transaction, many: int) -> Position | None:
        """Where the entry stands after which `many` of the range have been looked at; None if there are not more."""
        query = self._ordered(sa.select(audit.c.performed_ms, audit.c.id).where(*self.begin, self.end))
        rows = txn.execute(query.offset(many - 1).limit(2)).all()
        return Position(**rows[0]._mapping) if len(rows) == 2 else None

    def entries(self, last: Position | None) -> sa.Select[Any]:
        return self._ordered(self._until(last, sa.select(*_ENTRY)).where(*self.filters))

    def counts(self, last: Position | None) -> sa.Select[Any]:
        day = (audit.c.performed_ms // sa.literal_column(str(DAY_MS), sa.BigInteger)).label("day")
        query = sa.select(audit.c.kind, day, sa.func.count().label("many")).group_by(audit.c.kind, day)
        return self._until(last, query).where(*self.filters)

    def _until(self, last: Position | None, query: sa.Select[Any]) -> sa.Select[Any]:
        if last is None:
            return query.where(*self.begin, self.end)
        # instead of the end, not besides it: of two bounds SQLite would search for the first one only
        return query.where(*self.begin, _placed <= _place(last) if self.oldest_first else _placed >= _place(last))

    def _ordered(self, query: sa.Select[Any]) -> sa.Select[Any]:
        if self.oldest_first:
            return query.order_by(audit.c.performed_ms, audit.c.id)
        return query.order_by(audit.c.performed_ms.desc(), audit.c.id.desc())


def _between(
    selection: Selection, past: Position | None, oldest_first: bool
) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """From the one end of the range, or past what was read before, to the other."""
    time = audit.c.performed_ms
    if oldest_first:
        begin = max(past or Position(0, 0), Position(selection.start_ms, 0))
        return _placed > _place(begin), time < selection.end_ms
    begin = min(past or Position(LATEST, 0), Position(selection.end_ms, 0))
    return _placed < _place(begin), time >= selection.start_ms


def _place(position: Position) -> sa.ColumnElement[Any]:
    return sa.tuple_(*(sa.literal(value, sa.BigInteger) for value in attrs.astuple(position)))


def _recorded(row: sa.Row[Any]) -> Recorded:
    values = dict(row._mapping)
    return Recorded(values.pop("id"), values.pop("performed_ms"), Entry(**values))
