"""
Fixtures that several kinds of tests share: a real PostgreSQL, and migrated databases on both engines.

QUAY_TEST_REQUIRE=postgres makes a server that cannot be started a failure; otherwise its tests are skipped. With `long`
in it, or for whoever names what he wants to run, tests that take their time are run as well.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import open_engine, postgresql, sqlite
from quay.database.migrations import migrate
from tests.postgres import PostgresMissing, PostgresServer

NOW_MS = 1_700_000_000_000
TEMPLATE = "quay_template"


def required(what: str) -> bool:
    """Whether this run was told to require it."""
    return what in os.environ.get("QUAY_TEST_REQUIRE", "").replace(",", " ").split()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without being asked for them, nobody waits for long tests."""
    if config.option.file_or_dir or required("long"):
        return
    reason = "long: QUAY_TEST_REQUIRE=long runs it, and so does naming it"
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason=reason))


def missing(server: str, reason: object) -> None:
    """Skip what needs `server`, or fail if this run was told to require it."""
    if required(server):
        pytest.fail(f"{server} is required, but {reason}", pytrace=False)
    pytest.skip(f"no {server}: {reason}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL with a migrated database `quay_template`, to be copied."""
    try:
        server = PostgresServer()
    except (PostgresMissing, OSError) as reason:
        missing("postgres", reason)
        return
    try:
        _start_postgres(server)
        yield server
    finally:
        server.destroy()


def _start_postgres(server: PostgresServer) -> None:
    try:
        server.start()
    except PostgresMissing as reason:
        missing("postgres", reason)
    server.create(TEMPLATE)
    engine = postgresql(server.url(TEMPLATE))
    migrate(engine)
    engine.dispose()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite"
    engine = sqlite(str(path))
    migrate(engine)
    engine.dispose()
    return path


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database of this test's own."""
    name = f"quay_{uuid4().hex}"
    postgres.create(name, TEMPLATE)
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a migrated SQLite database of this test's own."""
    path = shutil.copy(sqlite_template, tmp_path / "quay.sqlite")
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated database of this test's own; each test runs once on each engine."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def database_engine(database_url: str) -> Iterator[sa.Engine]:
    """An engine for a migrated database of this test's own, for tests that commit."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def shared_engine(request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    """An engine for the one migrated database behind every `transaction`: nothing in it is ever committed."""
    if request.param == "sqlite":
        engine = sqlite(str(request.getfixturevalue("sqlite_template")))
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        name = f"quay_shared_{uuid4().hex}"
        server.create(name, TEMPLATE)
        engine = postgresql(server.url(name))
    yield engine
    engine.dispose()


@pytest.fixture
def transaction(shared_engine: sa.Engine) -> Iterator[Transaction]:
    """An open transaction on an empty migrated database, rolled back afterwards; its `now_ms` may be set."""
    with shared_engine.connect() as connection, connection.begin() as outer:
        yield Transaction(connection, NOW_MS)
        outer.rollback()
