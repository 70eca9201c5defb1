"""
A client of the distribution API for tests: `http.client` and nothing of ours, one request on a connection at a time.

Source: OCI Distribution Specification 1.1; Docker Registry v2 token authentication.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import ssl
from collections.abc import Iterable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPSConnection
from urllib.parse import urlencode, urlsplit

import attrs

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
KIB = 1024
LOST = (OSError, HTTPException)
"""What a request raises when its server dies."""


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@attrs.frozen
class Image:
    """
    Three layers that no other image has, the first of them too large to be forgotten halfway, a config, and two
    manifests of them: one to begin with, one to move to.
    """

    layers: tuple[bytes, ...] = attrs.field(repr=False)
    config: bytes
    manifest: bytes = attrs.field(repr=False)
    moved: bytes = attrs.field(repr=False)

    @classmethod
    def made(cls, seed: object) -> Image:
        """The same bytes for the same seed."""
        dice = random.Random(str(seed))
        layers = tuple(dice.randbytes(size * KIB) for size in (1300, 40, 20))
        config = json.dumps({"architecture": "amd64", "os": "linux", "created_by": str(seed)}).encode()
        return cls(layers, config, _manifest(layers, config, "first"), _manifest(layers, config, "moved"))


def _manifest(layers: Iterable[bytes], config: bytes, note: str) -> bytes:
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(CONFIG, config),
        "layers": [_descriptor(LAYER, layer) for layer in layers],
        "annotations": {"note": note},
    }
    return json.dumps(body).encode()


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


@attrs.frozen
class Answer:
    """What the server said."""

    status: int
    headers: HTTPMessage
    body: bytes = attrs.field(repr=False)

    def expect(self, *statuses: int) -> Answer:
        """Raises AssertionError for any other status."""
        assert self.status in statuses, f"{self.status} {self.body[:500]!r}, expected {statuses}"
        return self


@attrs.define
class Upload:
    """An upload under way: where, of what, and how many bytes of it have been given to the socket."""

    location: str
    data: bytes = attrs.field(repr=False)
    sent: int = 0


class Client:
    """
    Somebody who pushes and pulls. `tokens` are kept for as long as the client is; `upload` is the one that has begun
    and has not been acknowledged as a blob. With a `tls` context, whom that trusts is trusted.
    """

    def __init__(
        self,
        host: str,
        name: str,
        password: str = "password123",
        timeout: float = 30,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.tokens: dict[str, str] = {}
        self.upload: Upload | None = None
        self.credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
        self._timeout = timeout
        self._tls = tls
        self.move_to(host)

    def move_to(self, host: str) -> None:
        """Go on with another server, or with the same one after its restart."""
        if self._tls is None:
            self._connection = HTTPConnection(host, timeout=self._timeout)
        else:
            self._connection = HTTPSConnection(host, timeout=self._timeout, context=self._tls)

    def close(self) -> None:
        self._connection.close()

    # --- requests

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Raises one of `LOST` if the server dies meanwhile. A body of several pieces is sent in chunked coding."""
        given = {"Content-Length": "0"} if body is None and method in ("POST", "PUT", "PATCH") else {}
        try:
            self._connection.request(method, path, body, {**given, **(headers or {})})
            answer = self._connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        except BaseException:
            self._connection.close()
            raise

    def login(self, repository: str, actions: str = "pull,push,delete") -> str:
        """A new token for the repository."""
        scope = urlencode({"scope": f"repository:{repository}:{actions}"})
        answer = self.request("GET", f"/v2/auth?{scope}", headers={"Authorization": f"Basic {self.credentials}"})
        token = str(json.loads(answer.expect(200).body)["token"])
        self.tokens[repository] = token
        return token

    def call(
        self,
        method: str,
        repository: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A request below `/v2/<repository>/`, or to a whole URL below it, with the token for the repository."""
        token = self.tokens.get(repository) or self.login(repository)
        where = urlsplit(path)
        if not where.netloc:
            where = where._replace(path=f"/v2/{repository}/{where.path}")
        target = where._replace(scheme="", netloc="").geturl()
        return self.request(method, target, body, {"Authorization": f"Bearer {token}", **(headers or {})})

    # --- blobs

    def begin(self, repository: str, data: bytes) -> Upload:
        answer = self.call("POST", repository, "blobs/uploads/").expect(202)
        self.upload = Upload(answer.headers["Location"], data)
        return self.upload

    def append(self, repository: str, upload: Upload, end: int, *, chunked: bool = False) -> None:
        """Send what comes up to `end`, with `Content-Range`, or as a stream in chunked coding."""
        start, upload.sent = upload.sent, end
        part = upload.data[start:end]
        headers = {"Content-Type": "application/octet-stream"}
        if not chunked:
            headers["Content-Range"] = f"{start}-{end - 1}"
        body = (part[i : i + 9000] for i in range(0, len(part), 9000)) if chunked else part
        answer = self.call("PATCH", repository, upload.location, body, headers).expect(202)
        assert answer.headers["Range"] == f"0-{end - 1}"
        upload.location = answer.headers["Location"]

    def finish(self, repository: str, upload: Upload) -> None:
        """Send the rest, if any, and the digest of the whole."""
        rest, upload.sent = upload.data[upload.sent :], len(upload.data)
        digest = digest_of(upload.data)
        location = f"{upload.location}{'&' if '?' in upload.location else '?'}digest={digest}"
        answer = self.call("PUT", repository, location, rest).expect(201)
        assert answer.headers["Docker-Content-Digest"] == digest
        self.upload = None

    def held(self, repository: str, upload: Upload) -> int | None:
        """How many bytes of the upload the server holds; None if it knows nothing of it."""
        answer = self.call("GET", repository, upload.location).expect(204, 404)
        if answer.status == 404:
            return None
        last = int(answer.headers["Range"].partition("-")[2])
        return last + 1 if last else 0

    def push_blob(self, repository: str, data: bytes) -> None:
        """In one request."""
        digest = digest_of(data)
        answer = self.call("POST", repository, f"blobs/uploads/?digest={digest}", data).expect(201)
        assert answer.headers["Docker-Content-Digest"] == digest

    def has_blob(self, repository: str, data: bytes) -> bool:
        answer = self.call("HEAD", repository, f"blobs/{digest_of(data)}").expect(200, 404)
        return answer.status == 200 and int(answer.headers["Content-Length"]) == len(data)

    # --- manifests

    def tag(self, repository: str, tag: str, manifest: bytes) -> None:
        headers = {"Content-Type": MANIFEST}
        answer = self.call("PUT", repository, f"manifests/{tag}", manifest, headers).expect(201)
        assert answer.headers["Docker-Content-Digest"] == digest_of(manifest)

    def manifest(self, repository: str, reference: str) -> bytes | None:
        """What the tag or digest is; None if there is none."""
        answer = self.call("GET", repository, f"manifests/{reference}", headers={"Accept": MANIFEST}).expect(200, 404)
        return answer.body if answer.status == 200 else None

    # --- images

    def push(self, repository: str, tag: str, image: Image) -> None:
        """
        In every way that clients know: in chunks, in one piece after a POST, in the POST, as a stream; then the
        manifest by its tag, and the tag moved to the other manifest.
        """
        self._push_in_chunks(repository, image.layers[0])
        self.finish(repository, self.begin(repository, image.layers[1]))
        self.push_blob(repository, image.layers[2])
        stream = self.begin(repository, image.config)
        self.append(repository, stream, len(image.config), chunked=True)
        self.finish(repository, stream)
        self.tag(repository, tag, image.manifest)
        self.tag(repository, tag, image.moved)

    def _push_in_chunks(self, repository: str, data: bytes) -> None:
        upload = self.begin(repository, data)
        for end in (400 * KIB, 1100 * KIB, 1300 * KIB):
            self.append(repository, upload, end)
        self.finish(repository, upload)

    def pull(self, repository: str, tag: str, image: Image) -> None:
        """Raises AssertionError unless every byte of the image, as it is in the end, is what was pushed."""
        assert self.manifest(repository, tag) == image.moved
        for data in (*image.layers, image.config):
            answer = self.call("GET", repository, f"blobs/{digest_of(data)}").expect(200)
            assert answer.body == data
