"""A registry whose backups are made, verified and restored step by step, in a directory of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from quay.backups import Backup, Folder, Made, Restoration, Verification
from quay.backups.making import Origin
from quay.backups.restoring import Destination
from quay.interfaces import IBlobStore
from quay.model import tag
from quay.oci.reference import Digest
from quay.storage.local import LocalBlobs
from quay.threads import ImmediatePool
from tests.unit.registry.test_garbage import IMAGES, Bytes, World

LAYER = Digest.of(b"layer")


class House:
    """A `World` with a data directory, beside which its backups are kept."""

    def __init__(self, database: Path, directory: Path) -> None:
        self.data = directory / "data"
        self.data.mkdir()
        (self.data / "secret_key").write_bytes(b"a secret")
        (self.data / "quay.yaml").write_text("REGISTRY_TITLE: House\n")
        self.file = database
        self.world = World(f"sqlite:///{database}", random.Random(6))
        self.world.watched = False
        self.folder = Folder(directory / "backups")
        self.said: list[str] = []

    def await_(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.world.do(Deferred.fromCoroutine(work))

    def push(self) -> None:
        """An image, as `latest`."""
        one = self.world.repositories[0]
        for text in self.world.texts(IMAGES[0]):
            self.await_(self.world.uploads.receive_whole(one, "me", Digest.of(text), Bytes(text)))
        self.world.do(self.world.put(one, IMAGES[0], "latest"))

    def delete(self) -> None:
        """The image, so that nobody can restore it when a long time has passed."""
        self.world.do(self.world.database.write(tag.delete_tag, self.world.repositories[0].id, "latest"))
        self.world.clock.advance(100_000)

    def origin(self) -> Origin:
        return Origin(
            database=self.world.database,
            url=f"sqlite:///{self.file}",
            stores=self.world.stores,
            storage={"local": ""},
            data=self.data,
            passed_by=[],
            configuration=self.data / "quay.yaml",
        )

    def backup(self, *, with_blobs: bool = True, say: Callable[[str], object] | None = None) -> Backup:
        world = self.world
        return Backup(
            self.origin(), self.folder, world.steps, world.clock, say or self.said.append, with_blobs=with_blobs
        )

    def backed_up(self, *, with_blobs: bool = True) -> Made:
        self.world.clock.advance(1)
        made: Made = self.await_(self.backup(with_blobs=with_blobs).run())
        return made

    def verified(self, root: Path) -> Verification:
        """What was found in it."""
        found = Verification(root, ImmediatePool(), self.world.clock, self.said.append)
        self.await_(found.run())
        return found

    def restoration(
        self, root: Path, data: Path, store: IBlobStore | None = None, place: Path | None = None, **options: Any
    ) -> Restoration:
        def settle() -> Destination:
            stores = {"local": store or LocalBlobs("local", data / "blobs", ImmediatePool())}
            database, places = data / "quay.db", [place or data / "blobs"]
            return Destination(url=f"sqlite:///{database}", file=database, stores=stores, places=places)

        return Restoration(root, data, ImmediatePool(), settle, self.said.append, **options)


def rot(path: Path) -> None:
    """Change a byte of a file, which may be one of several names of the same."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


def file_of(root: Path, digest: Digest) -> Path:
    return root / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex
