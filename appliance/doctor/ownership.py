"""
Whose the files are, and who else may read them: all of the data directory is its owner's, and the secrets are nobody
else's.
"""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from appliance.doctor.patient import Patient
from quay.condition import Finding, fine, remarkable, unseen, wrong
from quay.condition.whole import local_paths
from quay.config import Config

FOREIGN: Final = "/docs/runbooks#permission-denied"
EXPOSED: Final = "/docs/runbooks#secrets-can-be-read"
ENTRIES: Final = 5000
"""So many files are looked at: that of a blob says as much as those of all."""
DEPTH: Final = 4
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
WORLD: Final = stat.S_IRWXO
READ: Final = stat.S_IRGRP | stat.S_IROTH

_SECRETS: Final = ("quay.yaml", "secret_key", "database_secret_key", "setup.sealed", "quay.db", "tls", "tls/server.pem")


def look(patient: Patient) -> Iterator[Finding]:
    """The owners, then who may read."""
    data = patient.config.data
    if not patient.exists:
        yield unseen(f"{data} is not there yet.", "quay serve")
        return
    yield from _owners(patient)
    yield from _closed(patient)


def _owners(patient: Patient) -> Iterator[Finding]:
    data = patient.config.data
    owner = data.stat().st_uid
    if not patient.host.is_root and owner != patient.host.uid:
        yield unseen(f"{data} is {_user(owner)}'s: try as root, or as that user.")
        return
    places = [data, *(path for path in local_paths(patient.config).values() if not path.is_relative_to(data))]
    strange = [path for place in places for path in islice(_walk(place), ENTRIES) if _owner(path) not in (owner, None)]
    if strange:
        count = "" if len(strange) == 1 else f" for one, and {len(strange) - 1} more"
        yield wrong(
            f"The server's user is {_user(owner)}, and not all in {data} is his: not {strange[0]}{count}.",
            f"chown -R --no-dereference {_user(owner)}: {' '.join(shlex.quote(str(place)) for place in places)}",
            FOREIGN,
        )
    else:
        yield fine(f"What lies in {data} is {_user(owner)}'s, whose the directory is.")


def _walk(place: Path, depth: int = DEPTH) -> Iterator[Path]:
    yield place
    try:
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
    except (NotADirectoryError, FileNotFoundError, PermissionError):
        return  # whose it is, is known; what is in it, root sees
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and depth:
            yield from _walk(Path(entry.path), depth - 1)
        else:
            yield Path(entry.path)


def _closed(patient: Patient) -> Iterator[Finding]:
    """What lies in a directory that nobody else may enter is safe, whatever its own mode says."""
    data = patient.config.data
    shut = not data.stat().st_mode & OTHERS
    if shut:
        yield fine(f"Nobody but its owner may enter {data}.")
    else:
        yield remarkable(
            f"Others than its owner may enter {data} ({stat.filemode(data.stat().st_mode)}).",
            f"chmod 700 {shlex.quote(str(data))}",
            EXPOSED,
        )
    for path in _secrets(patient):
        if not (shut and path.is_relative_to(data)):
            yield from _exposed(path)


def _secrets(patient: Patient) -> list[Path]:
    """The files that have secrets in them, wherever they are."""
    config: Config = patient.config
    named = [patient.file, config.tls_key]
    found = [config.data / name for name in _SECRETS] + [path for path in named if path is not None]
    return [path for path in dict.fromkeys(found) if path.exists()]


def _exposed(path: Path) -> Iterator[Finding]:
    mode = path.stat().st_mode
    fix = f"chmod {'700' if stat.S_ISDIR(mode) else '600'} {shlex.quote(str(path))}"
    if mode & WORLD & (READ | stat.S_IWOTH):
        yield wrong(f"Everybody on this machine may read {path} ({stat.filemode(mode)}).", fix, EXPOSED)
    elif mode & OTHERS & READ:
        yield remarkable(f"The group of {path} may read it ({stat.filemode(mode)}).", fix, EXPOSED)


def _owner(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None  # it went while it was looked for


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
