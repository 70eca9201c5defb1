"""
`quay install`: a server that starts with its machine, as a user of its own; and done again, an upgrade.

Everything that can be refused is, before anything is changed; what is done after that can be done again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import attrs

from appliance import owner, systemd
from appliance.layout import STATE, UNIT, USER, Layout, point
from appliance.owner import NoUser, Owner
from appliance.planning import Plan, Wish, obstacles, planned
from appliance.programs import Program, place
from appliance.state import State
from appliance.systemd import SystemdFailed
from appliance.unit import Unit
from quay import __version__
from quay.authority import Unfit
from quay.config import ConfigError
from quay.files import write_whole
from quay.setup.beginning import begin


class Refused(Exception):
    """It cannot be installed like this; the message is a sentence, and nothing was changed."""


class InstallFailed(Exception):
    """It could not be completed; the message says what went wrong, and what to do."""


@attrs.frozen(kw_only=True)
class Installed:
    """What is there now: where its data are, what starts it, whose it is, and the version `before` it, if any."""

    data: Path
    command: tuple[str, ...]
    owner: Owner
    before: str | None

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What the installed program does with these arguments, as the service user."""
        return subprocess.run(
            [*self.command, *arguments],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "QUAY_DATA": str(self.data)},
            cwd="/",
            user=self.owner.uid,
            group=self.owner.gid,
            extra_groups=(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )


def install(layout: Layout, program: Program, wish: Wish, tell: Callable[[str], object]) -> Installed:
    """Do what is wished for; `tell` hears what takes its time. Raises `Refused` and `InstallFailed`."""
    plan = planned(layout, program, wish)
    for problem in obstacles(plan):
        raise Refused(problem)
    try:
        return _carry_out(plan, tell)
    except (NoUser, ConfigError, Unfit, OSError) as error:
        raise InstallFailed(f"Quay was not installed: {error}") from error
    except SystemdFailed as error:
        raise InstallFailed(_not_started(plan, str(error))) from error


def _carry_out(plan: Plan, tell: Callable[[str], object]) -> Installed:
    os.umask(0o022)
    present = owner.found(plan.layout)
    user = present or owner.made(plan.layout, plan.data)
    made_user = present is None or (plan.state is not None and plan.state.made_user)
    state = State(version=__version__, writable=plan.writable(), made_user=made_user)
    _prepare(plan, state, user)
    tell(f"Copying the program to {plan.layout.program(__version__)} …" if plan.program.directory else "")
    command = place(plan.layout, plan.program, __version__)
    installed = Installed(data=plan.data, command=command, owner=user, before=plan.before)
    if plan.is_of_this_machine:
        _relabel(plan)
        _check_runs(installed)
    plan.layout.unit.parent.mkdir(parents=True, exist_ok=True)
    write_whole(plan.layout.unit, Unit(command, plan.data, state.writable).text.encode(), mode=0o644)
    point(plan.layout.pointer, plan.data)
    _start(plan, tell)
    return installed


def _prepare(plan: Plan, state: State, user: Owner) -> None:
    """The directories, with what an installation begins with in them, given to the service user."""
    plan.here.mkdir(mode=0o700, parents=True, exist_ok=True)
    if plan.beginning is not None:
        begin(plan.here, plan.beginning, datetime.now(UTC))
    state.keep(plan.here)
    fresh = plan.beginning is not None or plan.here.stat().st_uid != user.uid
    owner.give(plan.here if fresh else plan.here / STATE, user)
    plan.here.chmod(0o700)
    for path in map(plan.layout.here, state.writable):
        if not path.exists():
            path.mkdir(parents=True)
            owner.give(path, user)


def _relabel(plan: Plan) -> None:
    """What SELinux, if it is here, thinks of these files follows from where they are, and not from where they were."""
    program = shutil.which("restorecon", path="/usr/sbin:/sbin")
    if program is not None:
        places = (plan.layout.programs, plan.layout.command, plan.here)
        there = [str(path) for path in places if path.exists()]
        subprocess.run([program, "-RF", *there], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _check_runs(installed: Installed) -> None:
    try:
        done = installed.run("version")
        why = (done.stderr.strip()[-1000:] or f"status {done.returncode}") if done.returncode else ""
    except OSError as error:
        why = str(error.strerror)
    if why:
        raise InstallFailed(
            f"The user {USER} cannot run {installed.command[0]}, so nothing was started: {why}. Put the program where "
            "every user can read it."
        )


def _start(plan: Plan, tell: Callable[[str], object]) -> None:
    """Have it started with its machine; and now, and wait until it serves."""
    if not (plan.is_of_this_machine and systemd.is_running()):
        wants = plan.layout.unit.parent / "multi-user.target.wants" / UNIT
        point(wants, Path("/", *plan.layout.unit.relative_to(plan.layout.root).parts))
        return
    systemd.call("daemon-reload")
    systemd.call("enable", UNIT)
    if plan.starts:
        tell("Starting the server …")
        systemd.call("restart", UNIT)


def _not_started(plan: Plan, why: str) -> str:
    back = f"`quay rollback` goes back to {plan.before}." if plan.before not in (None, __version__) else ""
    return "\n".join(
        filter(None, [f"Quay {__version__} is in its place, but did not start. {why}", back, systemd.last_lines()])
    )
