"""Root works with an installation as its owner."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.owner import Owner, give

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")

SOMEBODY = Owner(61234, 61235)
WORK = """
import sys
from pathlib import Path
from appliance.owner import become
data, secret, outside, reaching = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] == "reaching"
become(data, reaching=reaching)
(data / "written").write_text("by the owner")
try:
    secret.read_text(), outside.write_text("out")
except PermissionError:
    print("shut")
else:
    print("open")
try:
    import os
    os.chown(outside, 0, 0)
except PermissionError:
    print("no root")
"""


@pytest.fixture
def data() -> Iterator[Path]:
    """Somebody's, in a directory that everybody may pass: what pytest makes is for root alone."""
    with tempfile.TemporaryDirectory() as around:
        Path(around).chmod(0o755)
        made = Path(around, "data")
        made.mkdir(mode=0o700)
        give(made, SOMEBODY)
        yield made


@pytest.mark.parametrize(("kind", "said"), [("plain", "shut"), ("reaching", "open")])
def test_become(data: Path, kind: str, said: str) -> None:
    """What is written is the owner's; root's own files are out of reach, unless they are to be carried in or out."""
    private = data.parent / "private"
    private.mkdir(mode=0o700)
    (private / "secret").write_text("secret")
    command = [sys.executable, "-c", WORK, str(data), str(private / "secret"), str(private / "out"), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == said
    status = (data / "written").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (SOMEBODY.uid, SOMEBODY.gid, 0o600)
    if kind == "reaching":
        assert "no root" in done.stdout
        assert (private / "out").stat().st_uid == SOMEBODY.uid


def test_give(tmp_path: Path) -> None:
    """Everything below is given, a link itself too, and not what it leads to."""
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    (tmp_path / "data" / "deep" / "file").touch()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    give(tmp_path / "data", SOMEBODY)
    given = [path.lstat().st_uid for path in (tmp_path / "data", *(tmp_path / "data").rglob("*"))]
    assert set(given) == {SOMEBODY.uid}
    assert {(tmp_path / "elsewhere").stat().st_uid, (tmp_path / "elsewhere" / "file").stat().st_uid} == {0}
