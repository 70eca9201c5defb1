"""
Blobs, and the links through which a repository reaches them: without a link, a blob is unknown there, whoever asks.

A link is leased when it is made, so that the garbage collector spares it until a manifest names the blob. Whoever
removes links or manifests takes `quay.model.reachability.lock`; whoever makes a link holds the row of the blob, so a
link never points to a blob that is being forgotten: either it comes first, or the blob is made anew. A placement says
that the bytes are there; what that rests on is in `quay.model.condemned`.

Announces `("blob", repository_id, digest)` for every link that comes, is leased again or goes. Source: OCI Distribution
Specification 1.1 "Mounting a blob from another repository" and "Deleting Blobs".
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any, Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import greatest, insert, insert_or_ignore
from quay.database.prepared import Prepared
from quay.database.schema import blob as blob_row
from quay.database.schema import manifest, manifest_blob, manifest_child, placement, repository, repository_blob
from quay.model.condemned import moved, require_bytes
from quay.model.permission import role
from quay.model.reachability import lock, share
from quay.model.repository import Repository, by_id
from quay.oci.errors import Denied
from quay.oci.reference import Digest


class BlobInUse(Denied):
    """The blob cannot be deleted: a manifest that can be pulled names it."""


@attrs.frozen
class Blob:
    """A blob as one repository sees it: `size` in bytes, and the names of the `locations` that hold it."""

    id: int
    digest: Digest
    size: int
    locations: tuple[str, ...]


_IN_REPOSITORY: Final = repository_blob.c.repository_id == sa.bindparam("in_repository")
_ROW: Final = (
    sa.select(blob_row.c.id)
    .join(repository_blob, repository_blob.c.blob_id == blob_row.c.id)
    .where(_IN_REPOSITORY, blob_row.c.digest == sa.bindparam("digest"))
)
_LINKED: Final = Prepared(_ROW)
_FIND: Final = Prepared(
    _ROW.add_columns(blob_row.c.size, placement.c.location)
    .outerjoin(placement, placement.c.blob_id == blob_row.c.id)
    .order_by(placement.c.location)
)
_HOLD: Final = Prepared(
    sa.select(blob_row.c.id)
    .where(blob_row.c.digest == sa.bindparam("digest"))
    .with_for_update(read=True, key_share=True)
)
_HOLD_LINKED: Final = Prepared(
    _ROW.where(sa.exists().where(placement.c.blob_id == blob_row.c.id)).with_for_update(
        read=True, key_share=True, of=blob_row
    )
)
_LINKING: Final = (
    sa.select(repository.c.id)
    .join(repository_blob, repository_blob.c.repository_id == repository.c.id)
    .join(blob_row, blob_row.c.id == repository_blob.c.blob_id)
    .where(blob_row.c.digest == sa.bindparam("digest"))
    .order_by(repository.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer()))
)
_SOURCES: Final = Prepared(_LINKING)
_NAMED_SOURCES: Final = Prepared(_LINKING.where(repository.c.name.in_(sa.bindparam("names", expanding=True))))
_NAMING: Final = sa.select(manifest_blob.c.manifest_id).where(
    manifest_blob.c.repository_id == sa.bindparam("in_repository"), manifest_blob.c.blob_id == sa.bindparam("of_blob")
)
_USER: Final = Prepared(
    sa.select(manifest.c.digest).where(manifest.c.id.in_(_NAMING), manifest.c.unreachable_ms.is_(None)).limit(1)
)


def _users() -> sa.CTE:
    """The manifests that name the blob, and the indexes above them, at any remove."""
    users = sa.select(manifest.c.id, manifest.c.digest).where(manifest.c.id.in_(_NAMING)).cte("users", recursive=True)
    above = manifest_child.join(manifest, manifest.c.id == manifest_child.c.manifest_id)
    return users.union(
        sa.select(manifest.c.id, manifest.c.digest)
        .select_from(above)
        .where(
            manifest_child.c.repository_id == sa.bindparam("in_repository"),
            manifest_child.c.child_digest == users.c.digest,
        )
    )


_FORGET_USERS: Final = Prepared(
    sa.delete(manifest).where(manifest.c.id.in_(sa.select(_users().c.id)), manifest.c.unreachable_ms.is_not(None))
)
_UNLINK: Final = Prepared(
    sa.delete(repository_blob).where(_IN_REPOSITORY, repository_blob.c.blob_id == sa.bindparam("of_blob"))
)


@cache
def _lease(dialect: str) -> Prepared:
    statement = insert(dialect, repository_blob)
    longest = greatest(repository_blob.c.leased_until_ms, statement.excluded.leased_until_ms)
    return Prepared(
        statement.on_conflict_do_update(index_elements=["repository_id", "blob_id"], set_={"leased_until_ms": longest})
    )


@cache
def _make(dialect: str) -> Prepared:
    return Prepared(insert_or_ignore(dialect, blob_row).returning(blob_row.c.id))


@cache
def _place(dialect: str) -> Prepared:
    return Prepared(insert_or_ignore(dialect, placement))


def blob(txn: Transaction, repository_id: int, digest: Digest) -> Blob | None:
    """The blob, if this repository has a link to it."""
    rows = txn.execute(_FIND, {"in_repository": repository_id, "digest": digest}).all()
    if not rows:
        return None
    return Blob(rows[0].id, digest, rows[0].size, tuple(row.location for row in rows if row.location is not None))


def link_blob(
    txn: Transaction,
    repository_id: int,
    digest: Digest,
    size: int,
    location: str,
    *,
    lease_s: int,
    seen_ms: int | None = None,
    verified: str = "",
) -> Blob:
    """
    Record that `location` holds this blob of `size` bytes, and link it to the repository for `lease_s` seconds at
    least. Raises `NameUnknown` if the repository has been deleted meanwhile; and `BytesInDoubt` if the bytes may have
    been removed since `seen_ms`, when they were in place (`verified`: see `quay.model.condemned`).
    """
    share(txn, repository_id)
    blob_id, is_new = _held(txn, digest, size)
    require_bytes(txn, digest, location, seen_ms=seen_ms, verified=verified)
    placed = txn.execute(_place(txn.dialect), {"blob_id": blob_id, "location": location})
    _link(txn, repository_id, blob_id, digest, lease_s)
    if is_new:
        return Blob(blob_id, digest, size, (location,))
    if placed.rowcount:
        moved(txn, blob_id, digest)
    return _linked(txn, repository_id, digest)


def mount_blob(txn: Transaction, source_id: int, target_id: int, digest: Digest, *, lease_s: int) -> Blob | None:
    """
    Link a blob of the repository `source_id` to `target_id`; None if the source has none whose bytes are anywhere.
    Raises `NameUnknown`.
    """
    share(txn, target_id)
    blob_id = txn.execute(_HOLD_LINKED, {"in_repository": source_id, "digest": digest}).scalar()
    if blob_id is None:
        return None
    _link(txn, target_id, blob_id, digest, lease_s)
    return _linked(txn, target_id, digest)


def adopt_blob(txn: Transaction, target_id: int, digest: Digest, *, lease_s: int) -> Blob | None:
    """As `mount_blob`, from any repository that has it, whoever may read that; None if none has it."""
    source = txn.execute(_SOURCES, {"digest": digest, "most": 1}).scalar()
    return None if source is None else mount_blob(txn, source, target_id, digest, lease_s=lease_s)


def readable_source(
    txn: Transaction, digest: Digest, *, holder_id: int | None, names: Collection[str] | None, limit: int = 16
) -> Repository | None:
    """
    A repository that links the blob and that the holder may read, for a mount that does not say from where; none in a
    disabled namespace. `names` are the repositories to which a token confines the holder. Looks at `limit`
    repositories at most.
    """
    statement = _SOURCES if names is None else _NAMED_SOURCES
    parameters: dict[str, Any] = {"digest": digest, "most": limit}
    candidates = txn.execute(statement, parameters if names is None else parameters | {"names": list(names)}).scalars()
    found = (by_id(txn, candidate) for candidate in candidates)
    readable = (one for one in found if one is not None and one.namespace_enabled)
    return next((one for one in readable if role(txn, one, holder_id) is not None), None)


def linked_among(txn: Transaction, digest: Digest, repository_ids: Collection[int], *, limit: int = 1000) -> int | None:
    """One of these repositories that links the blob; looks at `limit` at most that do."""
    found = txn.execute(_SOURCES, {"digest": digest, "most": limit}).scalars()
    return next((repository_id for repository_id in found if repository_id in repository_ids), None)


def unlink_blob(txn: Transaction, repository_id: int, digest: Digest) -> bool:
    """
    Remove the link; False if there is none. Unreachable manifests that name the blob go with it, and the unreachable
    indexes above them, because the time machine could not restore them whole. Raises `BlobInUse` if a reachable
    manifest names it, and `NameUnknown`.
    """
    lock(txn, repository_id)
    blob_id = txn.execute(_LINKED, {"in_repository": repository_id, "digest": digest}).scalar()
    if blob_id is None:
        return False
    where = {"in_repository": repository_id, "of_blob": blob_id}
    user = txn.execute(_USER, where).scalar()
    if user is not None:
        raise BlobInUse(
            f"The blob {digest} cannot be deleted: the manifest {user} names it.",
            advice="Delete the manifest first.",
            manifest=user,
        )
    txn.execute(_FORGET_USERS, where)
    txn.execute(_UNLINK, where)
    txn.changed("blob", repository_id, digest)
    return True


def _held(txn: Transaction, digest: Digest, size: int) -> tuple[int, bool]:
    """The row of the blob, held against its deletion until the transaction ends, and whether it is new."""
    new = {"digest": digest, "size": size, "created_ms": txn.now_ms}
    while (found := txn.execute(_HOLD, {"digest": digest}).scalar()) is None:  # again if it was deleted in between
        made = txn.execute(_make(txn.dialect), new).scalar()
        if made is not None:  # nobody else sees the row before it is committed, so it is held
            return int(made), True
    return int(found), False


def _link(txn: Transaction, repository_id: int, blob_id: int, digest: Digest, lease_s: int) -> None:
    leased_until_ms = txn.now_ms + lease_s * 1000
    txn.execute(
        _lease(txn.dialect),
        {"repository_id": repository_id, "blob_id": blob_id, "leased_until_ms": leased_until_ms},
    )
    txn.changed("blob", repository_id, digest)


def _linked(txn: Transaction, repository_id: int, digest: Digest) -> Blob:
    linked = blob(txn, repository_id, digest)
    assert linked is not None, "it has just been linked"
    return linked
