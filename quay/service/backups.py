"""
Backups of this installation: what goes into them, when the server makes them by itself, and how that stands.

The server makes them as jobs, in a lane of their own, so that nothing else that takes long holds them up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, Final, Protocol

import attrs
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from quay.backups import (
    Backup,
    BackupFailed,
    Folder,
    Keeping,
    Made,
    Record,
    Restoration,
    Verification,
    Verified,
    due_since,
    outdated,
)
from quay.backups.folder import moment_of
from quay.backups.making import Origin
from quay.backups.restoring import Destination
from quay.config import Config, settle
from quay.config.surroundings import Surroundings
from quay.model import backup as rows
from quay.registry.garbage import Time
from quay.service.core import Core, stores_of
from quay.threads import Threads, interruptible

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
        for path in await pool.run(_outdated, folder, made.record.installation, self._keeping()):
            await pool.run(folder.acquire)
            try:
                await interruptible(pool, _removed, folder, path)
            finally:
                folder.release()
            say(f"{path.name} is not kept any longer.")

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


# --- for commands -------------------------------------------------------------------------------------------------


class Gauge(Protocol):
    """Shows how far something is, when it is told to, and says lines beside that."""

    def tick(self) -> None: ...

    def say(self, line: str) -> None: ...

    def clear(self) -> None: ...


Watch = Callable[[str, Any], Gauge]
"""Makes a gauge of something that has `done` and `total`, with what is being done."""


@contextmanager
def _watched(reactor: Any, gauge: Gauge) -> Iterator[Say]:
    from quay.service.bundles import watched

    try:
        with watched(reactor, gauge.tick):
            yield gauge.say
    finally:
        gauge.clear()


def make(config: Config, configuration: Path | None, directory: Path | None, watch: Watch, *, blobs: bool) -> Made:
    """
    Make a backup now, beside a running server or without one: in `directory`; or in BACKUP_DIRECTORY, and then those
    that are not kept any longer are removed. Raises `BackupFailed`.
    """
    from twisted.internet import reactor

    from quay import service

    async def work(core: Core) -> Made:
        backups = Backups(reactor, core, configuration)
        folder = Folder(directory) if directory is not None else backups.folder()
        origin, pool = origin_of(core, configuration), core.threads.blobs
        backup = Backup(origin, folder, pool, reactor, lambda line: say(line), with_blobs=blobs)
        with _watched(reactor, watch("Backing up", backup)) as say:
            made = await backup.run()
            if directory is None:
                await backups.made(made, say)
            else:
                await note_made(core, made)
        return made

    return service.run(config, work)


def verify(root: Path, watch: Watch) -> Verification:
    """Read a backup again; its `problems` are none if all is well. Raises `BackupFailed`."""
    from quay import service

    async def work(reactor: Any) -> Verification:
        threads = Threads(reactor)
        threads.startService()
        try:
            verification = Verification(root, threads.blobs, reactor, lambda line: say(line))
            with _watched(reactor, watch("Verifying", verification)) as say:
                await verification.run()
            return verification
        finally:
            await threads.stopService()

    return service.react(work)


def restore(
    surroundings: Surroundings, root: Path, data: Path, watch: Watch, *, force: bool, skip_damaged: bool
) -> Restoration:
    """
    Restore a backup into the data directory `data`: with the configuration that a command was given, else with that of
    the backup. Raises `BackupFailed`, `ConfigError`, and whatever keeps a part from being used.
    """
    from quay import service

    anew = attrs.evolve(surroundings, environ={**surroundings.environ, "QUAY_DATA": str(data)})

    async def work(reactor: Any) -> Restoration:
        threads = Threads(reactor)
        threads.startService()
        try:
            restoration = Restoration(
                root,
                data,
                threads.blobs,
                lambda: _destination(settle(anew), threads),
                lambda line: say(line),
                given=surroundings.file is not None,
                force=force,
                skip_damaged=skip_damaged,
            )
            with _watched(reactor, watch("Restoring", restoration)) as say:
                await restoration.run()
            return restoration
        finally:
            await threads.stopService()

    return service.react(work)


def _destination(config: Config, threads: Threads) -> Destination:
    database = config.database_uri
    return Destination(
        url=config.database_url,
        file=Path(database.place) if database.is_sqlite else None,
        stores=dict(stores_of(config, threads).by_location),
        places=[Path(place) for place in storage_of(config).values() if place],
    )


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
