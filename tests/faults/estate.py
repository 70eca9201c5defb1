"""
A registry with one of everything that is kept, and one of everything that becomes garbage; and an oracle that knows
from the pushes alone which is which: it reads the data directory with its own SQL and its own walk.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from tests.distribution import CONFIG, LAYER, MANIFEST, Client, digest_of

INDEX = "application/vnd.oci.image.index.v1+json"
APP, OTHER = "dev/app", "dev/other"
TIME_MACHINE_S = 14 * 24 * 3600
"""As far as that of a namespace reaches by default."""


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


@attrs.frozen
class Content:
    """A manifest, and the blobs it names."""

    media_type: str
    raw: bytes = attrs.field(repr=False)
    blobs: tuple[bytes, ...] = attrs.field(default=(), repr=False)

    @property
    def digest(self) -> str:
        return digest_of(self.raw)

    @classmethod
    def image(cls, name: str, *layers: bytes, subject: Content | None = None, expires: str = "") -> Content:
        labels = {"Labels": {"quay.expires-after": expires}} if expires else {}
        config = json.dumps({"architecture": "amd64", "os": "linux", "created_by": name, "config": labels}).encode()
        body: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, config),
            "layers": [_descriptor(LAYER, layer) for layer in layers],
        }
        if subject is not None:
            body["subject"] = _descriptor(subject.media_type, subject.raw)
        return cls(MANIFEST, json.dumps(body).encode(), (config, *layers))

    @classmethod
    def index(cls, *children: Content) -> Content:
        manifests = [_descriptor(child.media_type, child.raw) for child in children]
        return cls(INDEX, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).encode())


def _layer(name: str) -> bytes:
    return name.encode() * 700


@attrs.frozen
class Put:
    """A manifest that is pushed to `repository`, under a tag or by its digest alone."""

    repository: str
    content: Content
    tag: str | None = None

    def do(self, client: Client) -> None:
        """With those of its blobs that are not there."""
        for blob in self.content.blobs:
            if not client.has_blob(self.repository, blob):
                client.push_blob(self.repository, blob)
        headers = {"Content-Type": self.content.media_type}
        reference = self.tag or self.content.digest
        client.call("PUT", self.repository, f"manifests/{reference}", self.content.raw, headers).expect(201)


SHARED, MOUNTED = _layer("shared"), _layer("mounted")
KEPT = Content.image("kept", _layer("kept"), SHARED)
CHILDREN = [Content.image(name, _layer(name)) for name in ("amd64", "arm64", "dropped")]
MULTI = Content.index(*CHILDREN[:2])
SIGNATURE = Content.image("signature", _layer("signature"), subject=KEPT)
ATTESTATION = Content.image("attestation", subject=CHILDREN[0])
DELETED = Content.image("deleted", _layer("deleted"), SHARED, MOUNTED)
DROPPED = Content.index(*CHILDREN[1:])
"""It shares a child with the other index."""

KEEP = [
    Put(APP, KEPT, "kept"),
    *(Put(APP, child) for child in CHILDREN[:2]),
    Put(APP, MULTI, "multi"),
    Put(APP, SIGNATURE),
    Put(APP, ATTESTATION),
    Put(OTHER, Content.image("elsewhere", MOUNTED), "elsewhere"),
]
DROP = [
    Put(APP, CHILDREN[2]),
    Put(APP, DELETED, "deleted"),
    Put(APP, Content.image("its signature", subject=DELETED)),
    Put(APP, DROPPED, "dropped"),
    Put(APP, Content.image("by digest", _layer("by digest")), "gone"),
    Put(APP, Content.image("expiring", _layer("expiring"), expires="1m"), "expiring"),
    Put(APP, Content.image("untagged", _layer("untagged"))),
]
ALONE, UNLINKED, BEGUN = _layer("alone"), _layer("unlinked"), _layer("begun")


@attrs.frozen
class Deletion:
    """What a client deletes; `path` of the repository is 404 afterwards, and `rows` finds nothing."""

    path: str
    rows: str = attrs.field(repr=False)

    def do(self, client: Client) -> bool:
        """False if it had been deleted before."""
        return client.call("DELETE", APP, self.path).expect(202, 404).status == 202

    def done(self, client: Client) -> bool:
        headers = {"Accept": f"{MANIFEST}, {INDEX}"}
        return client.call("HEAD", APP, self.path, headers=headers).expect(200, 404).status == 404


_TAGS = "SELECT name FROM tag WHERE end_ms IS NULL AND name = '{}'"
_MANIFESTS = "SELECT digest FROM manifest WHERE unreachable_ms IS NULL AND digest = '{}'"
_LINKS = "SELECT digest FROM repository_blob JOIN blob ON blob.id = blob_id WHERE digest = '{}'"
DELETIONS = [
    *(Deletion(f"manifests/{tag}", _TAGS.format(tag)) for tag in ("deleted", "dropped")),
    Deletion(f"manifests/{DROP[4].content.digest}", _MANIFESTS.format(DROP[4].content.digest)),
    Deletion(f"blobs/{digest_of(UNLINKED)}", _LINKS.format(digest_of(UNLINKED))),
]


def push(client: Client, acknowledged: list[Put] | None = None) -> None:
    """Everything, with nothing deleted yet; `acknowledged` hears of each manifest."""
    for put in DROP[:4] + KEEP + DROP[4:]:
        if put.repository == OTHER:
            mount = f"blobs/uploads/?mount={digest_of(MOUNTED)}&from={APP}"
            client.login(OTHER)
            client.call("POST", OTHER, mount, headers=_both(client)).expect(201)
        put.do(client)
        if acknowledged is not None:
            acknowledged.append(put)
    for blob in (ALONE, UNLINKED):
        client.push_blob(APP, blob)
    client.append(APP, client.begin(APP, BEGUN), 1000)
    client.begin(APP, BEGUN)


def _both(client: Client) -> dict[str, str]:
    """A mount needs a token for two repositories."""
    scopes = f"scope=repository:{OTHER}:pull,push&scope=repository:{APP}:pull"
    basic = {"Authorization": f"Basic {client.credentials}"}
    answer = client.request("GET", f"/v2/auth?{scopes}", headers=basic).expect(200)
    return {"Authorization": f"Bearer {json.loads(answer.body)['token']}"}


def copied(data: Path, target: Path) -> Path:
    """`target`, made a copy of a data directory but for the hundreds of directories that hold nothing."""
    for path in data.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(data)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    (target / "blobs" / "uploads").mkdir(parents=True, exist_ok=True)
    return target


class Estate:
    """The oracle over one data directory."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def check(self, kept: Iterable[Put] = KEEP, *, ahead_h: float = 0) -> None:
        """
        Raises AssertionError unless all that must be kept is there: what is to be kept by the pushes, what the tags
        keep, and what the time machine can bring back as seen from so many hours ahead; and nothing is wrong.
        """
        files = self._files()
        with self._database() as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("PRAGMA foreign_key_check").fetchall() == []
            for digest, size in database.execute(
                "SELECT b.digest, b.size FROM blob b JOIN placement p ON p.blob_id = b.id"
            ):
                assert files.get(digest) == size, f"{digest} is placed, and has {files.get(digest)} bytes, not {size}"
            stored = _stored(database)
            for put in kept:
                found = stored.get((put.repository, put.content.digest))
                assert found is not None and found.reachable, f"{put} is lost"
                assert put.tag is None or _tagged(database, put) == put.content.digest
            for one in [*_kept(database, stored), *_restorable(database, stored, ahead_h)]:
                _check_whole(database, files, one)

    def check_restorable(self, puts: Iterable[Put]) -> None:
        """Raises AssertionError unless these are there with all they name, reachable or not."""
        files = self._files()
        with self._database() as database:
            stored = _stored(database)
            for put in puts:
                found = stored.get((put.repository, put.content.digest))
                assert found is not None, f"{put} is lost"
                _check_whole(database, files, found)

    def check_deleted(self, deletions: Iterable[Deletion]) -> None:
        """Raises AssertionError unless these deletions are in the rows."""
        with self._database() as database:
            for deletion in deletions:
                assert database.execute(deletion.rows).fetchall() == [], f"{deletion} was acknowledged"

    def strays(self) -> set[str]:
        """The digests of bytes that no row places."""
        with self._database() as database:
            placed = database.execute("SELECT digest FROM blob JOIN placement ON blob_id = blob.id")
            return set(self._files()) - {digest for (digest,) in placed}

    def check_swept(self) -> None:
        """Raises AssertionError unless nothing is left but what is to be kept."""
        manifests = {(put.repository, put.content.digest) for put in KEEP}
        links = {(put.repository, digest_of(blob)) for put in KEEP for blob in put.content.blobs}
        blobs = {digest for _, digest in links}
        assert set(self._files()) == blobs
        assert [path.name for path in (self.data / "blobs" / "uploads").iterdir()] == []
        with self._database() as database:
            assert set(_stored(database)) == manifests
            linked = database.execute(
                "SELECT r.name, b.digest FROM repository_blob l JOIN blob b ON b.id = l.blob_id"
                " JOIN repository r ON r.id = l.repository_id"
            )
            assert set(linked) == links
            assert {digest for (digest,) in database.execute("SELECT digest FROM blob")} == blobs
            tags = {name for (name,) in database.execute("SELECT name FROM tag")}
            assert tags == {put.tag for put in KEEP if put.tag}
            for table in ("condemned", "upload"):
                assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table

    def _files(self) -> dict[str, int]:
        """The size of each blob on the disk, by digest; raises AssertionError for one that holds something else."""
        found = {}
        for path in (self.data / "blobs" / "blobs").rglob("*"):
            if path.is_file():
                content, algorithm = path.read_bytes(), path.parent.parent.name
                assert path.name == hashlib.new(algorithm, content).hexdigest(), f"{path.name} holds something else"
                found[f"{algorithm}:{path.name}"] = len(content)
        return found

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.data / "quay.db")
        try:
            yield database
        finally:
            database.close()


