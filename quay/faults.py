"""
Named points at which a process can be made to die, so that tests can ask what a crash leaves behind.

Nothing is armed unless the composition root arms it: a point costs one look into an empty dict.
"""

from __future__ import annotations

import os
import signal
from threading import Lock

_armed: dict[str, int] = {}
_counting = Lock()


def arm(name: str, count: int) -> None:
    """Kill this process, as a power cut would, when it passes the point `name` for the `count`-th time from now."""
    if count < 1:
        raise ValueError(f"The crash point {name!r} cannot be armed for pass {count}: passes are counted from 1.")
    _armed[name] = count


def point(name: str) -> None:
    """Pass the point `name`, in any thread."""
    if name in _armed:
        with _counting:
            _armed[name] -= 1
            if _armed[name] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
