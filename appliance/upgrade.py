"""
The way back from an upgrade: to the database as it was before this version migrated it, and to the program before it.

`quay install`, done again with a newer program, is the way there, and keeps the program before it; the database is
copied before it is migrated (`quay.database.rollback`).
"""

from __future__ import annotations

from pathlib import Path

import attrs

from appliance.layout import Layout, switch
from appliance.programs import is_older
from quay import __version__
from quay.config import Config
from quay.database.rollback import Copy, Lost, copies, lost, roll_back


class NoWayBack(Exception):
    """There is nothing to go back to; the message says why, and what else can be done."""


@attrs.frozen
class Way:
    """
    The way back of an installation: the `copy` of its `database` (None if this version has not migrated it), what that
    loses, and the `version` of the program before this one (None if only this one is known).
    """

    database: Path
    copy: Copy | None
    lost: Lost | None
    version: str | None

    def sentences(self) -> list[str]:
        """What going it means."""
        program = f"the program of version {self.version}" if self.version else "the database alone"
        if self.copy is None or self.lost is None:
            return [f"This version ({__version__}) has not changed the schema: back to {program}, and nothing is lost."]
        at = f"{self.copy.at:%Y-%m-%d %H:%M} UTC"
        said = [
            f"Back to {program}, and to the database with schema {self.copy.schema}, as it was at {at}, before version "
            f"{self.copy.version} migrated it.",
            f"Lost will be {self.lost.pushes} pushes since then, and everything else that was changed: "
            f"{self.lost.entries} entries of the audit log.",
        ]
        if self.lost.blobs:
            said.append(f"{self.lost.blobs} blobs were collected since then: what names them has to be pushed again.")
        return said


def way_back(config: Config, layout: Layout) -> Way:
    """The way back from this version. Raises `NoWayBack`, `quay.database.snapshot.SnapshotFailed`."""
    version = layout.version(layout.previous)
    if version is not None and not is_older(version, __version__):
        version = None
    if not config.database_uri.is_sqlite:
        raise NoWayBack(
            "The database is PostgreSQL's, of which no copy is made before a migration: restore a backup that was made "
            "before the upgrade into a new database, with the program of then"
            + (f": {layout.program(version)}/quay restore BACKUP." if version else ".")
        )
    database = Path(config.database_uri.place)
    found = next(iter(copies(database)), None)
    if found is not None and found.version == __version__:
        return Way(database, found, lost(database, found), version)
    if version is None:
        raise NoWayBack(
            f"There is nothing to go back to: version {__version__} has not migrated {database}, and no program before "
            "it is kept on this machine."
        )
    return Way(database, None, None, version)


def go(way: Way, layout: Layout) -> Path | None:
    """
    Go it: the database first, since the program of now would only migrate it again. Returns where the database that was
    given up is. No server may run. Raises `OSError`, `quay.database.snapshot.SnapshotFailed`.
    """
    given_up = None if way.copy is None else roll_back(way.database, way.copy)
    if way.version is not None:
        switch(layout, way.version)
    return given_up
