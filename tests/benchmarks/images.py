"""Pushing, request by request, in the order of the docker engine: each blob with POST and PUT, then the manifest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import attrs

from tests.benchmarks.wire import Blob, Connection

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
BYTES: Final = {"Content-Type": "application/octet-stream"}


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@attrs.frozen
class Image:
    """An image that no other is, with one layer of `size` bytes."""

    layer: bytes = attrs.field(repr=False)
    config: bytes = attrs.field(repr=False)
    manifest: bytes = attrs.field(repr=False)
    digest: str

    @classmethod
    def made(cls, size: int = 1024) -> Image:
        layer = os.urandom(size)
        config = json.dumps({"architecture": "amd64", "os": "linux", "history": [digest_of(layer)]}).encode()
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, config),
            "layers": [_descriptor(LAYER, layer)],
        }
        manifest = json.dumps(document).encode()
        return cls(layer, config, manifest, digest_of(manifest))


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


@attrs.frozen
class Pusher:
    """Pushes to `repository` over one connection, with the right that `headers` give."""

    connection: Connection
    headers: Mapping[str, str] = attrs.field(repr=False)
    repository: str

    def push(self, image: Image, tag: str) -> None:
        """Raises `Refused`."""
        for data in (image.layer, image.config):
            where = _finished(self._begin(), digest_of(data))
            self.connection.ask("PUT", where, {**self.headers, **BYTES}, data).expect(201)
        headers = {**self.headers, "Content-Type": MANIFEST}
        self.connection.ask("PUT", f"/v2/{self.repository}/manifests/{tag}", headers, image.manifest).expect(201)

    def push_blob(self, blob: Blob, *, streamed: bool) -> None:
        """In the PUT, or streamed in one PATCH before it. Raises `Refused`."""
        where, headers = self._begin(), {**self.headers, **BYTES}
        if streamed:
            answer = self.connection.send("PATCH", where, headers, blob, chunked=True).expect(202)
            where = _finished(_path(answer.headers["location"]), blob.digest)
            self.connection.ask("PUT", where, headers).expect(201)
        else:
            self.connection.send("PUT", _finished(where, blob.digest), headers, blob, chunked=False).expect(201)

    def put(self, blob: Blob) -> None:
        """In pieces that fit into memory, over TLS as well. Raises `Refused`."""
        where, headers = self._begin(), {**self.headers, **BYTES}
        for piece in blob.pieces():
            answer = self.connection.ask("PATCH", where, headers, piece).expect(202)
            where = _path(answer.headers["location"])
        self.connection.ask("PUT", _finished(where, blob.digest), headers).expect(201)

    def _begin(self) -> str:
        answer = self.connection.ask("POST", f"/v2/{self.repository}/blobs/uploads/", self.headers)
        return _path(answer.expect(202).headers["location"])


def _path(location: str) -> str:
    return urlsplit(location)._replace(scheme="", netloc="").geturl()


def _finished(path: str, digest: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}digest={digest}"
