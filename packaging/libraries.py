"""
The shared libraries of the program: how old a C library they get along with.

Each library names the versions of the C library's symbols that it was linked with. The newest of all of them is what a
machine must have; the loader's own words for it would help nobody, so that the script in front of the program asks.
"""

from __future__ import annotations

import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from elftools.elf.elffile import ELFFile

Entry = tuple[str, str, str]
"""A file of the program as PyInstaller lists it: its place in it, where it comes from, its kind."""

SAME: Final = {("GLIBC_2.35", "hypot")}
"""
Symbols whose first version does the same for us. glibc 2.35 gave hypot a new one that sets errno by itself, where the
older one has a wrapper that does: it alone would keep CPython from glibc 2.34, which is RHEL 9's.
"""
FIRST: Final = {"x86_64": "GLIBC_2.2.5", "aarch64": "GLIBC_2.17"}
"""The version of the symbols that glibc has had since it ran on these machines."""
THEIRS: Final = {"libgcc_s.so.1"}
"""What glibc itself needs, so that it is everywhere; ours would need the newer glibc that it was made for."""
SYSTEMS: Final = {"RHEL 8": "2.28", "RHEL 9": "2.34", "Ubuntu 22.04": "2.35", "Debian 12": "2.36"}
"""The glibc of systems that people have."""


def needed(directory: Path) -> str:
    """The version of glibc that the libraries below `directory` need, like 2.34."""
    versions = {version for path in sorted(directory.rglob("*")) if is_elf(path) for version in _linked(path)}
    return max((version.removeprefix("GLIBC_") for version in versions), key=_ordered)


def systems(version: str) -> str:
    """The oldest systems with this glibc or a newer one, in words."""
    names = [name for name, theirs in SYSTEMS.items() if _ordered(theirs) >= _ordered(version)]
    *others, last = names or ["the one that this was built on"]
    return f"{', '.join(others)} and {last}" if others else last


def is_elf(path: Path) -> bool:
    """Whether it is a program or a shared library."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def made_portable(binaries: Iterable[Entry], work: Path) -> list[Entry]:
    """The same files; Python's own are copies below `work`, without debugging symbols and for older machines, too."""
    return [(place, str(_portable(place, source, work)), kind) for place, source, kind in binaries]


def _portable(place: str, source: str, work: Path) -> Path:
    if not Path(source).is_relative_to(sys.base_prefix):
        return Path(source)
    copy = work / "libraries" / place
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)
    copy.chmod(0o755)
    subprocess.run(["strip", "--strip-unneeded", copy], check=True)
    _get_along(copy)
    return copy


def _get_along(path: Path) -> None:
    """Let the library name the first version of those symbols for which that is the SAME."""
    with path.open("r+b") as file:
        elf = ELFFile(file)
        section = elf.get_section_by_name(".gnu.version_r")
        if section is None:
            return
        for offset, replacement in _replacements(elf, section):
            file.seek(offset)
            file.write(replacement)


def _replacements(elf: Any, section: Any) -> Iterator[tuple[int, bytes]]:
    """Where to write what: an `Elf64_Vernaux` (LSB, symbol versioning) gets the hash and the name of another one."""
    entries = list(_entries(elf, section))
    first = next((raw for _, name, _, raw in entries if name == FIRST.get(platform.machine())), None)
    for offset, name, index, _ in entries:
        users = _users(elf, index)
        if first and users and all((name, user) in SAME for user in users):
            yield offset, first[:4]
            yield offset + 8, first[8:12]


def _entries(elf: Any, section: Any) -> Iterator[tuple[int, str, int, bytes]]:
    """Each version that is needed: where its entry is in the file, its name, its index, and its 16 bytes."""
    at = section["sh_offset"]
    for version, names in section.iter_versions():
        offset = at + version["vn_aux"]
        for name in names:
            elf.stream.seek(offset)
            raw = elf.stream.read(16)
            yield offset, name.name, name["vna_other"], raw
            offset += name["vna_next"]
        at += version["vn_next"]


def _users(elf: Any, index: int) -> set[str]:
    """The symbols that are wanted in the version with this index."""
    symbols, table = elf.get_section_by_name(".dynsym"), elf.get_section_by_name(".gnu.version")
    elf.stream.seek(table["sh_offset"])
    indices = struct.unpack(f"<{symbols.num_symbols()}H", elf.stream.read(2 * symbols.num_symbols()))
    return {symbols.get_symbol(number).name for number, one in enumerate(indices) if one & 0x7FFF == index}


def _linked(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".gnu.version_r")
        for _, names in section.iter_versions() if section else ():
            yield from (name.name for name in names if name.name.startswith("GLIBC_2"))


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


if __name__ == "__main__":
    print(needed(Path(sys.argv[1])))
