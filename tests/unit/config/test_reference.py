"""The reference and the default file say what the code does, and the files in the repository are current."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from quay.config import default_text, initial_text, load, parse, reference
from quay.config.keys import SETTINGS

HERE = Path(__file__).parents[3] / "config"


@pytest.mark.parametrize(("name", "made"), [("reference.md", reference), ("quay.yaml", default_text)])
def test_current(name: str, made: object) -> None:
    """The file in the repository is what the code generates: `quay config reference`, `quay config default`."""
    assert callable(made)
    assert (HERE / name).read_text(encoding="utf-8") == made()


def test_every_key() -> None:
    """Each key stands once in the reference's tables and once in the default file."""
    for key in SETTINGS:
        assert reference().count(f"| `{key}` |") == 1
        assert len(re.findall(rf"^#{key}: ", default_text(), re.MULTILINE)) == 1


def test_tables() -> None:
    """Every row of the reference has as many cells as its head."""
    for table in re.findall(r"(?:^\|.*\n)+", reference(), re.MULTILINE):
        assert len({row.count("|") for row in table.splitlines()}) == 1


def test_documented_defaults_are_the_defaults() -> None:
    """The default file with every key uncommented means the same as no file at all."""
    uncommented = re.sub(r"^#([A-Z][A-Z0-9_]*: )", r"\1", default_text(), flags=re.MULTILINE)
    assert uncommented.count("\n#") < default_text().count("\n#")
    assert parse(uncommented, {}, HERE) == parse(default_text(), {}, HERE) == parse("", {}, HERE)


def test_initial() -> None:
    """A new installation gets secrets of its own and its data where its file is."""
    configs = [parse(initial_text(), {}, HERE) for _ in range(50)]
    secrets = {secret for config in configs for secret in (config.secret_key, config.database_secret_key)}
    assert len(secrets) == 100 and None not in secrets
    assert all(config.data == HERE and not config.warnings for config in configs)


def test_examples(tmp_path: Path) -> None:
    """The examples can be used as they are, and there is nothing to warn of."""
    (tmp_path / "secrets").mkdir()
    for name in ("session", "database"):
        (tmp_path / "secrets" / name).write_text("0123456789abcdef0123456789abcdef\n")
    environ = {
        "QUAY_DATA": str(tmp_path),
        "DATABASE_URI": "postgresql://quay:password@db.example.org/quay",
        "REDIS_PASSWORD": "password",
        "SESSION_SECRET": "0123456789abcdef0123456789abcdef",
        "STORED_SECRET": "fedcba9876543210fedcba9876543210",
    }
    single = load(HERE / "examples" / "single-node-tls.yaml", environ)
    assert single.scheme == "https" and single.database_uri.is_sqlite and single.warnings == ()
    several = load(HERE / "examples" / "several-nodes.yaml", environ)
    assert several.events_redis is not None and several.events_redis.ssl and several.warnings == ()
    assert several.database_arguments.for_libpq()["sslmode"] == "verify-full"
    assert len(list((HERE / "examples").iterdir())) == 2
