"""
The media types of manifests and layers by their plain names, and what an `Accept` header lets us answer.

Source: OCI Image Specification 1.1 "Media Types"; Docker Image Manifest Version 2, Schemas 1 and 2; RFC 9110
section 12.5.1 (Accept); RFC 6838 section 4.2 (names).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT: Final = (
    "application/vnd.oci.artifact.manifest.v1+json"  # a draft of 1.1, withdrawn; clients of 2022 send it
)
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_FOREIGN_LAYER: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_FOREIGN_LAYER_GZIP: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
OCI_FOREIGN_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN_LAYER: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_FOREIGN_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"
SCHEMA1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"

INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"

FOREIGN_LAYERS: Final = frozenset(
    {
        OCI_FOREIGN_LAYER,
        OCI_FOREIGN_LAYER_GZIP,
        OCI_FOREIGN_LAYER_ZSTD,
        DOCKER_FOREIGN_LAYER,
        DOCKER_FOREIGN_LAYER_GZIP,
    }
)
"""Layers that a registry need not hold: their bytes are with somebody else, under `urls`."""

REMEMBERED_LENGTH: Final = 2048
"""Characters of `Accept` headers whose meaning is remembered: what clients say, not what fits into a head."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(f"{_NAME}/{_NAME}")
_ZERO = re.compile(r"q\s*=\s*0(\.0{0,3})?", re.IGNORECASE)


def normalise(content_type: str) -> str:
    """The media type in a `Content-Type` or `mediaType`, in lower case and without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_media_type(text: str) -> bool:
    """Whether `text` is `type/subtype` as RFC 6838 spells names, and so is safe in a header."""
    return _MEDIA_TYPE.fullmatch(text) is not None


def accepts(accept_headers: Iterable[str], media_type: str) -> bool:
    """
    Whether a client that sent these `Accept` headers takes `media_type`. The most specific range decides, so
    `*/*, text/plain;q=0` takes all but plain text. No header at all takes everything.
    """
    headers = tuple(accept_headers)
    ranges = _remembered(headers) if sum(map(len, headers)) <= REMEMBERED_LENGTH else _ranges(headers)
    if not ranges:
        return True
    main = media_type.partition("/")[0]
    return next((ranges[name] for name in (media_type, f"{main}/*", "*/*") if name in ranges), False)


def _ranges(headers: tuple[str, ...]) -> dict[str, bool]:
    """
    Each media range, and whether it is wanted. A comma inside a quoted parameter splits, too: what it leaves behind
    names no media type that we have.
    """
    found: dict[str, bool] = {}
    for element in ",".join(headers).split(","):
        name, *parameters = element.split(";")
        wanted = not any(_ZERO.fullmatch(parameter.strip()) for parameter in parameters)
        if name := name.strip().lower():
            found[name] = wanted or found.get(name, False)
    return found


_remembered = lru_cache(maxsize=256)(_ranges)  # a client says the same thing on every request
