"""
The program on its machine: copied to the directory of its version, made the current one, and the one before kept.

What is copied is there as a whole or not at all, and whoever runs goes on with what he has begun.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from appliance.layout import EXECUTABLE, Layout, point, switch

_INCOMING: Final = ".incoming"
_OUTGOING: Final = ".outgoing"


@attrs.frozen
class Program:
    """
    What runs here: a frozen program, which is a `directory` that can be copied, or an interpreter, which is used where
    it is. `command` starts it as it is now, and `script` is what people can call.
    """

    directory: Path | None
    command: tuple[str, ...]
    script: Path

    @property
    def size(self) -> int:
        """The bytes that a copy takes."""
        if self.directory is None:
            return 0
        return sum(path.lstat().st_size for path in self.directory.rglob("*") if not path.is_symlink())


def running() -> Program:
    """The program of this process."""
    executable = Path(sys.executable)
    if getattr(sys, "frozen", False):
        found = executable.resolve()
        return Program(found.parent, (str(found),), found)
    # -P: what lies in the working directory is no part of the program
    return Program(None, (sys.executable, "-P", "-m", "appliance"), executable.with_name(EXECUTABLE))


def place(layout: Layout, program: Program, version: str) -> tuple[str, ...]:
    """
    Put the program where the unit of this machine finds it, as the current one, and make the command; gives the
    command of the unit. What was neither current nor previous goes. Raises `OSError`.
    """
    if program.directory is None:
        _link(layout, program.script)
        return program.command
    if program.directory != layout.program(version).resolve():
        _copy(program.directory, layout, version)
    switch(layout, version)
    _forget_others(layout)
    current = Path("/", *layout.current.relative_to(layout.root).parts) / EXECUTABLE
    _link(layout, current)
    return (str(current),)


def remove(layout: Layout) -> Iterator[Path]:
    """Remove all programs and the command; gives what is gone. Raises `OSError`."""
    if layout.command.is_symlink():
        layout.command.unlink()
        yield layout.command
    if layout.programs.is_dir():
        shutil.rmtree(layout.programs)
        yield layout.programs


def is_older(version: str, other: str) -> bool:
    """Whether `version` came before `other`, by their numbers."""
    return _numbers(version) < _numbers(other)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def _copy(directory: Path, layout: Layout, version: str) -> None:
    incoming, outgoing = layout.programs / _INCOMING, layout.programs / _OUTGOING
    for draft in (incoming, outgoing):
        shutil.rmtree(draft, ignore_errors=True)
    layout.programs.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(directory, incoming, symlinks=True)
        _open_to_all(incoming)
        os.sync()  # a name for what is not safe yet would be worse than none
        target = layout.program(version)
        if target.exists():
            target.rename(outgoing)
        incoming.rename(target)
    finally:
        for draft in (incoming, outgoing):
            shutil.rmtree(draft, ignore_errors=True)


def _open_to_all(directory: Path) -> None:
    """Everybody may run it, and nobody but root may change it, whoever has unpacked it and however."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, 0, 0, follow_symlinks=False)
        if not path.is_symlink():
            runs = path.is_dir() or bool(path.stat().st_mode & 0o100)
            path.chmod(0o755 if runs else 0o644)


def _forget_others(layout: Layout) -> None:
    kept = {layout.version(layout.current), layout.version(layout.previous)}
    for path in layout.programs.iterdir():
        if path.is_dir() and not path.is_symlink() and path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)


def _link(layout: Layout, program: Path) -> None:
    """Make the command, unless something that is none of ours has its name."""
    taken = layout.command.exists() and not layout.command.is_symlink()
    if not taken and layout.here(program).exists():
        point(layout.command, program)
