"""
How far something is: a bar with bytes, rate and the time that is left on a terminal, and lines now and then elsewhere.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import Final, Protocol

import click

LINE_S: Final = 15.0
"""Seconds between two lines, where there is no terminal."""
WIDTH: Final = 16
UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Measured(Protocol):
    """What is measured, in bytes."""

    done: int
    total: int


def size(count: float) -> str:
    """A number of bytes, as people read it."""
    power = 0
    while count >= 1024 and power < len(UNITS) - 1:
        count, power = count / 1024, power + 1
    return f"{count:.1f} {UNITS[power]}" if power else f"{count:.0f} B"


def span(seconds: float) -> str:
    """A time, as people read it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Meter:
    """Shows how far `measured` is, on standard error."""

    def __init__(self, doing: str, measured: Measured, now: Callable[[], float] = time.monotonic) -> None:
        self._doing = doing
        self._measured = measured
        self._now = now
        self._began = self._said = now()
        self._terminal = sys.stderr.isatty()
        self._shown = False

    def tick(self) -> None:
        """Show it, if it is time to."""
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"\r{self.line(bar=True)[:width]:<{width}}", nl=False, err=True)
            self._shown = True
        elif self._now() - self._said >= LINE_S:
            self._said = self._now()
            click.echo(self.line(), err=True)

    def say(self, line: str) -> None:
        """A line among them."""
        self.clear()
        click.echo(line, err=True)

    def clear(self) -> None:
        """Take the bar away."""
        if self._shown:
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"\r{'':<{width}}\r", nl=False, err=True)
            self._shown = False

    def line(self, *, bar: bool = False) -> str:
        """How far it is."""
        done, total = self._measured.done, self._measured.total
        if not total:
            return f"{self._doing} …"
        share = min(done / total, 1.0)
        filled = round(share * WIDTH)
        drawn = f" [{'#' * filled}{'.' * (WIDTH - filled)}]" if bar else ""
        passed = max(self._now() - self._began, 0.001)
        rate = done / passed
        left = f", {span((total - done) / rate)} left" if rate and done < total else ""
        return f"{self._doing}{drawn} {share:.0%}, {size(done)} of {size(total)}, {size(rate)}/s{left}"
