"""What goes into the journal of systemd, and what does not."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.logger import LogLevel
from twisted.python.failure import Failure

from quay.service.journal import is_journal, line_of


def test_a_line() -> None:
    """A line has its severity, and neither the time nor the name that the journal adds."""
    event = {"log_level": LogLevel.warn, "log_format": "{what} is full", "what": "The disk", "log_time": 1.0}
    assert line_of(event) == "<4>The disk is full\n"


def test_a_traceback() -> None:
    """Every line of a traceback has the severity of its event: none is taken for something else."""
    failure = Failure(ValueError("wrong"))
    lines = line_of({"log_level": LogLevel.critical, "log_format": "It broke", "log_failure": failure}).splitlines()
    assert lines[0] == "<2>It broke"
    assert len(lines) > 1
    assert all(line.startswith("<2>") for line in lines)


def test_nothing_is_said() -> None:
    """An event without a text is no line."""
    assert line_of({"log_level": LogLevel.info}) == ""


def test_where_it_goes(tmp_path: Path) -> None:
    """A stream is the journal if it is the very one that systemd has opened, and not because systemd is there."""
    with (tmp_path / "stream").open("w") as stream, (tmp_path / "other").open("w") as other:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert is_journal(stream, environ)
        assert not is_journal(other, environ)
        assert not is_journal(stream, {})
