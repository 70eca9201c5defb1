"""
Uploads that were begun: to which repository, and by whom. The bytes are with the storage; how many, only that knows.

An upload is looked up through its repository and its owner, so that knowing its uuid opens nothing to anybody else.
Source: OCI Distribution Specification 1.1 "Pushing blobs".
"""

from __future__ import annotations

from typing import Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.prepared import Prepared
from quay.database.schema import upload
from quay.model.reachability import share


@attrs.frozen
class Upload:
    """An upload that goes on; `owner` is the principal who began it, `location` where its bytes are kept."""

    uuid: str
    repository_id: int
    owner: str
    location: str
    created_ms: int


_ROWS: Final = sa.select(*(upload.c[field.name] for field in attrs.fields(Upload)))
_FIND: Final = Prepared(
    _ROWS.where(
        upload.c.uuid == sa.bindparam("uuid"),
        upload.c.repository_id == sa.bindparam("repository_id"),
        upload.c.owner == sa.bindparam("owner"),
    )
)
_STALE: Final = Prepared(
    _ROWS.where(upload.c.created_ms < sa.bindparam("before"))
    .order_by(upload.c.created_ms)
    .limit(sa.bindparam("most", type_=sa.Integer()))
)
_BEGIN: Final = Prepared(sa.insert(upload))
_END: Final = Prepared(sa.delete(upload).where(upload.c.uuid == sa.bindparam("uuid")))


def begin_upload(txn: Transaction, uuid: str, repository_id: int, owner: str, location: str) -> Upload:
    """Remember a new upload. Raises `NameUnknown` if the repository has been deleted meanwhile."""
    share(txn, repository_id)
    begun = Upload(uuid, repository_id, owner, location, txn.now_ms)
    txn.execute(_BEGIN, attrs.asdict(begun))
    return begun


def find_upload(txn: Transaction, uuid: str, *, repository_id: int, owner: str) -> Upload | None:
    """The upload, if it goes to this repository and this principal began it."""
    row = txn.execute(_FIND, {"uuid": uuid, "repository_id": repository_id, "owner": owner}).first()
    return None if row is None else Upload(*row)


def end_upload(txn: Transaction, uuid: str) -> bool:
    """Forget the upload, completed or cancelled; False if somebody else has done so already."""
    return txn.execute(_END, {"uuid": uuid}).rowcount == 1


def stale_uploads(txn: Transaction, before_ms: int, limit: int) -> list[Upload]:
    """Uploads begun before `before_ms`, the oldest first."""
    return [Upload(*row) for row in txn.execute(_STALE, {"before": before_ms, "most": limit})]
