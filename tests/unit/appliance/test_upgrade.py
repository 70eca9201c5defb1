"""The way back from an upgrade on a machine: of the database, of the program, of both; and where there is none."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from appliance.layout import Layout, switch
from appliance.upgrade import NoWayBack, go, way_back
from quay import __version__
from quay.config import Config, parse
from quay.database.engines import sqlite
from quay.database.migrations import migrate, status
from quay.database.schema import SCHEMA
from tests.predecessor import made_at


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A machine with this program, which came after 0.0.9."""
    made = Layout(tmp_path / "root")
    for version in ("0.0.9", __version__):
        made.program(version).mkdir(parents=True)
        switch(made, version)
    return made


@pytest.fixture
def config(tmp_path: Path) -> Config:
    data = tmp_path / "data"
    data.mkdir()
    return parse("", {}, tmp_path, data=str(data))


def migrated(config: Config, schema: int) -> None:
    path = Path(config.database_uri.place)
    if schema < SCHEMA:
        made_at(path, schema)
    engine = sqlite(str(path))
    migrate(engine)
    engine.dispose()


def schema_of(config: Config) -> int:
    engine = sqlite(config.database_uri.place)
    try:
        return status(engine).schema
    finally:
        engine.dispose()


def test_both(config: Config, layout: Layout) -> None:
    """The database that this version migrated, and the program before: what that means is said, then it is done."""
    migrated(config, 3)
    with sqlite3.connect(config.database_uri.place) as database:
        entry = "INSERT INTO audit (kind, performed_ms, performer, details) VALUES ('push_repo', 0, 'dev', '{}')"
        database.execute(entry)
    way = way_back(config, layout)
    said = " ".join(way.sentences())
    assert "program of version 0.0.9" in said and "schema 3" in said and "1 pushes since then" in said
    given_up = go(way, layout)
    assert given_up is not None and given_up.exists()
    assert schema_of(config) == 3
    assert (layout.version(layout.current), layout.version(layout.previous)) == ("0.0.9", __version__)


def test_the_program_alone(config: Config, layout: Layout) -> None:
    """A version that has not migrated the database is left without a loss."""
    migrated(config, SCHEMA)
    way = way_back(config, layout)
    assert "nothing is lost" in way.sentences()[0]
    assert go(way, layout) is None
    assert layout.version(layout.current) == "0.0.9" and schema_of(config) == SCHEMA


def test_the_database_alone(config: Config, tmp_path: Path) -> None:
    """Where no program is kept, the database goes back, and whoever does it has to replace the program himself."""
    migrated(config, 2)
    nothing = Layout(tmp_path / "empty")
    way = way_back(config, nothing)
    assert "the database alone" in way.sentences()[0]
    go(way, nothing)
    assert schema_of(config) == 2


def test_never_forward(config: Config, layout: Layout) -> None:
    """After a rollback, the program before is a newer one: that is no way back."""
    layout.program("99.0").mkdir()
    switch(layout, "99.0")
    switch(layout, __version__)
    migrated(config, SCHEMA)
    with pytest.raises(NoWayBack, match="nothing to go back to"):
        way_back(config, layout)


def test_a_copy_of_another_upgrade(config: Config, tmp_path: Path) -> None:
    """A copy that an earlier version made before it migrated is not what this version has to be taken back to."""
    migrated(config, 3)
    [copy] = (config.data / "snapshots").iterdir()
    copy.rename(copy.with_name(copy.name.replace(f"before-{__version__}", "before-0.0.5")))
    with pytest.raises(NoWayBack):
        way_back(config, Layout(tmp_path / "empty"))


def test_postgresql(layout: Layout, tmp_path: Path) -> None:
    """Its way back is a backup, and the program of then, which are named."""
    config = parse("DB_URI: postgresql://quay:secret@db/quay", {}, tmp_path)
    with pytest.raises(NoWayBack, match=r"restore a backup .*0\.0\.9/quay restore BACKUP"):
        way_back(config, layout)
