"""
Small images made in code: the same arguments always make the same bytes, so their digests may stand in a test.

Source: OCI Image Specification 1.1 (layers, configuration, manifest, index); Docker Image Manifest V2, Schema 2.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from quay.oci import media_types
from quay.oci.reference import Digest

CREATED: Final = "2026-01-01T00:00:00Z"
EMPTY: Final = b"{}"


@attrs.frozen
class Dialect:
    """The media types of one family of manifests."""

    manifest: str
    index: str
    config: str
    layer: str


OCI: Final = Dialect(
    media_types.OCI_MANIFEST, media_types.OCI_INDEX, media_types.OCI_CONFIG, media_types.OCI_LAYER_GZIP
)
DOCKER: Final = Dialect(
    media_types.DOCKER_MANIFEST, media_types.DOCKER_LIST, media_types.DOCKER_CONFIG, media_types.DOCKER_LAYER_GZIP
)


@attrs.frozen
class Content:
    """A manifest, and all that must be pushed before it."""

    media_type: str
    raw: bytes = attrs.field(repr=False)
    blobs: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    children: tuple[Content, ...] = ()
    architecture: str = ""

    @property
    def digest(self) -> Digest:
        return Digest.of(self.raw)

    def descriptor(self) -> dict[str, object]:
        """How an index or a referrer names it."""
        platform = {"platform": {"os": "linux", "architecture": self.architecture}} if self.architecture else {}
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.raw), **platform}


def layer(path: str, text: str) -> bytes:
    """A gzip'd tar with one file."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo(path)
        member.size = len(text.encode())
        tar.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(archive.getvalue(), mtime=0)


def image(
    *texts: str, labels: Mapping[str, str] | None = None, architecture: str = "amd64", dialect: Dialect = OCI
) -> Content:
    """An image for linux, with one layer for each text, from the base to the leaf."""
    layers = [layer(f"layer-{number}.txt", text) for number, text in enumerate(texts)]
    config = _json(_config(layers, labels or {}, architecture))
    body = {
        "schemaVersion": 2,
        "mediaType": dialect.manifest,
        "config": _descriptor(dialect.config, config),
        "layers": [_descriptor(dialect.layer, data) for data in layers],
    }
    return Content(dialect.manifest, _json(body), (config, *layers), architecture=architecture)


def index(*children: Content, dialect: Dialect = OCI) -> Content:
    """An index (or a manifest list) of these images."""
    body = {
        "schemaVersion": 2,
        "mediaType": dialect.index,
        "manifests": [child.descriptor() for child in children],
    }
    return Content(dialect.index, _json(body), children=children)


def artifact(artifact_type: str, payload: bytes, *, subject: Content | None = None) -> Content:
    """An artifact of one blob, which perhaps refers to a subject: a signature, a bill of materials."""
    body: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": _descriptor(media_types.OCI_EMPTY, EMPTY),
        "layers": [_descriptor(artifact_type, payload)],
        "annotations": {"org.opencontainers.image.created": CREATED},
    }
    if subject is not None:
        body["subject"] = {name: value for name, value in subject.descriptor().items() if name != "platform"}
    return Content(media_types.OCI_MANIFEST, _json(body), (EMPTY, payload))


def _config(layers: Sequence[bytes], labels: Mapping[str, str], architecture: str) -> dict[str, Any]:
    unpacked = [gzip.decompress(data) for data in layers]
    return {
        "created": CREATED,
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/bin/true"], "Env": ["PATH=/bin"], "Labels": dict(labels)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in unpacked]},
        "history": [
            {"created": CREATED, "created_by": f"COPY layer-{number}.txt /"} for number, _ in enumerate(layers)
        ],
    }


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": Digest.of(data), "size": len(data)}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
