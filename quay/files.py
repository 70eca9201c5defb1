"""
Files of the data directory that are whole or not there: what a crash leaves is the old one or the new one.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """
    `content` at `path`, durable when this returns, instead of what was there; directories are made as needed, for
    their owner only. Waits for the disk. Raises `OSError`.
    """
    make_directory(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write(draft, content, mode)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync(path.parent)


def make_directory(directory: Path) -> None:
    """
    Make `directory`, and what is missing above it, for their owner only; the name of each is durable before anything
    lies in it. Waits for the disk. Raises `OSError`.
    """
    if not directory.is_dir():
        make_directory(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)
        sync(directory.parent)


def sync(path: Path) -> None:
    """Make durable what there is: the bytes of a file, or the names in a directory. Waits for the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
