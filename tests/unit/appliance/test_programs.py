"""Programs in their places: whole, the current one and the one before, and no other."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from appliance.layout import Layout, switch
from appliance.programs import Program, is_older, place, remove, running

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root installs programs")


def frozen(directory: Path, content: str = "program") -> Program:
    """What was unpacked for one user alone."""
    (directory / "_internal").mkdir(parents=True, mode=0o700)
    (directory / "quay").write_text(content)
    (directory / "quay").chmod(0o700)
    (directory / "_internal" / "data").write_text("data")
    (directory / "_internal" / "data").chmod(0o600)
    (directory / "_internal" / "link").symlink_to("data")
    return Program(directory, (str(directory / "quay"),), directory / "quay")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "root")


def test_copied(layout: Layout, tmp_path: Path) -> None:
    """A copy is everybody's to run and nobody's to change, and the unit and the command lead to it by one link."""
    command = place(layout, frozen(tmp_path / "unpacked"), "1.0.0")
    assert command == ("/opt/quay/current/quay",)
    assert layout.command.readlink() == Path("/opt/quay/current/quay")
    assert layout.current.readlink() == Path("1.0.0")
    assert (layout.current / "quay").read_text() == "program"
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in layout.program("1.0.0").rglob("*")}
    assert (modes["_internal"], modes["quay"], modes["data"]) == (0o755, 0o755, 0o644)
    assert (layout.program("1.0.0") / "_internal" / "link").readlink() == Path("data")


def test_upgrades(layout: Layout, tmp_path: Path) -> None:
    """The version before is kept for going back, and those before that go; going back is one switch."""
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        place(layout, frozen(tmp_path / version, version), version)
    assert (layout.version(layout.current), layout.version(layout.previous)) == ("1.2.0", "1.1.0")
    assert {path.name for path in layout.programs.iterdir()} == {"1.1.0", "1.2.0", "current", "previous"}
    switch(layout, "1.1.0")
    assert (layout.current / "quay").read_text() == "1.1.0"
    assert (layout.version(layout.current), layout.version(layout.previous)) == ("1.1.0", "1.2.0")


def test_the_same_version_again(layout: Layout, tmp_path: Path) -> None:
    """A version that is there already is replaced, and does not take the place of the one before."""
    place(layout, frozen(tmp_path / "1.0.0"), "1.0.0")
    place(layout, frozen(tmp_path / "first", "first"), "1.1.0")
    place(layout, frozen(tmp_path / "second", "second"), "1.1.0")
    assert (layout.current / "quay").read_text() == "second"
    assert layout.version(layout.previous) == "1.0.0"


def test_from_its_own_place(layout: Layout, tmp_path: Path) -> None:
    """A program that runs from its place is left there: nothing is copied onto itself."""
    place(layout, frozen(tmp_path / "unpacked"), "1.0.0")
    there = layout.program("1.0.0")
    number = (there / "quay").stat().st_ino
    place(layout, Program(there, (str(there / "quay"),), there / "quay"), "1.0.0")
    assert (there / "quay").stat().st_ino == number


def test_what_was_begun(layout: Layout, tmp_path: Path) -> None:
    """A copy that was cut off is in nobody's way, and does not stay."""
    (layout.programs / ".incoming" / "half").mkdir(parents=True)
    place(layout, frozen(tmp_path / "unpacked"), "1.0.0")
    assert not (layout.programs / ".incoming").exists()


def test_a_command_of_somebody_else(layout: Layout, tmp_path: Path) -> None:
    """A file that has the name of the command, and is no link, is left alone, also at the end."""
    layout.command.parent.mkdir(parents=True)
    layout.command.write_text("mine")
    place(layout, frozen(tmp_path / "unpacked"), "1.0.0")
    assert list(remove(layout)) == [layout.programs]
    assert layout.command.read_text() == "mine"


def test_an_interpreter(layout: Layout) -> None:
    """What is not frozen is used where it is, and takes nothing from the directory in which it is started."""
    program = running()
    assert program.directory is None and program.size == 0
    assert place(layout, program, "1.0.0") == (sys.executable, "-P", "-m", "appliance")
    assert not layout.programs.exists()


def test_order() -> None:
    """Versions are compared by their numbers, not by their letters."""
    assert is_older("0.9.0", "0.10.0")
    assert not is_older("0.10.0", "0.10.0")
    assert not is_older("1.0.0", "0.99.9")
