"""
The server dies in the middle of a push, at every step of it and at any time: nothing that was acknowledged is lost,
nothing that is there is wrong, and the client can go on.

QUAY_TEST_CRASHES=N runs through N crashes at named points, and as many more at random times as are a third of that.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from threading import Timer
from typing import Any

import attrs
import pytest

from tests.distribution import LOST, Client, Image, Upload, digest_of
from tests.server import RunningQuay

pytestmark = pytest.mark.long

PASSES = {
    "upload.created": 4,
    "upload.recorded": 1,
    "upload.hashed": 6,
    "upload.written": 6,
    "blob.before-fsync": 4,
    "blob.after-fsync": 4,
    "blob.after-rename": 4,
    "blob.after-dirsync": 4,
    "blob.kept": 4,
    "blob.linked": 4,
    "manifest.received": 2,
    "manifest.stored": 2,
    "commit.before": 7,
    "commit.after": 7,
}
"""
Every crash point on the way of a push, and how often one push passes it at least. Of its four uploads, the one that
becomes large is put on record.
"""

CALM = {"QUAY_SETUP_COMPLETE": "false", "QUAY_FEATURE_SETUP_CONSOLE": "false"}
"""No background work and no setup, whose commits would be counted as well."""

BEFORE = {"commit.before": 2, "commit.after": 2}
"""How often a server passes it before it is healthy: it publishes its key, and tries whether it can write."""

WIDE = int(os.environ.get("QUAY_TEST_CRASHES", "0"))
LONGEST_PUSH = 0.3
"""Seconds that a push takes here, roughly."""

ADDED_REPOSITORIES = 4
"""So many crashes share a repository; the next ones begin with one that has to be made."""


def few() -> list[tuple[str, int]]:
    """Each point once, somewhere in the middle of the push; and of the commits, those of the two manifests."""
    points = [(name, (count + 1) // 2) for name, count in PASSES.items() if not name.startswith("commit")]
    return points + [(name, n) for name in ("commit.before", "commit.after") for n in (PASSES[name] - 1, PASSES[name])]


def every() -> Iterator[tuple[str, int]]:
    """Each pass of each point, again and again."""
    return cycle((name, n) for name, count in PASSES.items() for n in range(1, count + 1))


class Oracle:
    """Reads the data directory with its own SQL and its own walk, and knows nothing of the code under test."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def check(self) -> None:
        """Raises AssertionError for what must never be, whenever the server died."""
        files = self._files()
        database = sqlite3.connect(self._data / "quay.db")
        try:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("PRAGMA foreign_key_check").fetchall() == []
            for repository, name, digest, content in database.execute(
                "SELECT t.repository_id, t.name, m.digest, m.content FROM tag t"
                " LEFT JOIN manifest m ON m.id = t.manifest_id AND m.repository_id = t.repository_id"
                " WHERE t.end_ms IS NULL"
            ).fetchall():
                assert digest is not None, f"the tag {name} points to no manifest"
                assert digest == digest_of(content), f"the manifest of {name} is not what its digest says"
                self._check_blobs(database, files, repository, json.loads(content))
        finally:
            database.close()

    def _check_blobs(
        self, database: sqlite3.Connection, files: dict[str, int], repository: int, manifest: dict[str, Any]
    ) -> None:
        named = [manifest["config"], *manifest["layers"]]
        for digest, size in ((one["digest"], one["size"]) for one in named):
            assert files.get(digest) == size, f"{digest} has {files.get(digest)} bytes on the disk, not {size}"
            linked = database.execute(
                "SELECT b.size FROM blob b JOIN repository_blob r ON r.blob_id = b.id"
                " JOIN placement p ON p.blob_id = b.id AND p.location = 'default'"
                " WHERE b.digest = ? AND r.repository_id = ?",
                (digest, repository),
            ).fetchall()
            assert linked == [(size,)], f"{digest} is not linked to its repository"

    def _files(self) -> dict[str, int]:
        """The size of each blob on the disk, by digest."""
        found = {}
        for path in (self._data / "blobs" / "blobs").rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                algorithm = path.parent.parent.name
                actual = hashlib.new(algorithm, content).hexdigest()
                assert path.name == actual, f"the file of {path.name} holds {actual}"
                found[f"{algorithm}:{actual}"] = len(content)
        return found

    def tag(self, repository: str, name: str) -> str | None:
        """The digest that a tag points to, in the rows."""
        database = sqlite3.connect(self._data / "quay.db")
        try:
            row = database.execute(
                "SELECT m.digest FROM tag t JOIN manifest m ON m.id = t.manifest_id"
                " JOIN repository r ON r.id = t.repository_id WHERE r.name = ? AND t.name = ? AND t.end_ms IS NULL",
                (repository, name),
            ).fetchone()
        finally:
            database.close()
        return None if row is None else str(row[0])


