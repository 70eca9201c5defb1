"""
What the machine lets the server have: open files, memory, processes.

Source: Linux, proc_pid_limits(5), proc_meminfo(5), "Control Group v2".
"""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from typing import Final

from appliance.doctor.patient import Patient
from quay.condition import Finding, disk, fine, remarkable, unseen, wrong

LIMITS: Final = "/docs/runbooks#too-many-open-files"
MEMORY: Final = "/docs/runbooks#out-of-memory"
LEAST_FILES: Final = 1024
LEAST_MEMORY: Final = 512 * 1024 * 1024
LEAST_TASKS: Final = 64
"""Threads of one server, and some to spare."""

_FILES: Final = re.compile(r"^Max open files\s+(\w+)\s+(\w+)", re.M)
_MEMORY: Final = re.compile(r"^(MemTotal|MemAvailable|SwapTotal):\s+(\d+) kB", re.M)


def look(patient: Patient) -> Iterator[Finding]:
    """Files, memory, control groups."""
    yield _files(patient)
    yield from _memory(patient)
    yield from _group(patient)


def _files(patient: Patient) -> Finding:
    """The server takes as many as it may have: its hard limit counts."""
    most, whose = _most_files(patient)
    wanted = max(LEAST_FILES, 2 * int(patient.config.maximum_connections))
    if most < wanted:
        return remarkable(
            f"{whose} may open {most:,} files; for MAXIMUM_CONNECTIONS with a blob each, it takes {wanted:,}.",
            "systemctl edit quay  # [Service] LimitNOFILE=65536",
            LIMITS,
        )
    return fine(f"{whose} may open {most:,} files.")


def _most_files(patient: Patient) -> tuple[int, str]:
    pid = patient.server_pid
    found = _FILES.search(patient.host.read(f"/proc/{pid}/limits") or "") if pid is not None else None
    if found is None:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        return (2**31 if most == resource.RLIM_INFINITY else most), "A server started from here"
    return (2**31 if found[2] == "unlimited" else int(found[2])), "The server"


def _memory(patient: Patient) -> Iterator[Finding]:
    found = {name: int(kib) * 1024 for name, kib in _MEMORY.findall(patient.host.read("/proc/meminfo") or "")}
    if "MemAvailable" not in found:
        yield unseen("The kernel does not say how much memory there is.")
        return
    free, total = found["MemAvailable"], found["MemTotal"]
    said = f"{disk.amount(free)} of {disk.amount(total)} of memory can be had"
    if free + found.get("SwapTotal", 0) < LEAST_MEMORY // 2:
        yield wrong(f"{said}: the kernel is about to end processes.", "ps -eo pid,rss,comm --sort=-rss | head", MEMORY)
    elif total < LEAST_MEMORY:
        yield remarkable(f"{said}: {disk.amount(LEAST_MEMORY)} are the least for a server.", "", MEMORY)
    else:
        yield fine(f"{said}.")


def _group(patient: Patient) -> Iterator[Finding]:
    """What the control group of the server allows; nothing where there is none with limits."""
    pid = patient.server_pid
    path = _group_of(patient.host.read(f"/proc/{pid if pid is not None else 'self'}/cgroup") or "")
    memory = _number(patient.host.read(f"/sys/fs/cgroup{path}/memory.max"))
    tasks = _number(patient.host.read(f"/sys/fs/cgroup{path}/pids.max"))
    if memory is not None and memory < LEAST_MEMORY:
        yield remarkable(
            f"The control group {path} has {disk.amount(memory)} of memory: {disk.amount(LEAST_MEMORY)} are the least.",
            "systemctl set-property quay MemoryMax=1G",
            MEMORY,
        )
    if tasks is not None and tasks < LEAST_TASKS:
        yield remarkable(
            f"The control group {path} may have {tasks} threads; a server has up to {LEAST_TASKS}.",
            "systemctl set-property quay TasksMax=512",
            MEMORY,
        )


def _group_of(text: str) -> str:
    """The path in the one hierarchy of version 2."""
    return next((line[3:].rstrip("/") for line in text.splitlines() if line.startswith("0::")), "")


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdecimal() else None
