"""
What a bundle says of itself, and what a registry says that it has: two documents, each signed as a whole.

A **waybill** lists the tags of a bundle with what refers to them, its blobs with their sizes, and what it was made
without, because the far side has it or nobody wanted it. A **receipt** lists the tags and the blobs of a registry, for
those who make the next bundle for it. Both are JSON, and bounded before they are believed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self, TypeVar
from uuid import uuid4

import attrs

from quay.oci.document import JsonObject, load
from quay.oci.errors import DigestInvalid, InvalidRequest, ManifestInvalid, NameInvalid, TagInvalid
from quay.oci.reference import Digest, RepositoryName, Tag

D = TypeVar("D")

BUNDLE: Final = "quay.bundle.v1"
RECEIPT: Final = "quay.receipt.v1"
DOCUMENT_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of a waybill or a receipt: more than half a million blobs."""
CONTAINERS: Final = 500_000
MEMBERS: Final = 2_000_000
TAGS_LIMIT: Final = 100_000
BUNDLES_LIMIT: Final = 100
"""How many bundles a receipt remembers, the latest ones."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class BundleInvalid(InvalidRequest):
    """What was given is no bundle or receipt, or is damaged, or is not what it says."""


@attrs.frozen
class Referrer:
    """A manifest that refers to another one, and comes with it."""

    digest: Digest
    media_type: str


@attrs.frozen
class Shipment:
    """A tag in a bundle: what it names, and what refers to that, each after its own subject."""

    repository: RepositoryName
    tag: Tag
    digest: Digest
    media_type: str
    referrers: tuple[Referrer, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.repository}:{self.tag}"


@attrs.frozen(kw_only=True)
class Waybill:
    """
    The contents of a bundle that `registry` made. `blobs` are in it, by digest, with their sizes, manifests among them;
    `held` were left out, because the `receipt` says that the far side has them; `absent` are children of indexes, with
    why they are missing; `unchanged` are tags that are there as they are. `previous` is the bundle that the far side
    loaded last.
    """

    id: str = attrs.field(factory=lambda: str(uuid4()))
    made_ms: int
    registry: str
    shipments: tuple[Shipment, ...]
    blobs: Mapping[Digest, int] = attrs.field(repr=False)
    held: Mapping[Digest, int] = attrs.field(factory=dict, repr=False)
    absent: Mapping[Digest, str] = attrs.field(factory=dict, repr=False)
    unchanged: tuple[tuple[str, Digest], ...] = ()
    receipt: str = ""
    previous: str = ""

    def as_json(self) -> bytes:
        """The document, the same for the same contents."""
        return _spelled(
            {
                "schema": BUNDLE,
                "id": self.id,
                "made": _moment(self.made_ms),
                "registry": self.registry,
                "receipt": self.receipt,
                "previous": self.previous,
                "tags": [_shipped(one) for one in self.shipments],
                "unchanged": dict(self.unchanged),
                "blobs": dict(self.blobs),
                "held": dict(self.held),
                "absent": dict(self.absent),
            }
        )

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """The waybill that `raw` spells. Raises `BundleInvalid`."""
        return _read(raw, BUNDLE, cls._of)

    @classmethod
    def _of(cls, found: JsonObject) -> Self:
        shipments = tuple(_shipment(node) for node in found.children("tags", TAGS_LIMIT))
        _check_once(one.name for one in shipments)
        return cls(
            id=found.text("id"),
            made_ms=_ms(found),
            registry=found.text("registry"),
            shipments=shipments,
            blobs=_sizes(found, "blobs"),
            held=_sizes(found, "held"),
            absent={Digest.parse(digest): why for digest, why in found.text_map("absent").items()},
            unchanged=tuple((name, Digest.parse(digest)) for name, digest in found.text_map("unchanged").items()),
            receipt=found.optional_text("receipt") or "",
            previous=found.optional_text("previous") or "",
        )


@attrs.frozen(kw_only=True)
class Receipt:
    """What `registry` has: each tag by its full name, all blobs, and the bundles that it loaded, the last one last."""

    id: str = attrs.field(factory=lambda: str(uuid4()))
    made_ms: int
    registry: str
    tags: Mapping[str, Digest] = attrs.field(repr=False)
    blobs: frozenset[Digest] = attrs.field(repr=False)
    bundles: Sequence[str] = ()

    def as_json(self) -> bytes:
        """The document. Raises `BundleInvalid` for one that nobody would read."""
        blobs: dict[str, list[str]] = {}
        for digest in sorted(self.blobs):
            blobs.setdefault(digest.algorithm, []).append(digest.hex)
        made = _spelled(
            {
                "schema": RECEIPT,
                "id": self.id,
                "made": _moment(self.made_ms),
                "registry": self.registry,
                "bundles": list(self.bundles)[-BUNDLES_LIMIT:],
                "tags": dict(self.tags),
                "blobs": blobs,
            }
        )
        if len(made) > DOCUMENT_LIMIT:
            raise BundleInvalid(
                f"The receipt would have {len(made)} bytes, and {DOCUMENT_LIMIT} are read.",
                advice="Name the repositories that it is to be about.",
            )
        return made

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """The receipt that `raw` spells. Raises `BundleInvalid`."""
        return _read(raw, RECEIPT, cls._of)

    @classmethod
    def _of(cls, found: JsonObject) -> Self:
        blobs = found.child("blobs") or JsonObject({}, "blobs")
        return cls(
            id=found.text("id"),
            made_ms=_ms(found),
            registry=found.text("registry"),
            tags={name: Digest.parse(digest) for name, digest in found.text_map("tags").items()},
            blobs=frozenset(
                Digest.parse(f"{algorithm}:{digits}")
                for algorithm in ("sha256", "sha512")
                for digits in blobs.texts(algorithm)
            ),
            bundles=found.texts("bundles"),
        )


def _shipped(one: Shipment) -> dict[str, Any]:
    made: dict[str, Any] = {
        "repository": str(one.repository),
        "tag": one.tag,
        "digest": one.digest,
        "mediaType": one.media_type,
    }
    if one.referrers:
        made["referrers"] = [{"digest": each.digest, "mediaType": each.media_type} for each in one.referrers]
    return made


def _shipment(node: JsonObject) -> Shipment:
    return Shipment(
        RepositoryName.parse(node.text("repository")),
        Tag.parse(node.text("tag")),
        node.digest(),
        node.media_type(),
        tuple(Referrer(each.digest(), each.media_type()) for each in node.children("referrers", TAGS_LIMIT)),
    )


def _read(raw: bytes, schema: str, read: Callable[[JsonObject], D]) -> D:
    """What `read` makes of the object in `raw`. Raises `BundleInvalid` for all that is wrong with it."""
    what = "waybill of the bundle" if schema == BUNDLE else "receipt"
    if len(raw) > DOCUMENT_LIMIT:
        raise BundleInvalid(f"The {what} has {len(raw)} bytes; at most {DOCUMENT_LIMIT} are read.")
    try:
        found = load(raw, what, containers=CONTAINERS, members=MEMBERS)
        if found.optional_text("schema") != schema:
            raise BundleInvalid(
                f"This is no {what}: its schema is {str(found.members.get('schema'))[:80]!r}, not {schema!r}.",
                advice="It may be of a newer version of this registry.",
            )
        return read(JsonObject(found.members, ""))
    except (ManifestInvalid, DigestInvalid, NameInvalid, TagInvalid) as error:
        raise BundleInvalid(f"The {what} cannot be read: {error.message}") from error


def _check_once(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BundleInvalid(f"The waybill of the bundle lists {name} twice, so nobody knows what it is.")
        seen.add(name)


def _sizes(found: JsonObject, key: str) -> dict[Digest, int]:
    node = found.child(key) or JsonObject({}, key)
    return {Digest.parse(digest): node.size(digest) for digest in node.members}


def _ms(found: JsonObject) -> int:
    text = found.text("made")
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, TypeError):
        raise found.refusal("made", "is no moment") from None


def _moment(ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")


def _spelled(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
