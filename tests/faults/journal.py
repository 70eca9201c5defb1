"""
What a power cut would leave: the journal that `journal.c` kept of a server's files, played back up to any moment.

A file keeps the bytes that were synced, a directory the names that were: that is all POSIX promises. What was not
synced is lost, or, since a disk may have written it nevertheless, survives by the throw of dice: each write, cut off
after any 512 bytes, and each name.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest

SOURCE = Path(__file__).with_name("journal.c")
SECTOR = 512


def built(directory: Path, source: Path = SOURCE) -> Path:
    """The library that keeps the journal, or another one. Skips the test where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip(f"no C compiler, to build {source.name}")
    library = directory / f"{source.stem}.so"
    done = subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-lpthread"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"{source.name} cannot be built here: {done.stderr[-300:]}")
    return library


@attrs.frozen
class Record:
    """One thing that happened; `data` are the bytes of a write, `end` is where the journal went on after it."""

    op: str
    facts: dict[str, Any]
    data: bytes = attrs.field(default=b"", repr=False)
    end: int = 0


def records(journal: Path) -> Iterator[Record]:
    """All of them, in order."""
    with journal.open("rb") as file:
        while line := file.readline():
            facts = json.loads(line)
            data = file.read(facts.get("count", 0))
            yield Record(facts.pop("op"), facts, data, file.tell())


@attrs.define(eq=False)
class File:
    """Bytes on the medium, and what has been done to them since they were synced."""

    durable: bytes = b""
    pending: list[Record] = attrs.field(factory=list)

    def sync(self) -> None:
        self.durable, self.pending = self.left(None), []

    def left(self, dice: Random | None) -> bytes:
        """All of it, or, by the dice, what is left of it."""
        content = bytearray(self.durable)
        for record in self.pending:
            if dice is None:
                _do(content, record, len(record.data))
            elif dice.random() < 0.5:
                whole = len(record.data) // SECTOR
                _do(content, record, dice.choice((len(record.data), dice.randint(0, whole) * SECTOR)))
        return bytes(content)


def _do(content: bytearray, record: Record, count: int) -> None:
    if record.op == "truncate":
        size = record.facts["size"]
        content[size:] = bytes(max(0, size - len(content)))
    else:
        at = record.facts["at"]
        content.extend(bytes(max(0, at - len(content))))
        content[at : at + count] = record.data[:count]


DIRECTORY = File()
"""What the name of a directory stands for."""


class Moved(File):
    """A directory that was called `before`, with all that is in it: what another name of it has become."""

    def __init__(self, before: str) -> None:
        super().__init__()
        self.before = before


class Medium:
    """The directory `root` as it was when the journal began, and all that the journal did to it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._inodes: dict[int, File] = {}
        self._names: dict[str, File] = {}  # as the server sees them
        self._durable: dict[str, File] = {}
        self._pending: list[tuple[str, File | None]] = []  # what a name has become, None for nothing
        for path in sorted(root.rglob("*")):
            file = DIRECTORY if path.is_dir() else File(path.read_bytes())
            self._inodes[path.stat().st_ino] = file
            self._names[str(path)] = self._durable[str(path)] = file
        self._names[str(root)] = self._durable[str(root)] = DIRECTORY

    def play(self, record: Record) -> None:
        """What `record` did."""
        facts = record.facts
        match record.op:
            case "open":
                if facts["path"] not in self._names:
                    self._inodes[facts["inode"]] = file = File()
                    self._become(facts["path"], file)
            case "write" | "truncate":
                self._inodes[facts["inode"]].pending.append(record)
            case "sync":
                self._inodes[facts["inode"]].sync()
            case "sync directory":
                self._sync_names(facts["path"])
            case "rename" if self._names[facts["path"]] is DIRECTORY:
                self._become(facts["to"], Moved(facts["path"]))
            case "rename":
                file = self._names[facts["path"]]
                self._become(facts["to"], file)
                self._become(facts["path"], None)
            case "unlink":
                self._become(facts["path"], None)
            case "mkdir":
                self._become(facts["path"], DIRECTORY)

    def _become(self, path: str, file: File | None) -> None:
        self._pending.append((path, file))
        _name(self._names, path, file)

    def _sync_names(self, directory: str) -> None:
        for path, file in self._pending:
            if os.path.dirname(path) == directory:
                _name(self._durable, path, file)
        self._pending = [entry for entry in self._pending if os.path.dirname(entry[0]) != directory]

    def cut(self, target: Path, dice: Random | None = None) -> None:
        """
        Make `target` the directory that is found after a power cut now, without those in it that hold nothing. Without
        dice, what was not synced is lost.
        """
        names = dict(self._durable)
        for path, file in self._pending:
            if dice is not None and dice.random() < 0.5:
                _name(names, path, file)
        for path in sorted(names):
            place = target / Path(path).relative_to(self._root)
            if not all(str(parent) in names for parent in Path(path).parents if parent.is_relative_to(self._root)):
                continue  # it lies in a directory that is not there
            if names[path] is not DIRECTORY and not path.endswith("-shm"):  # shared memory, made anew from its log
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(names[path].durable if dice is None else names[path].left(dice))


def _name(names: dict[str, File], path: str, file: File | None) -> None:
    if file is None:
        names.pop(path, None)
    elif isinstance(file, Moved):
        for old in [name for name in names if name == file.before or name.startswith(f"{file.before}/")]:
            names[path + old.removeprefix(file.before)] = names.pop(old)
    else:
        names[path] = file
