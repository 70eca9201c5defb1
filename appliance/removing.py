"""`quay uninstall`: what `quay install` made is gone again, and nothing else; with or without the data."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs

from appliance import owner, programs, systemd
from appliance.layout import UNIT, USER, Layout
from appliance.owner import NoUser
from appliance.state import State
from appliance.systemd import SystemdFailed
from quay.lock import holder


class RemovalFailed(Exception):
    """It could not be completed; the message says what is left. It can be tried again."""


@attrs.frozen
class Removal:
    """The end of the installation whose data directory is `data`, with or without these."""

    layout: Layout
    data: Path
    keep_data: bool

    def carry_out(self) -> Iterator[str]:
        """Do it, and tell of each thing that is gone. Raises `RemovalFailed`."""
        try:
            yield from self._stop()
            yield from self._remove()
        except (OSError, NoUser, SystemdFailed) as error:
            raise RemovalFailed(f"Not all of it could be removed: {error} Try again when that is mended.") from error

    def _stop(self) -> Iterator[str]:
        if self.layout.root == Path("/") and systemd.is_running() and self.layout.unit.exists():
            systemd.call("disable", "--now", UNIT)
            yield "The server is stopped, and does not start with this machine any more."
        server = holder(self.layout.here(self.data))
        if server is not None:
            raise RemovalFailed(f"A server is using {self.data}: {server}. Stop it first; nothing was removed.")

    def _remove(self) -> Iterator[str]:
        here = self.layout.here(self.data)
        state = State.read(here)
        wants = self.layout.unit.parent / "multi-user.target.wants" / UNIT
        for path in (wants, self.layout.unit):
            if path.is_symlink() or path.exists():
                path.unlink()
                yield f"Removed {path}."
        if self.layout.root == Path("/") and systemd.is_running():
            systemd.call("daemon-reload")
        if not self.keep_data:
            yield from self._remove_data(here, state)
        self.layout.pointer.unlink(missing_ok=True)
        with suppress(OSError):  # somebody else may have something there
            self.layout.pointer.parent.rmdir()
        yield from (f"Removed {path}." for path in programs.remove(self.layout))
        if self.keep_data:
            yield f"Kept {self.data}, and its user {USER}. `quay install --data {self.data}` goes on with it."

    def _remove_data(self, here: Path, state: State | None) -> Iterator[str]:
        if here.is_dir():
            shutil.rmtree(here)
            yield f"Removed {self.data} with all data in it."
        if state is not None:
            yield from (f"Not touched: {path}, to which the server could write." for path in state.writable)
            if state.made_user and owner.found(self.layout) is not None:
                owner.remove(self.layout)
                yield f"Removed the user {USER}."
