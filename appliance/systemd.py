"""
systemd, as `systemctl` and `journalctl` speak with it. Every call waits for its end.

Source: systemctl(1), journalctl(1), sd_booted(3).
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from appliance.layout import UNIT

ASKED: Final = ("LoadState", "ActiveState", "SubState", "MainPID", "NRestarts", "StatusText", "ActiveEnterTimestamp")
"""The properties of the unit that anybody here looks at."""
LAST_LINES: Final = 15


class SystemdFailed(Exception):
    """systemd did not do what it was asked; the message is a sentence, with what systemd and the server say."""


def is_running() -> bool:
    """Whether this machine was started by systemd, which starts its services."""
    return Path("/run/systemd/system").is_dir()


def call(*arguments: str) -> None:
    """`systemctl` with these arguments. Raises `SystemdFailed`."""
    try:
        done = _run("systemctl", *arguments)
    except OSError as error:
        raise SystemdFailed(f"systemctl cannot be run: {error.strerror}.") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise SystemdFailed(f"`systemctl {' '.join(arguments)}` failed: {said[0] if said else done.returncode}")


def shown() -> Mapping[str, str]:
    """What systemd says of the server's unit, by the names in `ASKED`; empty where there is no systemd to ask."""
    if not is_running():
        return {}
    try:
        done = _run("systemctl", "show", UNIT, f"--property={','.join(ASKED)}")
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def last_lines() -> str:
    """The last that the server has said, or systemd of it; empty where nobody knows."""
    try:
        done = _run("journalctl", "--unit", UNIT, "--lines", str(LAST_LINES), "--no-pager", "--output", "cat")
    except OSError:
        return ""
    return done.stdout.strip()


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
