"""
Lines for systemd's journal, which writes down times and names by itself: each line begins with its severity.

Source: sd-daemon(3), severities; systemd.exec(5), JOURNAL_STREAM.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import IO, Any, Final

from twisted.logger import FileLogObserver, LogLevel, eventAsText

SEVERITIES: Final = {LogLevel.debug: 7, LogLevel.info: 6, LogLevel.warn: 4, LogLevel.error: 3, LogLevel.critical: 2}
NOTICE: Final = 5


def is_journal(stream: IO[Any], environ: Mapping[str, str]) -> bool:
    """Whether what is written to `stream` goes into the journal, and nowhere else."""
    status = os.fstat(stream.fileno())
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def journal_observer(stream: IO[Any]) -> FileLogObserver:
    """Writes events to a stream that is the journal."""
    return FileLogObserver(stream, line_of)


def line_of(event: Mapping[str, Any]) -> str:
    """An event, with all lines of its traceback."""
    severity = SEVERITIES.get(event.get("log_level"), NOTICE)
    text = eventAsText(dict(event), includeTimestamp=False, includeSystem=False)
    return "".join(f"<{severity}>{line}\n" for line in text.splitlines() if line.strip())
