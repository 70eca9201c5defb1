"""
Who owns an installation on its machine: the service user. He is made, his files are given to him, and commands of
root's become him where they work with his files.

Source: passwd(5), useradd(8), capabilities(7), capset(2); Debian Policy 9.2.2 (users of the system).
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Final

import attrs

from appliance.layout import USER, Layout

_THIS_MACHINE: Final = Path("/")
_CAPABILITIES_V3: Final = 0x20080522
_CAP_DAC_OVERRIDE: Final = 1


class NoUser(Exception):
    """The service user cannot be made; the message says why."""


@attrs.frozen
class Owner:
    """The numbers of a user and of his group."""

    uid: int
    gid: int


def found(layout: Layout) -> Owner | None:
    """The service user of the machine, if there is one."""
    if layout.root == _THIS_MACHINE:
        try:
            entry = pwd.getpwnam(USER)
        except KeyError:
            return None
        return Owner(entry.pw_uid, entry.pw_gid)
    for line in layout.here(Path("/etc/passwd")).read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split(":")
        if fields[0] == USER and len(fields) > 3:
            return Owner(int(fields[2]), int(fields[3]))
    return None


def made(layout: Layout, home: Path) -> Owner:
    """The service user, made as one of the system's, who cannot log in. Raises `NoUser`."""
    prefix = () if layout.root == _THIS_MACHINE else ("--prefix", str(layout.root))
    account = ("--system", "--user-group", "--no-create-home", "--home-dir", str(home))
    _call("useradd", *prefix, *account, "--shell", "/usr/sbin/nologin", "--comment", "Quay", USER)
    owner = found(layout)
    if owner is None:
        raise NoUser(f"There is no user {USER} after useradd made him: look at /etc/passwd and /etc/nsswitch.conf.")
    return owner


def remove(layout: Layout) -> None:
    """Remove the service user. Raises `NoUser`."""
    prefix = () if layout.root == _THIS_MACHINE else ("--prefix", str(layout.root))
    _call("userdel", *prefix, USER)


def _call(program: str, *arguments: str) -> None:
    path = shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if path is None:
        raise NoUser(f"There is no {program} on this machine. Make the user {USER} yourself, and try again.")
    done = subprocess.run(
        [path, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise NoUser(f"`{program} {' '.join(arguments)}` failed: {done.stderr.strip() or done.returncode}")


def give(path: Path, owner: Owner) -> None:
    """
    Give him everything at and below `path`; links are given, not followed. Nobody else may be able to write there
    meanwhile. Raises `OSError`.
    """
    _give(path, owner)
    for directory, directories, files in os.walk(path):
        for name in (*directories, *files):
            _give(Path(directory, name), owner)


def _give(path: Path, owner: Owner) -> None:
    status = path.lstat()
    if (status.st_uid, status.st_gid) != (owner.uid, owner.gid):
        os.lchown(path, owner.uid, owner.gid)


def become(data: Path, *, reaching: bool = False) -> None:
    """
    Where root works with somebody else's data directory, be its owner from now on, so that what is written there is
    his. With `reaching`, he may still read and write where root may: for what is carried in and out. Raises `OSError`.
    """
    if os.geteuid() != 0 or not data.is_dir():
        return
    status = data.stat()
    if status.st_uid == 0:
        return
    os.setgroups([])
    os.setgid(status.st_gid)
    os.umask(0o077)
    if reaching:  # still root by his real number, for which access(2) looks
        os.setresuid(0, status.st_uid, 0)
        _keep(_CAP_DAC_OVERRIDE)
    else:
        os.setuid(status.st_uid)


def _keep(capability: int) -> None:
    """Have this capability of those that were root's, and no other."""
    version = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    sets = (ctypes.c_uint32 * 6)(
        1 << capability, 1 << capability, 0
    )  # effective, permitted, inheritable; then above 31
    if ctypes.CDLL(None, use_errno=True).capset(version, sets):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
