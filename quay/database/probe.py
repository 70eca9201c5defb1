"""
Whether a database could be the registry's: asked of the database itself, before anything depends on it.
"""

from __future__ import annotations

from typing import Final

import attrs
import sqlalchemy as sa
from sqlalchemy import exc

from quay.database.engines import open_engine
from quay.database.schema import metadata

OLDEST: Final = 130000
"""PostgreSQL 13, in its own notation."""


class DatabaseUnfit(Exception):
    """The database cannot be used; the message is a sentence for the administrator, without any password."""


@attrs.frozen
class Found:
    """A database that will do: its version, for people; and whether a registry of ours is in it already."""

    version: str
    in_use: bool


def probe(url: str) -> Found:
    """
    Look at the PostgreSQL database at `url`; nothing in it is changed. Waits, for five seconds if nobody answers.
    Raises `DatabaseUnfit`.
    """
    try:
        readable = sa.make_url(url).update_query_dict({"client_encoding": "utf8"})  # whatever the database's own is
        engine = open_engine(readable.render_as_string(hide_password=False))
    except ModuleNotFoundError:
        raise DatabaseUnfit(
            "PostgreSQL needs the package psycopg, which is not here: pip install 'quay-on-one-reactor[postgres]'."
        ) from None
    try:
        with engine.connect() as connection:
            return _judged(connection)
    except exc.DBAPIError as error:
        raise DatabaseUnfit(_why(str(error.orig))) from error
    finally:
        engine.dispose()


def _judged(connection: sa.Connection) -> Found:
    version = str(connection.execute(sa.text("SHOW server_version")).scalar_one())
    if int(connection.execute(sa.text("SHOW server_version_num")).scalar_one()) < OLDEST:
        raise DatabaseUnfit(f"The server is PostgreSQL {version}, which is too old: 13 or newer is needed.")
    encoding = connection.execute(sa.text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise DatabaseUnfit(
            f"The database is encoded in {encoding}, so it could not hold every name: create it with ENCODING 'UTF8' "
            "TEMPLATE template0."
        )
    if connection.execute(sa.text("SELECT pg_is_in_recovery()")).scalar_one():
        raise DatabaseUnfit("The server is a standby, which takes no changes: give the address of the primary.")
    return Found(version, _in_use(connection))


def _in_use(connection: sa.Connection) -> bool:
    """Whether our tables are there. Raises `DatabaseUnfit` where they could not be made."""
    tables = set(sa.inspect(connection).get_table_names())
    if {"setting", "alembic_version"} <= tables:
        return True
    others = sorted(tables.intersection(metadata.tables))
    if others:
        raise DatabaseUnfit(
            f"The database has a table {others[0]} that is not this registry's, perhaps Quay's: give an empty database."
        )
    may = connection.execute(sa.text("SELECT has_schema_privilege(current_schema(), 'CREATE')")).scalar()
    if not may:
        raise DatabaseUnfit(
            "This user may not create tables there: make him the owner of the database, or GRANT CREATE ON SCHEMA "
            "public TO him."
        )
    return False


def _why(said: str) -> str:
    """What the driver said, as one line, with what is to be done about it where that is plain."""
    line = " ".join(said.split())[:500]
    for phrase, advice in _ADVICE.items():
        if phrase in line:
            return f"{advice} The server's words: {line}"
    return f"PostgreSQL cannot be used: {line}"


_ADVICE: Final = {
    "password authentication failed": "User or password is wrong.",
    "no password supplied": "The server wants a password.",
    "does not exist": "There is no such database or user: create it first.",
    "Connection refused": "Nothing listens at this host and port: is PostgreSQL running, and does it listen there?",
    "resolve host": "This host name is not known to the DNS of this machine.",
    "Name or service not known": "This host name is not known to the DNS of this machine.",
    "timeout": "Nobody answers at this address within five seconds: is a firewall in between?",
    "SSL": "TLS with this server does not work as asked for: look at the SSL mode.",
}
