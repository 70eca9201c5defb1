"""A registry with an image in it, whose backups are made, verified and restored step by step."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.backups.house import House


@pytest.fixture
def house(sqlite_template: Path, tmp_path: Path) -> Iterator[House]:
    """With one image."""
    found = House(Path(shutil.copy(sqlite_template, tmp_path / "quay.sqlite")), tmp_path)
    found.push()
    yield found
    found.world.engine.dispose()
