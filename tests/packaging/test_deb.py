"""The Debian package on a machine that systemd has started, in which nothing else can be reached."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from quay import __version__
from tests.conftest import missing
from tests.packaging.conftest import BUILDING
from tests.packaging.machine import Machine
from tests.server import PATIENCE, REPOSITORY

pytestmark = pytest.mark.long


@pytest.fixture(scope="session")
def deb() -> Path:
    """The package; QUAY_TEST_DEB=FILE is one that was built before."""
    if "QUAY_TEST_DEB" in os.environ:
        return Path(os.environ["QUAY_TEST_DEB"]).absolute()
    if shutil.which("dpkg-deb") is None:
        missing("binary", "dpkg-deb is not installed")
    done = subprocess.run(
        [f"{REPOSITORY}/packaging/deb"], capture_output=True, text=True, timeout=BUILDING, check=False
    )
    if done.returncode:
        missing("binary", f"the package cannot be built: {(done.stderr or done.stdout).strip()[-2000:]}")
    return REPOSITORY / done.stdout.splitlines()[-1]


def test_its_whole_life(deb: Path, machine: Machine) -> None:
    """
    It is installed and runs, as a user of its own; is installed again and runs on with the same data; is removed, and
    all that was pushed stays, also when it is purged.
    """
    shutil.copy2(deb, machine.root / "root" / "quay.deb")
    dpkg, systemctl, status = machine.program("dpkg"), machine.program("systemctl"), machine.program("quay", "status")
    data = machine.root / "var" / "lib" / "quay"
    (machine.root / "usr" / "sbin" / "policy-rc.d").unlink(missing_ok=True)  # which keeps packages from starting things

    assert "Where it is set up: quay setup url" in dpkg("--install", "/root/quay.deb")
    assert machine.program("quay", "version")() == f"quay {__version__}\n"
    assert __version__ in status()
    assert "/setup/?token=" in machine.program("quay", "setup", "url")()
    began = (data / "quay.yaml").read_bytes()
    process = systemctl("show", "quay", "--value", "--property=MainPID").strip()
    assert machine.program("readlink", f"/proc/{process}/exe")().endswith("/usr/lib/quay/quay\n")
    assert (data.stat().st_mode & 0o777, data.stat().st_uid) == (0o700, int(machine.program("id", "-u", "quay")()))

    dpkg("--install", "/root/quay.deb")
    assert __version__ in status()
    assert systemctl("show", "quay", "--value", "--property=MainPID").strip() != process
    assert (data / "quay.yaml").read_bytes() == began

    dpkg("--remove", "quay")
    assert systemctl("show", "quay", "--value", "--property=ActiveState").strip() == "inactive"
    assert "The data of Quay stay in /var/lib/quay" in dpkg("--purge", "quay")
    assert (data / "quay.yaml").read_bytes() == began
    assert not (machine.root / "etc" / "quay").exists()


def test_lintian(deb: Path) -> None:
    """Debian's own judge of packages finds no error in it."""
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    found = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error", deb],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (found.returncode, "E: " in found.stdout) == (0, False), found.stdout
