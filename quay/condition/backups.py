"""The backups of an installation: whether there is a recent one, and whether somebody has made sure that it is good."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from quay.backups import BackupFailed, Folder, Record, Verified
from quay.condition.finding import Finding, fine, remarkable, wrong
from quay.config import Config

NONE: Final = "/docs/backup#by-itself"
FAILING: Final = "/docs/runbooks#no-backup"
LATE: Final = timedelta(days=2)
"""A backup that is older says that they fail."""
LONG: Final = timedelta(days=60)
"""One that was verified longer ago may be good no longer: that is not known."""


def backups(config: Config, now: datetime) -> Iterator[Finding]:
    """What is to be said of the backups in BACKUP_DIRECTORY."""
    directory = config.backup_directory
    if directory is None:
        yield remarkable("No backups are made: there is no BACKUP_DIRECTORY.", "quay backup DIRECTORY", NONE)
        return
    try:
        records = Folder(directory).records()
    except BackupFailed as error:
        yield wrong(str(error), f"ls -ld {directory}", FAILING)
        return
    if not records:
        state = wrong if config.backup_schedule else remarkable
        yield state(f"There is no backup in {directory} yet.", "quay backup", FAILING)
        return
    yield _age(*records[-1], now, scheduled=bool(config.backup_schedule))
    yield _verified(records, now)


def _age(path: Path, record: Record, now: datetime, *, scheduled: bool) -> Finding:
    made = datetime.fromtimestamp(record.made_ms / 1000, now.tzinfo)
    said = f"The last backup, {path}, is of {made:%Y-%m-%d %H:%M}"
    if record.lost:
        return wrong(f"{said}, and {record.lost} blobs could not be had for it.", "quay scrub", FAILING)
    if now - made > LATE and scheduled:
        return wrong(f"{said}, although one is due every day.", "quay backup", FAILING)
    return fine(f"{said}: {record.held['tags']} tags, {record.blobs} blobs.")


def _verified(records: list[tuple[Path, Record]], now: datetime) -> Finding:
    found = [(verified.ms, path, verified) for path, _ in records if (verified := Verified.read(path)) is not None]
    if not found:
        return remarkable("No backup has been verified.", f"quay backup verify {records[-1][0]}", NONE)
    ms, path, verified = max(found, key=lambda one: one[0])
    at = datetime.fromtimestamp(ms / 1000, now.tzinfo)
    if verified.problems:
        return wrong(f"The backup {path} had {verified.problems} problems on {at:%Y-%m-%d}.", "quay backup", FAILING)
    if now - at > LONG:
        return remarkable(f"A backup was verified last on {at:%Y-%m-%d}.", f"quay backup verify {records[-1][0]}", NONE)
    return fine(f"The backup {path} was verified on {at:%Y-%m-%d}, and good.")
