"""
Backups of this installation: what goes into them, when the server makes them by itself, and how that stands.

The server makes them as jobs, in a lane of their own, so that nothing else that takes long holds them up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from quay.backups import (
    Backup,
    BackupFailed,
    BackupUnderWay,
    Folder,
    Keeping,
    Made,
    Record,
    Verification,
    Verified,
    due_since,
    outdated,
)
from quay.backups.folder import moment_of
from quay.backups.making import Origin
from quay.config import Config
from quay.model import backup as rows
from quay.registry.garbage import Time
from quay.service.core import Core
from quay.threads import interruptible

SCHEDULE: Final = "the schedule"
"""Who asks for the backups that nobody asks for."""

Say = Callable[[str], object]


def origin_of(core: Core, configuration: Path | None) -> Origin:
    """What a backup of this installation is made of; `configuration` is its file, if it has one."""
    config = core.config
    storage = storage_of(config)
    database = [Path(config.database_uri.place)] if config.database_uri.is_sqlite else []
    directory = [config.backup_directory] if config.backup_directory is not None else []
    return Origin(
        database=core.database,
        url=config.database_url,
        stores=core.stores,
        storage=storage,
        data=config.data,
        passed_by=[*database, *map(Path, storage.values()), *directory],
        configuration=configuration,
    )


def storage_of(config: Config) -> Mapping[str, str]:
    """Where each location is, as far as it is a directory."""
    return {name: location.options.get("storage_path", "") for name, location in config.storage.items()}


class Backups:
    """The backups that a server makes by itself, in its BACKUP_DIRECTORY, and what is known of the last ones."""

    def __init__(self, reactor: Any, core: Core, configuration: Path | None) -> None:
        self._reactor = reactor
        self._core = core
        self._configuration = configuration
        self.standing: Mapping[str, Mapping[str, Any]] = {}

    async def keep_to_schedule(self, time: Time) -> None:
        """Ask for a backup, if one is due: what the worker `backup-schedule` does."""
        config = self._core.config
        times = [at.time for at in config.backup_schedule]
        due = due_since(times, datetime.fromtimestamp(self._reactor.seconds(), UTC))
        if due is not None and config.backup_directory is not None:
            await self._core.database.write(rows.ask_once, int(due.timestamp() * 1000), SCHEDULE)
        self.standing = await self._core.database.read(rows.remembered)

    def backup(self, say: Say) -> Backup:
        """The next one."""
        origin = origin_of(self._core, self._configuration)
        blobs = self._core.config.backup_blobs
        return Backup(origin, self.folder(), self._core.threads.blobs, self._reactor, say, with_blobs=blobs)

    async def made(self, made: Made, say: Say) -> None:
        """Remember it, and remove those that are not kept any longer."""
        await note_made(self._core, made)
        pool, folder = self._core.threads.blobs, self.folder()
        if (verified := await pool.run(_last_verified, folder)) is not None:
            await self._core.database.write(rows.remember, "verified", verified)
        self.standing = await self._core.database.read(rows.remembered)
        try:
            await pool.run(folder.acquire)
        except BackupUnderWay:
            return  # whoever makes one now removes them afterwards
        try:
            for path in await pool.run(_outdated, folder, made.record.installation, self._keeping()):
                await interruptible(pool, _removed, folder, path)
                say(f"{path.name} is not kept any longer.")
        finally:
            folder.release()

    async def verification(self, say: Say, rate: float) -> Verification:
        """That of the latest one. Raises `BackupFailed`."""
        latest = await self._core.threads.blobs.run(_latest, self.folder())
        say(f"Reading {latest} again.")
        return Verification(latest, self._core.threads.blobs, self._reactor, say, rate=rate)

    async def verified(self, record: Record, problems: int) -> None:
        """Remember what was found."""
        await self._core.database.write(rows.remember, "verified", {"name": record.name, "problems": problems})
        self.standing = await self._core.database.read(rows.remembered)

    def folder(self) -> Folder:
        """Where they are. Raises `BackupFailed` if nobody has said."""
        directory = self._core.config.backup_directory
        if directory is None:
            raise BackupFailed("No BACKUP_DIRECTORY is configured: name one, or use 'quay backup DIRECTORY'.")
        return Folder(directory)

    def _keeping(self) -> Keeping:
        config = self._core.config
        return Keeping(config.backup_keep_daily, config.backup_keep_weekly, config.backup_keep_monthly)


async def note_made(core: Core, made: Made) -> None:
    """Remember the last good backup, wherever it is."""
    record = made.record
    facts = {"name": record.name, "directory": str(made.path.parent), "seconds": record.seconds}
    sizes = {"blobs": record.blobs, "size": record.size, "copied": record.copied, "lost": record.lost}
    await core.database.write(rows.remember, "made", {**facts, **sizes})


def _outdated(folder: Folder, installation: str, keeping: Keeping) -> list[Path]:
    """Those of our own that may go: never the latest, nor the latest of those that were found good."""
    ours = [path for path, record in folder.records() if record.installation == installation]
    good = [path for path, verified in _verified(folder) if path in ours and not verified.problems]
    gone = outdated(map(moment_of, ours), keeping)
    return [path for path in ours if moment_of(path) in gone and path not in good[-1:]]


def _last_verified(folder: Folder) -> Mapping[str, Any] | None:
    """What was found when one of these was verified last, by whoever did that."""
    found = [(verified.ms, path.name, verified.problems) for path, verified in _verified(folder)]
    return dict(zip(("ms", "name", "problems"), max(found), strict=True)) if found else None


def _verified(folder: Folder) -> Iterator[tuple[Path, Verified]]:
    for path in folder.complete():
        if (verified := Verified.read(path)) is not None:
            yield path, verified


def _latest(folder: Folder) -> Path:
    found = folder.complete()
    if not found:
        raise BackupFailed(f"There is no backup in {folder.root} yet.")
    return found[-1]


def _removed(stop: Event, folder: Folder, path: Path) -> None:
    folder.remove(path, stop)


class BackupMetrics(Collector):
    """How old the last good backup is, and what was found when one was verified."""

    def __init__(self, backups: Backups) -> None:
        self._backups = backups

    def collect(self) -> Iterator[Metric]:
        made, verified = (self._backups.standing.get(name, {}) for name in ("made", "verified"))
        yield GaugeMetricFamily(
            "quay_backup_last_success_timestamp_seconds",
            "When the last good backup was made; 0 for never.",
            made.get("ms", 0) / 1000,
        )
        yield GaugeMetricFamily("quay_backup_bytes", "The bytes of the blobs in it.", made.get("size", 0))
        yield GaugeMetricFamily(
            "quay_backup_copied_bytes",
            "The bytes that were copied for it: others had been before.",
            made.get("copied", 0),
        )
        yield GaugeMetricFamily("quay_backup_lost_blobs", "Blobs that could not be had for it.", made.get("lost", 0))
        yield GaugeMetricFamily("quay_backup_duration_seconds", "How long it took.", made.get("seconds", 0))
        yield GaugeMetricFamily(
            "quay_backup_last_verification_timestamp_seconds",
            "When a backup was last verified; 0 for never.",
            verified.get("ms", 0) / 1000,
        )
        yield GaugeMetricFamily(
            "quay_backup_problems", "Problems that were found in it then.", verified.get("problems", 0)
        )
