"""
Imports: what another registry, the directory of one, or another Quay has, comes into this one.

A tag comes when all that it names is here: until then the tags are what they were, and what was fetched before a crash
is not fetched again. What cannot come is told by name with its reason, and does not keep the rest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from fnmatch import fnmatchcase
from typing import Final

import attrs

from quay.database import Database
from quay.importing.bringing import ENDS, REFUSALS, Bringer, Filling, sentence
from quay.importing.carrying import NoRoom, Room
from quay.importing.parallel import each, listed
from quay.importing.report import Tally
from quay.importing.source import TROUBLE, Source
from quay.model import tag as tags
from quay.oci.reference import Digest, Tag

__all__ = ["Choice", "Importer", "NoRoom", "Room", "Tally"]

REPOSITORIES_AT_ONCE: Final = 2
TAGS_AT_ONCE: Final = 4


@attrs.frozen
class Choice:
    """
    What is to come: repositories and tags by globs, where none means all; manifests without a tag, too, if `untagged`;
    and what refers to images (signatures, for instance), if `referrers`. With `replace`, tags that are here and name
    something else move; else they stay.
    """

    repositories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    untagged: bool = False
    referrers: bool = True
    replace: bool = True

    @property
    def names(self) -> tuple[str, ...] | None:
        """The repositories, if they are all named: then nobody needs a list of them."""
        named = self.repositories and not any(set(name) & set("*?[") for name in self.repositories)
        return self.repositories if named else None

    def takes(self, repository: str) -> bool:
        return not self.repositories or any(fnmatchcase(repository, glob) for glob in self.repositories)

    def takes_tag(self, tag: str) -> bool:
        return not self.tags or any(fnmatchcase(tag, glob) for glob in self.tags)


class Importer:
    """Brings what is chosen of `source`, tag by tag, by `bringer`. What it does stands in `tally` at any time."""

    def __init__(self, source: Source, bringer: Bringer, database: Database) -> None:
        self.tally = bringer.tally
        self._source = source
        self._bringer = bringer
        self._database = database

    async def run(self, choice: Choice) -> Tally:
        """
        Bring it. Raises `TROUBLE` if the source cannot be listed, `NoRoom` and what `ENDS` lists; whatever else does
        not come stands in the tally.
        """

        async def fill(name: str) -> None:
            await self._fill(name, choice)

        await each(self._chosen(choice), fill, REPOSITORIES_AT_ONCE)
        self.tally.doing = ""
        return self.tally

    async def _chosen(self, choice: Choice) -> AsyncIterator[str]:
        if choice.names is not None:
            for name in choice.names:
                yield name
            return
        async for name in self._source.repositories():
            if choice.takes(name):
                yield name

    # --- one repository

    async def _fill(self, name: str, choice: Choice) -> None:
        try:
            filling = await self._bringer.begun(name)
        except REFUSALS as why:
            self.tally.problem(name, why)
            return

        async def bring(tag: str) -> None:
            await self._tag(filling, tag, choice)

        async def bring_untagged(digest: Digest) -> None:
            await self._untagged(filling, digest)

        try:
            await each(_filtered(self._source.tags(name), choice), bring, TAGS_AT_ONCE)
            if choice.untagged:
                await each(listed(await self._source.untagged(name)), bring_untagged, TAGS_AT_ONCE)
        except TROUBLE as why:
            self.tally.problem(name, why)
        self.tally.repositories += filling.tags > 0

    # --- one tag

    async def _tag(self, filling: Filling, spelled: str, choice: Choice) -> None:
        label = f"{filling.label}:{spelled}"
        self.tally.doing = label
        try:
            tag = Tag.parse(spelled)
            held = await self._held(filling, tag)
            told = await self._source.resolve(filling.source, tag)
            if held is None or held != told:
                told = await self._fetch(filling, tag, held, choice)
            else:
                self.tally.same += 1
            if choice.referrers and told is not None:
                await self._bringer.referrers(filling, told, label)
        except ENDS:
            raise
        except REFUSALS as why:
            self.tally.problem(label, sentence(why))

    async def _held(self, filling: Filling, tag: Tag) -> Digest | None:
        if filling.target is None:
            return None
        row = await self._database.read(tags.resolve_tag, filling.target.id, tag)
        return None if row is None else row.digest

    async def _fetch(self, filling: Filling, tag: Tag, held: Digest | None, choice: Choice) -> Digest | None:
        """Bring the tag; gives what it is then, None if it stays what it was."""
        tree = await filling.reader.read(tag)
        if held == tree.root.digest:
            self.tally.same += 1
            return held
        if held is not None and not choice.replace:
            self.tally.problem(f"{filling.label}:{tag}", f"It is {held} here, and stays so.")
            return None
        if held is not None:
            verb = "would move" if self._bringer.dry else "moved"
            self.tally.note(f"{filling.label}:{tag} is {held} here, and {verb}.")
        await self._bringer.bring(filling, tree, tag)
        self.tally.tags += 1
        filling.tags += 1
        return tree.root.digest

    async def _untagged(self, filling: Filling, digest: Digest) -> None:
        if await self._bringer.has(filling, digest):
            return
        try:
            await self._bringer.bring(filling, await filling.reader.read(digest), digest)
            self.tally.untagged += 1
        except ENDS:
            raise
        except REFUSALS as why:
            self.tally.problem(f"{filling.label}@{digest}", sentence(why))


async def _filtered(found: AsyncIterator[str], choice: Choice) -> AsyncIterator[str]:
    async for tag in found:
        if choice.takes_tag(tag):
            yield tag
