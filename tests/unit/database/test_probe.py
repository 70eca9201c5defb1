"""A PostgreSQL is asked whether it could hold the registry, and says so, or why not, without anything being changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import psycopg
import pytest

from quay.database import once
from quay.database.probe import DatabaseUnfit, probe
from tests.postgres import PostgresServer, free_port

Make = Callable[..., str]


@pytest.fixture
def make(postgres: PostgresServer) -> Iterator[Make]:
    """Make an empty database, and do these statements to it."""
    made: list[str] = []

    def empty(*statements: str, encoding: str = "UTF8") -> str:
        made.append(f"probe_{uuid4().hex}")
        do(postgres, "postgres", f"CREATE DATABASE {made[-1]} ENCODING '{encoding}' TEMPLATE template0")
        do(postgres, made[-1], *statements)
        return made[-1]

    yield empty
    for name in made:
        postgres.drop(name)


def do(postgres: PostgresServer, database: str, *statements: str) -> None:
    with psycopg.connect(postgres.url(database), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload]  # a str is what a test has


def tables(postgres: PostgresServer, database: str) -> int:
    with psycopg.connect(postgres.url(database)) as connection:
        row = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert row is not None
        return int(row[0])


def test_an_empty_database(postgres: PostgresServer, make: Make) -> None:
    """An empty one will do, and stays empty."""
    database = make()
    found = probe(postgres.tcp_url(database))
    assert (found.in_use, found.version.split(".")[0]) == (False, "18")
    assert tables(postgres, database) == 0


def test_a_registry_of_ours(postgres: PostgresServer, make: Make) -> None:
    """One that has a registry in it already is told apart."""
    url = postgres.tcp_url(make())
    once(url, lambda txn: None)
    assert probe(url).in_use


def test_somebody_elses(postgres: PostgresServer, make: Make) -> None:
    """A database with tables that would be in the way, Quay's for instance, is refused."""
    database = make("CREATE TABLE repository (id int)")
    with pytest.raises(DatabaseUnfit, match="a table repository that is not this registry's"):
        probe(postgres.tcp_url(database))


def test_another_encoding(postgres: PostgresServer, make: Make) -> None:
    """One that could not hold every name is refused, with what to do."""
    database = make(encoding="SQL_ASCII")
    with pytest.raises(DatabaseUnfit, match=r"encoded in SQL_ASCII.*ENCODING 'UTF8'"):
        probe(postgres.tcp_url(database))


def test_no_right_to_make_tables(postgres: PostgresServer, make: Make) -> None:
    """A user who could not make the tables is told who could."""
    role = f"guest_{uuid4().hex}"
    database = make(f"CREATE ROLE {role} LOGIN")
    try:
        with pytest.raises(DatabaseUnfit, match="may not create tables"):
            probe(postgres.tcp_url(database).replace("//quay@", f"//{role}@"))
    finally:
        do(postgres, database, f"DROP ROLE {role}")


def test_no_such_database(postgres: PostgresServer) -> None:
    """A name that is wrong is said to be."""
    with pytest.raises(DatabaseUnfit, match=r"no such database or user.*nowhere"):
        probe(postgres.tcp_url("nowhere"))


def test_nobody_there() -> None:
    """Where nothing listens, that is said, and no password."""
    with pytest.raises(DatabaseUnfit, match="Nothing listens") as unfit:
        probe(f"postgresql://quay:hush@127.0.0.1:{free_port()}/quay")
    assert "hush" not in str(unfit.value)


def test_no_such_host() -> None:
    """A host that nobody knows is said to be that."""
    with pytest.raises(DatabaseUnfit, match="not known to the DNS"):
        probe("postgresql://quay@registry.invalid/quay")
