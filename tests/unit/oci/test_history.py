"""The layers of images, with what their configurations say of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quay.oci.history import Layer, layers_of
from quay.oci.manifest import parse
from quay.oci.media_types import OCI_CONFIG, OCI_FOREIGN_LAYER, OCI_LAYER_GZIP, OCI_MANIFEST
from quay.oci.reference import Digest
from quay.oci.schema1 import EMPTY_LAYER, EMPTY_LAYER_DIGEST

BASE, LEAF = Digest.of(b"base"), Digest.of(b"leaf")
PLAIN = [Layer(BASE, 4), Layer(LEAF, 4)]


def layers(config: object, *descriptors: dict[str, object]) -> list[Layer]:
    raw = config if isinstance(config, bytes) else json.dumps(config).encode()
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": Digest.of(raw), "size": len(raw)},
        "layers": list(descriptors) or [descriptor(BASE), descriptor(LEAF)],
    }
    return layers_of(parse(json.dumps(body).encode(), OCI_MANIFEST), raw)


def descriptor(digest: Digest, **more: object) -> dict[str, object]:
    return {"mediaType": OCI_LAYER_GZIP, "digest": digest, "size": 4, **more}


def test_steps() -> None:
    """Each step of the history has its layer; one that changed nothing has the empty layer."""
    history = [
        {"created": "2026-01-01T00:00:00.123456789Z", "created_by": "ADD file", "author": "me", "comment": "hello"},
        {"created": "2026-01-01T00:00:01Z", "created_by": "ENV a=b", "empty_layer": True},
        {"created_by": "RUN make"},
    ]
    assert layers({"history": history}) == [
        Layer(BASE, 4, command=("ADD file",), author="me", comment="hello", created_ms=1767225600123),
        Layer(EMPTY_LAYER_DIGEST, len(EMPTY_LAYER), command=("ENV a=b",), created_ms=1767225601000),
        Layer(LEAF, 4, command=("RUN make",)),
    ]


@pytest.mark.parametrize(
    "config",
    [b"", b"no JSON", [], {}, {"history": None}, {"history": "x"}, {"history": [1]}, {"history": [{}]}],
)
def test_no_history_that_fits(config: Any) -> None:
    """The layers are there, whatever the config says or is."""
    assert layers(config) == PLAIN


@pytest.mark.parametrize(
    "entry",
    [
        {"created": "yesterday", "created_by": 7, "author": [], "comment": {}},
        {"created": 7},
        {"created": "0001-01-01T00:00:00+23:00"},
        {"created_by": []},
        {"created": None, "created_by": "", "empty_layer": "yes"},
    ],
)
def test_odd_entries(entry: dict[str, object]) -> None:
    """What cannot be read of a step is left out."""
    assert layers({"history": [entry, {}]}) == PLAIN


def test_foreign_layers() -> None:
    """A layer whose bytes are elsewhere says where."""
    urls = ["https://example.com/layer"]
    (found,) = layers({}, descriptor(BASE, mediaType=OCI_FOREIGN_LAYER, urls=urls))
    assert (found.foreign, found.urls) == (True, tuple(urls))


def test_schema1() -> None:
    """An image of schema 1 tells its steps itself, from the leaf to the base."""
    images = [
        {"id": "b" * 64, "container_config": {"Cmd": ["/bin/sh", "-c", "make"]}, "created": "2026-01-01T00:00:00Z"},
        {"id": "a" * 64, "author": "me"},
    ]
    body = {
        "schemaVersion": 1,
        "name": "a/b",
        "tag": "latest",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": LEAF}, {"blobSum": BASE}],
        "history": [{"v1Compatibility": json.dumps(image)} for image in images],
    }
    raw = json.dumps(body).encode()
    found = layers_of(parse(raw, "application/vnd.docker.distribution.manifest.v1+json"), b"")
    assert found == [
        Layer(BASE, 0, author="me"),
        Layer(LEAF, 0, command=("/bin/sh", "-c", "make"), created_ms=1767225600000),
    ]
