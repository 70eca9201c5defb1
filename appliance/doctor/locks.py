"""Who serves the data directory, and what servers that were killed have left in it."""

from __future__ import annotations

import os
import re
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from appliance.doctor.patient import Patient
from quay.condition import Finding, disk, fine, remarkable

LEFT: Final = "/docs/runbooks#the-server-does-not-start"
OLD_S: Final = 86400.0
_DRAFT: Final = re.compile(r"\.?[\w.-]+\.[0-9a-f]{16}|\.probe-[0-9a-f]{32}|\.doctor-[0-9a-f]{16}")


def look(patient: Patient) -> Iterator[Finding]:
    """The lock, then drafts of files that were never finished."""
    yield _lock(patient)
    left = list(_drafts(patient)) if patient.exists else []
    if left:
        yield remarkable(
            f"{len(left)} files were begun and never finished, more than a day ago: {left[0].name}, for one. They may "
            "go.",
            f"rm -- {' '.join(shlex.quote(str(path)) for path in left[:20])}",
            LEFT,
        )


def _lock(patient: Patient) -> Finding:
    serves = patient.server
    if serves is not None:
        return fine(f"The server runs: {serves}.")
    left = _left(patient.config.data / "server.lock")
    host = left.rpartition(" on ")[2] if " on " in left else ""
    if host and host != socket.gethostname():
        mount = disk.mount_of(patient.config.data, patient.host.path("/proc/self/mountinfo"))
        return remarkable(
            f"The server that last used {patient.config.data} was {left}: make sure that it does not run there still, "
            f"because locks do not reach from one machine to another{'' if mount is None else f' on {mount.kind}'}.",
            "",
            LEFT,
        )
    return fine("The server does not run, and nothing keeps one from starting.")


def _left(lock: Path) -> str:
    """What the last server wrote about itself; the lock itself went with it."""
    try:
        return lock.read_text(encoding="utf-8", errors="replace")[:200].strip()
    except OSError:
        return ""


def _drafts(patient: Patient) -> Iterator[Path]:
    now = patient.host.now().timestamp()
    for place in (patient.config.data, patient.config.data / "tls"):
        for entry in os.scandir(place) if place.is_dir() else ():
            is_draft = _DRAFT.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            if is_draft and now - entry.stat(follow_symlinks=False).st_mtime > OLD_S:
                yield Path(entry.path)
