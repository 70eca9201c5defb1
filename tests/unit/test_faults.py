"""Crash points: nothing unless armed, and then a death without last words."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from quay import faults

SCRIPT = """
from quay import faults
faults.arm("here", 3)
for n in range(5):
    faults.point("elsewhere")
    faults.point("here")
    print(n, flush=True)
"""


def test_a_point_that_is_not_armed_does_nothing() -> None:
    """Passing a point costs nothing and changes nothing."""
    faults.point("nobody.armed-this")


def test_the_process_dies_at_the_counted_pass() -> None:
    """An armed point kills the process with SIGKILL at its n-th pass, and other points do not count."""
    died = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (died.returncode, died.stdout) == (-signal.SIGKILL, "0\n1\n")


def test_passes_are_counted_from_one() -> None:
    """A point cannot be armed for a pass that never comes."""
    with pytest.raises(ValueError, match="counted from 1"):
        faults.arm("here", 0)
