"""Every page and section of the documentation that a finding leads to is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from quay.web.console.docs import WRITTEN, document

ROOT = Path(__file__).parents[4]
PACKAGES = ("appliance/doctor", "quay/condition", "appliance/support")


def links() -> Iterator[str]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("/docs/"):
                    yield node.value


def test_there_are_some() -> None:
    """So that the test below looks at something."""
    assert len(set(links())) > 20


@pytest.mark.parametrize("link", sorted(set(links())))
def test_it_is_there(link: str) -> None:
    """A page that the box serves, and a heading on it."""
    found = re.fullmatch(r"/docs/([a-z]+)(?:#([a-z0-9_-]+))?", link)
    assert found is not None
    key, anchor = found.groups()
    assert any(key in keys for keys in WRITTEN.values())
    assert anchor is None or anchor in {section.anchor for section in document(key).sections}
