"""
Jobs at work: what each kind does, how far it is, and what becomes of it when the server stops in the middle.

One job of each lane runs at a time in the whole installation: its worker has a lease. Once a second it is written down
how far the job is, and looked whether it is to stop. A job that was interrupted is taken up again by whoever holds the
lease next: a scrub goes on at the blob where it was, all others begin again, a collection has the positions of its own,
and a backup finds what the one before it has copied.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from quay.backups import BackupFailed
from quay.model import holdings, job
from quay.model.job import Ending, Job, Progress
from quay.oci.errors import RegistryError
from quay.registry.fsck import Check
from quay.registry.garbage import Collected, GarbageCollector, Time
from quay.registry.scrub import Scrub
from quay.service.backups import Backups
from quay.service.bundle_jobs import BundleJobs
from quay.service.core import Core
from quay.service.import_jobs import ImportJobs
from quay.storage import StorageError

log = Logger()

NOTE_S: Final = 1.0
RATE: Final = 50e6
"""Bytes a second that a scrub reads at most, as `quay scrub` does."""
SAID: Final = 1_000
"""Lines that wait to be written down, at most."""

Measure = Callable[[], Progress]


@attrs.define
class Report:
    """What a job says of itself: lines, and with `measure` how far it is."""

    measure: Measure = Progress
    lines: list[str] = attrs.field(factory=list)
    stopped: bool = False

    def say(self, line: str) -> None:
        """Put a line into the log of the job."""
        self.lines.append(line)
        if len(self.lines) > SAID:
            del self.lines[: len(self.lines) - SAID]

    def taken(self) -> Progress:
        """How far it is, with what has been said since this was called last."""
        lines, self.lines = self.lines, []
        return attrs.evolve(self.measure(), lines=lines)


class Jobs:
    """What the worker of a lane does, under its lease."""

    def __init__(self, reactor: Any, core: Core, backups: Backups, lane: str) -> None:
        self._reactor = reactor
        self._core = core
        self._backups = backups
        kinds: Mapping[str, Callable[[Job, Report, Time], Awaitable[None]]] = {
            "gc": self._collect,
            "fsck": self._check,
            "repair": self._check,
            "scrub": self._scrub,
            "backup": self._backup,
            "verify": self._verify,
            **BundleJobs(reactor, core).kinds,
            "import": ImportJobs(reactor, core).run,
        }
        self._kinds = {kind: kinds[kind] for kind in job.KINDS if job.lane_of(kind) == lane}

    async def run(self, time: Time) -> None:
        """Run what waits, until there is nothing more or the server stops."""
        while not time.spent:
            found = await self._core.database.write(job.take_up, list(self._kinds))
            if found is None:
                return
            one, interrupted = found
            report = Report()
            await self._greet(one, interrupted, report)
            await self._do(one, report, time)

    async def _do(self, one: Job, report: Report, time: Time) -> None:
        working = Deferred.fromCoroutine(_awaited(self._kinds[one.kind](one, report, time)))
        watching = Deferred.fromCoroutine(self._watch(one, report, working, time))
        state: Ending = "done"
        try:
            await working
        except CancelledError:
            if not report.stopped:
                await self._note(one, report)
                if time.spent:
                    return  # the server stops: the next one takes it up
                raise
            state = "cancelled"
            report.say("Cancelled. What was done stays done.")
        except (RegistryError, StorageError, BackupFailed) as refusal:
            why = f"{refusal} {getattr(refusal, 'advice', '')}".strip()
            log.warn("the job {uuid} ({kind}) failed: {why}", uuid=one.uuid, kind=one.kind, why=why)
            state = "failed"
            report.say(f"Failed: {why}")
        except Exception as error:
            log.failure("the job {uuid} ({kind}) failed", uuid=one.uuid, kind=one.kind)
            state = "failed"
            report.say(f"Failed: {error or type(error).__name__} The log of the server knows more.")
        finally:
            watching.cancel()
        if state == "done" and time.spent and one.kind == "gc":
            await self._note(one, report)  # a collection that has no more time returns as if it were through
            return
        await self._note(one, report)
        await self._core.database.write(job.end, one.uuid, state)

    async def _greet(self, one: Job, interrupted: bool, report: Report) -> None:
        if not interrupted:
            report.say(f"{job.KINDS[one.kind]}: begun for {one.requester}.")
            return
        where = "goes on from where it was" if one.cursor else "begins again"
        report.say(f"The server stopped in the middle of this: it {where}.")
        await self._core.database.write(job.go_on, one.uuid, one.cursor.get("bytes", 0), one.cursor)

    async def _watch(self, one: Job, report: Report, working: Deferred[None], time: Time) -> None:
        """Write down how far it is, and end it when it is to stop."""
        try:
            while not working.called:
                await deferLater(self._reactor, NOTE_S)
                if await self._note(one, report):
                    report.stopped = True
                if (report.stopped or time.spent) and not working.called:
                    working.cancel()
        except CancelledError:
            return
        except Exception:  # it goes on unseen rather than not at all
            log.failure("it cannot be written down how far the job {uuid} is", uuid=one.uuid)

    async def _note(self, one: Job, report: Report) -> bool:
        made = report.taken()
        return await self._core.database.write(job.progress, one.uuid, made)

    # --- the kinds

    async def _collect(self, one: Job, report: Report, time: Time) -> None:
        done = Collected()
        report.measure = lambda: Progress(done=done.bytes)
        core = self._core
        collector = GarbageCollector(core.database, core.stores, core.policy, self._reactor, report.say)
        await collector.run(time, thorough=True, done=done)
        report.say(f"Removed: {done}.")

    async def _check(self, one: Job, report: Report, time: Time) -> None:
        core = self._core
        check = Check(
            core.database, core.stores, core.threads.blobs, self._reactor, report.say, repair=one.kind == "repair"
        )
        held = sum(location.blobs for location in await self._held())
        report.measure = lambda: Progress(done=check.looked, total=max(2 * held, check.looked))
        remaining = await check.run()
        report.say(f"{check.found} problems, of which {check.mended} were mended; {remaining} remain.")

    async def _scrub(self, one: Job, report: Report, time: Time) -> None:
        core = self._core
        scrub = Scrub(core.database, core.stores, core.threads.blobs, self._reactor, report.say, rate=RATE)
        scrub.resume(one.cursor)
        held = sum(location.bytes for location in await self._held())
        report.measure = lambda: Progress(scrub.bytes, max(held, scrub.bytes), scrub.cursor)
        rotten = await scrub.run()
        report.say("No blob has rotted." if not rotten else f"{rotten} blobs had rotted: push them again.")

    async def _backup(self, one: Job, report: Report, time: Time) -> None:
        backup = self._backups.backup(report.say)
        report.measure = lambda: Progress(backup.done, backup.total or None)
        made = await backup.run()
        report.say(str(made))
        await self._backups.made(made, report.say)

    async def _verify(self, one: Job, report: Report, time: Time) -> None:
        verification = await self._backups.verification(report.say, RATE)
        report.measure = lambda: Progress(verification.done, verification.total or None)
        record = await verification.run()
        await self._backups.verified(record, verification.problems)
        report.say(verification.verdict)

    async def _held(self) -> list[holdings.Held]:
        return await self._core.database.read(holdings.held)


async def _awaited(work: Awaitable[None]) -> None:
    await work
