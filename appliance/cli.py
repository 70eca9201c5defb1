"""
The `quay` command as it is installed: the server's commands, and those for the machine that the server stands on.

What a command needs it imports when it runs: `quay version` loads no more than this.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Final

import click

from appliance import machine
from appliance.doctor.cli import doctor
from appliance.doctor.probing import probe
from appliance.layout import Layout
from appliance.owner import become
from appliance.rollback import rollback
from appliance.support.cli import support
from quay.cli import quay as server

AS_ROOT: Final = frozenset(
    {
        "install",
        "uninstall",
        "status",
        "logs",
        "doctor",
        "support",
        "backup",
        "restore",
        "rollback",
        "version",
        "config",
    }
)
"""What root does as root. All else works with the data directory, and so as its owner."""
CARRYING: Final = frozenset({"bundle", "import", "setup"})
"""What also works with files of root's."""

quay: Final[click.Group] = copy(server)  # what is added here, `python -m quay` does not have
quay.commands = dict(server.commands)
quay.add_command(doctor)
quay.add_command(probe)
quay.add_command(support)
quay.add_command(rollback)
for command in (machine.install, machine.uninstall, machine.status, machine.logs, machine.serve):
    quay.add_command(command)


def _begin(file: Path | None) -> None:
    """As the server's own command begins, and finds what is installed on this machine."""
    context = click.get_current_context()
    environ: Mapping[str, str] = context.obj or {}
    installed, named = Layout().data, file is not None or bool(environ.get("QUAY_CONFIG"))
    data = Path(environ["QUAY_DATA"]) if environ.get("QUAY_DATA") else None if named else installed
    if data is not None and context.invoked_subcommand not in AS_ROOT:
        become(data, reaching=context.invoked_subcommand in CARRYING)
    if data is not None and data == installed and os.access(data, os.W_OK):
        context.obj = {**environ, "QUAY_DATA": str(data)}
    assert server.callback is not None, "the server's command has one"
    server.callback(file)


quay.callback = _begin
