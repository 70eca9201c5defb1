"""
What is done in a round. It is prepared once for a server; then every round is made ready, which is not measured, done,
which is, and checked: some body of it must have the digest that it should have.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Literal, Protocol

import attrs

from tests.benchmarks import dataset
from tests.benchmarks.images import MANIFEST, Image, Pusher, digest_of
from tests.benchmarks.load import Operation, hammer, repeat
from tests.benchmarks.measures import Timing
from tests.benchmarks.servers import Server
from tests.benchmarks.wire import Blob, Pool, Refused

PAGE: Final = 100


@attrs.frozen
class Work:
    """How much a round is: the seconds that it should take, the bytes that blobs are of, the dataset's sizes."""

    seconds: float
    pool: Pool
    sizes: dataset.Sizes


class Rounds(Protocol):
    """A scenario prepared for one server."""

    def ready(self) -> Callable[[], Timing]: ...

    def check(self) -> None: ...


def _agree(found: str, expected: str) -> None:
    if found != expected:
        raise Refused(f"The server sent a body whose digest is {found} for {expected}.")


class ManifestReads:
    """GET of a small manifest, by its tag or its digest."""

    def __init__(self, server: Server, work: Work, *, by: Literal["tag", "digest"], connections: int) -> None:
        self._server, self._connections, self._seconds = server, connections, work.seconds
        self._image, repository = Image.made(), f"{dataset.OWNER}/reads"
        self._headers = {**server.rights(repository), "Accept": MANIFEST}
        with server.connect() as connection:
            Pusher(connection, server.rights(repository), repository).push(self._image, "latest")
        self._path = f"/v2/{repository}/manifests/{'latest' if by == 'tag' else self._image.digest}"

    def ready(self) -> Callable[[], Timing]:
        self.check()
        return partial(hammer, self._server, self._path, self._headers, self._connections, self._seconds)

    def check(self) -> None:
        with self._server.connect() as connection:
            body = connection.ask("GET", self._path, self._headers).expect(200).body
        _agree(digest_of(body), self._image.digest)


class BlobReads:
    """GET of a blob of `size` bytes, over and over."""

    def __init__(self, server: Server, work: Work, *, size: int, connections: int) -> None:
        self._server, self._seconds = server, work.seconds
        repository = f"{dataset.OWNER}/blobs"
        self._blob, self._headers = work.pool.blob(size), server.rights(repository)
        with server.connect() as connection:
            Pusher(connection, self._headers, repository).put(self._blob)
        self._path = f"/v2/{repository}/blobs/{self._blob.digest}"
        self._connections = [server.connect() for _ in range(connections)]

    def ready(self) -> Callable[[], Timing]:
        get = [partial(one.discard, self._path, self._headers) for one in self._connections]
        return partial(repeat, [itertools.repeat(operation) for operation in get], self._seconds)

    def check(self) -> None:
        _agree(self._connections[0].hashed(self._path, self._headers), self._blob.digest)


class TinyPushes:
    """Push of whole images that no other is: a layer of 1 KiB, a config, a manifest with a tag of its own."""

    def __init__(self, server: Server, work: Work, *, connections: int) -> None:
        self._server, self._seconds = server, work.seconds
        self._repository = f"{dataset.OWNER}/tiny"
        headers = server.rights(self._repository)
        self._pushers = [Pusher(server.connect(), headers, self._repository) for _ in range(connections)]
        self._last = Image.made()

    def ready(self) -> Callable[[], Timing]:
        return partial(repeat, [self._pushes(pusher) for pusher in self._pushers], self._seconds)

    def _pushes(self, pusher: Pusher) -> Iterator[Operation]:
        while True:
            self._last = image = Image.made()
            yield partial(pusher.push, image, f"tag-{image.digest[-16:]}")

    def check(self) -> None:
        self._pushers[0].push(self._last, "last")
        headers = {**self._pushers[0].headers, "Accept": MANIFEST}
        path = f"/v2/{self._repository}/manifests/{self._last.digest}"
        _agree(digest_of(self._pushers[0].connection.ask("GET", path, headers).body), self._last.digest)


