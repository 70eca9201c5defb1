"""
The file that is copied to a machine, built once from this tree, and machines that can reach nothing else.

QUAY_TEST_REQUIRE=binary makes it a failure that the file cannot be built, or that islands cannot be made; otherwise its
tests are skipped; the same for machine, with systemd. QUAY_TEST_BINARY=FILE tests a file that was built before.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.packaging.island import Island, IslandMissing
from tests.packaging.machine import Machine, MachineMissing
from tests.server import REPOSITORY

BUILDING = 280.0
"""Seconds that the build may take, with all that it installs."""


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the built file, with its bill of materials beside it."""
    built, medium = os.environ.get("QUAY_TEST_BINARY") or _built(), tmp_path_factory.mktemp("medium")
    if Path(f"{built}.cdx.json").exists():
        shutil.copy2(f"{built}.cdx.json", medium)
    return Path(shutil.copy2(built, medium))


def _built() -> str:
    build = [f"{REPOSITORY}/packaging/binary", "--unmeasured"]
    done = subprocess.run(build, cwd=REPOSITORY, capture_output=True, text=True, timeout=BUILDING, check=False)
    if done.returncode:
        missing("binary", f"it cannot be built: {(done.stderr or done.stdout).strip()[-2000:]}")
    return str(REPOSITORY / done.stdout.splitlines()[-1])


@pytest.fixture
def island() -> Iterator[Island]:
    """A machine without Python that can reach nothing."""
    if os.geteuid():
        missing("binary", "only root can make networks")
    try:
        with Island() as made:
            yield made
    except IslandMissing as reason:
        missing("binary", reason)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine that systemd has started."""
    if os.geteuid():
        missing("machine", "only root can start one")
    try:
        with Machine(tmp_path / "machine") as made:
            yield made
    except MachineMissing as reason:
        missing("machine", reason)
