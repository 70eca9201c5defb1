"""
All that a registry has, in pages: each current tag, each manifest that can be pulled, each blob that is placed and
linked. For those who tell another registry of it.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import blob, manifest, placement, repository, repository_blob, tag
from quay.oci.reference import Digest

_AFTER: Final = sa.bindparam("after", type_=sa.BigInteger())
_MOST: Final = sa.bindparam("most", type_=sa.Integer())
_OF: Final = sa.bindparam("of_repository", type_=sa.BigInteger())

_TAGS: Final = (
    sa.select(tag.c.id, repository.c.name.label("repository"), tag.c.name, manifest.c.digest)
    .join(manifest, manifest.c.id == tag.c.manifest_id)
    .join(repository, repository.c.id == tag.c.repository_id)
    .where(
        tag.c.id > _AFTER,
        tag.c.repository_id == _OF,
        tag.c.end_ms.is_(None),
        sa.not_(tag.c.hidden),
        sa.or_(tag.c.expires_ms.is_(None), tag.c.expires_ms > sa.bindparam("now", type_=sa.BigInteger())),
    )
    .order_by(tag.c.id)
    .limit(_MOST)
)
_MANIFESTS: Final = (
    sa.select(manifest.c.id, manifest.c.digest)
    .where(manifest.c.id > _AFTER, manifest.c.repository_id == _OF, manifest.c.unreachable_ms.is_(None))
    .order_by(manifest.c.id)
    .limit(_MOST)
)
_BLOBS: Final = (
    sa.select(blob.c.id, blob.c.digest)
    .join(repository_blob, repository_blob.c.blob_id == blob.c.id)
    .where(
        blob.c.id > _AFTER,
        repository_blob.c.repository_id == _OF,
        sa.exists().where(placement.c.blob_id == blob.c.id),
    )
    .order_by(blob.c.id)
    .limit(_MOST)
)


def tags(txn: Transaction, repository_id: int, after: int, limit: int) -> tuple[dict[str, Digest], int | None]:
    """The next `limit` tags of the repository by full name, and the mark after which the next page begins, if any."""
    rows = _page(txn, _TAGS, repository_id, after, limit)
    return {f"{row.repository}:{row.name}": Digest(row.digest) for row in rows}, _mark(rows, limit)


def manifests(txn: Transaction, repository_id: int, after: int, limit: int) -> tuple[list[Digest], int | None]:
    """As `tags`: the manifests in sight."""
    rows = _page(txn, _MANIFESTS, repository_id, after, limit)
    return [Digest(row.digest) for row in rows], _mark(rows, limit)


def blobs(txn: Transaction, repository_id: int, after: int, limit: int) -> tuple[list[Digest], int | None]:
    """As `tags`: the blobs that are linked, and whose bytes are somewhere."""
    rows = _page(txn, _BLOBS, repository_id, after, limit)
    return [Digest(row.digest) for row in rows], _mark(rows, limit)


def _page(txn: Transaction, statement: sa.Select[Any], repository_id: int, after: int, limit: int) -> list[Any]:
    parameters = {"of_repository": repository_id, "after": after, "most": limit}
    if statement is _TAGS:
        parameters["now"] = txn.now_ms
    return list(txn.execute(statement, parameters))


def _mark(rows: list[Any], limit: int) -> int | None:
    return rows[-1].id if len(rows) == limit else None
