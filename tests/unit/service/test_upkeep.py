"""Upkeep beside a running server: a command asks, and the server answers."""

from __future__ import annotations

from pathlib import Path

from quay.model import garbage
from quay.registry.garbage import AllTheTime
from quay.service.upkeep import Upkeep, _unanswered, ask
from tests.http.application import Application, done


def test_what_is_asked_for_is_done_wherever_the_clock_was(sqlite_template: Path, tmp_path: Path) -> None:
    """A command is answered also when the clock was set back since the last one asked; and each asks for something."""
    server = Application(tmp_path, sqlite_template).start()
    upkeep = Upkeep(server.clock, server.core)
    asked = []
    for moment in (0, -3600, 0):
        server.clock.rightNow += moment
        asked.append(done(ask(server.core)))
        assert _unanswered(server.read(garbage.positions)) == asked[-1]
        done(upkeep.collect(AllTheTime()))
        assert not _unanswered(server.read(garbage.positions))
    assert asked == sorted(set(asked))
    server.stop()
