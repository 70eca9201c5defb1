"""
An installation as it would be: what is asked for, with what is there already; and all that stands in its way, found out
before anything is changed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from appliance import systemd
from appliance.doctor.patient import Host
from appliance.doctor.ports import who_listens
from appliance.layout import DATA, Layout
from appliance.programs import Program, is_older
from appliance.state import State
from appliance.unit import is_plain
from quay import __version__
from quay.condition.whole import local_paths
from quay.config import Config, ConfigError, Endpoint, load
from quay.config.surroundings import FILENAME
from quay.config.values import Hostname
from quay.lock import holder
from quay.setup import checks
from quay.setup.beginning import Beginning, beside, is_new

ROOM: Final = 256 * 1024 * 1024
"""Bytes that have to be free for data; and for a program, beside its own size, a quarter of it."""
LISTEN: Final = Endpoint("0.0.0.0", 443)  # noqa: S104  # others are to reach it, and it speaks TLS
_ROOT: Final = Path("/")
_OF_THE_SYSTEM: Final = (
    "bin",
    "boot",
    "dev",
    "etc",
    "lib",
    "lib64",
    "proc",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr",
    "var/tmp",
)
_SHARED: Final = ("", "home", "media", "mnt", "opt", "root", "srv", "var", "var/lib", "var/log")
"""Where other things are, though not below."""


@attrs.frozen(kw_only=True)
class Wish:
    """
    What is asked for. All but `start` may be left out, and is, where something is installed already; `plain` is an
    address and a port, or none, for plain HTTP.
    """

    data: Path | None = None
    listen: tuple[Endpoint, ...] = ()
    plain: tuple[Endpoint, ...] | None = None
    hostname: Hostname | None = None
    writable: tuple[Path, ...] = ()
    start: bool = True


@attrs.frozen(kw_only=True)
class Plan:
    """
    What will be. `here` is where the data directory is now, `state` what an earlier installation left in it, `before`
    the version that is installed; `beginning` is how its configuration is made, where there is none and it is not the
    first start that makes it.
    """

    layout: Layout
    program: Program
    wish: Wish
    data: Path
    here: Path
    state: State | None
    before: str | None
    beginning: Beginning | None

    @property
    def is_of_this_machine(self) -> bool:
        """Whether it is no image's."""
        return self.layout.root == _ROOT

    @property
    def starts(self) -> bool:
        return self.is_of_this_machine and self.wish.start

    def config(self) -> Config | None:
        """The configuration that is there already. Raises `ConfigError`."""
        file = self.here / FILENAME
        return load(file, {}) if file.is_file() else None

    def writable(self) -> tuple[Path, ...]:
        """Every directory outside of the data directory to which the server has to write. Raises `ConfigError`."""
        config = self.config()
        kept = () if self.state is None else self.state.writable
        configured = () if config is None else (*local_paths(config).values(), config.backup_directory)
        found = dict.fromkeys(path for path in (*kept, *self.wish.writable, *configured) if path is not None)
        return tuple(path for path in found if not (path.is_relative_to(self.data) or path.is_relative_to(self.here)))


def planned(layout: Layout, program: Program, wish: Wish) -> Plan:
    """What the wish comes to on this machine."""
    data = layout.data or wish.data or DATA
    here = layout.here(data) if data.is_absolute() else data
    state = State.read(here)
    begins = layout.root == _ROOT and wish.start and is_new(here)
    return Plan(
        layout=layout,
        program=program,
        wish=wish,
        data=data,
        here=here,
        state=state,
        before=_before(layout, state),
        beginning=_beginning(wish) if begins else None,
    )


def _before(layout: Layout, state: State | None) -> str | None:
    """The version that is installed: after a rollback, it is not the last one that was."""
    if layout.data is None or state is None:
        return None
    return layout.version(layout.current) or state.version


def _beginning(wish: Wish) -> Beginning:
    listen = wish.listen or (LISTEN,)
    usual = tuple(each for each in (beside(listen[0]),) if each not in listen)
    plain = usual if wish.plain is None else wish.plain
    return Beginning(listen=listen, plain=plain, hostname=wish.hostname and _with_port(wish.hostname, listen[0].port))


