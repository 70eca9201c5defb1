"""Facts of the system: kernel, C library, SELinux and AppArmor, as far as they decide whether a server may work."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from appliance.doctor.patient import Patient
from quay import __version__
from quay.condition import Finding, disk, fine, remarkable, wrong

SELINUX: Final = "/docs/runbooks#permission-denied"
OLD: Final = "/docs/runbooks#the-system-is-too-old"
NOEXEC: Final = "/docs/runbooks#the-program-does-not-start"
OLDEST_KERNEL: Final = (4, 18)
OLDEST_GLIBC: Final = (2, 28)

_PRETTY: Final = re.compile(r'^PRETTY_NAME="?([^"\n]*)', re.M)
_SERVED: Final = frozenset({"var_lib_t", "container_file_t", "var_t"})
"""The types below which a service may write."""


def look(patient: Patient) -> Iterator[Finding]:
    """What it is, then what keeps a server from its files."""
    yield _versions(patient)
    yield from _too_old()
    yield from _executable(patient)
    yield _selinux(patient)
    yield _apparmor(patient)


def facts(patient: Patient) -> dict[str, str]:
    """The versions of everything that a report of a problem needs."""
    named = _PRETTY.search(patient.host.read("/etc/os-release") or "")
    return {
        "quay": __version__,
        "python": platform.python_version(),
        "system": named[1] if named else platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "libc": " ".join(filter(None, platform.libc_ver())) or "not glibc",
        "frozen": "yes" if getattr(sys, "frozen", False) else "no",
    }


def _versions(patient: Patient) -> Finding:
    found = facts(patient)
    return fine(
        f"Quay {found['quay']} on {found['system']}, Linux {found['kernel']} ({found['machine']}), {found['libc']}."
    )


def _too_old() -> Iterator[Finding]:
    kernel, (libc, version) = _numbers(platform.release()), platform.libc_ver()
    if kernel and kernel < OLDEST_KERNEL:
        yield remarkable(f"Linux {platform.release()} is older than what this version is tested on (4.18).", "", OLD)
    if libc == "glibc" and _numbers(version) < OLDEST_GLIBC:
        yield remarkable(f"glibc {version} is older than what this version is tested on (2.28).", "", OLD)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _executable(patient: Patient) -> Iterator[Finding]:
    """The one program unpacks itself where it must be allowed to be executed."""
    unpacked = getattr(sys, "_MEIPASS", None)
    place = Path(unpacked or patient.host.environ.get("TMPDIR") or "/tmp")  # noqa: S108  # it is only looked at
    mount = disk.mount_of(place, patient.host.path("/proc/self/mountinfo"))
    if mount is not None and "noexec" in mount.options and (unpacked or getattr(sys, "frozen", False)):
        yield remarkable(
            f"{place} is on {mount.point}, mounted noexec: a program that unpacks itself there does not start.",
            "export TMPDIR=/var/lib/quay/tmp",
            NOEXEC,
        )


def _selinux(patient: Patient) -> Finding:
    enforcing = patient.host.read("/sys/fs/selinux/enforce")
    if enforcing is None:
        return fine("SELinux is not in this kernel.")
    if enforcing.strip() != "1":
        return fine("SELinux only watches, and keeps nobody from anything.")
    data = patient.config.data
    label = _label(data)
    if patient.exists and label and _type(label) not in _SERVED:
        quoted = shlex.quote(str(data))
        return wrong(
            f"SELinux is enforcing, and {data} is labelled {label}, where a service may not write.",
            f"semanage fcontext -a -t var_lib_t {shlex.quote(f'{data}(/.*)?')} && restorecon -R {quoted}",
            SELINUX,
        )
    return fine("SELinux is enforcing, and the label of the data directory will do.")


def _type(label: str) -> str:
    """The third part of a label: user, role, type, level."""
    return [*label.split(":"), "", ""][2]


def _label(path: Path) -> str:
    try:
        return os.getxattr(path, "security.selinux").decode("utf-8", "replace").rstrip("\0")
    except OSError:
        return ""


def _apparmor(patient: Patient) -> Finding:
    if (patient.host.read("/sys/module/apparmor/parameters/enabled") or "").strip() != "Y":
        return fine("AppArmor is not switched on.")
    pid = patient.server_pid
    profile = (patient.host.read(f"/proc/{pid}/attr/current") or "").strip("\0\n ") if pid is not None else ""
    if profile and not profile.startswith("unconfined"):
        return remarkable(
            f"AppArmor holds the server to the profile {profile[:80]}; the log of the kernel has what it forbids.",
            'journalctl -k -g apparmor="DENIED"',
            SELINUX,
        )
    return fine("AppArmor is switched on, and has no profile for the server.")
