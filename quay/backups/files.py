"""
The small files of an installation: its configuration, its secrets, its certificates, and whatever else somebody has put
into the data directory. They are copied whole; what is large, and what belongs to this one machine, is not.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from quay.backups.record import FILES, BackupFailed, File
from quay.config.surroundings import FILENAME
from quay.files import write_whole
from quay.lock import RESTORING

LARGEST: Final = 16 * 1024 * 1024
MOST: Final = 2_000
OF_THE_MACHINE: Final = frozenset({"server.lock", "installation.json", RESTORING, "snapshots", "lost+found"})
"""What a data directory has that says nothing of the registry."""
REPLACED: Final = "replaced-"
"""The beginning of the name of a directory to which a restoration has moved what was there before."""
_PASSING: Final = (".log", "-wal", "-shm", "-journal")


def gather(
    draft: Path, data: Path, configuration: Path | None, passed_by: Collection[Path], say: Callable[[str], object]
) -> Sequence[File]:
    """
    Copy them into `draft`, durably: those of the data directory but for `passed_by`, and the configuration wherever it
    is. `say` hears of what is left out. Waits for the disk. Raises `OSError`, `BackupFailed`.
    """
    found = {path.relative_to(data).as_posix(): path for path in _walk(data, frozenset(passed_by))}
    if configuration is not None:
        found[FILENAME] = configuration
    if len(found) > MOST:
        raise BackupFailed(
            f"{data} has more than {MOST} files besides the database and the blobs: keep other things elsewhere."
        )
    return [one for name, path in sorted(found.items()) if (one := _copied(draft, name, path, say)) is not None]


def _walk(directory: Path, passed_by: Collection[Path]) -> Iterator[Path]:
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.name.startswith((".", REPLACED)) or entry.name in OF_THE_MACHINE or path in passed_by:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, passed_by)
        elif entry.is_file() and not entry.name.endswith(_PASSING):
            yield path


def _copied(draft: Path, name: str, path: Path, say: Callable[[str], object]) -> File | None:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None  # it was a draft of another one
    if len(content) > LARGEST:
        say(f"{path} is larger than {LARGEST >> 20} MiB, and not in the backup.")
        return None
    write_whole(draft / FILES / name, content)
    return File(f"{FILES}/{name}", len(content), hashlib.sha256(content).hexdigest())
