"""
Work behind a fence (`quay.model.fence`): it goes up before the work begins, is held while it lasts, and taken down.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from quay.backups.record import BackupFailed
from quay.database import Database, DatabaseUnavailable
from quay.model import fence

R = TypeVar("R")

HOLD_S: Final = 300.0

log = Logger()


async def fenced(database: Database, clock: IReactorTime, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """What `work` gives, while no byte of any blob is removed. Raises `BackupFailed` if the fence fell."""
    name = await database.write(fence.put_up)
    working = Deferred.fromCoroutine(work())
    fallen: list[bool] = []

    def stop(result: object) -> None:
        if isinstance(result, Failure) and not result.check(CancelledError):
            log.failure("the fence of a backup could not be held", failure=result)
        fallen.append(True)
        working.cancel()

    holding = Deferred.fromCoroutine(_hold(database, clock, name)).addBoth(stop)
    try:
        return await working
    except CancelledError:
        if fallen:
            raise BackupFailed(
                "The database could not be reached for so long that blobs may have been collected meanwhile: make the "
                "backup again."
            ) from None
        raise
    finally:
        holding.cancel()
        await _take_down(database, name)


async def _hold(database: Database, clock: IReactorTime, name: str) -> None:
    """Hold it; returns when it has fallen, or is about to."""
    held = clock.seconds()
    while clock.seconds() - held < fence.HELD_S / 2:
        await deferLater(clock, HOLD_S)
        since = clock.seconds()
        try:
            if not await database.write(fence.hold, name):
                return
            held = since
        except DatabaseUnavailable as unavailable:
            log.info("a fence could not be held: {unavailable}", unavailable=unavailable)


async def _take_down(database: Database, name: str) -> None:
    try:
        await database.write(fence.take_down, name)
    except DatabaseUnavailable as unavailable:
        log.info("a fence lapses by itself: {unavailable}", unavailable=unavailable)
