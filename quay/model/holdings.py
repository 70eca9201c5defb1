"""What the whole installation holds: blobs and their bytes in each location, and the numbers of what names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import blob, manifest, namespace, placement, repository, tag


@attrs.frozen
class Held:
    """A location, and the number and bytes of the blobs that it holds."""

    location: str
    blobs: int
    bytes: int


@attrs.frozen
class Holdings:
    """`tags` are those of now, not what the time machine remembers; `robots` are not among the `users`."""

    locations: Sequence[Held]
    repositories: int
    manifests: int
    tags: int
    users: int
    organizations: int


_HELD: Final = (
    sa.select(placement.c.location, sa.func.count().label("blobs"), sa.func.sum(blob.c.size).label("bytes"))
    .join(blob, blob.c.id == placement.c.blob_id)
    .group_by(placement.c.location)
    .order_by(placement.c.location)
)


def held(txn: Transaction) -> list[Held]:
    """What each location holds, in order of name."""
    return [Held(row.location, row.blobs, int(row.bytes)) for row in txn.execute(_HELD)]


def holdings(txn: Transaction) -> Holdings:
    """Everything counted, row by row: a second for some millions of blobs."""
    return Holdings(
        locations=held(txn),
        repositories=_count(txn, repository),
        manifests=_count(txn, manifest),
        tags=_count(txn, tag, tag.c.end_ms.is_(None), ~tag.c.hidden),
        users=_count(txn, namespace, namespace.c.kind == "user"),
        organizations=_count(txn, namespace, namespace.c.kind == "organization"),
    )


def _count(txn: Transaction, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
    found: int = txn.execute(sa.select(sa.func.count()).select_from(table).where(*conditions)).scalar_one()
    return found


def grown(txn: Transaction, since_ms: int) -> int:
    """The bytes of the blobs that have come since then and are still here; reads every row."""
    query = sa.select(sa.func.coalesce(sa.func.sum(blob.c.size), 0)).where(blob.c.created_ms >= since_ms)
    return int(txn.execute(query).scalar_one())
