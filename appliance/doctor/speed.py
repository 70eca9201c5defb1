"""
The speed of the disks: how long they take until something is safe, and how much they take in a second.

Source: open(2), `O_TMPFILE`: a file without a name, which is gone whatever happens.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from appliance.doctor import lesser
from appliance.doctor.patient import Patient
from quay.condition import Finding, disk, fine, remarkable, unseen, wrong
from quay.condition.whole import places

MIB: Final = 1024 * 1024
SAMPLE: Final = 64 * MIB
ROOM: Final = 4 * SAMPLE
"""Where less is free, it is not tried how fast a disk is."""
WRITE_S: Final = 4.0
SYNCS: Final = 200
SYNC_S: Final = 3.0
SLOW: Final = 20 * MIB
SLOW_S: Final = 0.02
STUCK_S: Final = 1.0

SLOW_DISK: Final = "/docs/runbooks#slow-disk"


def look(patient: Patient) -> Iterator[Finding]:
    """Each disk on which the registry stands."""
    if not patient.exists:
        yield unseen(f"{patient.config.data} is not there yet: the server makes it when it starts.", "quay serve")
    elif lesser.is_needed(patient):
        yield from lesser.asked(patient, "speed")
    else:
        for place in places(patient.config):
            yield from speed(place)


def speed(place: Path) -> Iterator[Finding]:
    """How fast `place` takes what is written there; one file, which is gone at the end."""
    if disk.room_of(place).free < ROOM:
        yield unseen(f"{place} has too little room to try how fast it is.")
        return
    try:
        descriptor = _nameless(place)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            yield unseen(f"This user may not write to {place}: try as root, or as the server's user.")
        else:
            yield wrong(f"Nothing can be written to {place}: {error.strerror}.", "", disk.FULL)
        return
    try:
        yield _latency(place, _syncs(descriptor))
        yield _throughput(place, descriptor)
    except OSError as error:
        yield wrong(f"Writing to {place} fails: {error.strerror}.", "dmesg --level=err | tail", disk.FULL)
    finally:
        os.close(descriptor)


def _nameless(place: Path) -> int:
    try:
        return os.open(place, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    path = place / f".doctor-{secrets.token_hex(8)}"  # a file system that cannot do that
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    path.unlink()
    return descriptor


def _syncs(descriptor: int) -> list[float]:
    """How long each of some writes of 4 KiB takes to be safe, in order of size."""
    block, taken = os.urandom(4096), list[float]()
    until = time.monotonic() + SYNC_S
    while len(taken) < SYNCS and time.monotonic() < until:
        began = time.perf_counter()
        os.pwrite(descriptor, block, len(taken) * 4096)
        os.fdatasync(descriptor)
        taken.append(time.perf_counter() - began)
    return sorted(taken)


def _latency(place: Path, taken: list[float]) -> Finding:
    middle, worst = taken[len(taken) // 2], taken[min(len(taken) - 1, len(taken) * 99 // 100)]
    said = f"A write to {place} is safe after {middle * 1000:.1f} ms, and 99 of 100 after {worst * 1000:.1f} ms"
    if worst > STUCK_S:
        return wrong(f"{said}: pushes wait for that several times, and time out.", "iostat -x 1 5", SLOW_DISK)
    if middle > SLOW_S:
        return remarkable(f"{said}: every push waits for that several times.", "iostat -x 1 5", SLOW_DISK)
    return fine(f"{said}.")


def _throughput(place: Path, descriptor: int) -> Finding:
    block, written = os.urandom(MIB), 0
    began = time.perf_counter()
    while written < SAMPLE and time.perf_counter() - began < WRITE_S:
        written += os.pwrite(descriptor, block, written)
    os.fdatasync(descriptor)
    rate = written / (time.perf_counter() - began)
    said = f"{place} takes {disk.amount(rate)} a second"
    if rate < SLOW:
        return remarkable(f"{said}: large images take their time.", "iostat -x 1 5", SLOW_DISK)
    return fine(f"{said}.")
