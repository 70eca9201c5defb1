"""
What the commands for backups do: with a core of their own, beside a running server or without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import attrs

from quay.backups import Backup, Folder, Made, Restoration, Verification
from quay.backups.restoring import Destination
from quay.config import Config, settle
from quay.config.surroundings import Surroundings
from quay.service.backups import Backups, Say, note_made, origin_of, storage_of
from quay.service.core import Core, stores_of
from quay.threads import Threads


class Gauge(Protocol):
    """Shows how far something is, when it is told to, and says lines beside that."""

    def tick(self) -> None: ...

    def say(self, line: str) -> None: ...

    def clear(self) -> None: ...


Watch = Callable[[str, Any], Gauge]
"""Makes a gauge of something that has `done` and `total`, with what is being done."""


@contextmanager
def _watched(reactor: Any, gauge: Gauge) -> Iterator[Say]:
    from quay.service.beside import watched

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
