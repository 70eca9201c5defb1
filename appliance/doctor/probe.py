"""
A probe: an image of one megabyte is pushed through a URL as docker would, pulled again, compared, and deleted. So it is
seen what clients will see, with everything that stands in between.

Source: OCI Distribution Specification 1.1; OCI Image Specification 1.1.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import secrets
import tarfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer

from quay.egress import Egress, Policy
from quay.oci import media_types
from quay.oci.reference import Digest, Tag
from quay.registry.client import Credentials, RegistryClient, RemoteWrong
from quay.service.outside import authorities

SIZE: Final = 1024 * 1024
ANYWHERE: Final = Policy(
    networks=tuple(
        ip_network(network)
        for network in ("0.0.0.0/0", "::/0", "127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10")
    )
)
"""Who calls is the administrator, and he has named the URL himself."""


@attrs.frozen
class Image:
    """An image that nobody has: its layer, its configuration and its manifest."""

    layer: bytes = attrs.field(repr=False)
    config: bytes = attrs.field(repr=False)
    manifest: bytes = attrs.field(repr=False)

    @classmethod
    def made(cls) -> Image:
        """With a layer of random bytes, so that nothing on the way makes them fewer."""
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as tar:
            member = tarfile.TarInfo("probe")
            member.size = SIZE
            tar.addfile(member, io.BytesIO(os.urandom(SIZE)))
        layer = gzip.compress(raw.getvalue(), 1, mtime=0)
        identity = f"sha256:{sha256(raw.getvalue()).hexdigest()}"
        config = _json({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [identity]}})
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "config": _descriptor(media_types.OCI_CONFIG, config),
            "layers": [_descriptor(media_types.OCI_LAYER_GZIP, layer)],
        }
        return cls(layer, config, _json(manifest))


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}


class _Held:
    """A body that is in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def length(self) -> int:
        return len(self._content)

    def deliver_to(self, consumer: IConsumer) -> Deferred[int]:
        consumer.write(self._content)
        return succeed(len(self._content))


@attrs.frozen
class Step:
    """What was done, and how long it took."""

    what: str
    seconds: float


class Probe:
    """One probe of the `repository` at `url`; `tell` hears of each step when it has succeeded."""

    def __init__(
        self, client: RegistryClient, repository: str, tell: Callable[[Step], object], image: Image | None = None
    ) -> None:
        self._client = client
        self._repository = repository
        self._tell = tell
        self._image = image or Image.made()
        self.tag = Tag(f"probe-{secrets.token_hex(6)}")

    async def run(self) -> None:
        """All steps. Raises `RemoteError`; what was pushed is deleted as far as that is possible."""
        async with self._step("signed in"):
            await self._client.check()
        image, pushed = self._image, Digest.of(self._image.manifest)
        async with self._step(f"pushed a layer of {len(image.layer):,} bytes"):
            await self._push(image.layer)
        async with self._step("pushed its configuration"):
            await self._push(image.config)
        async with self._step(f"pushed the manifest as {self._repository}:{self.tag}"):
            await self._client.push_manifest(self._repository, self.tag, media_types.OCI_MANIFEST, image.manifest)
        try:
            await self._pull()
        finally:
            async with self._step("deleted it"):
                await self._client.delete_manifest(self._repository, pushed)

    async def _push(self, content: bytes) -> None:
        async def body() -> _Held:
            return _Held(content)

        await self._client.push_blob(self._repository, Digest.of(content), body)

    async def _pull(self) -> None:
        async with self._step("pulled the manifest by its tag"):
            found = await self._client.manifest(self._repository, self.tag)
            if found.content != self._image.manifest:
                raise RemoteWrong("The manifest came back with other bytes: something in between changes them.")
        async with self._step("pulled the layer, which is the same"):
            digest = Digest.of(self._image.layer)
            await self._client.read(self._repository, digest, len(self._image.layer))

    @asynccontextmanager
    async def _step(self, what: str) -> AsyncIterator[None]:
        began = time.monotonic()
        yield
        self._tell(Step(what, time.monotonic() - began))


async def probe(
    reactor: Any,
    url: str,
    repository: str,
    credentials: Credentials | None,
    ca: Path | None,
    tell: Callable[[Step], object],
) -> None:
    """
    Probe `url`; `ca` is a file of CAs to be believed instead of the machine's. Raises `RemoteError`, `EgressRefused`,
    `AuthoritiesUnusable`.
    """
    trust = None if ca is None else authorities(ca)
    client = RegistryClient(reactor, Egress(reactor, ANYWHERE, trust=trust), url, credentials)
    await Probe(client, repository, tell).run()
