"""Why a blob is kept, in sentences: by which manifest and tag of which repository, or until when by a lease."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import blob, condemned, manifest, manifest_blob, placement, repository, repository_blob, tag
from quay.oci.reference import Digest

MOST: Final = 20
"""So many repositories, and so many manifests of each, are spoken of."""


def explain(txn: Transaction, digest: Digest) -> list[str]:
    """At least one sentence."""
    known = txn.execute(sa.select(blob).where(blob.c.digest == digest)).first()
    if known is None:
        return list(_of_no_blob(txn, digest))
    places = txn.execute(sa.select(placement.c.location).where(placement.c.blob_id == known.id)).scalars().all()
    said = [f"The blob {digest} has {known.size} bytes, at {', '.join(sorted(places)) or 'no location'}."]
    links = txn.execute(
        sa.select(repository.c.id, repository.c.name, repository_blob.c.leased_until_ms)
        .join(repository_blob, repository_blob.c.repository_id == repository.c.id)
        .where(repository_blob.c.blob_id == known.id)
        .limit(MOST)
    ).all()
    for link in links:
        said += _of_link(txn, known.id, link)
    return said if links else [*said, "No repository links it: the next runs of the garbage collector remove it."]


def _of_no_blob(txn: Transaction, digest: Digest) -> Iterator[str]:
    row = txn.execute(sa.select(condemned).where(condemned.c.digest == digest)).first()
    if row is None:
        yield f"There is no blob {digest}."
    elif row.gone:
        yield f"The blob {digest} was garbage, and its bytes at {row.location} have been removed."
    else:
        yield f"The blob {digest} was garbage; its bytes at {row.location} are being removed."


def _of_link(txn: Transaction, blob_id: int, link: sa.Row[Any]) -> Iterator[str]:
    naming = txn.execute(
        sa.select(manifest.c.id, manifest.c.digest, manifest.c.unreachable_ms)
        .join(manifest_blob, manifest_blob.c.manifest_id == manifest.c.id)
        .where(manifest_blob.c.repository_id == link.id, manifest_blob.c.blob_id == blob_id)
        .limit(MOST)
    ).all()
    for row in naming:
        yield f"{link.name} keeps it: its manifest {row.digest} names it, {_state(txn, row)}."
    if not naming:
        ended = link.leased_until_ms <= txn.now_ms
        until = f"ran out at {_time(link.leased_until_ms)}" if ended else f"lasts until {_time(link.leased_until_ms)}"
        yield f"{link.name} links it, and no manifest there names it; its lease {until}."


def _state(txn: Transaction, row: sa.Row[Any]) -> str:
    names = txn.execute(sa.select(tag.c.name).where(tag.c.manifest_id == row.id, tag.c.end_ms.is_(None)).limit(MOST))
    visible = ", ".join(sorted(names.scalars()))
    if visible:
        return f"which the tag {visible} keeps"
    if row.unreachable_ms is None:
        return "which an index or a subject keeps"
    return f"which is unreachable since {_time(row.unreachable_ms)} and can be restored for as long as the time machine"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