@attrs.frozen
class Stored:
    """A manifest as its row has it."""

    id: int
    repository: str
    repository_id: int
    body: dict[str, Any] = attrs.field(repr=False)
    reachable: bool
    deleted: bool

    def named(self) -> Iterator[tuple[str, int]]:
        """The digest and the size of each blob it names."""
        for one in ([self.body["config"]] if "config" in self.body else []) + self.body.get("layers", []):
            yield one["digest"], one["size"]

    def children(self) -> set[str]:
        return {child["digest"] for child in self.body.get("manifests", [])}


Manifests = dict[tuple[str, str], Stored]


def _stored(database: sqlite3.Connection) -> Manifests:
    """All of them, by repository and digest; raises AssertionError for one that is not what its digest says."""
    found = {}
    for row in database.execute(
        "SELECT m.id, r.name, m.repository_id, m.digest, m.content, m.unreachable_ms, m.deleted_ms FROM manifest m"
        " JOIN repository r ON r.id = m.repository_id"
    ).fetchall():
        number, repository, repository_id, digest, content, unreachable_ms, deleted_ms = row
        assert digest == digest_of(content), f"the manifest {digest} is not what its digest says"
        body = json.loads(content)
        found[repository, digest] = Stored(
            number, repository, repository_id, body, unreachable_ms is None, deleted_ms is not None
        )
    return found


