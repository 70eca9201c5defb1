"""
Where bundles are kept on this machine, below the data directory: the keys that are trusted, what was loaded, bundles
that are made here for somebody to fetch, and those that somebody brings.

    bundles/trusted/NAME.pem       the public key of another registry
    bundles/loaded.json            the bundles that were loaded here, the last one last
    bundles/receipts/NAME          receipts that others sent
    bundles/scratch/               what has to be unpacked while it is read
    bundles/kept/UUID/             a bundle: what was asked for in `order.json`, and its volumes beside

What is kept for somebody is removed `KEPT_S` after it was last touched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

import attrs

from quay.bundles.signing import PublicKey, TrustedKeys
from quay.bundles.waybill import BUNDLES_LIMIT, BundleInvalid
from quay.files import write_whole

Kind = Literal["made", "received"]

KEPT_S: Final = 7 * 86400
KEPT_LIMIT: Final = 100
ORDER: Final = "order.json"
DRAFT: Final = ".part"
"""How the name of a file ends that is not complete."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@attrs.frozen
class Kept:
    """A bundle in the depot: what is to become of it, and its volumes, each with its size in bytes."""

    uuid: str
    order: Mapping[str, Any]
    path: Path
    volumes: Sequence[tuple[str, int]]
    touched_s: float

    @property
    def kind(self) -> Kind:
        return "made" if self.order.get("kind") == "made" else "received"

    @property
    def files(self) -> list[Path]:
        return [self.path / name for name, _ in self.volumes]


class Depot:
    """The directory `bundles` of the data directory. All methods wait for the disk."""

    def __init__(self, data: Path) -> None:
        self.root = data / "bundles"

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    def keys(self, own: PublicKey) -> TrustedKeys:
        """Whom this registry trusts."""
        return TrustedKeys(self.root / "trusted", own)

    def loaded(self) -> list[str]:
        """The ids of the bundles that were loaded, the last one last."""
        file = self.root / "loaded.json"
        return list(json.loads(file.read_bytes())) if file.exists() else []

    def note_loaded(self, bundle: str) -> None:
        """Remember that it was loaded."""
        kept = [one for one in self.loaded() if one != bundle]
        write_whole(self.root / "loaded.json", json.dumps([*kept, bundle][-BUNDLES_LIMIT:]).encode())

    # --- bundles

    def begin(self, kind: Kind, order: Mapping[str, Any]) -> Kept:
        """A new one. Raises `BundleInvalid` if there are too many."""
        if sum(1 for _ in self._directories()) >= KEPT_LIMIT:
            raise BundleInvalid(f"{KEPT_LIMIT} bundles are kept here already.", advice="Delete some of them.")
        uuid = str(uuid4())
        write_whole(self.root / "kept" / uuid / ORDER, json.dumps({**order, "kind": kind}).encode())
        return self.find(uuid)

    def change(self, kept: Kept, **order: Any) -> None:
        """Say otherwise what is to become of it."""
        write_whole(kept.path / ORDER, json.dumps({**kept.order, **order}).encode())

    def find(self, uuid: str) -> Kept:
        """Raises `BundleInvalid` if there is none, on this machine."""
        path = self.root / "kept" / uuid
        if _UUID.fullmatch(uuid) is None or not (path / ORDER).is_file():
            raise BundleInvalid(
                f"There is no bundle {uuid[:80]!r} here.",
                advice=f"It was deleted, or {KEPT_S // 86400} days have passed, or another node has it.",
            )
        inside = _inside(path)
        volumes = sorted((name, found.st_size) for name, found in inside.items() if name != ORDER and _is_whole(name))
        touched = max(found.st_mtime for found in (path.stat(), *inside.values()))
        return Kept(uuid, json.loads((path / ORDER).read_bytes()), path, volumes, touched)

    def all(self) -> list[Kept]:
        """The latest first."""
        return sorted(map(self.find, self._directories()), key=lambda one: -one.touched_s)

    def remove(self, uuid: str) -> None:
        """Raises `BundleInvalid` if there is none."""
        shutil.rmtree(self.find(uuid).path)

    def prune(self, now_s: float) -> None:
        """Remove those that were kept for long enough, and what a load left behind that was killed."""
        for one in self.all():
            if one.touched_s < now_s - KEPT_S:
                shutil.rmtree(one.path)
        for left in self.scratch.iterdir() if self.scratch.is_dir() else ():
            if left.stat().st_mtime < now_s - KEPT_S:
                left.unlink()

    def _directories(self) -> Iterator[str]:
        kept = self.root / "kept"
        if kept.is_dir():
            yield from (one.name for one in kept.iterdir() if (one / ORDER).is_file())

    def volume(self, kept: Kept, name: str) -> Path:
        """Where a volume of this name is, or would be. Raises `BundleInvalid` for a name that is none."""
        check_name(name)
        return kept.path / name

    # --- receipts

    def receipt(self, name: str) -> Path:
        """Where the receipt of this name is, or would be. Raises `BundleInvalid` for a name that is none."""
        check_name(name)
        return self.root / "receipts" / name

    def receipts(self) -> list[tuple[str, int]]:
        """Those that others sent, with their sizes."""
        directory = self.root / "receipts"
        inside = _inside(directory) if directory.is_dir() else {}
        return sorted((name, found.st_size) for name, found in inside.items() if _is_whole(name))


def check_name(name: str) -> None:
    """See that a file of the depot can be called so. Raises `BundleInvalid`."""
    if _NAME.fullmatch(name) is None or name == ORDER or name.endswith(DRAFT):
        raise BundleInvalid(
            f"{name[:120]!r} is no name for a file here.", advice="Use letters, digits, '.', '_' and '-', up to 100."
        )


def _is_whole(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and not name.endswith(DRAFT)


def _inside(directory: Path) -> dict[str, os.stat_result]:
    """The files of a directory, while others come and go."""
    found: dict[str, os.stat_result] = {}
    for entry in os.scandir(directory):
        with suppress(FileNotFoundError):
            if entry.is_file(follow_symlinks=False):
                found[entry.name] = entry.stat(follow_symlinks=False)
    return found
