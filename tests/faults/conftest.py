"""A data directory with one user in it, made once and copied for each test."""

import shutil
from pathlib import Path

import pytest

from tests.faults import journal
from tests.server import RunningQuay


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("template")
    RunningQuay(data).add_user("dev")
    return data


@pytest.fixture
def data(template: Path, tmp_path: Path) -> Path:
    """A data directory of this test's own, in which dev may push."""
    return Path(shutil.copytree(template, tmp_path / "data", dirs_exist_ok=True))


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is loaded into a server to keep a journal of its files."""
    return journal.built(tmp_path_factory.mktemp("library"))
