"""
Where a process finds its configuration: the file it is given, else the one in its data directory, else none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

FILENAME: Final = "quay.yaml"
DATA: Final = "var"


@attrs.frozen
class Surroundings:
    """The file a command or server was given, if any, and its environment."""

    file: Path | None
    environ: Mapping[str, str] = attrs.field(repr=False)

    @classmethod
    def of(cls, file: Path | None, environ: Mapping[str, str]) -> Surroundings:
        """With `file`, or else the one that `$QUAY_CONFIG` names."""
        given, data = environ.get("QUAY_CONFIG"), environ.get("QUAY_DATA")
        if data:  # it begins here, and not where the file happens to be
            environ = {**environ, "QUAY_DATA": str(Path(data).absolute())}
        return cls(file or (Path(given) if given else None), environ)

    @property
    def data(self) -> Path:
        """The data directory, as far as it is known without a configuration."""
        return Path(self.environ.get("QUAY_DATA") or DATA)

    @property
    def found(self) -> Path | None:
        """The configuration file: the one given, else the one in the data directory, else none."""
        there = self.data / FILENAME
        return self.file or (there if _may_be(there) else None)

    @property
    def begin(self) -> str:
        """The data directory where neither the file nor the environment names one."""
        return str(self.data.absolute()) if self.file is None else DATA


def _may_be(file: Path) -> bool:
    """Whether it is there, or cannot be seen: then whoever reads it is told so."""
    try:
        return file.is_file()
    except PermissionError:
        return True
