"""
Manifests of schema 1: a list of layers with the image of each, leaf first, mostly with a signature folded in.

Source: Docker Image Manifest Version 2, Schema 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from quay.oci.document import JsonObject, load
from quay.oci.jws import signed_payload
from quay.oci.labels import labels_in
from quay.oci.reference import Digest

EMPTY_LAYER: Final = bytes.fromhex("1f8b080000096e8800ff621805a360148c5800080000ffff2eafb5ef00040000")
"""A gzip'd tar without entries: the layer of every image that changed nothing. Each repository has it implicitly."""
EMPTY_LAYER_DIGEST: Final = Digest.of(EMPTY_LAYER)
LAYER_LIMIT: Final = 1024


@attrs.frozen
class Schema1:
    """
    A manifest of schema 1. `payload` is what its digest is of: the document without its signatures. `fs_layers` and
    `v1_compatibility`, the JSON texts of the images, stand leaf first and have the same length, one at least.
    """

    payload: bytes = attrs.field(repr=False)
    is_signed: bool
    name: str
    tag: str
    architecture: str
    fs_layers: tuple[Digest, ...]
    v1_compatibility: tuple[str, ...] = attrs.field(repr=False)
    history: tuple[Mapping[str, object], ...] = attrs.field(repr=False, hash=False)

    @property
    def layers(self) -> tuple[Digest, ...]:
        """The layers from the base to the leaf, each once: where the lowest of equal ones lies."""
        return tuple(dict.fromkeys(reversed(self.fs_layers)))

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the leaf image."""
        return labels_in(self.history[0])


def read(raw: bytes, document: JsonObject) -> Schema1:
    """
    The manifest in `document`, which was read from `raw`. If it is signed, every signature must hold
    (`ManifestUnverified`); everything else that is wrong is `ManifestInvalid`.
    """
    is_signed = "signatures" in document.members  # null too: who signs it for an old client would write a second one
    payload = signed_payload(raw, document) if is_signed else raw
    if is_signed:
        _check_same(document, load(payload, "the signed payload"))
    layers = document.children("fsLayers", LAYER_LIMIT)
    images = document.children("history", LAYER_LIMIT)
    if not layers or len(layers) != len(images):
        raise document.refusal(
            "history", f"has {len(images)} entries for {len(layers)} layers", "Give each layer its image, one at least."
        )
    texts = tuple(image.text("v1Compatibility") for image in images)
    return Schema1(
        payload=payload,
        is_signed=is_signed,
        name=document.text("name"),
        tag=document.text("tag"),
        architecture=document.optional_text("architecture") or "",
        fs_layers=tuple(layer.digest("blobSum") for layer in layers),
        v1_compatibility=texts,
        history=tuple(_image(text, node) for text, node in zip(texts, images, strict=True)),
    )


def _check_same(document: JsonObject, payload: JsonObject) -> None:
    """What was signed must be what a reader of the whole document sees."""
    visible = {name: value for name, value in document.members.items() if name != "signatures"}
    if visible != payload.members:
        raise document.refusal("signatures", "sign another content than this document shows", "Push what was signed.")


def _image(text: str, node: JsonObject) -> Mapping[str, object]:
    image = load(text.encode(), node.place("v1Compatibility"))
    image.text("id")
    return image.members
