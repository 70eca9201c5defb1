"""
Another registry, on the loopback and in the reactor of the test, as tests say: well-behaved, slow, broken or hostile.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet import reactor as running
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from quay.oci.manifest import parse
from quay.oci.reference import Digest

reactor: Any = running
Misbehave = Callable[[Any], object]


@attrs.define
class Kept:
    """What a repository has: manifests by digest with their types, tags, blobs, and who refers to what."""

    manifests: dict[str, tuple[str, bytes]] = attrs.field(factory=dict)
    tags: dict[str, str] = attrs.field(factory=dict)
    blobs: dict[str, bytes] = attrs.field(factory=dict)
    uploads: dict[str, bytes] = attrs.field(factory=dict)


class ForeignRegistry:
    """
    A registry with `repositories`. `password` makes it want a token, which its own token server gives to `user`; with
    `basic`, it wants the password itself. `odd[path]` are what requests for a path meet, one after the other, before
    they are answered as they should be. `asked` has every request, and `pages` how long a page of a list is.
    """

    def __init__(
        self, *, user: str = "", password: str = "", basic: bool = False, referrers: bool = True, context: Any = None
    ) -> None:
        self.repositories: dict[str, Kept] = {}
        self.odd: dict[str, list[Misbehave]] = {}
        self.asked: list[tuple[str, str]] = []
        self.pages = 1000
        self.referrers = referrers
        self._user, self._password, self._basic = user, password, basic
        site = Site(_Everything(self))
        site.noisy = False
        self._listening = (
            reactor.listenTCP(0, site, interface="127.0.0.1")
            if context is None
            else reactor.listenSSL(0, site, context, interface="127.0.0.1")
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return int(self._listening.getHost().port)

    def close(self) -> Any:
        return self._listening.stopListening()

    def asked_for(self, part: str) -> int:
        """How many requests had this in their path."""
        return sum(part in path for _, path in self.asked)

    # --- what it has

    def blob(self, repository: str, data: bytes) -> dict[str, Any]:
        """Put a blob there; its descriptor."""
        digest = Digest.of(data)
        self.kept(repository).blobs[digest] = data
        return {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": len(data)}

    def kept(self, repository: str) -> Kept:
        return self.repositories.setdefault(repository, Kept())

    def image(self, repository: str, *layers: bytes, tag: str | None = None, **more: Any) -> Digest:
        """Put an image there, of these layers; its digest."""
        config = self.blob(repository, json.dumps({"os": "linux", "architecture": "amd64"}).encode())
        document = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {**config, "mediaType": "application/vnd.oci.image.config.v1+json"},
            "layers": [self.blob(repository, layer) for layer in layers],
            **more,
        }
        return self.manifest(repository, document, tag=tag)

    def index(self, repository: str, *children: Digest, tag: str | None = None) -> Digest:
        """Put an index there, of manifests that are there."""
        found = [self.kept(repository).manifests[child] for child in children]
        document = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {"mediaType": media_type, "digest": child, "size": len(raw)}
                for child, (media_type, raw) in zip(children, found, strict=True)
            ],
        }
        return self.manifest(repository, document, tag=tag)

    def manifest(self, repository: str, document: dict[str, Any], *, tag: str | None = None) -> Digest:
        raw = json.dumps(document).encode()
        digest = Digest.of(raw)
        self.kept(repository).manifests[digest] = (document["mediaType"], raw)
        if tag is not None:
            self.kept(repository).tags[tag] = digest
        return digest

    # --- how it answers

    def answer(self, request: Any) -> bytes | int:
        path = request.path.decode()
        self.asked.append((request.method.decode(), path))
        if self.odd.get(path):
            odd = self.odd[path].pop(0)(request)
            if odd is not None:
                return odd if isinstance(odd, bytes | int) else NOT_DONE_YET
        if path == "/token":
            return self._token(request)
        if not self._is_let_in(request):
            return self._refuse(request)
        return self._serve(request, path)

    def _token(self, request: Any) -> bytes:
        if (request.getUser(), request.getPassword()) != (self._user.encode(), self._password.encode()):
            request.setResponseCode(401)
            return b'{"errors":[{"code":"UNAUTHORIZED","message":"bad password"}]}'
        return json.dumps({"token": "t" + request.args.get(b"scope", [b""])[0].decode().replace(":", "-")}).encode()

    def _is_let_in(self, request: Any) -> bool:
        if not self._password:
            return True
        if self._basic:
            given = (request.getUser(), request.getPassword())
            return bool(given == (self._user.encode(), self._password.encode()))
        return bool((request.getHeader("authorization") or "").startswith("Bearer t"))

    def _refuse(self, request: Any) -> bytes:
        scheme = 'Basic realm="it"' if self._basic else f'Bearer realm="{self.url}/token",service="it"'
        request.setHeader("WWW-Authenticate", scheme)
        request.setResponseCode(401)
        return b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'

    def _serve(self, request: Any, path: str) -> bytes:
        if path == "/v2/":
            return b"{}"
        if path == "/v2/_catalog":
            return self._page(request, "repositories", sorted(self.repositories))
        name, kind, rest = _parted(path.removeprefix("/v2/"))
        kept = self.repositories.get(name)
        if kept is None and request.method not in (b"POST", b"PUT"):
            return _missing(request, "NAME_UNKNOWN")
        kept = self.kept(name)
        answer: bytes = getattr(self, f"_{kind}")(request, kept, rest)
        return answer

    def _page(self, request: Any, key: str, names: list[str]) -> bytes:
        last = request.args.get(b"last", [b""])[0].decode()
        left = [name for name in names if name > last]
        page = left[: self.pages]
        if len(left) > len(page):
            request.setHeader("Link", f'<{request.path.decode()}?n={self.pages}&last={page[-1]}>; rel="next"')
        return json.dumps({key: page}).encode()

    def _tags(self, request: Any, kept: Kept, rest: str) -> bytes:
        return self._page(request, "tags", sorted(kept.tags))

    def _manifests(self, request: Any, kept: Kept, reference: str) -> bytes:
        if request.method == b"PUT":
            raw = request.content.read()
            digest = Digest.of(raw)
            kept.manifests[digest] = (request.getHeader("content-type"), raw)
            if ":" not in reference:
                kept.tags[reference] = digest
            request.setResponseCode(201)
            request.setHeader("Docker-Content-Digest", digest)
            return b""
        digest = Digest(kept.tags.get(reference, reference))
        if digest not in kept.manifests:
            return _missing(request, "MANIFEST_UNKNOWN")
        media_type, raw = kept.manifests[digest]
        if request.method == b"DELETE":
            del kept.manifests[digest]
            kept.tags = {tag: found for tag, found in kept.tags.items() if found != digest}
            request.setResponseCode(202)
            return b""
        request.setHeader("Content-Type", media_type)
        request.setHeader("Docker-Content-Digest", digest)
        return raw

    def _blobs(self, request: Any, kept: Kept, rest: str) -> bytes:
        if rest.startswith("uploads/"):
            return self._upload(request, kept)
        if rest not in kept.blobs:
            return _missing(request, "BLOB_UNKNOWN")
        data = kept.blobs[rest]
        asked = request.getHeader("range")
        if asked:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            request.setResponseCode(206)
            request.setHeader("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            return data[start:]
        return data

    def _upload(self, request: Any, kept: Kept) -> bytes:
        if request.method == b"POST":
            request.setResponseCode(202)
            request.setHeader("Location", f"{request.path.decode()}one?state=x")
            return b""
        data = request.content.read()
        digest = Digest.of(data)
        right = digest == request.args[b"digest"][0].decode()
        request.setResponseCode(201 if right else 400)
        kept.blobs[digest] = data
        return b""

    def _referrers(self, request: Any, kept: Kept, digest: str) -> bytes:
        if not self.referrers:
            return _missing(request, "NOT_FOUND")
        found = [parse(raw, media_type) for media_type, raw in kept.manifests.values()]
        request.setHeader("Content-Type", "application/vnd.oci.image.index.v1+json")
        entries = [one.descriptor().as_json() for one in found if one.subject and one.subject.digest == digest]
        return json.dumps({"schemaVersion": 2, "manifests": entries}).encode()


class _Everything(Resource):
    isLeaf = True

    def __init__(self, registry: ForeignRegistry) -> None:
        super().__init__()
        self._registry = registry

    def render(self, request: Any) -> bytes | int:
        return self._registry.answer(request)


def _parted(path: str) -> tuple[str, str, str]:
    for kind in ("manifests", "blobs", "tags", "referrers"):
        name, found, rest = path.partition(f"/{kind}/")
        if found:
            return name, kind, rest
    return path, "tags", ""


def _missing(request: Any, code: str) -> bytes:
    request.setResponseCode(404)
    return json.dumps({"errors": [{"code": code, "message": "there is none"}]}).encode()


# --- how it misbehaves


def status(code: int, **headers: str) -> Misbehave:
    """Answers with this status."""

    def answer(request: Any) -> bytes:
        request.setResponseCode(code)
        for name, value in headers.items():
            request.setHeader(name.replace("_", "-"), value)
        return b"{}"

    return answer


def body(data: bytes, code: int = 200, **headers: str) -> Misbehave:
    """Answers with other bytes."""

    def answer(request: Any) -> bytes:
        status(code, **headers)(request)
        return data

    return answer


def broken(data: bytes, length: int) -> Misbehave:
    """Promises `length` bytes, sends `data`, and hangs up."""

    def answer(request: Any) -> int:
        request.setHeader("Content-Length", str(length))
        request.write(data)
        reactor.callLater(0.05, request.transport.loseConnection)
        return NOT_DONE_YET

    return answer


def endless(request: Any) -> int:
    """Sends and sends, in chunks, until nobody listens."""

    def more() -> None:
        if request.channel is not None and not request._disconnected:
            request.write(b"x" * 65536)
            reactor.callLater(0, more)

    more()
    return NOT_DONE_YET


def silent(request: Any) -> int:
    """Sends a head, and a byte, and nothing more."""
    request.setHeader("Content-Length", "1000")
    request.write(b"x")
    return NOT_DONE_YET
