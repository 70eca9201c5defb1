"""
Seals over the audit log: a chain that shows afterwards what was changed in it or taken out.

A seal is the HMAC-SHA-256, with a key that the database does not have, over its number, the seal before, the time, the
number of its entries, and the SHA-256 of these entries in the order of their numbers. Seals are numbered without gaps.
Which entries belong to a seal is written in each entry, so one that is committed late, with a low number, simply goes
under the next seal.

So whoever can write to the database, and does not have the key, can neither change nor remove nor add a sealed entry
unseen; he can forge entries that are not sealed yet, and cut off the end of the chain: the latter is seen by
whoever has noted a later seal somewhere else. Source: Schneier and Kelsey, "Secure Audit Logs to Support Computer
Forensics" (the chain).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import insert_or_ignore
from quay.database.schema import audit, audit_seal
from quay.model.activity import DAY_MS

ORIGIN: Final = ""
"""What stands in the place of the seal before the first one."""

_VERSION: Final = "quay audit seal 1"
_ENTRY: Final = (
    audit.c.id,
    audit.c.performed_ms,
    audit.c.kind,
    audit.c.namespace_id,
    audit.c.repository_id,
    audit.c.performer_id,
    audit.c.performer,
    audit.c.ip,
    audit.c.details,
)
"""What is sealed of an entry, in this order."""

_encode: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_ENTRIES_READ: Final = 2_000
_SEALS_READ: Final = 50
_BEFORE_ALL: Final = -(2**63)


class SealInterrupted(Exception):
    """An entry went away while it was being sealed. Nothing was written, and the next attempt seals what is there."""


@attrs.frozen
class Seal:
    """A row of the chain; `seal` is in hexadecimal digits."""

    id: int
    entries: int
    seal: str
    made_ms: int

    def __str__(self) -> str:
        """How an administrator notes it down; a forged one does nothing to his terminal."""
        return f"{self.id}:{ascii(self.seal)[1:-1]}"


@attrs.frozen
class Found:
    """
    What there is of a seal: its row, unless that is missing, and the number and SHA-256 of the entries that say they
    are its own. `late` of these were performed more than a day before the seal was made.
    """

    id: int
    row: Seal | None
    entries: int
    digest: str
    late: int

    def fits(self, key: bytes, before: str) -> bool:
        """Whether row and entries are what was sealed after the seal `before`."""
        computed = self.computed(key, before)
        return self.row is not None and hmac.compare_digest(self.row.seal.encode(), computed.encode())

    def computed(self, key: bytes, before: str) -> str:
        """The seal that these entries would have with this row, after the seal `before`."""
        made_ms = self.row.made_ms if self.row is not None else 0
        return _sealed(key, self.id, before, made_ms, self.entries, self.digest)


def extend(txn: Transaction, key: bytes, most: int) -> Seal | None:
    """
    Put the oldest entries without a seal, at most `most`, under a new one; None if there are none, or if somebody else
    is doing it. Raises `SealInterrupted`.
    """
    unsealed = sa.select(*_ENTRY).where(audit.c.seal_id.is_(None)).order_by(audit.c.seal_id, audit.c.id)
    rows = txn.execute(unsealed.limit(most)).all()
    before = head(txn)
    if not rows:
        return None
    number, previous = (1, ORIGIN) if before is None else (before.id + 1, before.seal)
    value = _sealed(key, number, previous, txn.now_ms, len(rows), _digest(rows)[0])
    made = Seal(number, len(rows), value, txn.now_ms)
    return made if _write(txn, made, [row.id for row in rows]) else None


def _write(txn: Transaction, made: Seal, ids: list[int]) -> bool:
    row = insert_or_ignore(txn.dialect, audit_seal).values(**attrs.asdict(made)).returning(audit_seal.c.id)
    if txn.execute(row).first() is None:
        return False  # by now, another node has made the seal of this number
    theirs = sa.update(audit).where(audit.c.id.in_(ids), audit.c.seal_id.is_(None)).values(seal_id=made.id)
    if txn.execute(theirs).rowcount != len(ids):
        raise SealInterrupted("Entries of the audit log went away while they were being sealed.")
    return True


def head(txn: Transaction) -> Seal | None:
    """The latest seal; None if nothing was ever sealed."""
    return next(_seals(txn, sa.true(), latest_first=True), None)


def find(txn: Transaction, number: int) -> Seal | None:
    """The seal of this number."""
    return next(_seals(txn, audit_seal.c.id == number), None)


def unsealed_before(txn: Transaction, performed_ms: int) -> int:
    """How many of the first 10,000 entries without a seal were performed before that time."""
    some = sa.select(audit.c.performed_ms).where(audit.c.seal_id.is_(None)).order_by(audit.c.seal_id, audit.c.id)
    first = some.limit(10_000).subquery()
    query = sa.select(sa.func.count()).select_from(first).where(first.c.performed_ms < performed_ms)
    return int(txn.execute(query).scalar_one())


def following(txn: Transaction, after: int | None) -> list[Found]:
    """
    What there is of the seals past the number `after`, or of the first ones: in order, some at a time, those included
    that are only named by entries. Empty at the end.
    """
    after = _BEFORE_ALL if after is None else after
    rows = deque(_seals(txn, audit_seal.c.id > after, most=_SEALS_READ))
    found: list[Found] = []
    for number, entries in groupby(_entries(txn, after, rows[-1].id if rows else None), lambda row: int(row.seal_id)):
        while rows and rows[0].id < number:
            found.append(_measured(rows[0].id, rows.popleft(), ()))
        row = rows.popleft() if rows and rows[0].id == number else find(txn, number)
        found.append(_measured(number, row, entries))
        if len(found) >= _SEALS_READ:
            return found
    return found + [_measured(row.id, row, ()) for row in rows]


def _entries(txn: Transaction, after: int, last: int | None) -> Iterator[sa.Row[Any]]:
    """The sealed entries past the seal `after`, up to those of the seal `last`; a limited number in memory."""
    query = sa.select(*_ENTRY, audit.c.seal_id).order_by(audit.c.seal_id, audit.c.id).limit(_ENTRIES_READ)
    if last is not None:
        query = query.where(audit.c.seal_id <= last)
    rows = txn.execute(query.where(audit.c.seal_id > after)).all()
    while rows:
        yield from rows
        here = sa.tuple_(sa.literal(rows[-1].seal_id, sa.BigInteger), sa.literal(rows[-1].id, sa.BigInteger))
        rows = txn.execute(query.where(sa.tuple_(audit.c.seal_id, audit.c.id) > here)).all()


def _seals(
    txn: Transaction, condition: sa.ColumnElement[bool], *, most: int = 1, latest_first: bool = False
) -> Iterator[Seal]:
    order = audit_seal.c.id.desc() if latest_first else audit_seal.c.id
    query = sa.select(*(audit_seal.c[field.name] for field in attrs.fields(Seal))).where(condition)
    return (Seal(**row._mapping) for row in txn.execute(query.order_by(order).limit(most)))


# --- what is sealed -----------------------------------------------------------------------------------------------


def _measured(number: int, row: Seal | None, entries: Iterable[sa.Row[Any]]) -> Found:
    long_ago = row.made_ms - DAY_MS if row is not None else _BEFORE_ALL
    digest, count, late = _digest(entries, long_ago)
    return Found(number, row, count, digest, late)


def _digest(entries: Iterable[sa.Row[Any]], long_ago: int = _BEFORE_ALL) -> tuple[str, int, int]:
    """The SHA-256 of the entries, how many they are, and how many were performed before `long_ago`."""
    digest, count, late = hashlib.sha256(), 0, 0
    for entry in entries:
        digest.update(_canonical(entry))
        count += 1
        late += entry.performed_ms < long_ago
    return digest.hexdigest(), count, late


def _canonical(entry: sa.Row[Any]) -> bytes:
    """A line of JSON that is the same on every engine, and of no other entry."""
    return _encode(tuple(entry[: len(_ENTRY)])).encode("ascii") + b"\n"


def _sealed(key: bytes, number: int, before: str, made_ms: int, entries: int, digest: str) -> str:
    sealed = _encode([_VERSION, number, before, made_ms, entries, digest]).encode("ascii")
    return hmac.new(key, sealed, hashlib.sha256).hexdigest()
