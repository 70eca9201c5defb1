"""Small bar charts, drawn on the server: numbers to rectangles of an SVG picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

STEP: Final = 10
HEIGHT: Final = 60
_GAP: Final = 2


@attrs.frozen
class Bar:
    """One rectangle, and what it stands for."""

    x: int
    y: float
    width: int
    height: float
    label: str


@attrs.frozen
class Chart:
    """`bars` in a picture of `width` by `HEIGHT`; `total` is what they stand for together."""

    bars: tuple[Bar, ...]
    width: int
    total: int
    height: int = HEIGHT


def chart(counts: Iterable[tuple[str, int]]) -> Chart:
    """A chart of labelled counts, from left to right: the largest fills the height, and each that is not 0 is seen."""
    named = list(counts)
    most = max((count for _, count in named), default=0) or 1
    bars = [_bar(number, f"{label}: {count}", count / most) for number, (label, count) in enumerate(named)]
    return Chart(tuple(bars), len(named) * STEP, sum(count for _, count in named))


def _bar(number: int, label: str, share: float) -> Bar:
    height = max(share * HEIGHT, 2) if share else 0
    return Bar(number * STEP, round(HEIGHT - height, 1), STEP - _GAP, round(height, 1), label)
