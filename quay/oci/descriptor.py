"""
Descriptors: the typed, sized, content-addressed references of which manifests consist.

Source: OCI Image Specification 1.1 "Content Descriptors" and "Image Index" (platform).
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Self

import attrs

from quay.oci.document import NO_TEXTS, JsonObject
from quay.oci.media_types import FOREIGN_LAYERS
from quay.oci.reference import Digest


@attrs.frozen
class Platform:
    """What a child of an index runs on; a member that was not given is the empty string."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def read(cls, node: JsonObject) -> Self:
        """The platform that `node` spells. Raises `ManifestInvalid`."""
        return cls(*(node.optional_text(key) or "" for key in ("os", "architecture", "variant")))

    def as_json(self) -> dict[str, object]:
        return {name: value for name, value in attrs.asdict(self).items() if value}


@attrs.frozen
class Descriptor:
    """
    A reference to content. `size` is in bytes; it is 0 where the format does not tell it (schema 1). `data` is the
    content itself, where the manifest embeds it, and is proved to have this digest and size.
    """

    media_type: str
    digest: Digest
    size: int
    urls: tuple[str, ...] = ()
    artifact_type: str | None = None
    platform: Platform | None = None
    annotations: Mapping[str, str] = attrs.field(default=NO_TEXTS, hash=False)
    data: bytes | None = attrs.field(default=None, repr=False)

    @classmethod
    def read(cls, node: JsonObject) -> Self:
        """The descriptor that `node` spells. Raises `ManifestInvalid`, which names the member at fault."""
        platform = node.child("platform")
        digest, size = node.digest(), node.size()
        return cls(
            media_type=node.media_type(),
            digest=digest,
            size=size,
            urls=node.texts("urls"),
            artifact_type=node.optional_media_type("artifactType"),
            platform=None if platform is None else Platform.read(platform),
            annotations=node.text_map("annotations"),
            data=_embedded(node, digest, size) if node.has("data") else None,
        )

    @property
    def is_foreign(self) -> bool:
        """Whether the bytes are with somebody else, so that a registry need not hold them."""
        return bool(self.urls) or self.media_type in FOREIGN_LAYERS

    def as_json(self) -> dict[str, object]:
        """The descriptor as the specification's JSON object, without `data`; absent members are left out."""
        optional = {
            "urls": list(self.urls),
            "artifactType": self.artifact_type,
            "platform": self.platform and self.platform.as_json(),
            "annotations": dict(self.annotations),
        }
        present = {name: value for name, value in optional.items() if value}
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size, **present}


def _embedded(node: JsonObject, digest: Digest, size: int) -> bytes:
    """The content under `data`, proved: whoever trusted it unread could be given other bytes than its digest says."""
    try:
        data = binascii.a2b_base64(node.text("data"), strict_mode=True)
    except (binascii.Error, ValueError):
        raise node.refusal("data", "is not base64", "Encode the content as base64 with padding.") from None
    if len(data) != size or Digest.of(data, digest.algorithm) != digest:
        raise node.refusal("data", "is not the content of this digest and size", "Embed the exact bytes, or none.")
    return data
