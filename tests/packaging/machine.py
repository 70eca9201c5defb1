"""
A machine that systemd has started: the Debian of this one, on a copy that is thrown away, in namespaces of its own,
where Python and this checkout are hidden, and nothing can be reached. Needs root.

QUAY_TEST_MACHINE=DIR takes the file system in DIR instead, such as debootstrap makes one.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.clients.programs import PATIENCE, POLL, Program
from tests.packaging.island import NSENTER, Island, IslandMissing, hidden

INIT = "/lib/systemd/systemd"
NAMESPACES = ("mount", "pid", "net", "uts", "ipc", "cgroup")
CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
ENABLED = "/etc/systemd/system"
"""What this machine starts is none of the other one's business."""


class MachineMissing(IslandMissing):
    """systemd cannot be started here; the message says why."""


def _cgroup() -> Path:
    """A new control group for the machine, in the hierarchy that systemd wants."""
    for mounted in CGROUPS:
        if (mounted / "cgroup.procs").exists():
            made = mounted / f"quay-test-{os.getpid()}-{time.monotonic_ns()}"
            try:
                made.mkdir()
            except OSError as error:
                raise MachineMissing(f"{made} cannot be made: {error.strerror}") from None
            return made
    raise MachineMissing("there is no cgroup2 here")


class Machine(Island):
    """One such machine, from `with` to its end; `root` is its file system, as this one sees it."""

    def __init__(self, directory: Path) -> None:
        self._given = Path(os.environ.get("QUAY_TEST_MACHINE", "/"))
        self._copy = directory
        self._log = directory / "console"
        self._init = 0

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self._init}/root")

    def __enter__(self) -> Self:
        if not (self._given / INIT.lstrip("/")).exists():
            raise MachineMissing(f"there is no systemd in {self._given}")
        self._copy.mkdir(parents=True, exist_ok=True)
        self._group = _cgroup()
        with self._log.open("wb") as console:
            self._holder = subprocess.Popen(
                ["sh", "-c", self._script()], stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT
            )
        try:
            self._await_init()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def _script(self) -> str:
        """Into a control group and namespaces of its own, and there `_inside`."""
        apart = " ".join(f"--{name}" for name in NAMESPACES)
        return (
            f"echo $$ > {self._group}/cgroup.procs && "
            f"exec unshare {apart} --fork --kill-child sh -c {shlex.quote(self._inside())}"
        )

    def _inside(self) -> str:
        copy = self._copy
        root = copy / "root"
        lines = [
            "set -e",
            f"mount -t tmpfs none {copy}",
            f"mkdir {copy}/upper {copy}/work {root}",
            f"mount -t overlay -o lowerdir={self._given},upperdir={copy}/upper,workdir={copy}/work none {root}",
            f"rm -rf {root}{ENABLED} && mkdir -p {root}{ENABLED} {root}/sys/fs/cgroup",
            f"echo machine > {root}/etc/hostname && hostname machine",
            f"mount -t proc none {root}/proc && mount -t sysfs none {root}/sys",
            f"mount -t cgroup2 none {root}/sys/fs/cgroup",
            *(f"mount -t tmpfs none {root}/{name}" for name in ("run", "tmp", "dev", "var/cache", "root", "home")),
            f"mkdir {root}/dev/pts {root}/dev/shm && mount -t devpts -o newinstance,ptmxmode=0666 none {root}/dev/pts",
            f"ln -s pts/ptmx {root}/dev/ptmx",
            *(f"touch {root}/dev/{name} && mount --bind /dev/{name} {root}/dev/{name}" for name in DEVICES),
            *(f"[ ! -d {root}{path} ] || mount -t tmpfs none {root}{path}" for path in hidden()),
            f"for python in {root}/usr/bin/python3*; do [ ! -f $python ] || mount --bind /dev/null $python; done",
            "ip link set lo up",
            f"exec env -i container=quay PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot {root} {INIT}",
        ]
        return "\n".join(lines)

    def _await_init(self) -> None:
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        deadline = time.monotonic() + PATIENCE
        while self._holder.poll() is None and time.monotonic() < deadline:
            found = children.read_text().split()
            if found and Path(f"/proc/{found[0]}/comm").read_text().strip() == "systemd":
                self._init = int(found[0])
                if self._is_up():
                    return
            time.sleep(POLL)
        raise MachineMissing(f"systemd did not start: {self._log.read_text(errors='replace').strip()[-1000:]}")

    def _is_up(self) -> bool:
        asked = self.command("systemctl", "is-system-running", "--wait")
        said = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE, check=False).stdout.strip()
        return said in ("running", "degraded")

    def _end(self) -> None:
        self._holder.kill()  # with it goes its child, and with that, everything there
        self._holder.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while self._group.exists() and time.monotonic() < deadline:
            groups = [Path(directory) for directory, _, _ in os.walk(self._group, topdown=False)]
            try:
                for group in groups:
                    group.rmdir()
            except OSError:  # somebody in it has not quite gone
                time.sleep(POLL)

    def command(self, *arguments: object, directory: Path = Path("/")) -> list[str]:
        entrance = (NSENTER, f"--target={self._init}", *(f"--{name}" for name in NAMESPACES), "--root")
        return [*entrance, f"--wdns={directory}", "--", *map(str, arguments)]

    def program(self, *command: object, env: Mapping[str, object] | None = None) -> Program:
        return super().program(*command, env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **(env or {})})

    def visitor(self, *command: object, env: Mapping[str, object] | None = None) -> Program:
        """A program of the machine of the test, with its files, in the network of this one."""
        line = (NSENTER, f"--net=/proc/{self._init}/ns/net", "--", *map(str, command))
        return Program(line, {name: str(value) for name, value in (env or {}).items()})
