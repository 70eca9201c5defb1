"""
Where an installation is on its machine: its program, command and unit, and the pointer from which all else is found.

    /opt/quay/<version>/                the program of each release; `current` and `previous` are links to two of them
    /usr/local/bin/quay                 the command: a link to the current program
    /etc/systemd/system/quay.service    the unit
    /etc/quay/data                      the pointer: a link to the data directory, which has everything else

An installation whose program is no frozen one (a virtual environment) has nothing below /opt/quay.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

USER: Final = "quay"
"""Who the server is on its machine; his group has the same name."""
UNIT: Final = "quay.service"
EXECUTABLE: Final = "quay"
"""The frozen program, in the directory of its version."""
DATA: Final = Path("/var/lib/quay")
"""The data directory, unless another one was asked for."""
PACKAGED: Final = Path("/usr/lib/quay")
"""Where a package of the distribution has the program, and with it the unit; it installs, upgrades and removes both."""
STATE: Final = "installation.json"
"""In the data directory: what `quay install` did, so that nothing has to be said twice."""


@attrs.frozen
class Layout:
    """
    The places on the machine whose file system is at `root`: this one's, or an image's.

    Paths that the machine itself will use (in links, in the unit) are as it sees them; the properties here are where
    they are now.
    """

    root: Path = Path("/")

    def here(self, path: Path) -> Path:
        """Where the absolute `path` of the machine is now."""
        return self.root / path.relative_to("/")

    @property
    def programs(self) -> Path:
        return self.here(Path("/opt/quay"))

    def program(self, version: str) -> Path:
        """The directory of the program of this version."""
        return self.programs / version

    @property
    def current(self) -> Path:
        """The link to the program that the unit runs; its target is the name of a version."""
        return self.programs / "current"

    @property
    def previous(self) -> Path:
        """The link to the program that was current before the last upgrade."""
        return self.programs / "previous"

    @property
    def command(self) -> Path:
        return self.here(Path("/usr/local/bin/quay"))

    @property
    def unit(self) -> Path:
        return self.here(Path("/etc/systemd/system") / UNIT)

    @property
    def pointer(self) -> Path:
        return self.here(Path("/etc/quay/data"))

    @property
    def is_packaged(self) -> bool:
        """Whether what is installed is a package's, and not `quay install`'s."""
        return self.here(PACKAGED).is_dir() and not self.unit.exists()

    @property
    def data(self) -> Path | None:
        """The data directory as the machine calls it; None where nothing is installed."""
        with suppress(OSError):
            return self.pointer.readlink()
        return None

    def version(self, link: Path) -> str | None:
        """The version that `current` or `previous` names, if it names one that is there."""
        with suppress(OSError):
            version = os.fspath(link.readlink())
            return version if self.program(version).is_dir() else None
        return None


def point(link: Path, target: Path | str) -> None:
    """Make `link` a link to `target`, at once and for good, whatever it was before. Raises `OSError`."""
    link.parent.mkdir(parents=True, exist_ok=True)
    draft = link.with_name(f".{link.name}.new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)
    directory = os.open(link.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def switch(layout: Layout, version: str) -> None:
    """
    Make `version`, whose program is there, the current one, and what was current the previous one: an upgrade, and
    with the previous version, a rollback. Whoever runs goes on until he is started anew. Raises `OSError`.
    """
    before = layout.version(layout.current)
    if before != version:
        point(layout.current, version)
        if before is not None:
            point(layout.previous, before)
