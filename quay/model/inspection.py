"""Rows that are to be compared with bytes or with each other, page by page, for `quay fsck` and `quay scrub`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import insert_or_ignore
from quay.database.schema import blob, condemned, manifest, manifest_blob, placement, repository, repository_blob, tag
from quay.model.reachability import lock
from quay.oci.errors import NameUnknown
from quay.oci.reference import Digest

PAGE: Final = 500


@attrs.frozen
class Placed:
    """A blob that a location is said to hold; `id` is where the next page begins."""

    id: int
    digest: Digest = attrs.field(converter=Digest)
    size: int


@attrs.frozen
class Loose:
    """Something that lacks what it needs: a tag its manifest, or a manifest a link; `sentence` says what."""

    id: int
    repository_id: int
    blob_id: int
    sentence: str


def placements(txn: Transaction, location: str, after: int) -> list[Placed]:
    """The next placements of this location."""
    rows = txn.execute(
        sa.select(blob.c.id, blob.c.digest, blob.c.size)
        .join(placement, placement.c.blob_id == blob.c.id)
        .where(placement.c.location == location, placement.c.blob_id > after)
        .order_by(placement.c.blob_id)
        .limit(PAGE)
    )
    return [Placed(row.id, row.digest, row.size) for row in rows]


def strays(txn: Transaction, location: str, digests: Collection[Digest]) -> set[Digest]:
    """Those of these digests that no row places there, and that nobody is removing."""
    known = (
        sa.select(blob.c.digest)
        .join(placement, placement.c.blob_id == blob.c.id)
        .where(placement.c.location == location, blob.c.digest.in_(digests))
    )
    doomed = sa.select(condemned.c.digest).where(
        condemned.c.location == location, condemned.c.digest.in_(digests), sa.not_(condemned.c.gone)
    )
    return set(digests) - {Digest(found) for found in txn.execute(known.union(doomed)).scalars()}


def loose_tags(txn: Transaction, after: int) -> tuple[list[Loose], int | None]:
    """The tags of the next page that name no manifest of their repository, and where to go on."""
    rows = txn.execute(
        sa.select(tag.c.id, tag.c.repository_id, tag.c.name, manifest.c.repository_id.label("of"))
        .outerjoin(manifest, manifest.c.id == tag.c.manifest_id)
        .where(tag.c.id > after)
        .order_by(tag.c.id)
        .limit(PAGE)
    ).all()
    loose = [
        Loose(row.id, row.repository_id, 0, f"The tag {row.name} (row {row.id}) names no manifest of its repository.")
        for row in rows
        if row.of != row.repository_id
    ]
    return loose, rows[-1].id if rows else None


def loose_manifests(txn: Transaction, after: int) -> tuple[list[Loose], int | None]:
    """What the manifests of the next page name and their repository does not link, and where to go on."""
    page = txn.execute(sa.select(manifest.c.id).where(manifest.c.id > after).order_by(manifest.c.id).limit(PAGE))
    ids = page.scalars().all()
    rows = txn.execute(
        sa.select(
            manifest.c.id, manifest.c.repository_id, manifest_blob.c.blob_id, manifest.c.digest, repository.c.name
        )
        .join(manifest_blob, manifest_blob.c.manifest_id == manifest.c.id)
        .join(repository, repository.c.id == manifest.c.repository_id)
        .outerjoin(
            repository_blob,
            sa.and_(
                repository_blob.c.repository_id == manifest.c.repository_id,
                repository_blob.c.blob_id == manifest_blob.c.blob_id,
            ),
        )
        .where(manifest.c.id.in_(ids), repository_blob.c.blob_id.is_(None))
    )
    loose = [
        Loose(row.id, row.repository_id, row.blob_id, f"{row.name} has no link to a blob that {row.digest} names.")
        for row in rows
    ]
    return loose, ids[-1] if ids else None


def drop_tag(txn: Transaction, loose: Loose) -> bool:
    """Remove the row of a tag that names nothing."""
    return txn.execute(sa.delete(tag).where(tag.c.id == loose.id)).rowcount == 1


def link_again(txn: Transaction, loose: Loose) -> bool:
    """Link what the manifest names, if it still does; False if the repository is gone."""
    try:
        lock(txn, loose.repository_id)
    except NameUnknown:
        return False
    names = sa.select(manifest_blob).where(
        manifest_blob.c.manifest_id == loose.id, manifest_blob.c.blob_id == loose.blob_id
    )
    if txn.execute(names).first() is None:
        return False
    link = {"repository_id": loose.repository_id, "blob_id": loose.blob_id, "leased_until_ms": txn.now_ms}
    txn.execute(insert_or_ignore(txn.dialect, repository_blob), link)
    digest: str = txn.execute(sa.select(blob.c.digest).where(blob.c.id == loose.blob_id)).scalar_one()
    txn.changed("blob", loose.repository_id, digest)
    return True
