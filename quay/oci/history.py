"""
How an image came to be: its layers, with what its configuration says of the step that made each.

What strangers wrote there and cannot be read is left out: the layers are there all the same. Source: OCI Image
Specification 1.1 "Image Configuration" (history); Docker Image Manifest Version 2, Schema 1 (v1Compatibility).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from quay.oci.descriptor import Descriptor
from quay.oci.document import JsonObject, load
from quay.oci.errors import ManifestInvalid
from quay.oci.manifest import Manifest
from quay.oci.media_types import DOCKER_LAYER_GZIP
from quay.oci.reference import Digest
from quay.oci.schema1 import EMPTY_LAYER, EMPTY_LAYER_DIGEST, LAYER_LIMIT, Schema1

TEXT_LIMIT: Final = 16 * 1024
"""Characters of a command, a comment or an author that are shown."""


@attrs.frozen
class Layer:
    """
    A layer, and the step that made it. `size` is in bytes as stored, 0 where nobody tells it; `created_ms` since the
    epoch. A step that changed nothing has the empty layer.
    """

    digest: Digest
    size: int
    foreign: bool = False
    urls: tuple[str, ...] = ()
    command: tuple[str, ...] | None = None
    comment: str | None = None
    author: str | None = None
    created_ms: int | None = None


def layers_of(manifest: Manifest, config: bytes) -> list[Layer]:
    """The layers of an image from the base to the leaf; `config` is its config blob, or nothing if there is none."""
    if manifest.schema1 is not None:
        return list(_of_schema1(manifest.schema1))
    entries = _entries(config)
    if sum(not _is_empty(entry) for entry in entries) != len(manifest.layers):
        entries = [{} for _ in manifest.layers]
    remaining = iter(manifest.layers)
    return [_layer(_EMPTY if _is_empty(entry) else next(remaining), entry, "created_by") for entry in entries]


_EMPTY: Final = Descriptor(media_type=DOCKER_LAYER_GZIP, digest=EMPTY_LAYER_DIGEST, size=len(EMPTY_LAYER))

Entry = Mapping[str, Any]


def _entries(config: bytes) -> list[Entry]:
    try:
        found: list[JsonObject] = load(config, "config").children("history", LAYER_LIMIT)
    except ManifestInvalid:
        return []
    return [one.members for one in found]


def _is_empty(entry: Entry) -> bool:
    return entry.get("empty_layer") is True


def _of_schema1(told: Schema1) -> Iterator[Layer]:
    for digest, image in reversed(list(zip(told.fs_layers, told.history, strict=True))):
        container = image.get("container_config")
        command = container.get("Cmd") if isinstance(container, dict) else None
        yield _layer(Descriptor(media_type=DOCKER_LAYER_GZIP, digest=digest, size=0), {**image, "Cmd": command}, "Cmd")


def _layer(descriptor: Descriptor, entry: Entry, command: str) -> Layer:
    return Layer(
        digest=descriptor.digest,
        size=descriptor.size,
        foreign=descriptor.is_foreign,
        urls=descriptor.urls,
        command=_command(entry.get(command)),
        comment=_text(entry.get("comment")),
        author=_text(entry.get("author")),
        created_ms=_milliseconds(entry.get("created")),
    )


def _command(value: object) -> tuple[str, ...] | None:
    words = [value] if isinstance(value, str) and value else value
    if not isinstance(words, list) or not words:
        return None
    return tuple(_text(word) or "" for word in words[:LAYER_LIMIT])


def _text(value: object) -> str | None:
    return value[:TEXT_LIMIT] if isinstance(value, str) and value else None


def _milliseconds(value: object) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value[:40])
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):  # no date, or one before or after all dates
        return None
