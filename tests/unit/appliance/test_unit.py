"""The unit is one that systemd takes, keeps the server from almost everything, and lets it do what it must."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.unit import Unit, is_plain
from tests.conftest import missing

EXPOSURE = 20
"""Tenths: of ten, which is a service that may do everything, so much is left (1.6 with systemd 252)."""


@pytest.fixture
def analyze(tmp_path: Path) -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        missing("machine", "there is no systemd-analyze")
    return str(found)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The unit as a file, with a command that is there."""
    path = tmp_path / "quay.service"
    path.write_text(Unit(("/bin/true", "-P"), Path("/var/lib/quay"), (Path("/mnt/blobs"),)).text)
    return path


def test_systemd_understands_it(analyze: str, written: Path) -> None:
    """There is no word in it that systemd does not know."""
    done = subprocess.run([analyze, "verify", str(written)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_little_is_exposed(analyze: str, written: Path) -> None:
    """systemd finds few things that the server could do and need not."""
    command = [analyze, "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(written)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_where_it_may_write() -> None:
    """Its data, and what was asked for beside it; homes are shut, unless something of it is in one."""
    shut = Unit(("/opt/quay/current/quay",), Path("/var/lib/quay"), (Path("/mnt/blobs"),)).text
    assert "\nReadWritePaths=/var/lib/quay /mnt/blobs\n" in shut
    assert "\nProtectHome=yes\n" in shut
    for command, data in (("/opt/quay", "/home/quay/data"), ("/root/.venv/bin/python", "/var/lib/quay")):
        assert "\nProtectHome=read-only\n" in Unit((command,), Path(data)).text


@pytest.mark.parametrize(
    "path", ["relative", "/with space", "/with%i", "/with\nline", '/with"', "/with$x", "/ü", "/", ""]
)
def test_paths_that_mean_something_else(path: str) -> None:
    """A path that systemd would read otherwise than it stands is none that can be used."""
    assert not is_plain(Path(path))
    assert is_plain(Path("/srv/quay-1.0_a+b~c"))
