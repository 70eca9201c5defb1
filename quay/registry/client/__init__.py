"""
Another registry, as its client: pulled from and pushed to over the one outbound client of this process.

What comes is believed no further than its digest: a manifest is compared with the digest that it was asked for, a blob
with its size as it comes, and with its digest by whoever keeps it. Lists are followed page by page, within bounds.

Source: OCI Distribution Specification 1.1; Docker Registry HTTP API V2; Docker Registry v2 token authentication.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from random import random as dice
from typing import Any, Final
from urllib.parse import quote, urlencode

import attrs

from quay.egress import Body, Egress, Stream
from quay.oci import media_types
from quay.oci.manifest import MANIFEST_LIMIT
from quay.oci.reference import Digest, Tag
from quay.registry.client.calls import Calls
from quay.registry.client.challenge import Credentials
from quay.registry.client.download import Download
from quay.registry.client.errors import RemoteError, RemoteFailed, RemoteMissing, RemoteRefused, RemoteWrong
from quay.registry.client.lists import (
    PAGE_SIZE,
    digest_of,
    digests_of,
    document_of,
    listed,
    listed_by_quay,
    next_place,
)

__all__ = [
    "Credentials",
    "RegistryClient",
    "Remote",
    "RemoteError",
    "RemoteFailed",
    "RemoteMissing",
    "RemoteRefused",
    "RemoteWrong",
]

AT_ONCE: Final = 6
"""Requests under way to one registry; as many as docker and its kin make."""
MARGIN: Final = 1024 * 1024
"""So much more of a blob may come than was promised, before it is noticed at the latest."""

ACCEPT: Final = ", ".join(
    (
        media_types.OCI_INDEX,
        media_types.DOCKER_LIST,
        media_types.OCI_MANIFEST,
        media_types.DOCKER_MANIFEST,
        media_types.OCI_ARTIFACT,
        media_types.SCHEMA1_SIGNED,
        media_types.SCHEMA1,
    )
)
CATALOG: Final = "registry:catalog:*"
DOCKER_HUB: Final = frozenset({"docker.io", "index.docker.io", "hub.docker.com"})
"""Names of Docker Hub under which no registry answers."""
DOCKER_HOST: Final = "registry-1.docker.io"


@attrs.frozen
class Remote:
    """A manifest as another registry gave it: `digest` is the one that it has, or was asked for by."""

    digest: Digest
    media_type: str
    content: bytes = attrs.field(repr=False)


def base_of(name: str) -> str:
    """The URL of the registry that somebody calls `name`: a host, which then is asked over https, or a URL."""
    scheme, separator, rest = name.partition("://")
    if not separator:
        scheme, rest = "https", name
    host = rest.partition("/")[0]
    return f"{scheme}://{DOCKER_HOST if host.lower() in DOCKER_HUB else host}/"


class RegistryClient:
    """
    The registry `name` (a host, or a URL without a path). Without `credentials` it is asked as anybody. Every method
    raises `RemoteError`; what it tells apart, `quay.registry.client.errors` says.
    """

    def __init__(
        self,
        reactor: Any,
        egress: Egress,
        name: str,
        credentials: Credentials | None = None,
        *,
        at_once: int = AT_ONCE,
        random: Callable[[], float] = dice,
    ) -> None:
        self._calls = Calls(reactor, egress, base_of(name), credentials, random, at_once)
        self._lists_referrers = True

    @property
    def host(self) -> str:
        """The registry, as people call it."""
        return self._calls.host

    async def check(self) -> None:
        """See that there is a registry, and that it takes the credentials."""
        answer = await self._calls.ask("GET", "/v2/", "")
        if answer.status != 200:
            raise self._calls.refusal("say whether it is a registry", answer)

    # --- lists

    async def repositories(self) -> AsyncIterator[str]:
        """Every repository in its catalog, as far as it shows that."""
        async for name in listed(self._calls, "/v2/_catalog", CATALOG, "repositories", "list its repositories"):
            yield name

    async def quay_repositories(self, token: str) -> AsyncIterator[str]:
        """Every repository that a Quay shows to whoever has this OAuth token: its catalog shows less."""
        async for name in listed_by_quay(self._calls, token):
            yield name

    async def tags(self, repository: str) -> AsyncIterator[str]:
        """Every tag of the repository."""
        place = f"/v2/{self._path(repository)}/tags/list"
        async for tag in listed(self._calls, place, self._pull(repository), "tags", f"list the tags of {repository}"):
            yield tag

    async def referrers(self, repository: str, digest: Digest) -> list[Digest]:
        """
        What refers to this manifest: by the API, and, where that is not there, by the referrers tag schema. Source: OCI
        Distribution Specification 1.1, "Listing Referrers", "Unavailable Referrers API".
        """
        place: str | None = f"/v2/{self._path(repository)}/referrers/{digest}" if self._lists_referrers else None
        found: list[Digest] = []
        while place is not None and len(found) < PAGE_SIZE * 10:
            answer = await self._calls.ask("GET", place, self._pull(repository), limit=MANIFEST_LIMIT)
            if answer.status != 200 or not answer.headers.get("content-type", "").startswith(media_types.OCI_INDEX):
                self._lists_referrers = bool(found)
                break
            doing = f"list what refers to {digest}"
            found += digests_of(document_of(self._calls, answer, doing).get("manifests"))
            following = next_place(self._calls, place, answer)
            place = None if following == place else following
        return list(dict.fromkeys(found)) if self._lists_referrers else await self._by_tag(repository, digest)

    async def _by_tag(self, repository: str, digest: Digest) -> list[Digest]:
        tag = Tag(f"{digest.algorithm}-{digest.hex}"[:128])
        try:
            index = await self.manifest(repository, tag)
        except RemoteMissing:
            return []
        try:
            document = json.loads(index.content)
        except (ValueError, RecursionError):
            return []
        return digests_of(document.get("manifests")) if isinstance(document, dict) else []

    # --- pull

    async def resolve(self, repository: str, reference: Digest | Tag) -> Digest | None:
        """The digest of a manifest without the manifest; None if the registry does not say it."""
        answer = await self._calls.ask(
            "HEAD", self._manifest(repository, reference), self._pull(repository), headers={"Accept": ACCEPT}, limit=0
        )
        if answer.status != 200:
            if answer.status == 405:
                return None
            raise self._calls.refusal(f"say what {repository}:{reference} is", answer)
        return digest_of(answer.headers.get("docker-content-digest"))

    async def manifest(self, repository: str, reference: Digest | Tag) -> Remote:
        """A manifest: by a digest, exactly the one that has it. Raises `RemoteWrong` for any other."""
        answer = await self._calls.ask(
            "GET",
            self._manifest(repository, reference),
            self._pull(repository),
            headers={"Accept": ACCEPT},
            limit=MANIFEST_LIMIT + 1,
        )
        if answer.status != 200:
            raise self._calls.refusal(f"give the manifest {repository}:{reference}", answer)
        if len(answer.body) > MANIFEST_LIMIT or not answer.complete:
            raise RemoteWrong(f"The manifest {repository}:{reference} has more than {MANIFEST_LIMIT} bytes.")
        media_type = media_types.normalise(answer.headers.get("content-type", ""))
        if isinstance(reference, Digest):
            return Remote(reference, media_type, answer.body)
        told = digest_of(answer.headers.get("docker-content-digest"))
        return Remote(told or Digest.of(answer.body), media_type, answer.body)

    def _manifest(self, repository: str, reference: str) -> str:
        return f"/v2/{self._path(repository)}/manifests/{quote(reference, safe=':')}"

    async def size(self, repository: str, digest: Digest) -> int:
        """How many bytes a blob has."""
        place = f"/v2/{self._path(repository)}/blobs/{digest}"
        answer = await self._calls.ask("HEAD", place, self._pull(repository), limit=0)
        told = answer.headers.get("content-length", "")
        if answer.status != 200:
            raise self._calls.refusal(f"say how large the blob {digest} of {repository} is", answer)
        if not told.isascii() or not told.isdigit():
            raise RemoteWrong(f"{self.host} does not say how large the blob {digest} of {repository} is.")
        return int(told)

    def blob(
        self, repository: str, digest: Digest, size: int, moved: Callable[[int], object] = lambda count: None
    ) -> Download:
        """
        A blob of `size` bytes, to be delivered once: what breaks is gone on with. `moved` hears how many bytes come.
        """
        place = f"/v2/{self._path(repository)}/blobs/{digest}"

        async def opened(offset: int) -> Stream:
            headers = {"Range": f"bytes={offset}-"} if offset else {}
            limit = size + MARGIN
            stream = await self._calls.stream("GET", place, self._pull(repository), headers=headers, limit=limit)
            if stream.status not in (200, 206):
                raise self._calls.refusal(f"give the blob {digest} of {repository}", stream)
            return stream

        return Download(f"The blob {digest} of {repository}", size, opened, self._calls.pause, moved)

    async def read(self, repository: str, digest: Digest, limit: int) -> bytes:
        """The whole of a small blob. Raises `RemoteWrong` if it is larger than `limit` or has another digest."""
        place = f"/v2/{self._path(repository)}/blobs/{digest}"
        answer = await self._calls.ask("GET", place, self._pull(repository), limit=limit + 1)
        if answer.status != 200:
            raise self._calls.refusal(f"give the blob {digest} of {repository}", answer)
        if len(answer.body) > limit or not answer.complete or Digest.of(answer.body, digest.algorithm) != digest:
            raise RemoteWrong(f"The blob {digest} of {repository} comes with other bytes, or too many.")
        return answer.body

    # --- names

    def _name(self, repository: str) -> str:
        """What the registry calls it: Docker Hub has a namespace for what has none."""
        official = self.host == DOCKER_HOST and "/" not in repository
        return f"library/{repository}" if official else repository

    def _path(self, repository: str) -> str:
        return quote(self._name(repository), safe="/")

    def _pull(self, repository: str) -> str:
        return f"repository:{self._name(repository)}:pull"

    def _push(self, repository: str) -> str:
        return f"repository:{self._name(repository)}:pull,push"

    # --- push

    async def push_blob(self, repository: str, digest: Digest, body: Callable[[], Awaitable[Body]]) -> bool:
        """Give it the blob that `body` makes, for each attempt anew, unless it has it; False if it had."""
        scope = self._push(repository)
        place = f"/v2/{self._path(repository)}/blobs/{digest}"
        if (await self._calls.ask("HEAD", place, scope, limit=0)).status == 200:
            return False
        begun = await self._calls.ask("POST", f"/v2/{self._path(repository)}/blobs/uploads/", scope, body=b"")
        if begun.status != 202 or "location" not in begun.headers:
            raise self._calls.refusal(f"take a blob into {repository}", begun)
        location = begun.headers["location"]
        target = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': digest})}"
        headers = {"Content-Type": media_types.OCTETS}
        answer = await self._calls.stream("PUT", target, scope, headers=headers, body=body)
        answer.close()
        if answer.status != 201:
            raise self._calls.refusal(f"take the blob {digest} into {repository}", answer)
        return True

    async def push_manifest(self, repository: str, reference: Digest | Tag, media_type: str, content: bytes) -> Digest:
        """Give it a manifest under a tag or its digest. Raises `RemoteWrong` if it calls it otherwise than we do."""
        answer = await self._calls.ask(
            "PUT",
            self._manifest(repository, reference),
            self._push(repository),
            headers={"Content-Type": media_type},
            body=content,
        )
        if answer.status not in (201, 202):
            raise self._calls.refusal(f"take the manifest {repository}:{reference}", answer)
        told = digest_of(answer.headers.get("docker-content-digest"))
        known = Digest.of(content, told.algorithm) if told else Digest.of(content)
        if told not in (None, known):
            raise RemoteWrong(f"{self.host} calls the manifest {told} that has the digest {known}.")
        return known

    async def delete_manifest(self, repository: str, digest: Digest) -> None:
        """Have it forget a manifest, and with it every tag that names it."""
        answer = await self._calls.ask("DELETE", self._manifest(repository, digest), self._push(repository))
        if answer.status not in (200, 202, 204):
            raise self._calls.refusal(f"delete the manifest {digest} of {repository}", answer)
