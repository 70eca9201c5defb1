"""What import-linter cannot say: rules about one module at a time, read from its syntax."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("quay", "appliance")
    for path in (ROOT / package).rglob("*.py")
}
FORBIDDEN = {  # what is imported: who may
    "twisted.internet.reactor": ("quay.service",),
    "twisted.internet.threads.deferToThread": (),  # that pool resolves names: nothing else may fill it
    "twisted.internet.threads.deferToThreadPool": ("quay.threads",),
    "twisted.internet.defer.inlineCallbacks": (),
    "twisted.mail": ("quay.egress",),  # and there not before it is needed: importing it looks a name up
    "twisted.web": ("quay.web", "quay.service"),
    "twisted.web.client": ("quay.egress",),
    "twisted.web.iweb": ("quay.web", "quay.egress"),
    "treq": ("quay.egress",),
    "requests": (),
    "urllib.request": (),
    "pickle": (),
    "marshal": (),
    "sqlite_utils": ("quay.database.transfer",),
    "ldap3": ("quay.auth.ldap",),
    "txredisapi": ("quay.coordination",),
    "os.environ": ("quay.service", "quay.__main__", "appliance.__main__"),
}


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that a module imports, in full, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every `module.attribute` that is looked up."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.lineno, f"{node.value.id}.{node.attr}"


def lies_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.fixture(params=sorted(MODULES))
def module(request: pytest.FixtureRequest) -> tuple[str, ast.Module]:
    return request.param, ast.parse(MODULES[request.param].read_text(encoding="utf-8"))


def test_imports(module: tuple[str, ast.Module]) -> None:
    """What is spoken in one place only is imported there only; the most specific rule decides."""
    name, tree = module
    for line, imported in [*imports(tree), *uses(tree)]:
        rules = [rule for rule in FORBIDDEN if lies_in(imported, rule)]
        if rules:
            homes = FORBIDDEN[max(rules, key=len)]
            allowed = any(lies_in(name, home) for home in homes)
            assert allowed, f"{name}:{line}: {imported} is for {', '.join(homes) or 'nobody'}"


def test_errors_are_not_swallowed(module: tuple[str, ast.Module]) -> None:
    """A handler for every exception does something with it."""
    name, tree = module
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException")
            silent = all(isinstance(step, ast.Pass | ast.Continue) for step in node.body)
            assert not (broad and silent), f"{name}:{node.lineno}: an error vanishes here"


def test_transactions_do_not_await(module: tuple[str, ast.Module]) -> None:
    """A unit of work is a plain function: whatever takes `txn` cannot wait for anything else."""
    name, tree = module
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef):
            taken = {argument.arg for argument in node.args.args}
            assert "txn" not in taken, f"{name}:{node.lineno}: a transaction must not await"


def test_modules_say_what_they_are(module: tuple[str, ast.Module]) -> None:
    """Every module begins with a sentence about itself."""
    name, tree = module
    assert ast.get_docstring(tree), f"{name} has no docstring"


def test_public_names_are_documented(module: tuple[str, ast.Module]) -> None:
    """Public classes and functions at module level say what they promise, unless a decorator or base says it."""
    name, tree = module
    if ".versions." in name:
        return  # Alembic calls them all upgrade
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node) or len(node.body) <= 3, f"{name}:{node.lineno}: {node.name} says nothing"
