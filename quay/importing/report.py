"""
What an import did, does, or would do: counted as it goes, and told at the end, with each thing that did not come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import attrs

TOLD: Final = 10_000
"""So many things that did not come are named; more are counted."""


@attrs.frozen
class Problem:
    """Something that did not come, and why."""

    what: str
    why: str


@attrs.define
class Tally:
    """
    Counts. Of tags: `tags` came (or would), `same` were here already. Of bytes: `total` are to come as far as is known,
    `done` have come, `here` need not, because other repositories have them. `made` counts what else came, by its
    noun in the plural. `doing` is what is under way.
    """

    repositories: int = 0
    tags: int = 0
    same: int = 0
    untagged: int = 0
    manifests: int = 0
    blobs: int = 0
    total: int = 0
    done: int = 0
    here: int = 0
    doing: str = ""
    made: Counter[str] = attrs.field(factory=Counter)
    notes: list[str] = attrs.field(factory=list)
    problems: list[Problem] = attrs.field(factory=list)
    troubles: int = 0
    _noted: set[str] = attrs.field(factory=set)

    def problem(self, what: str, why: object) -> None:
        """Something did not come."""
        self.troubles += 1
        if len(self.problems) < TOLD:
            self.problems.append(Problem(plain(what), plain(str(why))))

    def note(self, line: str) -> None:
        """Something remarkable, once."""
        if line not in self._noted and len(self.notes) < TOLD:
            self._noted.add(line)
            self.notes.append(plain(line))

    def came(self, count: int) -> None:
        """So many bytes have come."""
        self.done += count


def plain(text: str) -> str:
    """`text` on one line, without what would confuse a terminal."""
    return "".join(character if character.isprintable() else " " for character in text[:1000])


def summary(tally: Tally, size: Callable[[int], str], *, dry: bool) -> Iterator[str]:
    """What there is to say at the end, or after a look (`dry`), but for what did not come; `size` spells bytes."""
    would = "would come" if dry else "came"
    untagged = f", {tally.untagged} manifests without a tag" if tally.untagged else ""
    yield (
        f"{tally.tags} tags of {tally.repositories} repositories {would}{untagged}; {tally.same} were here already. "
        f"{tally.blobs} blobs of {size(tally.total if dry else tally.done)} {'would be' if dry else 'were'} taken."
    )
    if tally.here:
        yield f"{size(tally.here)} need not be taken: other repositories of this import have them."
    others = [f"{noun}: {count}" for noun, count in tally.made.items() if count]
    if others:
        yield f"Besides, {would}: {', '.join(others)}."
    yield from tally.notes
