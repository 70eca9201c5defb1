"""
One linear history of the schema, for both engines, as Alembic versions beside this module.

Two numbers are kept in the database: which schema it has, and the oldest code that can live with that. So an old node
goes on while a new one migrates, and refuses what it would damage.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa
from twisted.logger import Logger

from quay import __version__
from quay.database.engines import migrating, upsert
from quay.database.schema import SCHEMA, SCHEMA_COMPAT, setting

if TYPE_CHECKING:
    from alembic.config import Config


log = Logger()


class SchemaUnfit(Exception):
    """The database has a schema with which this code cannot work."""


@attrs.frozen
class Status:
    """The schema of a database (0: none yet), and the oldest code, by its schema, that may use it."""

    schema: int
    compat: int
    version: str = attrs.field(default="", eq=False)
    """The newest program that has migrated it, as far as that was written down."""

    @property
    def pending(self) -> bool:
        """Whether `migrate` has something to do."""
        return self.schema < SCHEMA

    @property
    def too_new(self) -> bool:
        """Whether this code must keep its hands off."""
        return self.compat > SCHEMA


def status(engine: sa.Engine) -> Status:
    """Which schema the database has."""
    with engine.connect() as connection:
        return status_of(connection)


def require(engine: sa.Engine) -> None:
    """Raises `SchemaUnfit` unless this code can work on the database as it is."""
    found = status(engine)
    _refuse_newer(found)
    if found.pending:
        raise SchemaUnfit(
            f"The database has schema {found.schema}, and this version needs {SCHEMA}: run 'quay migrate' first."
        )


def migrate(engine: sa.Engine, *, copied: bool = True) -> None:
    """
    Bring the database to this code's schema, in one transaction; several nodes may do so at once. A database that is
    newer and compatible is left alone; raises `SchemaUnfit` for one that is not. What it was before is `copied`, so
    that there is a way back: see `quay.database.rollback`.
    """
    with migrating(engine) as connection:
        found = status_of(connection)
        _refuse_newer(found)
        if found.pending:
            if found.schema and copied:
                _keep(engine, found)
            _upgrade(connection)
            _record(connection, schema=SCHEMA, schema_compat=SCHEMA_COMPAT, version=__version__)


def _keep(engine: sa.Engine, found: Status) -> None:
    from quay.database import rollback
    from quay.database.snapshot import SnapshotFailed

    if engine.dialect.name != "sqlite":
        log.warn("PostgreSQL is migrated without a copy of it as it was: the way back is a backup made before")
        return
    try:
        kept = rollback.keep(Path(str(engine.url.database)), found.schema)
        log.info("The database as it was before its migration is in {kept}", kept=kept)
    except SnapshotFailed as error:
        log.warn("{error}", error=error)


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command  # as much to import as all that a command needs else, and hardly ever needed

    command.upgrade(_history(connection), "head")


def _history(connection: sa.Connection) -> Config:
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "quay.database:migrations")
    return config


def status_of(connection: sa.Connection) -> Status:
    """Which schema the database has, asked in a transaction of somebody's own."""
    if not sa.inspect(connection).has_table(setting.name):
        return Status(0, 0)
    rows = connection.execute(sa.select(setting.c.key, setting.c.value))
    kept = {str(key): str(value) for key, value in rows}
    return Status(int(kept.get("schema", 0)), int(kept.get("schema_compat", 0)), kept.get("version", ""))


def _refuse_newer(found: Status) -> None:
    if found.too_new:
        raise SchemaUnfit(
            f"The database has schema {found.schema}, made by {_named(found.version)}, and nothing older than the "
            f"version with schema {found.compat} may use it; this one ({__version__}) has {SCHEMA}. Install the newer "
            "version; or go back with its 'quay rollback', or to a backup."
        )


def _named(version: str) -> str:
    return f"version {version}" if version else "a newer version"


def _record(connection: sa.Connection, **facts: int | str) -> None:
    statement = upsert(connection.dialect.name, setting, "key", update=("value",))
    connection.execute(statement, [{"key": key, "value": str(fact)} for key, fact in facts.items()])
