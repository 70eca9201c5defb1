"""
What a list of tags tells of their manifests beside the rows themselves: what is attached to them, and for which
platforms an index has images.

Attached are referrers, and the manifests that cosign's older way names by a tag made of the digest they are about:
`sha256-….sig`, `.att` and `.sbom`. Source: OCI Distribution Specification 1.1 "Referrers Tag Schema"; cosign's
SIGNATURE_SPEC "Storage".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import manifest, tag
from quay.oci.errors import ManifestInvalid
from quay.oci.manifest import parse

Attachment = Literal["signature", "attestation", "sbom", "other"]

READ: Final = 64 * 1024
"""Bytes of the largest index whose platforms are told."""

DISTINCT: Final = 1000
"""Kinds of artifacts that are looked at for one page of tags, at most."""

_BY_SUFFIX: Final[Mapping[str, Attachment]] = {".sig": "signature", ".att": "attestation", ".sbom": "sbom"}
_BY_WORD: Final[Mapping[str, Attachment]] = {
    "cosign.artifact.sig": "signature",
    "notary.signature": "signature",
    "sigstore.bundle": "signature",
    "in-toto": "attestation",
    "spdx": "sbom",
    "cyclonedx": "sbom",
    "syft": "sbom",
}
_PREFIX: Final = "sha256-"
_STEM: Final = len(_PREFIX) + 64

IS_ONE: Final[sa.ColumnElement[bool]] = sa.and_(
    sa.func.substr(tag.c.name, 1, len(_PREFIX)) == _PREFIX,
    sa.func.substr(tag.c.name, _STEM + 1).in_(list(_BY_SUFFIX)),
)
"""Whether a tag is one by which cosign attaches something."""

_TAGS: Final = sa.select(tag.c.name).where(
    tag.c.repository_id == sa.bindparam("in_repository"),
    tag.c.name.in_(sa.bindparam("names", expanding=True)),
    tag.c.end_ms.is_(None),
    sa.or_(tag.c.expires_ms.is_(None), tag.c.expires_ms > sa.bindparam("now", type_=sa.BigInteger())),
)
_REFERRERS: Final = (
    sa.select(manifest.c.subject_digest, manifest.c.artifact_type)
    .where(
        manifest.c.repository_id == sa.bindparam("in_repository"),
        manifest.c.subject_digest.in_(sa.bindparam("subjects", expanding=True)),
        manifest.c.unreachable_ms.is_(None),
    )
    .distinct()
    .limit(DISTINCT)
)
_INDEXES: Final = sa.select(manifest.c.id, manifest.c.content, manifest.c.media_type).where(
    manifest.c.repository_id == sa.bindparam("in_repository"),
    manifest.c.id.in_(sa.bindparam("ids", expanding=True)),
    manifest.c.size <= READ,
)


def attached(txn: Transaction, repository_id: int, digests: Iterable[str]) -> dict[str, list[Attachment]]:
    """What is attached to each of these manifests, in order and each kind once; none to those that are not there."""
    wanted = set(digests)
    names = {name: (digest, kind) for digest in wanted for name, kind in attaching_tags(digest).items()}
    parameters: dict[str, Any] = {"in_repository": repository_id, "now": txn.now_ms}
    found = {names[name] for name in txn.execute(_TAGS, parameters | {"names": list(names)}).scalars()}
    for row in txn.execute(_REFERRERS, {"in_repository": repository_id, "subjects": list(wanted)}):
        found.add((row.subject_digest, kind_of(row.artifact_type)))
    told: dict[str, list[Attachment]] = {}
    for digest, kind in sorted(found):
        told.setdefault(digest, []).append(kind)
    return told


def kind_of(artifact_type: str | None) -> Attachment:
    """What an artifact of this type is to its subject."""
    text = (artifact_type or "").lower()
    return next((kind for word, kind in _BY_WORD.items() if word in text), "other")


def platforms(txn: Transaction, repository_id: int, manifest_ids: Iterable[int]) -> dict[int, list[str]]:
    """The platforms of these indexes, like `linux/arm64/v8`, as far as they say them and are not very large."""
    rows = txn.execute(_INDEXES, {"in_repository": repository_id, "ids": list(manifest_ids)})
    return {row.id: _platforms(row.content, row.media_type) for row in rows}


def _platforms(raw: bytes, media_type: str) -> list[str]:
    try:
        children = parse(raw, media_type).manifests
    except ManifestInvalid:  # it was valid to the version that took it
        return []
    told = (one.platform for one in children if one.platform)
    named = dict.fromkeys("/".join(filter(None, (on.os, on.architecture, on.variant))) for on in told)
    return [name for name in named if name and not name.startswith("unknown")]


def attaching_tags(digest: str) -> dict[str, Attachment]:
    """The tags by which cosign attaches something to a manifest, and what each attaches."""
    stem = digest.replace(":", "-", 1)
    return {stem + suffix: kind for suffix, kind in _BY_SUFFIX.items()}