def _with_port(hostname: Hostname, port: int) -> Hostname:
    """The name as clients have to write it, if they connect to this port."""
    has_one = ":" in hostname.rpartition("]")[2]
    return hostname if has_one or port == 443 else Hostname.parse(f"{hostname}:{port}")


def obstacles(plan: Plan) -> Iterator[str]:
    """Why it cannot be, in sentences: the first reason is enough."""
    for part in (_of_the_machine, _of_the_data, _of_the_version, _of_room, _of_ports):
        yield from part(plan)


def _of_the_machine(plan: Plan) -> Iterator[str]:
    if plan.layout.is_packaged:
        yield "Quay is installed here by a package, which also starts and upgrades it: `systemctl status quay`."
    if plan.starts and not systemd.is_running():
        yield (
            "This machine does not run systemd, so nothing would start the server with it. `quay serve` runs a "
            "registry in any directory; for the image of a machine, there are --no-start and --root."
        )
    if not plan.layout.root.is_dir():
        yield f"{plan.layout.root} is no directory: --root is where the file system of a machine is."


def _of_the_data(plan: Plan) -> Iterator[str]:
    present = plan.layout.data
    if present is not None and plan.wish.data not in (None, present):
        yield (
            f"The data of this installation are in {present}. To have them elsewhere: `quay uninstall --keep-data`, "
            f"move the directory, and `quay install --data {plan.wish.data}`."
        )
    for path in (plan.data, *plan.wish.writable):
        if not is_plain(path) or ".." in path.parts:
            yield f"{path} cannot be used: give an absolute path of letters, digits, dots and dashes."
        elif path in map(_ROOT.joinpath, _SHARED) or any(map(path.is_relative_to, map(_ROOT.joinpath, _OF_THE_SYSTEM))):
            yield f"{path} is for other things: give a directory of its own, such as /srv/quay."
    if plan.here.exists() and not plan.here.is_dir():
        yield f"{plan.data} is no directory: move it away, or give another one with --data."
    elif plan.state is None and is_new(plan.here) and plan.here.is_dir() and any(plan.here.iterdir()):
        yield f"{plan.data} has files in it that are none of Quay's: give a directory of its own with --data."
    yield from _of_another_server(plan)


def _of_another_server(plan: Plan) -> Iterator[str]:
    server = holder(plan.here) if plan.is_of_this_machine else None
    if server is not None and server.split()[1:2] != [systemd.shown().get("MainPID")]:
        yield f"Another server is using {plan.data}: {server}. Stop it, or give another directory with --data."


def _of_the_version(plan: Plan) -> Iterator[str]:
    if plan.before and is_older(__version__, plan.before):
        yield (
            f"Quay {plan.before} is installed, and this is {__version__}, which is older and may not understand its "
            "data. `quay rollback` goes back, with the data as they were then."
        )
    try:
        plan.config()
    except ConfigError as error:
        yield f"The configuration that is there cannot be used. {error}"
    if plan.beginning is None and (plan.wish.listen or plan.wish.plain or plan.wish.hostname):
        why = "makes its configuration at its first start" if is_new(plan.here) else "is configured already"
        yield f"{plan.data} {why}: --listen, --plain and --hostname are for a new one that starts now."


def _of_room(plan: Plan) -> Iterator[str]:
    for path, needed in ((plan.layout.programs, plan.program.size + ROOM // 4), (plan.here, ROOM)):
        free = shutil.disk_usage(next(each for each in (path, *path.absolute().parents) if each.exists())).free
        if free < needed:
            yield f"{path} has {free >> 20} MiB of room, and {needed >> 20} are needed: remove something first."


def _of_ports(plan: Plan) -> Iterator[str]:
    if plan.beginning is None:
        return
    for endpoint in (*plan.beginning.listen, *plan.beginning.plain):
        why = checks.refusal(endpoint)
        if why:
            way = "--listen ADDRESS:PORT takes another one"
            if endpoint in plan.beginning.plain:
                way = "--plain ADDRESS:PORT takes another one, and --plain none does without"
            who = who_listens(endpoint, Host())
            yield f"The server cannot listen on {endpoint}: {f'{who} does. Stop it, or: ' if who else why + ' '}{way}."
