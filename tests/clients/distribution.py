"""
The registry over plain HTTP: what the clients did is checked byte by byte, without a client in between.

Source: OCI Distribution Specification 1.1; Docker, "Token Authentication Specification".
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import attrs

from tests.clients.images import MANIFESTS, SCHEMA1, Content, digest_of
from tests.server import User

TIMEOUT = 30
ACCEPT = ", ".join((*MANIFESTS, SCHEMA1))
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@attrs.frozen
class Answer:
    """What the registry answered; the names of the headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Unexpected(Exception):
    """The registry answered with another status than the test expects."""


@attrs.frozen
class Distribution:
    """The registry at `host`, as `user` sees it; without one, as anybody does."""

    host: str
    user: User | None = None

    def ask(
        self,
        expected: int,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer to one request, with a token for whatever it needs. Raises `Unexpected`."""
        answer = self._exchange(method, path, body, headers or {})
        if answer.status == 401 and self.user is not None:
            token = self._token(answer.headers["www-authenticate"])
            answer = self._exchange(method, path, body, {**(headers or {}), "Authorization": f"Bearer {token}"})
        if answer.status != expected:
            raise Unexpected(f"{method} {path}: {answer.status}, not {expected}: {answer.body[:1000]!r}")
        return answer

    def push(self, repository: str, content: Content, tag: str) -> None:
        """Push `content` and everything below it, and tag it."""
        *below, top = content.walk()
        for part in below:
            self.put_manifest(repository, part) if part.is_manifest else self.put_blob(repository, part.data)
        self.put_manifest(repository, top, tag)

    def put_blob(self, repository: str, data: bytes) -> None:
        begun = self.ask(202, "POST", f"/v2/{repository}/blobs/uploads/")
        url = urlsplit(urljoin(f"http://{self.host}", begun.headers["location"]))
        query = "&".join(filter(None, (url.query, urlencode({"digest": digest_of(data)}))))
        self.ask(201, "PUT", f"{url.path}?{query}", data, {"Content-Type": "application/octet-stream"})

    def put_manifest(self, repository: str, manifest: Content, reference: str | None = None) -> Answer:
        path = f"/v2/{repository}/manifests/{reference or manifest.digest}"
        return self.ask(201, "PUT", path, manifest.data, {"Content-Type": manifest.media_type})

    def manifest(self, repository: str, reference: str) -> Answer:
        return self.ask(200, "GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ACCEPT})

    def blob(self, repository: str, digest: str) -> bytes:
        return self.ask(200, "GET", f"/v2/{repository}/blobs/{digest}").body

    def digest(self, repository: str, reference: str) -> str:
        """The digest of a manifest, as the registry says it."""
        return self.manifest(repository, reference).headers["docker-content-digest"]

    def referrers(self, repository: str, digest: str, artifact_type: str | None = None) -> list[dict[str, Any]]:
        query = f"?{urlencode({'artifactType': artifact_type})}" if artifact_type else ""
        listed: list[dict[str, Any]] = self.ask(200, "GET", f"/v2/{repository}/referrers/{digest}{query}").json[
            "manifests"
        ]
        return listed

    def everything(self, repository: str, reference: str) -> dict[str, bytes]:
        """All the bytes that a reference leads to, by digest; each must have the digest by which it was asked for."""
        return dict(self._walk(repository, reference))

    def unpacked(self, repository: str, reference: str) -> list[bytes]:
        """The layers of an image, the base first, without their compression (gzip)."""
        held = self.everything(repository, reference)
        return [gzip.decompress(held[one["digest"]]) for one in self.manifest(repository, reference).json["layers"]]

    def _walk(self, repository: str, reference: str) -> Iterator[tuple[str, bytes]]:
        answer = self.manifest(repository, reference)
        digest = digest_of(answer.body)
        assert digest == answer.headers["docker-content-digest"]
        yield digest, answer.body
        document = answer.json
        for listed in document.get("manifests", ()):
            yield from self._walk(repository, listed["digest"])
        for listed in (*filter(None, [document.get("config")]), *document.get("layers", ())):
            yield from self._listed(repository, listed)

    def _listed(self, repository: str, descriptor: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
        data = self.blob(repository, descriptor["digest"])
        assert (digest_of(data), len(data)) == (descriptor["digest"], descriptor["size"])
        yield descriptor["digest"], data

    def _exchange(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection = HTTPConnection(self.host, timeout=TIMEOUT)
        try:
            connection.request(method, path, body or None, dict(headers))
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def _token(self, challenge: str) -> str:
        assert self.user is not None
        asked = dict(_PARAMETER.findall(challenge))
        realm = urlsplit(asked.pop("realm"))
        password = base64.b64encode(f"{self.user.name}:{self.user.password}".encode()).decode()
        answer = self._exchange("GET", f"{realm.path}?{urlencode(asked)}", b"", {"Authorization": f"Basic {password}"})
        if answer.status != 200:
            raise Unexpected(f"No token: {answer.status}: {answer.body[:1000]!r}")
        return str(answer.json["token"])
