"""
Who is examined: an installation, and the machine around it. Everything that a check asks of the machine, it asks here,
so that a test can answer.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import attrs

from quay.condition import Finding
from quay.condition.clock import Kept, kept
from quay.config import Config, Endpoint
from quay.lock import holder
from quay.setup import machine

SMALL: Final = 1024 * 1024
PROGRAM_S: Final = 5.0


@attrs.frozen
class Said:
    """What a program said, and its exit status."""

    status: int
    text: str


def _addresses(name: str) -> tuple[str, ...]:
    """The addresses of a name, in order. Raises `OSError`."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


def _name(address: str) -> str | None:
    """What the reverse lookup says of an address; None if it says nothing."""
    try:
        found, _ = socket.getnameinfo((address, 0), socket.NI_NAMEREQD)
    except OSError:
        return None
    return found


def _run(command: tuple[str, ...]) -> Said | None:
    """The output of a program, in the language of all machines; None where it is not there, or does not end."""
    program = shutil.which(command[0], path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *command[1:]],
            env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROGRAM_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Said(done.returncode, (done.stdout or done.stderr)[:SMALL].decode("utf-8", "replace"))


@attrs.frozen
class Host:
    """The machine: its files below `root`, its programs, names, clock; and who asks, by his number."""

    environ: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    root: Path = Path("/")
    addresses: Callable[[str], tuple[str, ...]] = _addresses
    name: Callable[[str], str | None] = _name
    own_addresses: Callable[[], tuple[str, ...]] = machine.addresses
    run: Callable[[tuple[str, ...]], Said | None] = _run
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    kept: Callable[[], Kept | None] = kept
    uid: int = attrs.field(factory=os.geteuid)

    def path(self, place: str) -> Path:
        """Where the absolute path `place` of the machine is."""
        return self.root / place.lstrip("/")

    def read(self, place: str) -> str | None:
        """The text of a small file; None if it is not there or may not be read."""
        try:
            with self.path(place).open("rb") as file:
                return file.read(SMALL).decode("utf-8", "replace")
        except OSError:
            return None

    @property
    def is_root(self) -> bool:
        return self.uid == 0


@attrs.frozen
class Patient:
    """
    The installation that `config` describes, with the file it was read from, on its machine. `broken` are the sentences
    of a configuration that cannot be used: then `config` has the defaults, and only the machine can be examined.
    """

    config: Config
    host: Host = attrs.field(factory=Host)
    file: Path | None = None
    broken: tuple[str, ...] = ()

    @property
    def server(self) -> str | None:
        """Who serves the data directory now: `process 1234 on host`; None if nobody does."""
        return holder(self.config.data, self.host.path("/proc/locks"))

    @property
    def server_pid(self) -> int | None:
        """The number of the process that serves, as far as it is known."""
        words = (self.server or "").split()
        return int(words[1]) if len(words) > 1 and words[1].isdecimal() else None

    @property
    def exists(self) -> bool:
        """Whether there is a data directory at all."""
        return self.config.data.is_dir()

    @property
    def ports(self) -> tuple[Endpoint, ...]:
        """Every address and port on which it is to listen; which port a 0 becomes, only the server knows."""
        plain = self.config.plain_listen if self.config.tls_certificate is not None else ()
        return tuple(endpoint for endpoint in (*self.config.listen, *plain) if endpoint.port)


@attrs.frozen
class Check:
    """
    A subject: its `name`, what it is about, how long it may take, and what looks at it. `machine` says that it can do
    so without a configuration.
    """

    name: str
    about: str
    seconds: float
    look: Callable[[Patient], Iterable[Finding]]
    machine: bool = False


def is_address(text: str) -> bool:
    """Whether this is an address, and no name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
