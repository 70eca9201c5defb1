"""The bundle as a file: a tar archive in gzip, whole or not there, for its owner only."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from appliance.support.gathering import Part


def save(file: Path, parts: Sequence[Part], now: datetime) -> None:
    """Write the new `file`. Raises `OSError`, `FileExistsError` for one that is there."""
    content = packed(parts, f"quay-support-{now:%Y%m%d-%H%M%S}", int(now.timestamp()))
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
    except OSError:
        file.unlink()
        raise


def packed(parts: Sequence[Part], directory: str, moment: int) -> bytes:
    """The archive: every part in one directory."""
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", mtime=moment) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for part in parts:
            content = part.text.encode()
            member = tarfile.TarInfo(f"{directory}/{part.name}")
            member.size, member.mtime, member.mode = len(content), moment, 0o600
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()
