"""
The clock of this machine: whether something keeps it right, and whether it can be right at all.

Source: Linux, adjtimex(2).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import attrs

from quay.condition.finding import Finding, fine, remarkable, unseen, wrong

FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Before this version was made."""
LEEWAY: Final = timedelta(minutes=5)
"""By so much clocks may differ: tokens are good for as long before and after."""

WRONG_CLOCK: Final = "/docs/runbooks#the-clock-is-wrong"
_UNSYNCHRONIZED: Final = 0x0040
_SET_CLOCK: Final = "timedatectl set-ntp true"


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


@attrs.frozen
class Kept:
    """What the kernel says of its clock: whether somebody keeps it in step, and by how much it may err, in seconds."""

    synchronized: bool
    error_s: float


def kept() -> Kept | None:
    """How the clock is kept, which anybody may ask; None where there is no such kernel."""
    try:
        found = _Timex()  # no modes: nothing is changed
        if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(found)) < 0:
            return None
    except (AttributeError, OSError):
        return None
    return Kept(not found.status & _UNSYNCHRONIZED, found.maxerror / 1e6)


def in_step(found: Kept | None) -> Finding:
    """Whether something keeps the clock right."""
    if found is None:
        return unseen("The kernel does not say whether its clock is kept in step.")
    if found.synchronized:
        return fine(f"The clock is kept in step, to {found.error_s * 1000:.0f} ms.")
    return remarkable(
        "Nothing keeps the clock of this machine in step: with no time server, set it by hand now and then. Clients "
        f"may be {LEEWAY.seconds // 60} minutes apart.",
        _SET_CLOCK,
        WRONG_CLOCK,
    )


def plausible(now: datetime, written: Iterator[Path]) -> Iterator[Finding]:
    """Whether `now` can be, for a server of this version, which has `written` files before."""
    if now < FIRST:
        yield wrong(f"The clock says {now:%Y-%m-%d %H:%M} UTC, before this version was made: set it.", "", WRONG_CLOCK)
        return
    for path in written:
        try:
            last = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except OSError:
            continue
        if last > now + LEEWAY:
            yield wrong(
                f"The clock says {now:%Y-%m-%d %H:%M} UTC, but {path} was written at {last:%Y-%m-%d %H:%M}: the clock "
                "was set back, or was wrong before.",
                "",
                WRONG_CLOCK,
            )
            return
    yield fine(f"The clock says {now:%Y-%m-%d %H:%M} UTC, which can be.")
