"""
What kind of manifest a document is: its media type and its members must tell the same story.

A document that one client reads as an image and another as an index would be two things under one digest, so every
contradiction is refused. Source: OCI Distribution Specification 1.1 "Pushing Manifests"; OCI Image Specification 1.1,
the property `mediaType`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from quay.oci import media_types
from quay.oci.document import JsonObject
from quay.oci.errors import ManifestTypeUnsupported


class Kind(Enum):
    """What a manifest is, and the members that only this kind has."""

    IMAGE = ("config", "layers")
    INDEX = ("manifests",)
    ARTIFACT = ("blobs",)
    SCHEMA1 = ("fsLayers",)


_KINDS: Final = {
    media_types.OCI_MANIFEST: Kind.IMAGE,
    media_types.DOCKER_MANIFEST: Kind.IMAGE,
    media_types.OCI_INDEX: Kind.INDEX,
    media_types.DOCKER_LIST: Kind.INDEX,
    media_types.OCI_ARTIFACT: Kind.ARTIFACT,
    media_types.SCHEMA1: Kind.SCHEMA1,
    media_types.SCHEMA1_SIGNED: Kind.SCHEMA1,
}
_SNIFFED: Final[Mapping[Kind | None, str]] = {
    Kind.IMAGE: media_types.OCI_MANIFEST,
    Kind.INDEX: media_types.OCI_INDEX,
    Kind.SCHEMA1: media_types.SCHEMA1,
}
_SILENT: Final = frozenset({"", media_types.JSON, media_types.OCTETS})  # content types that say nothing


def is_known(declared: str) -> bool:
    """Whether a manifest with this Content-Type is a manifest by that alone, or leaves it to the body to say."""
    return declared in _KINDS or declared in _SILENT


def recognise(document: JsonObject, declared: str) -> tuple[str, Kind]:
    """
    The media type and the kind of `document`, sent with the Content-Type `declared` (normalised). Where that says
    nothing, the member `mediaType` decides, then the shape. A media type that is not known is taken as it is if the
    document has the shape of an OCI manifest or index, else it is `ManifestTypeUnsupported`. `ManifestInvalid` if the
    document contradicts itself or its Content-Type.
    """
    shape = _shape_of(document)
    media_type = _media_type_of(document, declared, shape)
    kind = _kind_of(media_type, shape)
    if shape not in (kind, None):
        raise document.refusal(shape.value[0], "does not belong into this media type", "Send the right Content-Type.")
    _check_members(document, kind)
    return media_type, kind


def _shape_of(document: JsonObject) -> Kind | None:
    """The kind whose members the document has, if any."""
    shapes = [kind for kind in Kind if any(document.has(key) for key in kind.value)]
    if len(shapes) > 1:
        one, other = (next(key for key in kind.value if document.has(key)) for kind in shapes[:2])
        raise document.refusal("", f"has both {one!r} and {other!r}", "Send an image manifest or an index, not both.")
    return shapes[0] if shapes else None


def _media_type_of(document: JsonObject, declared: str, shape: Kind | None) -> str:
    stated = media_types.normalise(document.optional_text("mediaType") or "")
    if declared not in _SILENT:
        if stated not in (declared, ""):
            problem = f"is {stated[:160]!r}, but the Content-Type says {declared[:160]!r}"
            raise document.refusal("mediaType", problem, "Make them the same.")
        return declared
    if not stated and shape not in _SNIFFED:
        raise document.refusal("mediaType", "is missing", "Say what this manifest is there, or in the Content-Type.")
    return stated or _SNIFFED[shape]


def _kind_of(media_type: str, shape: Kind | None) -> Kind:
    if media_type in _KINDS:
        return _KINDS[media_type]
    if shape in (Kind.IMAGE, Kind.INDEX) and media_types.is_media_type(media_type):
        return shape
    raise unsupported(media_type)


def _check_members(document: JsonObject, kind: Kind) -> None:
    for key in kind.value:
        if key not in document.members:
            raise document.refusal(key, "is missing", f"A manifest of this media type has {' and '.join(kind.value)}.")
    if kind is Kind.IMAGE and not document.has("config"):
        raise document.refusal("config", "is null", "Refer to a config; the empty one of the specification will do.")
    version = 1 if kind is Kind.SCHEMA1 else 2
    if kind is not Kind.ARTIFACT and document.integer("schemaVersion") != version:
        raise document.refusal("schemaVersion", f"is not {version}", f"This media type has schemaVersion {version}.")


def unsupported(media_type: str) -> ManifestTypeUnsupported:
    """The error for a media type that is no manifest here."""
    return ManifestTypeUnsupported(
        f"{media_type[:160]!r} is not a manifest that this registry knows.",
        advice=f"Send an OCI manifest with the Content-Type {media_types.OCI_MANIFEST}, or another of OCI or Docker.",
    )
