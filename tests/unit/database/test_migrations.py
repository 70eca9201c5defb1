"""The history of the schema: it ends where `schema.metadata` stands, and never in the middle."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from quay.database.engines import open_engine, sqlite
from quay.database.migrations import SchemaUnfit, Status, migrate, require, status
from quay.database.schema import SCHEMA, SCHEMA_COMPAT, metadata, setting
from tests.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """A database with nothing in it."""
    if request.param == "sqlite":
        engine = sqlite(str(tmp_path / "empty.sqlite"))
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        name = f"empty_{tmp_path.name.lower()}"
        server.drop(name)
        server.create(name)
        engine = open_engine(server.url(name))
    yield engine
    engine.dispose()


CATALOGS = {
    "sqlite": ["SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%'"],
    "postgresql": [
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexname !~ 'alembic'",
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conname !~ 'alembic'"
        " AND connamespace = 'public'::regnamespace",
        "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default,"
        " collation_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name !~ 'alembic'",
        "SELECT c.relname, d.objsubid, d.description FROM pg_description d JOIN pg_class c ON c.oid = d.objoid"
        " WHERE c.relnamespace = 'public'::regnamespace",
    ],
}


def catalog(engine: sa.Engine) -> set[tuple[object, ...]]:
    """
    Everything that the engine itself says about its tables; the order inside a CREATE TABLE says nothing, nor do the
    quotes that SQLite puts around the name of a table that was rebuilt.
    """
    with engine.connect() as connection:
        return {
            tuple(
                frozenset(re.split(r",?\s*\n\s*", cell.replace('"', ""))) if isinstance(cell, str) else cell
                for cell in row
            )
            for query in CATALOGS[engine.dialect.name]
            for row in connection.exec_driver_sql(query)
        }


def test_history_leads_to_the_metadata(database_engine: sa.Engine) -> None:
    """Alembic finds no difference between a migrated database and `schema.metadata`."""
    with database_engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []


def test_history_makes_what_the_metadata_makes(empty_engine: sa.Engine) -> None:
    """The engine's own catalog is the same, to the conditions of partial indexes, checks and collations."""
    metadata.create_all(empty_engine)
    wanted = catalog(empty_engine)
    metadata.drop_all(empty_engine)
    migrate(empty_engine)
    assert catalog(empty_engine) == wanted


def test_status_says_what_is_there(empty_engine: sa.Engine) -> None:
    """An empty database has schema 0 and is not fit; a migrated one is, and migrating again changes nothing."""
    assert status(empty_engine) == Status(0, 0)
    with pytest.raises(SchemaUnfit, match="run 'quay migrate' first"):
        require(empty_engine)
    migrate(empty_engine)
    migrate(empty_engine)
    assert status(empty_engine) == Status(SCHEMA, SCHEMA_COMPAT)
    require(empty_engine)


def pretend(engine: sa.Engine, **numbers: int) -> None:
    with engine.begin() as connection:
        for key, number in numbers.items():
            connection.execute(sa.update(setting).where(setting.c.key == key).values(value=str(number)))


def test_newer_incompatible_schema_is_refused(database_engine: sa.Engine) -> None:
    """A database that only newer code may use is neither used nor migrated, and a sentence says what to do."""
    pretend(database_engine, schema=SCHEMA + 5, schema_compat=SCHEMA + 3)
    for step in (migrate, require):
        with pytest.raises(SchemaUnfit, match=f"has schema {SCHEMA + 5}.*Install the newer version"):
            step(database_engine)


def test_newer_compatible_schema_is_left_alone(database_engine: sa.Engine) -> None:
    """An old node goes on working on a database that a new one has extended, and does not turn it back."""
    pretend(database_engine, schema=SCHEMA + 5)
    migrate(database_engine)
    require(database_engine)
    assert status(database_engine) == Status(SCHEMA + 5, SCHEMA_COMPAT)


class Fuse:
    """Lets `left` statements through to the engine, and none after that."""

    def __init__(self, engine: sa.Engine, left: int) -> None:
        self.left = left
        sa.event.listen(engine, "before_cursor_execute", self.burn)

    def burn(self, *_statement: object) -> None:
        if self.left == 0:
            raise InterruptedError("killed here")
        self.left -= 1


PLENTY = 10_000


def test_killed_migration_leaves_nothing(empty_engine: sa.Engine) -> None:
    """A migration that dies at a statement leaves the database as it was, and a later one succeeds."""
    survived = 0
    fuse = Fuse(empty_engine, survived)
    while True:
        try:
            migrate(empty_engine)
            break
        except InterruptedError:
            fuse.left = PLENTY
            assert catalog(empty_engine) == set()
            survived += 5
            fuse.left = survived
    fuse.left = PLENTY
    assert survived > 60
    assert status(empty_engine).schema == SCHEMA


def test_nodes_may_migrate_at_once(empty_engine: sa.Engine) -> None:
    """Of several nodes that start together one migrates, and the others find it done."""
    engines = [open_engine(empty_engine.url.render_as_string(hide_password=False)) for _ in range(4)]
    with ThreadPoolExecutor(len(engines)) as nodes:
        list(nodes.map(migrate, engines))
    for engine in engines:
        require(engine)
        engine.dispose()
