"""
The upkeep of a registry: collecting garbage in a server, and the same asked for by a command beside it.

The caches of a server are exact because whoever changes rows announces it. A command beside a server that has no Redis
cannot: so it asks the server, through the database, to do the work, or to forget what it has cached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.task import deferLater

from quay.database import Transaction
from quay.lock import DataInUse, DataLock
from quay.model import garbage
from quay.model.garbage import Position
from quay.registry.fsck import Check
from quay.registry.garbage import AllTheTime, Collected, GarbageCollector, Time
from quay.registry.scrub import Scrub
from quay.service.core import Core

ASKED: Final = "asked"
ANSWERED: Final = "answered"
FORGET: Final = "forget"
POLL_S: Final = 1.0
LONGEST_S: Final = 300.0

Say = Callable[[str], object]


class Upkeep:
    """What the worker of a server does."""

    def __init__(self, reactor: Any, core: Core) -> None:
        self._core = core
        self._collector = GarbageCollector(core.database, core.stores, core.policy, reactor)
        self._begun = 0
        self._forgot: Position = ()
        self._done = Collected()

    async def collect(self, time: Time) -> None:
        """Collect garbage if that is on; and all of it, if a command has asked for that."""
        found = await self._core.database.read(garbage.positions)
        self._forget(found.get(FORGET, ()))
        asked = _unanswered(found)
        if asked:
            await self._answer(asked, time)
        elif self._core.config.garbage_collection:
            await self._collector.run(time)

    def _forget(self, asked: Position) -> None:
        """What a command has changed beside this server, nobody has announced."""
        if asked != self._forgot:
            self._forgot = asked
            self._core.forget_all()

    async def _answer(self, asked: int, time: Time) -> None:
        anew = asked != self._begun
        if anew:
            self._begun, self._done = asked, Collected()
            self._core.forget_all()
        self._done.add(await self._collector.run(time, thorough=anew))
        if not time.spent:
            answer = (asked, *attrs.astuple(self._done))
            await self._core.database.write(garbage.remember, {ANSWERED: answer})


def _unanswered(found: Mapping[str, Position]) -> int:
    """When a command asked for something that it has not got yet; 0 for never."""
    asked = found.get(ASKED, (0,))[0]
    return asked if asked > found.get(ANSWERED, (0,))[0] else 0


def ask_to_forget(txn: Transaction) -> None:
    """Ask the server that may be running to forget what it has cached."""
    garbage.remember(txn, {FORGET: (txn.now_ms,)})


async def collect(reactor: Any, core: Core, say: Say) -> Collected:
    """Collect all garbage now: here, or in the server that is running. Raises `TimeoutError` if that does not."""
    if not beside_a_server(core):
        return await GarbageCollector(core.database, core.stores, core.policy, reactor, say).run(
            AllTheTime(), thorough=True
        )
    asked = await ask(core)
    say("The running server has been asked to do it, and begins within its GARBAGE_COLLECTION_FREQUENCY.")
    for _ in range(int(LONGEST_S / POLL_S)):
        answer = (await core.database.read(garbage.positions)).get(ANSWERED, (0,))
        if answer[0] >= asked:
            return Collected(*answer[1:])
        await deferLater(reactor, POLL_S)
    raise TimeoutError("The running server has not finished within five minutes. It goes on; look at its log.")


async def check(reactor: Any, core: Core, say: Say, repair: bool) -> int:
    """Compare rows and bytes, and mend them if `repair`; how many problems remain."""
    looking = Check(core.database, core.stores, core.threads.blobs, reactor, say, repair=repair)
    remaining = await looking.run()
    say(f"{looking.found} problems, of which {looking.mended} were mended.")
    if looking.mended and beside_a_server(core):
        await ask(core)
    return remaining


async def scrub(reactor: Any, core: Core, say: Say, rate: float) -> int:
    """Read all blobs again, at `rate` bytes a second; how many had rotted."""
    rotten = await Scrub(core.database, core.stores, core.threads.blobs, reactor, say, rate=rate).run()
    if rotten and beside_a_server(core):
        await ask(core)
    return rotten


async def ask(core: Core) -> int:
    """Ask the running server to forget what it has cached, and to collect all garbage; returns the time of asking."""

    def asking(txn: Transaction) -> int:
        before = garbage.positions(txn).get(ASKED, (0,))[0]
        asked = max(txn.now_ms, before + 1)  # the clock may have been set back since
        garbage.remember(txn, {ASKED: (asked,)})
        return asked

    return await core.database.write(asking)


def beside_a_server(core: Core) -> bool:
    """Whether a server is running that would not hear what this process announces."""
    if core.config.events_redis is not None:
        return False
    lock = DataLock(core.config.data)
    try:
        lock.acquire()
    except DataInUse:
        return True
    lock.release()
    return False
