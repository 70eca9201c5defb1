"""What a running server says of its own condition, to its superusers: see their page Health."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from quay.condition import clock, disk
from quay.condition.backups import Facts, remembered_backups
from quay.condition.certificate import certificate
from quay.condition.finding import Finding, wrong
from quay.config import Config


def condition(config: Config, now: datetime, daily: float = 0.0, remembered: Facts | None = None) -> list[Finding]:
    """
    Disks, certificate, clock, and the backups that are `remembered`; `daily` bytes are pushed a day. Waits for the
    disks, and takes no longer than they do.
    """
    said = remembered_backups(config, now, remembered or {})
    return [*_disks(config, daily), *certificate(config, now), clock.in_step(clock.kept()), *said]


def _disks(config: Config, daily: float) -> Iterator[Finding]:
    for path in places(config):
        try:
            yield from disk.room(path, daily)
            yield from disk.kind(path, database=path == config.data and config.database_uri.is_sqlite)
        except OSError as error:
            yield wrong(f"{path} cannot be looked at: {error.strerror}.", f"ls -ld {path}", disk.FULL)


def places(config: Config) -> tuple[Path, ...]:
    """The directories of this machine on which the registry stands, one for each file system."""
    wanted = [config.data, *local_paths(config).values()]
    devices: dict[int, Path] = {}
    for path in wanted:
        try:
            devices.setdefault(path.stat().st_dev, path)
        except OSError:
            continue  # it is made when it is first needed
    return tuple(devices.values()) or (config.data,)


def local_paths(config: Config) -> dict[str, Path]:
    """The directory of each storage location that has one."""
    return {
        name: Path(location.options["storage_path"])
        for name, location in config.storage.items()
        if location.driver == "LocalStorage"
    }
