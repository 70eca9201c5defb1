"""
Sealing the audit log, and verifying it afterwards: see `quay.model.seal` for what a seal is and what it shows.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from quay.database import Database
from quay.model import seal
from quay.model.seal import ORIGIN, Found, Seal
from quay.registry.garbage import Time

log = Logger()

DAY_S: Final = 24 * 3600
HOUR_MS: Final = 3600 * 1000


class AuditSealer:
    """
    Seals what has come into the log since the last run, at most `batch` entries in a transaction; `key` gives the key,
    and is called when a run begins. Once a day the head of the chain goes to the log of the server, which is kept
    elsewhere: whoever cuts off the end of the chain does not reach it there.
    """

    batch = 1000

    def __init__(self, database: Database, key: Callable[[], bytes], clock: IReactorTime) -> None:
        self._database = database
        self._key = key
        self._clock = clock
        self._told: float | None = None

    async def run(self, time: Time) -> None:
        """Seal everything, if the time is enough."""
        key = self._key()
        made = await self._database.write(seal.extend, key, self.batch)
        while made is not None:
            self._tell(made)
            if made.entries < self.batch or time.spent:
                return
            made = await self._database.write(seal.extend, key, self.batch)

    def _tell(self, made: Seal) -> None:
        log.debug("audit log: seal {seal} covers {entries} entries", seal=str(made), entries=made.entries)
        now = self._clock.seconds()
        if self._told is None or now - self._told >= DAY_S:
            self._told = now
            log.info("The head of the audit log is {head}: `quay audit verify --head` looks for it", head=str(made))


@attrs.frozen
class _Doubt:
    """
    A seal that does not fit: the next one shows whether it is itself what was changed, if the one before is
    sound.
    """

    found: Found
    row: Seal
    computed: str
    before_is_sound: bool


class Verification:
    """
    Goes through the chain with the `key` it was made with, and tells `say` a sentence for each thing that is wrong, a
    limited number of them. `noted` is a head that was noted earlier, `number:seal` or the seal alone: whether it is
    still in the chain is looked at too. After `run`, `problems` is how many there are, and `head` the latest seal.
    """

    SENTENCES: Final = 100
    PROGRESS: Final = 100_000

    def __init__(self, database: Database, key: bytes, say: Callable[[str], object], noted: str | None = None) -> None:
        self._database = database
        self._key = key
        self._say = say
        self._noted = noted
        self._expected = 1
        self._before = ORIGIN
        self._sound = True
        self._doubt: _Doubt | None = None
        self._fitting = 0
        self._noted_found = noted is None
        self.problems = self.seals = self.entries = 0
        self._late = 0
        self.head: Seal | None = None

    async def run(self) -> bool:
        """Whether everything is as it was sealed."""
        after: int | None = None
        while some := await self._database.read(seal.following, after):
            for found in some:
                self._look(found)
            after = some[-1].id
        self._settle(None)
        await self._look_at_the_unsealed()
        self._conclude()
        return self.problems == 0

    # --- one seal after the other

    def _look(self, found: Found) -> None:
        if found.row is None:
            self._problem(f"Seal {found.id}, named by {_entries(found.entries)}, is not there.")
        elif found.id < 1:
            self._problem(f"Seal {found.id} was put in: the first one has the number 1.")
        else:
            if found.id > self._expected:
                self._miss(found)
            else:
                self._check(found, found.row)
            self._before = found.row.seal
            self._count(found, found.row)

    def _miss(self, found: Found) -> None:
        """Some are missing before it, so it cannot be checked; the next one can."""
        self._settle(None)
        self._sound = False
        missing = f"{self._expected} to {found.id - 1}" if found.id - self._expected > 1 else f"{self._expected}"
        self._problem(f"Seals were removed: {missing}. Seal {found.id} builds on them, and cannot be checked.")

    def _check(self, found: Found, row: Seal) -> None:
        doubted = self._doubt
        if found.fits(self._key, self._before):
            self._settle("entries")
            self._fitting += 1
        elif doubted is not None and found.fits(self._key, doubted.computed):
            self._settle("seal")
            self._fitting += 1
        else:
            self._settle(None)
            self._doubt = _Doubt(found, row, found.computed(self._key, self._before), self._sound)
        self._sound = self._doubt is None

    def _count(self, found: Found, row: Seal) -> None:
        self._expected = found.id + 1
        self._noted_found = self._noted_found or self._noted in (row.seal, str(row))
        self.seals += 1
        self.head = row
        self._late += found.late
        progress = self.entries // self.PROGRESS
        self.entries += found.entries
        if self.entries // self.PROGRESS > progress:
            self._say(f"{self.entries} entries under {self.seals} seals so far.")

    def _settle(self, changed: str | None) -> None:
        """Say what is wrong with the seal in doubt: the next one shows that the `entries`, or the `seal`, changed."""
        doubt, self._doubt = self._doubt, None
        if doubt is not None:
            known = changed if doubt.before_is_sound else None
            self._problem(_what_is_wrong(doubt.found, doubt.row, known))

    # --- the chain as a whole

    async def _look_at_the_unsealed(self) -> None:
        if self.head is None:
            self._say("Nothing has been sealed: a server does so by itself, within a minute of its start.")
            return
        count = await self._database.read(seal.unsealed_before, self.head.made_ms - HOUR_MS)
        if count:
            self._problem(
                f"{_entries(count)}{' or more' if count == 10_000 else ''} without a seal, although others an hour "
                "younger have one: taken out of their seals, or put in; or a server is only now beginning to seal an "
                "old log."
            )

    def _conclude(self) -> None:
        if self.seals > 1 and self._fitting == 0:
            self._say("No seal fits at all: is SECRET_KEY the one that this log was sealed with?")
        if self._late:
            self._say(
                f"Note: {_entries(self._late)} more than a day old when sealed: older than the chain, kept waiting by "
                "the database, or written afterwards by somebody."
            )
        if not self._noted_found:
            self._problem(
                f"The seal that was noted, {self._noted}, is not in the chain: seals were removed from its end, maybe "
                "to be made anew; or this is another log."
            )
        if self.problems > self.SENTENCES:
            self._say(f"And so on: {self.problems} problems.")
        self._say(
            f"{_entries(self.entries)} under {_counted(self.seals, 'seal', 'seals')}: "
            f"{_counted(self.problems, 'problem', 'problems')}."
        )
        if self.head is not None:
            self._say(f"Head: {self.head}")

    def _problem(self, sentence: str) -> None:
        self.problems += 1
        if self.problems <= self.SENTENCES:
            self._say(sentence)


def _what_is_wrong(found: Found, row: Seal, changed: str | None) -> str:
    name = f"seal {row.id}, made {_time(row.made_ms)},"
    if found.entries < row.entries:
        return f"{name.capitalize()} lacks {row.entries - found.entries} of its {_entries(row.entries)}."
    if found.entries > row.entries:
        return f"{name.capitalize()} has {_entries(found.entries - row.entries)} more than when it was made."
    if changed == "entries":
        return f"Entries under {name} were changed, or the time that it says."
    if changed == "seal":
        return f"{name.capitalize()} was overwritten; its entries are as they were sealed."
    return f"{name.capitalize()} fits neither its entries nor its neighbours: some of these were changed or reordered."


def _entries(count: int) -> str:
    return _counted(count, "entry", "entries")


def _counted(count: int, one: str, many: str) -> str:
    return f"{count or 'no'} {one if count == 1 else many}"


def _time(ms: int) -> str:
    """Also of a time that cannot be: whoever changed the row may have put anything there."""
    try:
        return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"at {ms} ms"
