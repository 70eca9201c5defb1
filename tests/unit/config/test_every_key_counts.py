"""A key that can be configured has an effect: something outside the configuration reads it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import attrs

import quay
from quay.config import Config

ROOT = Path(quay.__file__).parent


def attributes(tree: ast.AST, *objects: str) -> Iterator[str]:
    """The names that are read of one of these `objects`: `config.name`, `core.config.name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", None)
            if owner in objects:
                yield node.attr


def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def properties() -> dict[str, set[str]]:
    """What the properties of a configuration read of it."""
    classes = (node for node in syntax(ROOT / "config" / "keys.py").body if isinstance(node, ast.ClassDef))
    config = next(node for node in classes if node.name == Config.__name__)
    return {node.name: set(attributes(node, "self")) for node in config.body if isinstance(node, ast.FunctionDef)}


def counted() -> set[str]:
    """The attributes that somebody reads, by themselves or through a property."""
    modules = (path for path in ROOT.rglob("*.py") if "config" not in path.relative_to(ROOT).parts[:1])
    read = {name for path in modules for name in attributes(syntax(path), "config", "found")}
    return read.union(*(names for name, names in properties().items() if name in read))


def test_every_key_counts() -> None:
    """Every attribute of the configuration is read where something is done about it."""
    assert {field.name for field in attrs.fields(Config)} - counted() == set()


def test_a_name_that_nobody_reads_does_not_count() -> None:
    """Only what is read of a configuration counts: not what is set, and not the same name of something else."""
    tree = ast.parse("config.a; core.config.b; config.c = 1; other.d; config.e.f; config")
    assert set(attributes(tree, "config")) == {"a", "b", "e"}
