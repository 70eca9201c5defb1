"""Two registries that know nothing of each other, save that the far one trusts the near one's key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.bundles.site import Site


@pytest.fixture
def near(tmp_path: Path, sqlite_template: Path) -> Iterator[Site]:
    (tmp_path / "near").mkdir()
    site = Site(tmp_path / "near", sqlite_template)
    yield site
    site.application.stop()


@pytest.fixture
def far(tmp_path: Path, sqlite_template: Path, near: Site) -> Iterator[Site]:
    (tmp_path / "far").mkdir()
    site = Site(tmp_path / "far", sqlite_template)
    site.trust(near)
    yield site
    site.application.stop()