def _tagged(database: sqlite3.Connection, put: Put) -> str | None:
    row = database.execute(
        "SELECT m.digest FROM tag t JOIN manifest m ON m.id = t.manifest_id JOIN repository r ON r.id = t.repository_id"
        " WHERE r.name = ? AND t.name = ? AND t.end_ms IS NULL",
        (put.repository, put.tag),
    ).fetchone()
    return None if row is None else str(row[0])


def _kept(database: sqlite3.Connection, stored: Manifests) -> list[Stored]:
    """What the tags keep: a mark of our own, over the bytes of the manifests."""
    by_id = {one.id: key for key, one in stored.items()}
    tagged = database.execute("SELECT manifest_id, name FROM tag WHERE end_ms IS NULL").fetchall()
    ahead = [by_id.get(manifest_id) for manifest_id, _ in tagged]
    assert None not in ahead, f"one of the tags {tagged} names no manifest"
    marked: set[tuple[str, str]] = set()
    while ahead:
        key = ahead.pop()
        if key in marked or key not in stored or stored[key].deleted:
            continue
        marked.add(key)
        repository, digest = key
        ahead += [(repository, child) for child in stored[key].children()]
        ahead += [
            (place, referrer)
            for (place, referrer), one in stored.items()
            if place == repository and one.body.get("subject", {}).get("digest") == digest
        ]
    for key in marked:
        assert stored[key].reachable, f"{key} is kept by a tag, and cannot be reached"
    return [stored[key] for key in marked]


def _restorable(database: sqlite3.Connection, stored: Manifests, ahead_h: float) -> list[Stored]:
    """What tags named that ended no longer ago than the time machine goes back."""
    since = (time.time() + ahead_h * 3600 - TIME_MACHINE_S) * 1000
    by_id = {one.id: one for one in stored.values()}
    rows = database.execute("SELECT manifest_id FROM tag WHERE NOT hidden AND end_ms > ?", (since,)).fetchall()
    found = [by_id[manifest_id] for (manifest_id,) in rows]
    return found + [
        stored[one.repository, child] for one in found for child in one.children() if (one.repository, child) in stored
    ]


def _check_whole(database: sqlite3.Connection, files: dict[str, int], manifest: Stored) -> None:
    for digest, size in manifest.named():
        linked = database.execute(
            "SELECT b.size FROM blob b JOIN repository_blob r ON r.blob_id = b.id"
            " JOIN placement p ON p.blob_id = b.id AND p.location = 'default'"
            " WHERE b.digest = ? AND r.repository_id = ?",
            (digest, manifest.repository_id),
        ).fetchall()
        assert linked == [(size,)], f"{digest} is not linked to {manifest.repository}"
        assert files.get(digest) == size, f"{digest} has {files.get(digest)} bytes on the disk, not {size}"
