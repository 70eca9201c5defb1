"""
What was answered so far, so that a setup can be gone on with: sealed, because there are passwords in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from quay.auth.seals import SealBroken, Seals
from quay.files import write_whole

FILE: Final = "setup.sealed"
PURPOSE: Final = "setup"

Plain = Mapping[str, Any]


class Kept:
    """The answers in the data directory: for each screen, what was typed. All waits for the disk."""

    def __init__(self, data: Path, vault: Seals) -> None:
        self._path = data / FILE
        self._vault = vault

    def read(self) -> dict[str, Plain]:
        """The answers by screen; none, if there are none that this installation could read."""
        try:
            found: dict[str, Plain] = json.loads(self._vault.open(PURPOSE, self._path.read_text(encoding="ascii")))
        except (FileNotFoundError, SealBroken, ValueError):
            return {}
        return found

    def keep(self, screen: str, answers: Plain) -> None:
        """Keep these answers instead of those that were given on this screen before."""
        sealed = self._vault.seal(PURPOSE, json.dumps({**self.read(), screen: answers}).encode())
        write_whole(self._path, sealed.encode())

    def forget(self) -> None:
        """The setup is over."""
        self._path.unlink(missing_ok=True)
