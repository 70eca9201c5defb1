"""
Schema 1 from schema 2, for clients that know nothing newer.

Each entry of the config's history becomes an image of its own, with an id that depends on everything below it, so the
same layers, config, name and tag always make the same bytes. Source: Docker Image Manifest Version 2, Schema 2
"Backward compatibility"; Docker Image Specification 1.0 (the JSON of an image).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from quay.oci import media_types
from quay.oci.document import JsonObject, load
from quay.oci.errors import ManifestInvalid, ManifestUnknown
from quay.oci.manifest import MANIFEST_LIMIT, Descriptor, Manifest
from quay.oci.reference import Digest
from quay.oci.schema1 import EMPTY_LAYER_DIGEST, LAYER_LIMIT

RICH_LIMIT: Final = 3 * 1024 * 1024
"""Bytes of a payload above which only the leaf keeps what it tells beyond its id."""

_READABLE: Final = frozenset(
    {media_types.DOCKER_LAYER, media_types.DOCKER_LAYER_GZIP, media_types.OCI_LAYER, media_types.OCI_LAYER_GZIP}
)
_TOLD: Final = ("created", "author", "comment")
_DROPPED: Final = ("rootfs", "history", "id", "parent", "throwaway")  # newer than schema 1, or told anew


@attrs.frozen
class _Step:
    """One entry of the history, its layer, and the id of the image that it makes."""

    entry: JsonObject
    layer: Digest
    id: str
    parent: str | None

    def identity(self) -> dict[str, object]:
        """What every image must tell."""
        parent = {"parent": self.parent} if self.parent else {}
        throwaway = {"throwaway": True} if _is_empty(self.entry) else {}
        return {"id": self.id, **parent, **throwaway}

    def image(self) -> dict[str, object]:
        """What an image below the leaf tells."""
        told = {key: self.entry.members[key] for key in _TOLD if self.entry.has(key)}
        command = self.entry.optional_text("created_by")
        return {**self.identity(), **told, "container_config": {"Cmd": [command] if command else None}}


def to_schema1(manifest: Manifest, config: bytes, name: str, tag: str) -> bytes:
    """
    The payload of a schema 1 manifest `name`:`tag` with the layers of `manifest`, whose config blob is `config`;
    `quay.oci.jws.sign` makes it a signed one. Raises `ManifestUnknown` if schema 1 cannot say what `manifest` says.
    """
    if manifest.config is None or not all(map(_is_readable, manifest.layers)):
        raise _inconvertible("it has no config, or layers that such a client cannot fetch and unpack.")
    if len(config) > MANIFEST_LIMIT:
        raise _inconvertible(f"its config has more than {MANIFEST_LIMIT} bytes.")
    try:
        return _payload(load(config, "config"), manifest.layers, name, tag)
    except ManifestInvalid as fault:
        raise _inconvertible(f"its config does not describe an image. {fault.message}") from None


def _payload(config: JsonObject, layers: Sequence[Descriptor], name: str, tag: str) -> bytes:
    steps = list(_steps(config, layers))
    if not steps:
        raise _inconvertible("it has no layers.")
    kept = {key: value for key, value in config.members.items() if key not in _DROPPED}
    leaf = {**kept, **steps[-1].identity()}
    address = {"schemaVersion": 1, "name": name, "tag": tag, "architecture": config.optional_text("architecture") or ""}
    rich = _document(address, steps, [*(step.image() for step in steps[:-1]), leaf])
    if len(rich) <= RICH_LIMIT:
        return rich
    poor = _document(address, steps, [*(step.identity() for step in steps[:-1]), leaf])
    if len(poor) <= RICH_LIMIT:
        return poor
    raise _inconvertible(f"it would have more than {RICH_LIMIT} bytes.")


def _document(address: dict[str, object], steps: Sequence[_Step], images: Sequence[dict[str, object]]) -> bytes:
    layers = [{"blobSum": step.layer} for step in reversed(steps)]
    history = [{"v1Compatibility": _compact(image)} for image in reversed(images)]
    return json.dumps({**address, "fsLayers": layers, "history": history}, indent=3).encode()


def _steps(config: JsonObject, layers: Sequence[Descriptor]) -> Iterator[_Step]:
    """The history from the base to the leaf. A config without history has one entry per layer."""
    entries = config.children("history", LAYER_LIMIT) or [JsonObject({}) for _ in layers[:LAYER_LIMIT]]
    if sum(not _is_empty(entry) for entry in entries) != len(layers):
        raise config.refusal("history", f"does not fit the {len(layers)} layers of the manifest")
    remaining, parent = iter(layers), None
    for index, entry in enumerate(entries):
        layer = EMPTY_LAYER_DIGEST if _is_empty(entry) else next(remaining).digest
        identity = hashlib.sha256(_compact([entry.members, index, layer, parent]).encode()).hexdigest()
        yield _Step(entry, layer, identity, parent)
        parent = identity


def _is_empty(entry: JsonObject) -> bool:
    return entry.members.get("empty_layer") is True


def _is_readable(layer: Descriptor) -> bool:
    return layer.media_type in _READABLE and not layer.is_foreign


def _compact(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _inconvertible(why: str) -> ManifestUnknown:
    return ManifestUnknown(
        f"This client takes schema 1 only, and the manifest cannot be converted: {why}",
        advice="Use a client that takes OCI or Docker schema 2 manifests.",
    )
