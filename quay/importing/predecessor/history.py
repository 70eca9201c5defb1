"""
The images of one repository of a Quay, and what its tags were when.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs

from quay.database import Database, Transaction
from quay.database.predecessor import contents
from quay.database.predecessor.contents import Held, Lifetime
from quay.importing import Choice
from quay.importing.bringing import ENDS, REFUSALS, Bringer, Filling, sentence
from quay.importing.parallel import each, listed
from quay.importing.predecessor.images import Reading
from quay.importing.report import Tally
from quay.model import content, label
from quay.model import recall as tags
from quay.model.label import LabelInvalid
from quay.model.recall import Past, Recalled
from quay.model.repository import Repository
from quay.oci.reference import Digest, Tag

AT_ONCE: Final = 4
LIFETIMES_AT_ONCE: Final = 1_000


@attrs.frozen
class History:
    """Brings manifests by `bringer`, and tags as they were; `now_ms` is when it is done."""

    reading: Reading
    bringer: Bringer
    database: Database
    now_ms: int

    @property
    def tally(self) -> Tally:
        """What has come."""
        return self.bringer.tally

    async def bring(self, held: Held, filling: Filling, choice: Choice, time_machine_s: int) -> None:
        """
        Every manifest that a tag is or was, as far back as the time machine goes; then the tags, as they were. Raises
        `SourceError`, `NoRoom`, and what `ENDS` lists.
        """
        since_ms = self.now_ms - time_machine_s * 1000
        found = await self.reading.ask(contents.lifetimes, held.id, since_ms)
        lifetimes = [one for one in found if choice.takes_tag(one.tag)]
        lost: set[str] = set()

        async def bring(digest: str) -> None:
            if not await self._manifest(filling, digest, choice):
                lost.add(digest)

        await each(listed(dict.fromkeys(one.digest for one in lifetimes)), bring, AT_ONCE)
        await self._recall(filling, [one for one in lifetimes if one.digest not in lost])
        for one in lifetimes:
            if one.digest in lost and self._is_current(one):
                self.tally.problem(f"{filling.label}:{one.tag}", f"Its manifest {one.digest} did not come.")
        if filling.target is not None and not self.bringer.dry:
            await self._labels(held, filling.target)

    async def _manifest(self, filling: Filling, spelled: str, choice: Choice) -> bool:
        """Whether the manifest is here now, or would be."""
        self.tally.doing = f"{filling.label}@{spelled[:19]}"
        try:
            digest = Digest.parse(spelled)
            if not await self._is_stored(filling, digest):
                await self.bringer.bring(filling, await filling.reader.read(digest), digest)
            if choice.referrers:
                await self.bringer.referrers(filling, digest, f"{filling.label}@{digest}")
        except ENDS:
            raise
        except REFUSALS as why:
            self.tally.problem(f"{filling.label}@{spelled}", sentence(why))
            return False
        return True

    async def _is_stored(self, filling: Filling, digest: Digest) -> bool:
        if filling.target is None:
            return False
        return await self.database.read(content.stored, filling.target.id, digest) is not None

    async def _recall(self, filling: Filling, lifetimes: Sequence[Lifetime]) -> None:
        current = sum(map(self._is_current, lifetimes))
        if self.bringer.dry or filling.target is None:
            self.tally.tags += current
            filling.tags += current
            self.tally.made["past lifetimes of tags"] += len(lifetimes) - current
            return
        past = [self._past(one) for one in lifetimes]
        for start in range(0, len(past), LIFETIMES_AT_ONCE):
            batch = past[start : start + LIFETIMES_AT_ONCE]
            self._recalled(filling, batch, await self.database.write(tags.recall, filling.target.id, batch))

    def _recalled(self, filling: Filling, batch: Sequence[Past], done: Recalled) -> None:
        self.tally.tags += done.current
        filling.tags += done.current
        self.tally.made["past lifetimes of tags"] += done.count - done.current
        self.tally.same += sum(one.end_ms is None for one in batch) - done.current - len(done.kept)
        for tag in done.kept:
            self.tally.note(f"{filling.label}:{tag} stays what it is here: that is newer.")

    def _is_current(self, one: Lifetime) -> bool:
        return one.end_ms is None or one.end_ms > self.now_ms

    def _past(self, one: Lifetime) -> Past:
        ends = not self._is_current(one)
        return Past(
            Tag.parse(one.tag),
            Digest.parse(one.digest),
            one.start_ms,
            end_ms=one.end_ms if ends else None,
            expires_ms=None if ends else one.end_ms,
            reversion=one.reversion,
            immutable=one.immutable and one.end_ms is None,
        )

    async def _labels(self, held: Held, target: Repository) -> None:
        for one in await self.reading.ask(contents.added_labels, held.id):
            try:
                made = await self.database.write(_labelled, target.id, one)
            except LabelInvalid as unfit:
                self.tally.problem(f"the label {one.key} of {target.name}@{one.digest}", unfit)
                continue
            self.tally.made["labels"] += made


def _labelled(txn: Transaction, repository_id: int, one: contents.Added) -> bool:
    """Whether the label is new here."""
    stored = content.stored(txn, repository_id, Digest.parse(one.digest))
    if stored is None or any(
        (known.key, known.value) == (one.key, one.value) for known in label.labels(txn, stored.id)
    ):
        return False
    media_type: Any = one.media_type if one.media_type in ("text/plain", "application/json") else None
    label.add(txn, repository_id, stored.id, one.key, one.value, media_type)
    return True