class Watched(Client):
    """A client that remembers what the server acknowledged."""

    def __init__(self, host: str) -> None:
        super().__init__(host, "dev")
        self.blobs: list[bytes] = []
        self.tagged: bytes | None = None

    def finish(self, repository: str, upload: Upload) -> None:
        super().finish(repository, upload)
        self.blobs.append(upload.data)

    def push_blob(self, repository: str, data: bytes) -> None:
        super().push_blob(repository, data)
        self.blobs.append(data)

    def tag(self, repository: str, tag: str, manifest: bytes) -> None:
        super().tag(repository, tag, manifest)
        self.tagged = manifest


def made(directory: Path) -> Path:
    """A data directory with one user."""
    with RunningQuay(directory) as server:
        server.add_user("dev")
    return directory


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory on which the server dies at one named point after the other."""
    return made(tmp_path_factory.mktemp("named"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningQuay]:
    """A server that is killed by one test after the other, and started again."""
    with RunningQuay(made(tmp_path_factory.mktemp("random"))) as server:
        yield server


@attrs.frozen
class Push:
    """What is pushed where."""

    repository: str
    tag: str
    image: Image

    @classmethod
    def numbered(cls, number: int) -> Push:
        return cls(f"dev/app{number // ADDED_REPOSITORIES}", f"t{number}", Image.made(number))

    def do(self, client: Client) -> None:
        client.push(self.repository, self.tag, self.image)

    def check(self, client: Client) -> None:
        client.pull(self.repository, self.tag, self.image)


def check_survival(server: RunningQuay, crashed: Watched, push: Push) -> None:
    """Raise AssertionError unless all is well on the server that went on after the crash, and so can the client."""
    oracle = Oracle(server.data)
    oracle.check()
    client = Client(server.host, "dev")
    client.tokens = crashed.tokens
    check_acknowledged(oracle, client, crashed, push)
    if crashed.upload is not None:
        go_on(client, push.repository, crashed.upload)
    push.do(client)
    push.check(client)
    oracle.check()
    client.close()


def check_acknowledged(oracle: Oracle, client: Client, crashed: Watched, push: Push) -> None:
    """Who was told that something is stored finds it; a tag is where it was, or where the push was moving it."""
    for blob in crashed.blobs:
        assert client.has_blob(push.repository, blob)
    steps = (None, push.image.manifest, push.image.moved)
    step = steps.index(crashed.tagged)
    found = oracle.tag(push.repository, push.tag)
    assert found in [manifest and digest_of(manifest) for manifest in steps[step : step + 2]]
    served = client.manifest(push.repository, push.tag)
    assert (served and digest_of(served)) == found


def go_on(client: Client, repository: str, upload: Upload) -> None:
    """The upload that was cut off can be gone on with from where the server says, or is gone."""
    held = client.held(repository, upload)
    if held is not None:
        assert held <= upload.sent
        upload.sent = held
        client.finish(repository, upload)
        assert client.has_blob(repository, upload.data)


@pytest.mark.parametrize(
    ("number", "point", "nth"),
    [(number, *point) for number, point in enumerate(islice(every(), WIDE) if WIDE else few())],
)
def test_a_push_survives_a_crash_at_a_named_point(data: Path, number: int, point: str, nth: int) -> None:
    """Wherever in a push the server dies, what it acknowledged is there, what is there is right, and one can go on."""
    push = Push.numbered(number)
    with RunningQuay(data, CALM | {"QUAY_CRASH_AT": f"{point}:{nth + BEFORE.get(point, 0)}"}) as server:
        client = Watched(server.host)
        with pytest.raises(LOST):
            push.do(client)
        assert server.wait() == -signal.SIGKILL
    with RunningQuay(data) as server:
        check_survival(server, client, push)


@pytest.mark.parametrize("number", range(WIDE // 3 or 10))
def test_a_push_survives_a_crash_at_any_time(server: RunningQuay, number: int) -> None:
    """As above, for a server that is killed at a random time."""
    push, client = Push.numbered(number), Watched(server.host)
    client.login(push.repository)
    killer = Timer(random.Random(number).uniform(0.0, LONGEST_PUSH), os.kill, (server.pid, signal.SIGKILL))
    killer.start()
    with suppress(*LOST):
        push.do(client)
    killer.join()
    assert server.wait() == -signal.SIGKILL
    server.start()
    check_survival(server, client, push)
