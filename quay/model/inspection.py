"""Rows that are to be compared with bytes or with each other, page by page, for `quay fsck` and `quay scrub`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import greatest, insert_or_ignore
from quay.database.schema import blob, condemned, manifest, manifest_blob, placement, repository, repository_blob, tag
from quay.model.content import delete_manifest
from quay.model.reachability import batches, lock
from quay.oci.errors import NameUnknown, RegistryError
from quay.oci.manifest import Manifest, parse
from quay.oci.reference import Digest

PAGE: Final = 500
PARSED: Final = 25
"""So many manifests, each of up to a few megabytes, are in memory at once."""
GRACE_S: Final = 24 * 3600
"""So long the blobs of a manifest that was dropped wait for somebody to push it again."""


@attrs.frozen
class Placed:
    """A blob that a location is said to hold; `id` is where the next page begins."""

    id: int
    digest: Digest = attrs.field(converter=Digest)
    size: int


@attrs.frozen
class Loose:
    """
    Something that lacks what it needs: a tag its manifest, a manifest its bytes or a link, a blob (0 for one without a
    row) its bytes; `sentence` says what.
    """

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


def is_lacking(txn: Transaction, digest: Digest) -> bool:
    """Whether a repository links this blob, or a manifest names it, and its bytes are nowhere."""
    lacking = sa.select(blob.c.id).where(
        blob.c.digest == digest,
        sa.or_(
            sa.exists().where(repository_blob.c.blob_id == blob.c.id),
            sa.exists().where(manifest_blob.c.blob_id == blob.c.id),
        ),
        ~sa.exists().where(placement.c.blob_id == blob.c.id),
    )
    return txn.execute(lacking).first() is not None


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


def torn_manifests(txn: Transaction, after: int) -> tuple[list[Loose], int | None]:
    """The manifests of the next page that are not what their digests say, and where to go on."""
    page = _contents(txn, after)
    torn = [
        Loose(row.id, row.repository_id, 0, f"The manifest {row.digest} of {row.name} is not what its digest says.")
        for row, found in page
        if found is None
    ]
    return torn, page[-1][0].id if page else None


def nameless_blobs(txn: Transaction, after: int) -> tuple[list[Loose], int | None]:
    """What the manifests of the next page name by their bytes, and not by their rows; and where to go on."""
    page = _contents(txn, after)
    loose = [one for row, found in page if found is not None for one in _nameless(txn, row, found)]
    return loose, page[-1][0].id if page else None


def _nameless(txn: Transaction, row: sa.Row[Any], found: Manifest) -> list[Loose]:
    names = sorted({one.digest for one in found.blobs()})
    ids: dict[str, int] = {}
    for batch in batches(names):
        known = txn.execute(sa.select(blob.c.digest, blob.c.id).where(blob.c.digest.in_(batch)))
        ids.update({one.digest: one.id for one in known})
    named = set(txn.execute(sa.select(manifest_blob.c.blob_id).where(manifest_blob.c.manifest_id == row.id)).scalars())
    sentence = f"No row says that {row.digest} of {row.name} names {{}}.".format
    missing = [name for name in names if ids.get(name) not in named]
    return [Loose(row.id, row.repository_id, ids.get(name, 0), sentence(name)) for name in missing]


def _contents(txn: Transaction, after: int) -> list[tuple[sa.Row[Any], Manifest | None]]:
    """The rows of the next manifests, and what their bytes say; None where that cannot be theirs."""
    columns = manifest.c.id, manifest.c.repository_id, manifest.c.digest, manifest.c.media_type, manifest.c.content
    rows = txn.execute(
        sa.select(*columns, repository.c.name)
        .join(repository, repository.c.id == manifest.c.repository_id)
        .where(manifest.c.id > after)
        .order_by(manifest.c.id)
        .limit(PARSED)
    )
    return [(row, _read(row)) for row in rows]


def _read(row: sa.Row[Any]) -> Manifest | None:
    try:
        return parse(row.content, row.media_type, digest=Digest(row.digest))
    except RegistryError:
        return None


def unheld_blobs(txn: Transaction, after: int) -> tuple[list[Loose], int | None]:
    """The next blobs that manifests name, whose bytes are nowhere, and that nobody is at; and where to go on."""
    rows = txn.execute(
        sa.select(blob.c.id, blob.c.digest)
        .where(
            blob.c.id > after,
            sa.exists().where(manifest_blob.c.blob_id == blob.c.id),
            ~sa.exists().where(placement.c.blob_id == blob.c.id),
            ~sa.exists().where(condemned.c.digest == blob.c.digest, sa.not_(condemned.c.gone)),
        )
        .order_by(blob.c.id)
        .limit(PAGE)
    ).all()
    sentence = "The bytes of {} are nowhere, and manifests name it: push it again to heal them.".format
    return [Loose(0, 0, row.id, sentence(row.digest)) for row in rows], rows[-1].id if rows else None


def beyond_us(txn: Transaction, loose: Loose) -> bool:
    """Only a push can mend that."""
    return False


def drop_tag(txn: Transaction, loose: Loose) -> bool:
    """Remove the row of a tag that names nothing."""
    return txn.execute(sa.delete(tag).where(tag.c.id == loose.id)).rowcount == 1


def drop_manifest(txn: Transaction, loose: Loose) -> bool:
    """Remove a manifest that is not what its digest says, and its tags, so that it can be pushed again."""
    try:
        lock(txn, loose.repository_id)
    except NameUnknown:
        return False
    digest = txn.execute(sa.select(manifest.c.digest).where(manifest.c.id == loose.id)).scalar()
    if digest is None:
        return False
    delete_manifest(txn, loose.repository_id, Digest(digest))
    until_ms = greatest(repository_blob.c.leased_until_ms, sa.literal(txn.now_ms + GRACE_S * 1000, sa.BigInteger()))
    named = sa.select(manifest_blob.c.blob_id).where(manifest_blob.c.manifest_id == loose.id)
    here = repository_blob.c.repository_id == loose.repository_id, repository_blob.c.blob_id.in_(named)
    txn.execute(sa.update(repository_blob).where(*here).values(leased_until_ms=until_ms))
    return txn.execute(sa.delete(manifest).where(manifest.c.id == loose.id)).rowcount == 1


def name_again(txn: Transaction, loose: Loose) -> bool:
    """Say in the rows what a manifest names, and link it; False if the blob has no row, or the manifest is gone."""
    try:
        lock(txn, loose.repository_id)
    except NameUnknown:
        return False
    known = sa.select(manifest.c.id).where(manifest.c.id == loose.id)
    held = sa.select(blob.c.id).where(blob.c.id == loose.blob_id).with_for_update(read=True, key_share=True)
    if txn.execute(known).first() is None or txn.execute(held).first() is None:
        return False
    names = {"manifest_id": loose.id, "blob_id": loose.blob_id, "repository_id": loose.repository_id}
    txn.execute(insert_or_ignore(txn.dialect, manifest_blob), names)
    return link_again(txn, loose)


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
