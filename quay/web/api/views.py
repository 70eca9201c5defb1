"""
What many answers have in common: times, avatars, people. Names of members are Quay's.
"""

from __future__ import annotations

import hashlib
from email.utils import formatdate
from typing import Final, Literal, TypedDict

AvatarKind = Literal["user", "org", "team", "robot", "app"]

_COLORS: Final = (
    "#969696", "#aec7e8", "#ff7f0e", "#ffbb78", "#2ca02c", "#98df8a", "#d62728", "#ff9896", "#9467bd", "#c5b0d5",
    "#8c564b", "#c49c94", "#e377c2", "#f7b6d2", "#7f7f7f", "#c7c7c7", "#bcbd22", "#1f77b4", "#17becf", "#9edae5",
    "#393b79", "#5254a3", "#6b6ecf", "#9c9ede", "#9ac835", "#31a354", "#9c31a3", "#3182bd", "#d6616b", "#637939",
)  # fmt: skip


class Avatar(TypedDict):
    """The picture of somebody: clients draw the first letter of `name` on `color`."""

    name: str
    hash: str
    color: str
    kind: AvatarKind


def avatar(name: str, kind: AvatarKind, seed: str | None = None) -> Avatar:
    """The avatar of `name`; `seed` is what its color follows from, if not the name (an e-mail address)."""
    digest = hashlib.sha256((seed or name).strip().lower().encode("utf-8", "surrogatepass")).hexdigest()
    return {"name": name, "hash": digest, "color": _COLORS[int(digest[:8], 16) % len(_COLORS)], "kind": kind}


def http_date(ms: int) -> str:
    """Milliseconds since the epoch as RFC 2822: `Fri, 22 Nov 2019 10:00:00 -0000`."""
    return formatdate(ms / 1000)


def optional_date(ms: int | None) -> str | None:
    """As `http_date`; None for what has not happened."""
    return None if ms is None else http_date(ms)


class Success(TypedDict):
    """It was done."""

    success: bool


DONE: Final[Success] = {"success": True}
