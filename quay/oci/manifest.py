"""
Manifests: one frozen value for image manifests, indexes, artifacts and schema 1, from the exact bytes a client sent.

The bytes are kept verbatim, because the digest is of them. Configs, layers, children and artifacts may have any media
type: what they mean is between those who push and those who pull.

Source: OCI Image Specification 1.1 "Image Manifest" and "Image Index"; OCI Distribution Specification 1.1 "Pushing
Manifests" and "Listing Referrers"; Docker Image Manifest Version 2, Schemas 1 and 2.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from quay.oci import media_types, schema1
from quay.oci.descriptor import Descriptor, Platform
from quay.oci.document import NO_TEXTS, JsonObject, load
from quay.oci.errors import DigestInvalid, ManifestInvalid, ManifestTooLarge, NameInvalid, TagInvalid
from quay.oci.reference import Digest, RepositoryName
from quay.oci.schema1 import EMPTY_LAYER, EMPTY_LAYER_DIGEST, Schema1
from quay.oci.shape import Kind, is_known, recognise, unsupported

__all__ = ["MANIFEST_LIMIT", "Descriptor", "Kind", "Manifest", "Platform", "check_address", "parse", "referrers_index"]

MANIFEST_LIMIT: Final = 4 * 1024 * 1024
DESCRIPTOR_LIMIT: Final = 5_000


@attrs.frozen
class Manifest:
    """
    A manifest. `raw` is verbatim; `digest` is of `raw`, or of the payload if it is signed schema 1. `layers` go from
    the base to the leaf (an old artifact's blobs are its layers), `manifests` are the children of an index, and
    `schema1` is what only that format tells. `artifact_type` is that of a referrer: where an image manifest names
    none, it is the media type of its config.
    """

    raw: bytes = attrs.field(repr=False)
    media_type: str
    digest: Digest
    kind: Kind
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = attrs.field(default=NO_TEXTS, hash=False)
    schema1: Schema1 | None = None

    @property
    def is_index(self) -> bool:
        return self.kind is Kind.INDEX

    def blobs(self) -> tuple[Descriptor, ...]:
        """
        What the repository must hold before it takes this manifest: the config and the layers, each digest once,
        without foreign layers. A descriptor with embedded `data` counts, too: the specification lets a client
        ignore `data` and fetch the blob.
        """
        held = [blob for blob in self.layers if not blob.is_foreign]
        config = [self.config] if self.config else []
        return tuple({blob.digest: blob for blob in config + held}.values())

    def child_for(self, os: str = "linux", architecture: str = "amd64") -> Descriptor | None:
        """The first child for this platform: what a client gets that does not understand an index."""
        for child in self.manifests:
            if child.platform and (child.platform.os, child.platform.architecture) == (os, architecture):
                return child
        return None

    def descriptor(self) -> Descriptor:
        """How a list of referrers describes this manifest."""
        return Descriptor(
            media_type=self.media_type,
            digest=self.digest,
            size=len(self.raw),
            artifact_type=self.artifact_type,
            annotations=self.annotations,
        )


def parse(raw: bytes, content_type: str | None, *, digest: Digest | None = None) -> Manifest:
    """
    The manifest that `raw` spells, sent with the header `content_type`, and with `digest` if it was addressed by one:
    then that is its digest, sha512 included.

    Raises `ManifestTooLarge` before it looks, `ManifestTypeUnsupported` for a media type that is no manifest here,
    `ManifestInvalid` with the path of the fault, `ManifestUnverified` for a bad signature, and `DigestInvalid` if the
    bytes have another digest. How the media type is found, `quay.oci.shape.recognise` tells.
    """
    if len(raw) > MANIFEST_LIMIT:
        raise ManifestTooLarge(
            f"The manifest has {len(raw)} bytes, and this registry takes {MANIFEST_LIMIT}.",
            advice="Put large content into a blob, and refer to it.",
        )
    declared = media_types.normalise(content_type or "")
    document = _load(raw, declared)
    media_type, kind = recognise(document, declared)
    if kind is Kind.SCHEMA1:
        return _read_schema1(raw, document, media_type, digest)
    return _read(raw, document, media_type, kind, digest)


def _load(raw: bytes, declared: str) -> JsonObject:
    try:
        return load(raw)
    except ManifestInvalid:
        if is_known(declared):
            raise
        raise unsupported(declared) from None


def _read(raw: bytes, document: JsonObject, media_type: str, kind: Kind, digest: Digest | None) -> Manifest:
    config = _descriptor(document, "config")
    artifact_type = document.optional_media_type("artifactType")
    return Manifest(
        raw=raw,
        media_type=media_type,
        digest=_digest_of(raw, digest),
        kind=kind,
        config=config,
        layers=_descriptors(document, "blobs" if kind is Kind.ARTIFACT else "layers"),
        manifests=_descriptors(document, "manifests"),
        subject=_descriptor(document, "subject"),
        artifact_type=artifact_type or (config.media_type if config else None),
        annotations=document.text_map("annotations"),
    )


def _read_schema1(raw: bytes, document: JsonObject, media_type: str, digest: Digest | None) -> Manifest:
    view = schema1.read(raw, document)
    if media_type == media_types.SCHEMA1_SIGNED and not view.is_signed:
        raise document.refusal("signatures", "is missing", f"Send it as {media_types.SCHEMA1}, or sign it.")
    return Manifest(
        raw=raw,
        media_type=media_types.SCHEMA1_SIGNED if view.is_signed else media_types.SCHEMA1,
        digest=_digest_of(view.payload, digest),
        kind=Kind.SCHEMA1,
        layers=tuple(_schema1_layer(layer) for layer in view.layers),
        schema1=view,
    )


def _schema1_layer(digest: Digest) -> Descriptor:
    size = len(EMPTY_LAYER) if digest == EMPTY_LAYER_DIGEST else 0
    return Descriptor(media_type=media_types.DOCKER_LAYER_GZIP, digest=digest, size=size)


def _descriptor(document: JsonObject, key: str) -> Descriptor | None:
    node = document.child(key)
    return None if node is None else Descriptor.read(node)


def _descriptors(document: JsonObject, key: str) -> tuple[Descriptor, ...]:
    return tuple(Descriptor.read(node) for node in document.children(key, DESCRIPTOR_LIMIT))


def _digest_of(content: bytes, expected: Digest | None) -> Digest:
    actual = Digest.of(content, expected.algorithm if expected else "sha256")
    if expected not in (actual, None):
        raise DigestInvalid(
            f"The manifest has the digest {actual}, and not {expected}.",
            advice="Push the exact bytes, or under the digest that they have.",
        )
    return actual


def check_address(manifest: Manifest, name: RepositoryName, tag: str | None, library: str | None = "library") -> None:
    """
    Refuse a schema 1 manifest that was made for another repository (`NameInvalid`) or another tag (`TagInvalid`) than
    it is pushed to. A push by digest has no `tag`. A manifest of a newer kind has no address in it, and fits anywhere.
    """
    told = manifest.schema1
    if told is None:
        return
    advice = "Push it where it was made for, or make it anew."
    if RepositoryName.parse(told.name, library) != name:
        problem = f"The manifest is made for the repository {told.name[:160]!r}, and pushed to {name}."
        raise NameInvalid(problem, advice=advice)
    if tag is not None and told.tag != tag:
        raise TagInvalid(f"The manifest is made for the tag {told.tag[:160]!r}, and pushed as {tag}.", advice=advice)


def referrers_index(entries: Iterable[Descriptor]) -> bytes:
    """The image index that answers a request for referrers; equal entries in equal order make equal bytes."""
    index = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_INDEX,
        "manifests": [entry.as_json() for entry in entries],
    }
    return json.dumps(index, ensure_ascii=False, separators=(",", ":")).encode()