class BlobPushes:
    """Push of blobs that no other is, in one PUT or streamed in one PATCH."""

    def __init__(self, server: Server, work: Work, *, size: int, streamed: bool) -> None:
        self._work, self._size, self._streamed = work, size, streamed
        self._repository = f"{dataset.OWNER}/pushed"
        self._pusher = Pusher(server.connect(), server.rights(self._repository), self._repository)
        self._last: Blob | None = None

    def ready(self) -> Callable[[], Timing]:
        return partial(repeat, [self._pushes(self._work.pool.blob(self._size))], self._work.seconds)

    def _pushes(self, first: Blob) -> Iterator[Operation]:
        self._last = first
        while True:
            yield partial(self._pusher.push_blob, self._last, streamed=self._streamed)
            self._last = self._work.pool.blob(self._size)

    def check(self) -> None:
        assert self._last is not None, "a round has been"
        path = f"/v2/{self._repository}/blobs/{self._last.digest}"
        _agree(self._pusher.connection.hashed(path, self._pusher.headers), self._last.digest)


class Pages:
    """One page of a listing, on one connection."""

    def __init__(self, server: Server, work: Work, *, of: Callable[[Work], str]) -> None:
        self._server, self._seconds, self._path = server, work.seconds, of(work)
        catalog = self._path.startswith("/v2/_catalog")
        repository = "/".join(self._path.split("/")[2:4])
        self._headers = server.catalog_rights() if catalog else server.rights(repository, "pull")
        self._connection = server.connect()
        self._digest = digest_of(self._get())

    def ready(self) -> Callable[[], Timing]:
        return partial(repeat, [itertools.repeat(self._get)], self._seconds)

    def _get(self) -> bytes:
        return self._connection.ask("GET", self._path, self._headers).expect(200).body

    def check(self) -> None:
        _agree(digest_of(self._get()), self._digest)


def first_tags(work: Work) -> str:
    return f"/v2/{dataset.TAGGED}/tags/list?n={PAGE}"


def last_tags(work: Work) -> str:
    return f"{first_tags(work)}&last={dataset.tag_name(max(0, work.sizes.tags - PAGE - 1))}"


def first_repositories(work: Work) -> str:
    return f"/v2/_catalog?n={PAGE}"


def last_repositories(work: Work) -> str:
    return f"{first_repositories(work)}&last={dataset.repository_name(max(0, work.sizes.repositories - PAGE - 1))}"


def referrers(work: Work) -> str:
    """All of them: the specification leaves the length of a page to the registry."""
    return f"/v2/{dataset.REFERRED}/referrers/{dataset.image(dataset.SUBJECT).digest}"


class Deletes:
    """DELETE of one manifest that has a tag, in the repository with all the tags."""

    def __init__(self, server: Server, work: Work) -> None:
        self._seconds, self._headers = work.seconds, server.rights(str(dataset.TAGGED))
        self._pusher = Pusher(server.connect(), self._headers, str(dataset.TAGGED))
        self._last = ""

    def ready(self) -> Callable[[], Timing]:
        return partial(repeat, [self._deletes()], self._seconds)

    def _deletes(self) -> Iterator[Operation]:
        while True:
            image = Image.made()
            self._pusher.push(image, "doomed")
            self._last = f"/v2/{dataset.TAGGED}/manifests/{image.digest}"
            yield self._delete

    def _delete(self) -> None:
        self._pusher.connection.ask("DELETE", self._last, self._headers).expect(202)

    def check(self) -> None:
        self._pusher.connection.ask("GET", self._last, {**self._headers, "Accept": MANIFEST}).expect(404)


class Starts:
    """A stop, and the start to the first answer."""

    def __init__(self, server: Server, work: Work, *, rest_s: float = 0.0) -> None:
        self._server, self._rest_s = server, rest_s

    def ready(self) -> Callable[[], Timing]:
        self._server.stop()
        return self._start

    def _start(self) -> Timing:
        took = self._server.start()
        time.sleep(self._rest_s)
        return Timing.of([took], took)

    def check(self) -> None:
        with self._server.connect() as connection:
            connection.ask("GET", "/v2/", {}).expect(401 if self._server.name == "ours" else 200)
