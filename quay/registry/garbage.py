"""
The garbage collector: what nobody can reach or restore any more goes, while the registry is at work.

- A **tag** that ended (deleted, moved, expired) goes when the time machine of its namespace does not reach back to its
  end. A manifest that was pushed by digest alone has a hidden tag, which ends after `Policy.untagged_s`.
- A **manifest** goes when it has been unreachable for longer than that, and no tag that can still be restored named it,
  or an index above it or a subject of it at any remove. So the children of an index, and the referrers of a subject, go
  after it, unless a tag or another index or subject of their own keeps them; one that was deleted by its digest goes
  though they would. Its labels and its children's names go with it; its blobs stay linked for `Policy.grace_s`, because
  a client may just have been told that they are here.
- A **link** goes when its lease has run out and no manifest of the repository names the blob. The lease is
  `Policy.upload_s` from the upload or the mount.
- A **blob** that no repository links (its links went, or were deleted through the API, or their repository was) goes:
  first its row, then, under the protocol of `quay.model.condemned`, its bytes. A crash in between leaves a condemned
  row, which the next run finishes. Names are removed without a sync: a power cut may bring back bytes, which are then
  in nobody's way, and which `quay fsck --repair` removes. While a backup is made, no blob goes (`quay.model.fence`).
- An **upload** to which nobody has written for `Policy.upload_s` is reaped by `Uploads.reap`: its bytes, then its row.

Every kind has its candidates in the order of an index, and a position in it that outlives the process: a run looks at
what became due since the last one. Once a day it looks at everything again, page by page, for what became garbage
without becoming due: a link beside a manifest that was forgotten, a namespace whose time machine was shortened. A page
is a transaction of one repository, and no lock is held while bytes are removed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from typing import Any, Final, Protocol

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from quay import faults
from quay.database import Database
from quay.model import condemned, fence, garbage
from quay.model.condemned import CLAIM_S, Condemned
from quay.model.garbage import Due, Page, Position
from quay.registry.blobs import Stores
from quay.registry.policy import Policy
from quay.storage import StorageError

log = Logger()

PAGE: Final = 500
BLOBS_A_RUN: Final = 2_000
"""How many rows of blobs a run looks at, whether a repository links them."""
OVERLAP_MS: Final = 600_000
"""So much is looked at again: a transaction may commit later than its time says."""
THOROUGH_MS: Final = 24 * 3600 * 1000
WATCHED_S: Final = 5 * CLAIM_S
THOROUGH: Final = "thorough"
BLOBS: Final = "blobs"
BY_TIME: Final = ("tags:", "manifests:", "links")


class Time(Protocol):
    """What a run may take: see `quay.worker.Budget`."""

    @property
    def spent(self) -> bool: ...


class AllTheTime:
    """A budget without an end."""

    spent = False


@attrs.define
class Collected:
    """What a run has removed; `bytes` are those that locations have been freed of."""

    tags: int = 0
    manifests: int = 0
    links: int = 0
    blobs: int = 0
    bytes: int = 0

    def add(self, more: Collected) -> None:
        """Count what another run has removed, too."""
        for name, number in attrs.asdict(more).items():
            setattr(self, name, getattr(self, name) + number)

    def __bool__(self) -> bool:
        return any(attrs.astuple(self))

    def __str__(self) -> str:
        return (
            f"{self.tags} old tags, {self.manifests} manifests, {self.links} links, {self.blobs} blobs, "
            f"{self.bytes} bytes"
        )


class GarbageCollector:
    """
    One run at a time is enough, but several at once, on whichever nodes, do no harm. `progress` is told a sentence now
    and then.
    """

    def __init__(
        self,
        database: Database,
        stores: Stores,
        policy: Policy,
        clock: IReactorTime,
        progress: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._database = database
        self._stores = stores
        self._policy = policy
        self._clock = clock
        self._progress = progress
        self._far: dict[tuple[str, int], float] = {}  # since when these claims have been seen

    async def run(self, time: Time, *, thorough: bool = False, done: Collected | None = None) -> Collected:
        """
        Collect what is due until `time` is spent; `thorough`: look at everything, not only at what became due. It is
        counted in `done` as it happens.
        """
        done = Collected() if done is None else done
        positions = await self._positions(thorough)
        run = _Run(self._database, time, positions)
        await self._finish_what_others_began(run, done)
        for reach in await self._database.read(garbage.time_machines):
            await run.through(f"tags:{reach}", self._tags(reach), self._remove_tags(done), lag_s=reach)
            await run.through(f"manifests:{reach}", self._manifests(reach), self._remove_manifests(done), lag_s=reach)
        if await self._database.read(fence.is_standing):
            self._progress("A backup is being made: every blob is kept until it is done.")
        await run.through("links", self._links, self._unlink(done))
        await self._sweep(run, done, everything=thorough)
        await self._database.write(garbage.remember, run.moved)
        faults.point("gc.finished")
        if done:
            log.info("Garbage collected: {done}", done=done)
        return done

    async def _positions(self, thorough: bool) -> dict[str, Position]:
        """Where to go on; the beginning once a day."""
        found = await self._database.read(garbage.positions)
        now_ms = int(self._clock.seconds() * 1000)
        if not thorough and 0 <= now_ms - (found.get(THOROUGH) or (0,))[0] < THOROUGH_MS:
            return found
        anew: dict[str, Position] = {name: () for name in found if name.startswith(BY_TIME)} | {THOROUGH: (now_ms,)}
        await self._database.write(garbage.remember, anew)
        return found | anew

    # --- each kind: what is due, and what is done about it

    def _tags(self, reach: int) -> Look:
        return lambda after: self._database.read(garbage.due_tags, reach, after, PAGE)

    def _manifests(self, reach: int) -> Look:
        return lambda after: self._database.read(garbage.due_manifests, reach, after, PAGE)

    async def _links(self, after: Position) -> Page:
        return await self._database.read(garbage.due_links, after, PAGE)

    def _remove_tags(self, done: Collected) -> Act:
        async def remove(repository_id: int, ids: Sequence[int]) -> None:
            done.tags += await self._database.write(garbage.remove_tags, repository_id, ids)
            faults.point("gc.tags-removed")

        return remove

    def _remove_manifests(self, done: Collected) -> Act:
        async def remove(repository_id: int, ids: Sequence[int]) -> None:
            grace_s = self._policy.grace_s
            done.manifests += await self._database.write(garbage.remove_manifests, repository_id, ids, grace_s)
            faults.point("gc.manifests-removed")

        return remove

    def _unlink(self, done: Collected) -> Act:
        async def unlink(repository_id: int, ids: Sequence[int]) -> None:
            links, blobs, doomed = await self._database.write(garbage.unlink, repository_id, ids)
            done.links += links
            done.blobs += blobs
            await self._remove_bytes(doomed, done)

        return unlink

    async def _sweep(self, run: _Run, done: Collected, *, everything: bool) -> None:
        """Blobs that lost their last link without the collector: some rows each time, round and round."""
        after: Position = () if everything else run.positions.get(BLOBS, ())
        looked = 0
        while not run.time.spent and (everything or looked < BLOBS_A_RUN):
            page = await self._database.read(garbage.due_blobs, after, PAGE)
            if page.due:
                blobs, doomed = await self._database.write(condemned.condemn_unlinked, [due.id for due in page.due])
                done.blobs += blobs
                await self._remove_bytes(doomed, done)
            looked += PAGE
            after = page.end or ()
            if page.end is None:
                break
        if after != run.positions.get(BLOBS, ()):
            run.moved[BLOBS] = after

    # --- bytes

    async def _finish_what_others_began(self, run: _Run, done: Collected) -> None:
        dead = await self._dead_claims()
        while not run.time.spent:
            doomed = await self._database.write(condemned.overdue, PAGE, dead)
            faults.point("gc.taken-over")
            await self._remove_bytes(doomed, done)
            if not doomed:
                return

    async def _dead_claims(self) -> list[str]:
        """Those that a wrong clock has made, and that nobody has prolonged while we saw several of them run out."""
        now = self._clock.seconds()
        found = await self._database.read(condemned.far_claims)
        self._far = {one: min(self._far.get(one, now), now) for one in found}
        return [claim for (claim, _), since in self._far.items() if now - since > WATCHED_S]

    async def _remove_bytes(self, doomed: Sequence[Condemned], done: Collected) -> None:
        """Remove what is condemned; what cannot be removed now is overdue in a while."""
        if not doomed:
            return
        faults.point("gc.row-deleted")
        until = self._clock.seconds() + CLAIM_S / 2
        removed = [one for one in doomed if self._clock.seconds() < until and await self._remove(one)]
        faults.point("gc.bytes-deleted")
        await self._database.write(condemned.gone, removed)
        faults.point("gc.gone")
        done.bytes += sum(one.size for one in removed)
        self._progress(f"So far: {done}.")

    async def _remove(self, doomed: Condemned) -> bool:
        store = self._stores.by_location.get(doomed.location)
        try:
            if store is not None:
                await store.delete(doomed.digest)
        except StorageError as error:
            log.error("{digest} could not be removed: {error}", digest=doomed.digest, error=error)
            return False
        faults.point("gc.blob-removed")
        return True


Look = Callable[[Position], Awaitable[Page]]
Act = Callable[[int, Sequence[int]], Awaitable[None]]


@attrs.define
class _Run:
    """One run: from which positions it goes on, and which of them have `moved`."""

    database: Database
    time: Time
    positions: dict[str, Position]
    moved: dict[str, Position] = attrs.field(factory=dict)

    async def through(self, name: str, look: Look, act: Act, lag_s: int = 0) -> None:
        """Act on every page of candidates, for each repository on its own, until there are none or no time is left."""
        after = kept = self.positions.get(name, ())
        settled = await self.database.read(_now_ms) - lag_s * 1000 - OVERLAP_MS
        while not self.time.spent:
            page = await look(after)
            for repository_id, due in groupby(sorted(page.due, key=_repository), key=_repository):
                await act(repository_id, [one.id for one in due])
            if page.end is None:
                break
            after = page.end
            if after[0] <= settled:
                kept = after
        if kept != self.positions.get(name, ()):
            self.moved[name] = kept


def _repository(due: Due) -> int:
    return due.repository_id


def _now_ms(txn: Any) -> int:
    now_ms: int = txn.now_ms
    return now_ms
