"""Work behind a fence: held for as long as it takes, and taken down; and stopped when it cannot be held."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from quay.backups import BackupFailed
from quay.backups.fenced import fenced
from quay.database import Database, DatabaseUnavailable, Transaction
from quay.database.engines import open_engine
from quay.database.schema import setting
from quay.model import fence
from quay.threads import ImmediatePool

DAY_S = 86_400


class Place:
    """A database, a clock, and work that goes on until `work` fires."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.clock.rightNow = 1_790_000_000.0
        self.engine = open_engine(url)
        self.database = Database(self.clock, self.engine, ImmediatePool(), ImmediatePool())
        self.work: Deferred[int] = Deferred()
        self.outcome: list[object] = []

    def begin(self) -> Deferred[None]:
        async def work() -> int:
            return await self.work

        return Deferred.fromCoroutine(fenced(self.database, self.clock, work)).addBoth(self.outcome.append)

    def stands(self) -> bool:
        with self.engine.connect() as connection:
            return fence.is_standing(Transaction(connection, int(self.clock.seconds() * 1000)))

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([60.0] * int(seconds / 60))


@pytest.fixture
def place(database_url: str) -> Place:
    return Place(database_url)


def test_it_is_held(place: Place) -> None:
    """For as long as the work takes, and not longer; what that gives comes out."""
    place.begin()
    place.pass_time(DAY_S)
    assert place.stands() and place.outcome == []
    place.work.callback(7)
    assert place.outcome == [7] and not place.stands()
    assert place.clock.getDelayedCalls() == []


def test_what_fails(place: Place) -> None:
    """A failure of the work comes out, and the fence is down."""
    place.begin()
    place.work.errback(KeyError("lost"))
    [failure] = place.outcome
    assert failure.check(KeyError) and not place.stands()  # type: ignore[attr-defined]


def test_cancelled(place: Place) -> None:
    """Whoever cancels it cancels the work, and the fence is down."""
    place.begin().cancel()
    [failure] = place.outcome
    assert failure.check(CancelledError) and not place.stands()  # type: ignore[attr-defined]


def test_it_falls(place: Place) -> None:
    """A fence that is gone ends the work: bytes may have been removed."""
    place.begin()
    with place.engine.begin() as connection:
        connection.execute(sa.delete(setting).where(setting.c.key.startswith(fence.PREFIX)))
    place.pass_time(3600)
    [failure] = place.outcome
    assert failure.check(BackupFailed)  # type: ignore[attr-defined]


def test_the_database_is_away(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """For some minutes that does no harm; for so long that the fence could fall, it ends the work before it does."""
    place.begin()
    write: Callable[..., Deferred[object]] = place.database.write

    async def away(*args: object) -> object:
        raise DatabaseUnavailable()

    monkeypatch.setattr(place.database, "write", away)
    place.pass_time(900)
    monkeypatch.setattr(place.database, "write", write)
    place.pass_time(DAY_S)
    assert place.stands() and place.outcome == []
    monkeypatch.setattr(place.database, "write", away)
    place.pass_time(fence.HELD_S * 0.7)
    [failure] = place.outcome
    assert failure.check(BackupFailed) and place.stands()  # type: ignore[attr-defined]
