"""
Builds the one file that is all of Quay: the program by PyInstaller, packed, and its bill of materials.

    build/program/quay/                   the program: a directory that needs nothing but the C library
    dist/quay-VERSION-linux-ARCH          the same in one file, which unpacks itself
    dist/quay-VERSION-linux-ARCH.cdx.json what it consists of

`packaging/binary` calls it in an environment in which the same tree gives the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

import libraries
import measures
import sbom

ROOT: Final = Path(__file__).parents[1]
BUILD: Final = ROOT / "build"
DIST: Final = ROOT / "dist"
PROGRAM: Final = BUILD / "program" / "quay"
INPUTS: Final = ("setup.py", "quay", "appliance", "packaging/*.py", "packaging/*.sh", "packaging/*.spec")
"""What the file follows from, beside the packages that are installed."""
EPOCH: Final = int(os.environ["SOURCE_DATE_EPOCH"])


def main() -> None:
    """Build what is not up to date, and say what came of it; the last line is the file."""
    sys.path.insert(0, str(ROOT))
    from quay import __version__ as version

    target = DIST / f"quay-{version}-linux-{platform.machine()}"
    stamp, tree = BUILD / "tree", tree_digest()
    if target.exists() and PROGRAM.exists() and stamp.exists() and stamp.read_text() == tree:
        print(target.relative_to(ROOT))
        return
    stamp.unlink(missing_ok=True)
    freeze()
    settle(PROGRAM)
    DIST.mkdir(exist_ok=True)
    materials = target.with_name(f"{target.name}.cdx.json")
    sources = [Path(source) for source in json.loads((BUILD / "pyinstaller" / "quay" / "sources.json").read_text())]
    materials.write_text(sbom.written(version, sources, EPOCH))
    wrap(target, version)
    stamp.write_text(tree)
    if "--unmeasured" not in sys.argv:
        print(*measures.taken(target, PROGRAM), sep="\n")
    print(target.relative_to(ROOT))


def tree_digest() -> str:
    """The SHA-256 of all that the file is made from: the tree, the installed packages, the Python, the date."""
    digest = hashlib.sha256(f"{sys.version} {EPOCH} {sorted(sbom.installed())}".encode())
    given = [one for name in INPUTS for one in ROOT.glob(name)]
    for path in sorted({below for one in given for below in (one, *one.rglob("*"))}):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def freeze() -> None:
    """Have PyInstaller make the program."""
    places: list[str | Path] = ["--distpath", PROGRAM.parent, "--workpath", BUILD / "pyinstaller"]
    environment = {**os.environ, "PYI_LOG_LEVEL": "ERROR", "PYINSTALLER_CONFIG_DIR": str(BUILD / "pyinstaller-cache")}
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--clean", *places]
    subprocess.run([*command, ROOT / "packaging" / "quay.spec"], env=environment, check=True)


def settle(program: Path) -> None:
    """Give every file of the program the date of the build and the usual rights, whatever they were here."""
    for path in [program, *program.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path == program / "quay" else 0o644)
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def wrap(target: Path, version: str) -> None:
    """Pack the program behind the script that unpacks it; the file is whole or not there."""
    packed = packed_program()
    sha256, glibc = hashlib.sha256(packed).hexdigest(), libraries.needed(PROGRAM)
    script = (ROOT / "packaging" / "stub.sh").read_text()
    size = sum(path.stat().st_size for path in PROGRAM.rglob("*") if not path.is_symlink())
    for name, value in {
        "VERSION": version,
        "ARCH": platform.machine(),
        "DIGEST": sha256[:32],
        "SHA256": sha256,
        "GLIBC": glibc,
        "GLIBC_MINOR": glibc.split(".")[1],
        "SYSTEMS": libraries.systems(glibc),
        "MEGABYTES": str(size // 10**6 + 1),
        "BEGIN": str(script.count("\n") + 1),
    }.items():
        script = script.replace(f"@{name}@", value)
    draft = target.with_name(f".{target.name}")
    draft.write_bytes(script.encode() + packed)
    draft.chmod(0o755)
    draft.replace(target)


def packed_program() -> bytes:
    """The program as a compressed tar file, in which the order, the dates and the owners are always the same."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9, filename="", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in sorted(PROGRAM.rglob("*")):
            tar.add(path, path.relative_to(PROGRAM).as_posix(), recursive=False, filter=_plain)
    return packed.getvalue()


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
