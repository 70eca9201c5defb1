"""
Pages of long lists: `next_page` is a sealed position, good for two days, that says nothing to whoever gets it.

Source: Quay's `next_page`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NotRequired, TypedDict, TypeVar

from quay.auth.seals import SealBroken, Seals
from quay.web.api.errors import BadRequest

T = TypeVar("T")

LIFETIME_S: Final = 2 * 86400


class PageQuery(TypedDict):
    """Which page of a list: what the answer before gave as `next_page`; without it, the first."""

    next_page: NotRequired[str]


class More(TypedDict, total=False):
    """What an answer says of the page after it, if there is one."""

    next_page: str


def position(seals: Seals, token: str | None, about: str) -> Any:
    """
    What `next_page` was given for the list `about` (its nickname and what it was filtered by); None for the first page.
    Raises `BadRequest`.
    """
    if not token:
        return None
    try:
        made_for, where = json.loads(seals.open("pages", token, LIFETIME_S))
    except (SealBroken, ValueError):
        made_for = None
    if made_for != about:
        raise BadRequest(
            "next_page is not what this list gave out, or is older than two days: begin at the first page."
        )
    return where


def token(seals: Seals, about: str, where: Any) -> str:
    """A `next_page` for the list `about` that begins after `where`, which is anything that JSON can hold."""
    return seals.seal("pages", json.dumps([about, where]).encode())


def page(
    seals: Seals, about: str, found: Sequence[T], limit: int, where: Callable[[T], Any]
) -> tuple[Sequence[T], More]:
    """
    The first `limit` of what was `found` (one more was asked for than a page has), and the member `next_page` of the
    answer, if there is more. `where` gives the position of an item.
    """
    if len(found) <= limit:
        return found, {}
    kept = found[:limit]
    return kept, {"next_page": token(seals, about, where(kept[-1]))}
