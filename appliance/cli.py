"""
The `quay` command as it is installed: the server's commands, and those for the machine that the server stands on.

What a command needs it imports when it runs: `quay version` loads no more than this.
"""

from __future__ import annotations

from copy import copy
from typing import Final

import click

from appliance.doctor.cli import doctor
from appliance.support.cli import support
from quay.cli import quay as server

quay: Final[click.Group] = copy(server)  # what is added here, `python -m quay` does not have
quay.commands = dict(server.commands)
quay.add_command(doctor)
quay.add_command(support)
