"""
Referrers: the manifests that name another as their subject, be it stored here or not.

Source: OCI Distribution Specification 1.1 "Listing Referrers".
"""

from __future__ import annotations

from typing import Any, Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import manifest
from quay.oci.descriptor import Descriptor
from quay.oci.reference import Digest


@attrs.frozen
class Referrer:
    """A referrer as a list of them describes it; the list is paged by `id`."""

    id: int
    descriptor: Descriptor


_ALL: Final = (
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
_OF_TYPE: Final = _ALL.where(manifest.c.artifact_type == sa.bindparam("artifact_type"))


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


def _referrer(row: sa.Row[Any]) -> Referrer:
    descriptor = Descriptor(
        media_type=row.media_type,
        digest=Digest(row.digest),
        size=row.size,
        artifact_type=row.artifact_type,
        annotations=row.annotations,
    )
    return Referrer(row.id, descriptor)
