"""
Manifests: pushed, read, deleted. What keeps them in sight is in `quay.model.reachability`.

A manifest is stored verbatim and only whole: every blob that it names is linked to its repository, and stays so for as
long as the manifest is stored. Its children are known, unless a sparse index is allowed; a child that was deleted is
not known, one that has merely gone out of sight is, and comes back with its index. A child may be a plain blob, as in
the caches of BuildKit.

What a transaction of the model announces, and a cache must drop:

- `("tag", repository_id, name)`: the tag began, moved, ended or got another expiry;
- `("manifest", repository_id, digest)`: the manifest came into sight or went out of it;
- `("referrers", repository_id, subject_digest)`: the referrers of this subject are others;
- `("blob", repository_id, digest)`: the link of the repository to the blob came, was leased again or went.

Source: OCI Distribution Specification 1.1 "Pushing Manifests" and "Deleting Manifests"; Quay's labels.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any, Final
from uuid import uuid4

import attrs
import sqlalchemy as sa

from quay.database import Transaction, schema
from quay.database.engines import insert_or_ignore
from quay.database.prepared import Prepared
from quay.model.reachability import batches, lock, manifest_changed, review
from quay.model.repository import Repository
from quay.model.tag import FOREVER, end_tags, keep, retarget
from quay.oci.errors import ManifestBlobUnknown
from quay.oci.manifest import Manifest
from quay.oci.reference import Digest, Tag

NAMED_AS_MISSING: Final = 20
LABEL_LIMIT: Final = 1_000
LABEL_KEY_LIMIT: Final = 255


@attrs.frozen
class StoredManifest:
    """A manifest as it is stored: `content` is what was pushed, byte for byte."""

    id: int
    repository_id: int
    digest: Digest = attrs.field(converter=Digest)
    media_type: str
    content: bytes = attrs.field(repr=False)
    artifact_type: str | None
    subject_digest: Digest | None = attrs.field(converter=attrs.converters.optional(Digest))


@attrs.frozen
class Pushed:
    """What a push did: whether the manifest is new here, and what the tag named before (None: nothing, or no tag)."""

    manifest: StoredManifest
    created: bool
    previous: Digest | None


@attrs.frozen
class _Parts:
    """What a manifest names and the repository has: ids of blobs, digests of children, and their bytes in all."""

    blob_ids: Collection[int]
    children: Collection[Digest]
    size: int


_IN_REPOSITORY: Final = schema.manifest.c.repository_id == sa.bindparam("in_repository")
_DIGESTS: Final[sa.BindParameter[str]] = sa.bindparam("digests", expanding=True)
_ROWS: Final = sa.select(*(schema.manifest.c[field.name] for field in attrs.fields(StoredManifest))).where(
    _IN_REPOSITORY, schema.manifest.c.digest == sa.bindparam("digest")
)
_FIND: Final = Prepared(_ROWS)
_FIND_STORED: Final = Prepared(_ROWS.where(schema.manifest.c.deleted_ms.is_(None)))
_FIND_REACHABLE: Final = Prepared(_ROWS.where(schema.manifest.c.unreachable_ms.is_(None)))
_BLOBS: Final = Prepared(
    sa.select(schema.blob.c.digest, schema.blob.c.id, schema.blob.c.size)
    .join(schema.repository_blob, schema.repository_blob.c.blob_id == schema.blob.c.id)
    .where(schema.repository_blob.c.repository_id == sa.bindparam("in_repository"), schema.blob.c.digest.in_(_DIGESTS))
)
_CHILDREN: Final = Prepared(
    sa.select(
        schema.manifest.c.digest,
        schema.manifest.c.id,
        (schema.manifest.c.size + schema.manifest.c.layers_size).label("size"),
    ).where(_IN_REPOSITORY, schema.manifest.c.digest.in_(_DIGESTS), schema.manifest.c.deleted_ms.is_(None))
)
_STORE: Final = Prepared(sa.insert(schema.manifest).returning(schema.manifest.c.id))
_NAME_CHILDREN: Final = Prepared(sa.insert(schema.manifest_child))
_ADD_LABELS: Final = Prepared(sa.insert(schema.label))
_ROW: Final = schema.manifest.c.id == sa.bindparam("row")
_UNDELETE: Final = Prepared(
    sa.update(schema.manifest).where(_ROW, schema.manifest.c.deleted_ms.is_not(None)).values(deleted_ms=None)
)
_DELETE: Final = Prepared(
    sa.update(schema.manifest).where(_ROW).values(deleted_ms=sa.bindparam("now"), unreachable_ms=sa.bindparam("now"))
)


@cache
def _name_blobs(dialect: str) -> Prepared:
    return Prepared(insert_or_ignore(dialect, schema.manifest_blob))


def put_manifest(
    txn: Transaction,
    repository: Repository,
    manifest: Manifest,
    *,
    tag: Tag | None,
    labels: Mapping[str, str],
    expires_after_s: int | None,
    temp_tag_s: int,
    sparse: bool,
) -> Pushed:
    """
    Store the manifest, and point `tag` at it, which then expires after `expires_after_s` seconds if that is given.
    Without a tag, it is kept for `temp_tag_s` seconds, unless its subject or an index keeps it anyway. `labels` are
    those of a manifest that is new here. `sparse`: children may be missing. A manifest that is here already is in
    sight again afterwards, even if it had been deleted.

    Raises `ManifestBlobUnknown`, which names what is missing, and `NameUnknown` if the repository has been deleted.
    """
    lock(txn, repository.id)
    parts = _parts(txn, repository.id, manifest, sparse)
    stored = _find(txn, _FIND, repository.id, manifest.digest)
    created = stored is None
    if stored is None:
        stored = _store(txn, repository.id, manifest, parts)
        _label(txn, stored, labels)
    else:
        txn.execute(_UNDELETE, {"row": stored.id})
        _name(txn, stored, parts)  # a foreign layer may have come since
    if tag is None:
        keep(txn, repository.id, stored.id, temp_tag_s)
        return Pushed(stored, created, None)
    before = retarget(txn, repository.id, tag, stored.id, expires_after_s=expires_after_s)
    return Pushed(stored, created, None if before is None else before.digest)


def manifest(txn: Transaction, repository_id: int, digest: Digest) -> StoredManifest | None:
    """The manifest, if it is reachable."""
    return _find(txn, _FIND_REACHABLE, repository_id, digest)


def stored(txn: Transaction, repository_id: int, digest: Digest) -> StoredManifest | None:
    """The manifest, in sight or not, unless it was deleted."""
    return _find(txn, _FIND_STORED, repository_id, digest)


def delete_manifest(txn: Transaction, repository_id: int, digest: Digest) -> list[str] | None:
    """
    Put the manifest out of sight, even if a parent or a subject would keep it, and end its tags, whose names are
    returned; None if there is no such manifest in sight. The time machine can restore the tags, and with them the
    manifest; a push of it brings it back, too. Raises `NameUnknown`.
    """
    lock(txn, repository_id)
    stored = manifest(txn, repository_id, digest)
    if stored is None:
        return None
    ended = end_tags(txn, repository_id, stored.id)
    txn.execute(_DELETE, {"row": stored.id, "now": txn.now_ms})
    manifest_changed(txn, repository_id, digest, stored.subject_digest)
    review(txn, repository_id, [stored.id])
    return ended


# --- what a manifest names ----------------------------------------------------------------------------------------


def _parts(txn: Transaction, repository_id: int, manifest: Manifest, sparse: bool) -> _Parts:
    blobs = [blob.digest for blob in manifest.blobs()]
    foreign = [layer.digest for layer in manifest.layers if layer.is_foreign]  # kept where they are held anyway
    children = list(dict.fromkeys(child.digest for child in manifest.manifests))
    known = _known(txn, _CHILDREN, repository_id, children)
    unknown = [digest for digest in children if digest not in known]
    held = _known(txn, _BLOBS, repository_id, dict.fromkeys(blobs + unknown + foreign))
    missing = [digest for digest in (blobs if sparse else blobs + unknown) if digest not in held]
    if missing:
        raise _incomplete(missing)
    size = sum(row.size for row in (*held.values(), *known.values()))
    return _Parts(
        blob_ids=[row.id for row in held.values()],
        children=[digest for digest in children if digest not in held],
        size=min(size, FOREVER),  # indexes of indexes may count the same bytes many times over
    )


def _known(
    txn: Transaction, statement: Prepared, repository_id: int, digests: Iterable[Digest]
) -> dict[str, sa.Row[Any]]:
    """The rows that `statement` finds for these digests in the repository, by digest."""
    rows: dict[str, sa.Row[Any]] = {}
    for batch in batches(list(digests)):
        found = txn.execute(statement, {"in_repository": repository_id, "digests": batch})
        rows.update({row.digest: row for row in found})
    return rows


def _incomplete(missing: list[Digest]) -> ManifestBlobUnknown:
    named = ", ".join(missing[:NAMED_AS_MISSING])
    more = len(missing) - NAMED_AS_MISSING
    return ManifestBlobUnknown(
        f"The manifest names what this repository does not have: {named}" + (f" and {more} more." if more > 0 else "."),
        advice="Push or mount the blobs, and push the children of an index, before the manifest that names them.",
        missing=list(missing[:NAMED_AS_MISSING]),
    )


# --- rows ---------------------------------------------------------------------------------------------------------


def _find(txn: Transaction, statement: Prepared, repository_id: int, digest: Digest) -> StoredManifest | None:
    row = txn.execute(statement, {"in_repository": repository_id, "digest": digest}).first()
    return None if row is None else StoredManifest(*row)


def _store(txn: Transaction, repository_id: int, manifest: Manifest, parts: _Parts) -> StoredManifest:
    """Insert what `_parts` found, out of sight as yet: the review that follows says otherwise, and announces it."""
    stored: dict[str, Any] = {
        "repository_id": repository_id,
        "digest": manifest.digest,
        "media_type": manifest.media_type,
        "content": manifest.raw,
        "artifact_type": manifest.artifact_type,
        "subject_digest": manifest.subject.digest if manifest.subject else None,
    }
    derived = {
        "config_media_type": manifest.config.media_type if manifest.config else None,
        "annotations": dict(manifest.annotations),
        "size": len(manifest.raw),
        "layers_size": parts.size,
        "created_ms": txn.now_ms,
        "unreachable_ms": txn.now_ms,
    }
    manifest_id: int = txn.execute(_STORE, stored | derived).scalar_one()
    whose = {"manifest_id": manifest_id, "repository_id": repository_id}
    _insert_all(txn, _NAME_CHILDREN, [whose | {"child_digest": digest} for digest in parts.children])
    made = StoredManifest(id=manifest_id, **stored)
    _name(txn, made, parts)
    return made


def _name(txn: Transaction, stored: StoredManifest, parts: _Parts) -> None:
    """Say which blobs the manifest keeps, beside those of which that was said before."""
    whose = {"manifest_id": stored.id, "repository_id": stored.repository_id}
    _insert_all(txn, _name_blobs(txn.dialect), [whose | {"blob_id": blob_id} for blob_id in parts.blob_ids])


def _insert_all(txn: Transaction, statement: Prepared, rows: list[dict[str, Any]]) -> None:
    if rows:
        txn.execute(statement, rows)


def _label(txn: Transaction, stored: StoredManifest, labels: Mapping[str, str]) -> None:
    """Keep the labels that came with the manifest; those with a key that nobody could have meant are left out."""
    fit = [(_plain(key), _plain(value)) for key, value in labels.items() if 0 < len(key) <= LABEL_KEY_LIMIT]
    whose = {"manifest_id": stored.id, "repository_id": stored.repository_id, "source": "manifest"}
    rows = [
        whose | {"uuid": str(uuid4()), "key": key, "value": value, "media_type": _media_type_of(value)}
        for key, value in fit[:LABEL_LIMIT]
    ]
    _insert_all(txn, _ADD_LABELS, rows)


def _plain(text: str) -> str:
    """`text` as every database can store it: what is no character, and NUL, become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def _media_type_of(value: str) -> str:
    try:
        return "application/json" if isinstance(json.loads(value), dict | list) else "text/plain"
    except (ValueError, RecursionError):
        return "text/plain"
