"""Secrets: where they come from, and that nothing gives them away."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.config import ConfigError, parse
from quay.config.secrets import FILE_LIMIT, DatabaseUri, Secret, Vault

HERE = Path("/nowhere")


def read(value: object, data: Path = HERE, **environ: str) -> str:
    return Vault(environ, data).read(value, Secret).reveal()


def test_never_shown() -> None:
    """No way of printing a secret, or what holds it, prints it."""
    secret = Secret("hunter2")
    config = parse("SECRET_KEY: hunter2hunter2hunter2\nUSER_EVENTS_REDIS: {host: r, password: hunter2}", {}, HERE)
    vault = Vault({"A": "hunter2"}, HERE)
    for shown in (secret, [secret], f"{secret}", f"{secret!r:>9}", config, attrs.asdict(config), vault):
        assert "hunter2" not in str(shown) + repr(shown)


def test_never_pickled() -> None:
    """A secret is neither pickled nor copied by the same road."""
    for how in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            how(Secret("hunter2"))


def test_equality() -> None:
    """Secrets are equal by what they hide, and equal to nothing else."""
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_sources(tmp_path: Path) -> None:
    """A secret is text, a number, a file without its last newline, or a variable."""
    (tmp_path / "s").write_text("from a file\n\n")
    (tmp_path / "dos").write_bytes(b"line\r\n")
    assert read("text") == "text"
    assert read(12345678901234567890) == "12345678901234567890"
    assert read({"file": "s"}, tmp_path) == "from a file\n"
    assert read({"file": str(tmp_path / "dos")}) == "line"
    assert read({"env": "S"}, S="from a variable") == "from a variable"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("", "is empty"),
        ({"file": "missing"}, "missing, which cannot be read: No such file"),
        ({"file": "."}, "cannot be read: Is a directory"),
        ({"file": "long"}, "longer than a secret"),
        ({"file": "binary"}, "not UTF-8"),
        ({"file": "empty"}, "is empty"),
        ({"env": "ABSENT"}, "ABSENT, which is not set"),
        ({"env": "hunter2; rm"}, "no name of one"),
        ({"file": "a", "env": "B"}, "neither text"),
        ({"vault": "x"}, "neither text"),
        ({}, "neither text"),
        (True, "neither text"),
        (1.5, "neither text"),
        (["hunter2"], "neither text"),
    ],
)
def test_refusals(tmp_path: Path, value: object, sentence: str) -> None:
    """A secret that is not there is an error that says where it was looked for, and never a part of it."""
    (tmp_path / "long").write_bytes(b"x" * (FILE_LIMIT + 1))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ValueError, match=sentence) as caught:
        read(value, tmp_path)
    assert "hunter2" not in str(caught.value)


def test_special_files() -> None:
    """An endless file is read only as far as a secret may be long."""
    with pytest.raises(ValueError, match="longer than a secret"):
        read({"file": "/dev/zero"})


@pytest.mark.parametrize(
    ("text", "uri", "place"),
    [
        ("sqlite:///quay.db", "sqlite:////data/quay.db", "/data/quay.db"),
        ("sqlite:////srv/q.db", "sqlite:////srv/q.db", "/srv/q.db"),
        ("postgresql://u:p@db/quay", "postgresql+psycopg://u:p@db/quay", "postgresql://db/quay"),
        (
            "postgresql+psycopg://db:5/q?sslmode=require",
            "postgresql+psycopg://db:5/q?sslmode=require",
            "postgresql://db:5/q",
        ),
        (
            "postgresql:///quay?host=/run/pg&password=p",
            "postgresql+psycopg:///quay?host=/run/pg&password=p",
            "postgresql:///quay",
        ),
    ],
)
def test_database(text: str, uri: str, place: str) -> None:
    """A database address names its driver and an absolute path; its place shows neither user nor password."""
    read_uri = DatabaseUri.parse(text, Path("/data"))
    assert (read_uri.reveal(), read_uri.place) == (uri, place)
    assert read_uri.is_sqlite is text.startswith("sqlite")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mysql+pymysql://quay:hunter2@db/quay", "MySQL"),
        ("mariadb://quay:hunter2@db/quay", "MySQL"),
        ("oracle://quay:hunter2@db/quay", "oracle://, which is not supported"),
        ("postgresql+asyncpg://quay:hunter2@db/quay", "not supported"),
        ("postgresql://quay:/hunter2@db/quay", "not a complete"),
        ("postgresql://quay:hunter2/@db/quay", "not a complete"),
        ("postgresql://quay:1/hunter2?@db/quay", "not a complete"),
        ("postgresql://quay:1/hunter2#@db/quay", "not a complete"),
        ("postgresql://quay:hunter2@[db/quay", "not a complete"),
        ("postgresql://quay:hunter2@db", "not a complete"),
        ("postgresql://quay:hunter2@db:hunter2/q", "not a complete"),
        ("quay:hunter2@db/quay", "not a database address"),
        ("HUNTER2://hunter2", "not a database address"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///quay.db?mode=ro", "options"),
    ],
)
def test_no_database(text: str, sentence: str) -> None:
    """What cannot be a database is refused, and the sentence holds no part of a password."""
    with pytest.raises(ValueError, match=sentence) as caught:
        DatabaseUri.parse(text, HERE)
    assert "hunter2" not in str(caught.value).lower()


@given(
    st.text(st.characters(codec="utf-8"), min_size=6),
    st.sampled_from(["postgresql://u:{}@h/d", "mysql://u:{}@h/d", "{}"]),
)
def test_passwords_stay_secret(password: str, template: str) -> None:
    """Whatever stands in DB_URI, refused or not, no error and no repr repeats it."""
    marked = f"xyzzy{password}xyzzy"
    try:
        shown = repr(parse("", {"QUAY_DB_URI": template.format(marked)}, HERE))
    except ConfigError as error:
        shown = f"{error} {error!r} {error.warnings}"
    assert "xyzzy" not in shown
