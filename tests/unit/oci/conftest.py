"""The smallest manifests, as the dictionaries that tests bend, and a measure of what a call costs."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from quay.oci import media_types
from quay.oci.errors import RegistryError
from quay.oci.reference import Digest

Json = dict[str, Any]
NUMBERS = json.dumps([12345] * 200_000)
CONFIG = json.dumps(
    {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": {"maintainer": "somebody"}, "Cmd": ["/bin/app"]},
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [
            {"created": "2020-01-01T00:00:00Z", "created_by": "ADD base", "author": "A", "comment": "first"},
            {"created": "2020-01-02T00:00:00Z", "created_by": "ENV a=b", "empty_layer": True},
            {"created": "2020-01-03T00:00:00Z", "created_by": "COPY app"},
        ],
    }
).encode()


def spent(call: Callable[..., object], *arguments: object) -> float:
    """Seconds of this thread's own time that a call takes, refused or not: what else the machine does is not in it."""
    started = time.thread_time()
    with contextlib.suppress(RegistryError):
        call(*arguments)
    return time.thread_time() - started


@pytest.fixture
def cost() -> Callable[..., float]:
    """
    A function: what a call costs at best, as a multiple of reading 200,000 numbers as JSON in the same moment. That is
    ten milliseconds of a usual core, and so much more of a slow one: the same limit holds on both.
    """
    return lambda call, *arguments: min(spent(call, *arguments) / spent(json.loads, NUMBERS) for _ in range(5))


@pytest.fixture
def config() -> bytes:
    """The config blob of `image`."""
    return CONFIG


@pytest.fixture
def descriptor() -> Callable[..., Json]:
    """A function: the descriptor of some bytes, with further members."""

    def make(content: bytes = b"content", media_type: str = media_types.OCI_LAYER_GZIP, **members: object) -> Json:
        return {"mediaType": media_type, "digest": Digest.of(content), "size": len(content), **members}

    return make


@pytest.fixture
def image(descriptor: Callable[..., Json]) -> Json:
    """An OCI image manifest with two layers."""
    return {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": descriptor(CONFIG, media_types.OCI_CONFIG),
        "layers": [descriptor(b"base"), descriptor(b"app")],
    }


@pytest.fixture
def index(descriptor: Callable[..., Json]) -> Json:
    """An OCI index of two platforms, one child from OCI and one from Docker."""
    arm = {"os": "linux", "architecture": "arm64", "variant": "v8"}
    amd = {"os": "linux", "architecture": "amd64"}
    return {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_INDEX,
        "manifests": [
            descriptor(b"arm", media_types.OCI_MANIFEST, platform=arm),
            descriptor(b"amd", media_types.DOCKER_MANIFEST, platform=amd),
        ],
    }


@pytest.fixture
def old() -> Json:
    """An unsigned manifest of schema 1, leaf first."""
    base, app = Digest.of(b"base"), Digest.of(b"app")
    leaf = {"id": "2" * 64, "parent": "1" * 64, "config": {"Labels": {"maintainer": "somebody"}}}
    return {
        "schemaVersion": 1,
        "name": "team/app",
        "tag": "latest",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": app}, {"blobSum": base}],
        "history": [{"v1Compatibility": json.dumps(image)} for image in (leaf, {"id": "1" * 64})],
    }
