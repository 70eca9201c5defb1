"""Schema 1: what it shows is what was signed."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from quay.oci import media_types as types
from quay.oci.document import load
from quay.oci.errors import ManifestInvalid, ManifestUnverified
from quay.oci.jws import sign
from quay.oci.manifest import parse
from quay.oci.reference import Digest
from quay.oci.schema1 import EMPTY_LAYER, EMPTY_LAYER_DIGEST, LAYER_LIMIT, Schema1, read

Json = dict[str, Any]
KEY = ec.generate_private_key(ec.SECP256R1())


def view_of(document: Json) -> Schema1:
    raw = json.dumps(document).encode()
    return read(raw, load(raw))


def test_empty_layer_is_the_well_known_one() -> None:
    """32 bytes with the digest that every registry knows, and in them an empty tar."""
    assert EMPTY_LAYER_DIGEST == "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
    assert hashlib.sha256(EMPTY_LAYER).hexdigest() == EMPTY_LAYER_DIGEST.hex
    assert (len(EMPTY_LAYER), gzip.decompress(EMPTY_LAYER)) == (32, bytes(1024))


def test_view(old: Json) -> None:
    """Address, layers and images leaf first, labels of the leaf."""
    view = view_of(old)
    assert (view.name, view.tag, view.architecture, view.is_signed) == ("team/app", "latest", "amd64", False)
    assert view.fs_layers == (Digest.of(b"app"), Digest.of(b"base"))
    assert view.layers == (Digest.of(b"base"), Digest.of(b"app"))
    assert [image["id"] for image in view.history] == ["2" * 64, "1" * 64]
    assert view.v1_compatibility[1] == old["history"][1]["v1Compatibility"]
    assert view.labels == {"maintainer": "somebody"}


@pytest.mark.parametrize("content_type", [None, "application/json", types.SCHEMA1, types.SCHEMA1_SIGNED])
def test_signed(old: Json, content_type: str | None) -> None:
    """However it is announced, a signed manifest is known by its payload's digest, and kept as it is."""
    payload = json.dumps(old, indent=3).encode()
    raw = sign(payload, KEY)
    manifest = parse(raw, content_type, digest=Digest.of(payload))
    assert (manifest.raw, manifest.media_type) == (raw, types.SCHEMA1_SIGNED)
    assert manifest.schema1
    assert (manifest.schema1.payload, manifest.schema1.is_signed) == (payload, True)
    assert parse(raw, content_type, digest=Digest.of(payload, "sha512")).digest.algorithm == "sha512"


@pytest.mark.parametrize("signatures", [None, []])
def test_nothing_signed(old: Json, signatures: object) -> None:
    """A document that has the member for signatures has one in it."""
    with pytest.raises(ManifestUnverified, match="has no signature"):
        view_of(old | {"signatures": signatures})


def test_unsigned_additions_are_refused(old: Json) -> None:
    """A member that a reader of the document sees, but nobody signed, cannot be smuggled in behind the signature."""
    raw = sign(json.dumps(old).encode(), KEY)
    assert raw.endswith(b"}")
    with pytest.raises(ManifestInvalid, match="sign another content"):
        parse(raw[:-1] + b',"annotations":{}}', None)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": None}, "name is missing"),
        ({"tag": 1}, "tag is not a string"),
        ({"fsLayers": []}, "one at least"),
        ({"history": []}, "history has 0 entries for 2 layers"),
        ({"fsLayers": [{"blobSum": "sha256:x"}] * 2}, "fsLayers[0].blobSum"),
        ({"history": [{}, {}]}, "history[0].v1Compatibility is missing"),
        ({"history": [{"v1Compatibility": "{"}] * 2}, "history[0].v1Compatibility is not JSON"),
        ({"history": [{"v1Compatibility": "[]"}] * 2}, "history[0].v1Compatibility is not a JSON object"),
        ({"history": [{"v1Compatibility": "{}"}] * 2}, "history[0].v1Compatibility.id is missing"),
        ({"history": [{"v1Compatibility": '{"id":"a","id":"b"}'}] * 2}, "twice"),
        ({"schemaVersion": 2}, "schemaVersion is not 1"),
    ],
)
def test_faults(old: Json, change: Json, word: str) -> None:
    """Each fault is refused with its path."""
    with pytest.raises(ManifestInvalid) as refused:
        parse(json.dumps({**old, **change}).encode(), types.SCHEMA1)
    assert word in refused.value.message + refused.value.advice


def test_the_most_layers_are_cheap(old: Json, cost: Callable[..., float]) -> None:
    """The most layers cost little, and one more is refused."""
    old["fsLayers"] = old["fsLayers"][:1] * LAYER_LIMIT
    old["history"] = old["history"][:1] * LAYER_LIMIT
    assert cost(view_of, old) < 10
    with pytest.raises(ManifestInvalid, match="elements"):
        view_of({**old, "fsLayers": old["fsLayers"] + old["fsLayers"][:1]})
