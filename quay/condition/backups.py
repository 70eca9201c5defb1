"""
The backups of an installation: whether there is a recent one, and whether somebody has made sure that it is good; as
they lie in their directory, and as a server remembers them, which need not wait for the disk of another machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from quay.backups import BackupFailed, Folder, Verified
from quay.condition.finding import Finding, fine, remarkable, wrong
from quay.config import Config

Facts = Mapping[str, Mapping[str, Any]]

NONE: Final = "/docs/backup#by-itself"
FAILING: Final = "/docs/runbooks#no-backup"
LATE: Final = timedelta(days=2)
"""A backup that is older says that they fail."""
LONG: Final = timedelta(days=60)
"""One that was verified longer ago may be good no longer: that is not known."""


def remembered_backups(config: Config, now: datetime, remembered: Facts) -> Iterator[Finding]:
    """What is to be said of the last ones, by what `quay.model.backup` remembers of them."""
    if config.backup_directory is None:
        yield _nobody()
        return
    made, verified = remembered.get("made"), remembered.get("verified")
    if made is None:
        yield _none(config, config.backup_directory)
        return
    path = Path(made["directory"], made["name"])
    yield _age(path, made["ms"], made["lost"], f"{made['blobs']} blobs", config, now)
    yield _good(path, None if verified is None else (verified["ms"], verified["name"], verified["problems"]), now)


def backups(config: Config, now: datetime) -> Iterator[Finding]:
    """What is to be said of those in BACKUP_DIRECTORY. Waits for its disk."""
    directory = config.backup_directory
    if directory is None:
        yield _nobody()
        return
    try:
        records = Folder(directory).records()
    except BackupFailed as error:
        yield wrong(str(error), f"ls -ld {directory}", FAILING)
        return
    if not records:
        yield _none(config, directory)
        return
    path, record = records[-1]
    has = f"{record.held['tags']} tags, {record.blobs} blobs"
    yield _age(path, record.made_ms, record.lost, has, config, now)
    found = [
        (verified.ms, one, verified.problems) for one, _ in records if (verified := Verified.read(one)) is not None
    ]
    yield _good(path, max(found, default=None), now)


def _nobody() -> Finding:
    return remarkable("No backups are made: there is no BACKUP_DIRECTORY.", "quay backup DIRECTORY", NONE)


def _none(config: Config, directory: Path) -> Finding:
    state = wrong if config.backup_schedule else remarkable
    return state(f"There is no backup in {directory} yet.", "quay backup", FAILING)


def _age(path: Path, made_ms: int, lost: int, has: str, config: Config, now: datetime) -> Finding:
    made = datetime.fromtimestamp(made_ms / 1000, now.tzinfo)
    said = f"The last backup, {path}, is of {made:%Y-%m-%d %H:%M}"
    if lost:
        return wrong(f"{said}, and {lost} blobs could not be had for it.", "quay scrub", FAILING)
    if now - made > LATE and config.backup_schedule:
        return wrong(f"{said}, although one is due every day.", "quay backup", FAILING)
    return fine(f"{said}: {has}.")


def _good(last: Path, verified: tuple[int, object, int] | None, now: datetime) -> Finding:
    """What was found when one was verified last: when, which, and how many problems."""
    if verified is None:
        return remarkable("No backup has been verified.", f"quay backup verify {last}", NONE)
    ms, which, problems = verified
    at = datetime.fromtimestamp(ms / 1000, now.tzinfo)
    if problems:
        return wrong(f"The backup {which} had {problems} problems on {at:%Y-%m-%d}.", "quay backup", FAILING)
    if now - at > LONG:
        return remarkable(f"A backup was verified last on {at:%Y-%m-%d}.", f"quay backup verify {last}", NONE)
    return fine(f"The backup {which} was verified on {at:%Y-%m-%d}, and good.")
