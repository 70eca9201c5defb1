"""
What `quay install` did and was told, kept in the data directory: so that an upgrade asks for nothing again, and an
end takes away what was made, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import attrs

from appliance.layout import STATE
from quay.files import write_whole


@attrs.frozen(kw_only=True)
class State:
    """
    `version` was installed last; `writable` are the directories outside of the data directory to which the server may
    write; `made_user` says that the service user was made for it.
    """

    version: str
    writable: tuple[Path, ...] = ()
    made_user: bool = False

    @classmethod
    def read(cls, data: Path) -> Self | None:
        """What is kept in this data directory, if anything can be made out."""
        try:
            found = json.loads((data / STATE).read_bytes()[:65536])
        except (OSError, ValueError):
            return None
        return cls._of(found) if isinstance(found, dict) else None

    @classmethod
    def _of(cls, found: Mapping[str, Any]) -> Self:
        writable = found.get("writable")
        paths = [Path(each) for each in writable if isinstance(each, str)] if isinstance(writable, list) else []
        return cls(
            version=str(found.get("version", "")), writable=tuple(paths), made_user=found.get("made_user") is True
        )

    def keep(self, data: Path) -> None:
        """Write it, as a whole. Raises `OSError`."""
        plain = {
            "version": self.version,
            "writable": list(map(str, self.writable)),
            "made_user": self.made_user,
        }
        write_whole(data / STATE, json.dumps(plain, indent=2).encode() + b"\n")
