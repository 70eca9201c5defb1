"""
Which backups stay, and when the next one is due. Days are those of the clock on the wall.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime, time, timedelta
from typing import Final

import attrs


@attrs.frozen
class Keeping:
    """How many days, weeks and months a backup is kept for; of each, the last one that was made in it."""

    daily: int
    weekly: int
    monthly: int


_PERIODS: Final[dict[str, Callable[[datetime], tuple[int, ...]]]] = {
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: tuple(at.isocalendar())[:2],
    "monthly": lambda at: (at.year, at.month),
}


def outdated(made: Iterable[datetime], keeping: Keeping) -> set[datetime]:
    """
    Those of these moments whose backups may go. The latest always stays; and of the latest days, weeks and months in
    which there was one, as many as `keeping` says, the latest of each.
    """
    latest_first = sorted(set(made), reverse=True)
    kept = set(latest_first[:1])
    for name, period in _PERIODS.items():
        kept |= _latest_of(latest_first, period, getattr(keeping, name))
    return set(latest_first) - kept


def _latest_of(latest_first: list[datetime], period: Callable[[datetime], tuple[int, ...]], most: int) -> set[datetime]:
    found: dict[tuple[int, ...], datetime] = {}
    for moment in latest_first:
        if len(found) == most and period(moment) not in found:
            break
        found.setdefault(period(moment), moment)
    return set(found.values()) if most else set()


def due_since(schedule: Collection[time], now: datetime) -> datetime | None:
    """The latest moment by which a backup should have begun; None if there is no schedule. In local time."""
    today = now.astimezone()
    moments = [
        datetime.combine(today.date() - timedelta(days=ago), at).astimezone() for ago in (0, 1) for at in schedule
    ]
    return max((moment for moment in moments if moment <= now), default=None)
