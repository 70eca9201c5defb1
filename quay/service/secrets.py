"""
The secrets of an installation whose configuration names none: made at the first start, and kept in its data directory
for its owner only.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from quay.config import Secret


def secret_of(configured: Secret | None, kept: Path) -> bytes:
    """The configured secret, else what `kept` holds, which is written if it is not there. Waits for the disk."""
    if configured is not None:
        return configured.reveal().encode()
    with suppress(FileExistsError):
        _write(kept, secrets.token_bytes(48))
    return kept.read_bytes()


def _write(path: Path, secret: bytes) -> None:
    """A new file that only its owner may read, complete on the disk under its name or not there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike a rename, it leaves the file of somebody who was faster
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        draft.unlink()
