"""
Referrers: the manifests that name another as their subject, be it stored here or not.

Source: OCI Distribution Specification 1.1 "Listing Referrers".
"""

from __future__ import annotations

from typing import Any, Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.prepared import Prepared
from quay.database.schema import manifest
from quay.oci.descriptor import Descriptor
from quay.oci.reference import Digest

BATCH: Final = 5
"""Referrers read at once: what may be in memory beyond a page, each as large as a manifest at most."""

PAGE_BYTES: Final = 4 * 1024 * 1024


@attrs.frozen
class Referrer:
    """A referrer as a list of them describes it; the list is paged by `id`."""

    id: int
    descriptor: Descriptor


_ROWS: Final = (
    sa.select(
        manifest.c.id,
        manifest.c.media_type,
        manifest.c.digest,
        manifest.c.size,
        manifest.c.artifact_type,
        manifest.c.annotations,
    )
    .where(
        manifest.c.repository_id == sa.bindparam("in_repository"),
        manifest.c.subject_digest == sa.bindparam("subject"),
        manifest.c.id > sa.bindparam("after"),
        manifest.c.unreachable_ms.is_(None),
    )
    .order_by(manifest.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer()))
)
_ALL: Final = Prepared(_ROWS)
_OF_TYPE: Final = Prepared(_ROWS.where(manifest.c.artifact_type == sa.bindparam("artifact_type")))


def referrers(
    txn: Transaction, repository_id: int, subject: Digest, *, artifact_type: str | None, after_id: int = 0, limit: int
) -> list[Referrer]:
    """The reachable referrers of `subject`, in the order of their first push. The next page is `after_id` the last."""
    parameters = {"in_repository": repository_id, "subject": subject, "after": after_id, "most": limit}
    if artifact_type is None:
        found = txn.execute(_ALL, parameters)
    else:
        found = txn.execute(_OF_TYPE, parameters | {"artifact_type": artifact_type})
    return [_referrer(row) for row in found]


def page(
    txn: Transaction, repository_id: int, subject: Digest, *, artifact_type: str | None, after_id: int, limit: int
) -> tuple[list[Referrer], bool]:
    """
    As `referrers`, and whether there may be more: a page ends at `limit`, or with the manifest that makes `PAGE_BYTES`
    bytes full, because a referrer's annotations may be as large as a manifest.
    """
    found: list[Referrer] = []
    room = PAGE_BYTES
    while room > 0 and len(found) < limit:
        most = min(BATCH, limit - len(found))
        batch = referrers(txn, repository_id, subject, artifact_type=artifact_type, after_id=after_id, limit=most)
        for referrer in batch:
            if room <= 0:
                return found, True
            found.append(referrer)
            room -= referrer.descriptor.size
        if len(batch) < most:
            return found, False
        after_id = batch[-1].id
    return found, True


def _referrer(row: sa.Row[Any]) -> Referrer:
    descriptor = Descriptor(
        media_type=row.media_type,
        digest=Digest(row.digest),
        size=row.size,
        artifact_type=row.artifact_type,
        annotations=row.annotations,
    )
    return Referrer(row.id, descriptor)
