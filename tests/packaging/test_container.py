"""
The container file, built by buildah without a registry: its base is the C library of this machine and a shell.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from quay import __version__
from tests.clients.conftest import installed
from tests.clients.programs import Daemon, Program, workshop
from tests.postgres import free_port
from tests.server import REPOSITORY

pytestmark = pytest.mark.long

BASE = ("sh", "ln", "mkdir", "chown")
"""What the container file runs; the program itself needs none of it."""


@pytest.fixture(scope="module")
def buildah() -> Iterator[Program]:
    """buildah with images of its own, which runs everything in the network and as the root of this machine."""
    with workshop() as directory:
        policy = directory / ".config" / "containers" / "policy.json"
        policy.parent.mkdir(parents=True)
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        env = {"PATH": os.environ["PATH"], "HOME": str(directory), "TMPDIR": str(directory)}
        places = ("--root", directory / "root", "--runroot", directory / "run", "--storage-driver", "vfs")
        yield installed("buildah", {**env, "BUILDAH_ISOLATION": "chroot"}, *places)


@pytest.fixture(scope="module")
def base(buildah: Program, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image with this machine's C library and a shell."""
    root = tmp_path_factory.mktemp("base")
    for name in BASE:
        program = Path(shutil.which(name) or name).resolve()
        _copy(program, root / "usr" / "bin" / name)
        for library in _libraries(program):
            _copy(library, root / library.relative_to("/"))
    for library in _libraries(REPOSITORY / "build" / "program" / "quay" / "quay"):
        _copy(library, root / library.relative_to("/"))
    (root / "bin").symlink_to("usr/bin")
    made = buildah("from", "scratch").strip()
    buildah("copy", made, root, "/")
    buildah("commit", "--quiet", made, "base")
    return "localhost/base"


def _libraries(program: Path) -> list[Path]:
    """The libraries of the system that a program is linked with, and those that all of them may ask for."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    found = {Path(word) for line in said.splitlines() for word in line.split() if word.startswith("/")}
    libc = next(path for path in found if path.name == "libc.so.6")
    more = ("libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libgcc_s.so.1")
    return sorted(found | {libc.with_name(name) for name in more})


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def test_it_is_built_and_serves(binary: Path, buildah: Program, base: str) -> None:
    """It runs as nobody in particular, keeps everything in /data, begins on TLS, and knows whether it is well."""
    file = REPOSITORY / "packaging" / "Containerfile"
    buildah("bud", "--quiet", "--format", "docker", "--from", base, "--tag", "quay", "--file", file, REPOSITORY)
    config = json.loads(buildah("inspect", "--type", "image", "quay"))["Docker"]["config"]
    assert (config["User"], list(config["Volumes"])) == ("10001:10001", ["/data"])
    assert set(config["ExposedPorts"]) == {"8443/tcp", "8080/tcp"}
    assert config["Entrypoint"] + config["Cmd"] == ["quay", "serve", "--listen", "0.0.0.0:8443"]

    made = buildah("from", "quay").strip()
    assert buildah("run", made, "quay", "version") == f"quay {__version__}\n"
    health = config["Healthcheck"]["Test"][1:]
    assert "does not run" in buildah.refused("run", made, *health)
    serve = Program(
        (*buildah.command, "run", made, "quay", "serve", "--listen", f"127.0.0.1:{free_port()}"), buildah.env
    )
    with Daemon(serve, Path(buildah.env["HOME"]) / "log", lambda: buildah("run", made, *health)):
        assert buildah("run", made, "quay", "status").startswith("Quay is healthy.")
