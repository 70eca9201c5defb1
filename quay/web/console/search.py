"""The page of a search: repositories, page by page, and before them whoever and whatever else has such a name."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from quay.web.console.page import Context, PageTable, View

pages = PageTable()

LONGEST: Final = 255
"""Characters of a query; what follows is not looked at."""


@pages.page("/search", "console/search.html")
async def show(view: View) -> Context:
    """What the query `q` finds, among all that the one who looks may see."""
    text = view.query.get("q", "").strip()[:LONGEST]
    number = _page(view.query.get("page", ""))
    if not text:
        return {"q": "", "others": [], "repositories": [], "before": None, "after": None}
    found = await view.ask("conductRepoSearch", query={"query": text, "page": str(number)})
    others = await view.ask("conductSearch", query={"query": text}) if number == 1 else {"results": []}
    named = [_named(view, one) for one in others["results"] if "is_public" not in one]
    return {
        "q": text,
        "others": named,
        "repositories": found["results"],
        "before": view.at(page=number - 1 if number > 2 else None) if number > 1 else None,
        "after": view.at(page=number + 1) if found["has_additional"] else None,
    }


def _named(view: View, one: Context) -> Context:
    """Somebody, or a team or robot: what it is, how it is called, whose it is, and where its page is."""
    kind, name, owner, address = one["kind"], one["name"], "", f"/{quote(one['href'].lstrip('/'))}"
    if kind == "team":
        owner = one["organization"]["name"]
    elif kind == "robot":  # the API tells of one's own, and of those of organizations
        owner, _, short = name.partition("+")
        home = "user" if owner == view.principal.name else "organization"
        address = f"/{home}/{quote(owner)}/robots/{quote(short)}"
    return {"kind": kind, "name": name, "avatar": one["avatar"], "owner": owner, "address": address}


def _page(text: str) -> int:
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 6 else 1
