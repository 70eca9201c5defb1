"""
The audit log as the commands of an administrator see it: verified, or written to a file.
"""

from __future__ import annotations

from collections.abc import Callable

from quay.model import logs, namespace
from quay.model.logs import LATEST, Selection
from quay.model.namespace import NamespaceInvalid
from quay.registry.logbook import Format, chapters, heading, lines
from quay.registry.sealing import Verification
from quay.service.core import Core

Say = Callable[[str], object]


async def verify(core: Core, say: Say, noted: str | None) -> int:
    """Go through the chain of seals, and look for the head that was `noted`; returns how many problems there are."""
    verification = Verification(core.database, seal_key(core), say, noted)
    await verification.run()
    return verification.problems


async def export(
    core: Core, write: Say, name: str | None, start_ms: int | None, end_ms: int | None, form: Format
) -> int:
    """
    Give `write` the entries of the namespace `name`, or all, performed from `start_ms` until before `end_ms`, as far
    as these are given; returns how many they are. Raises `NamespaceInvalid`.
    """
    owner = None if name is None else await core.database.read(namespace.find, name)
    if owner is None and name is not None:
        raise NamespaceInvalid(f"There is no namespace {name!r}: nothing was exported.")
    selection = Selection(
        namespace_id=None if owner is None else owner.id,
        start_ms=0 if start_ms is None else start_ms,
        end_ms=LATEST if end_ms is None else end_ms,
    )
    selection = await core.database.read(logs.owned, selection)
    written = 0
    write(heading(form))
    async for chapter in chapters(core.database, selection):
        write(lines(chapter, form))
        written += len(chapter.entries)
    return written


def seal_key(core: Core) -> bytes:
    """What the audit log is sealed with; there is none before the core has started."""
    return core.seals.key("audit")
