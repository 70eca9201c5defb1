"""Pages with tabs: each tab is an address, a coroutine that gathers what it shows, and those who are offered it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

import attrs

from quay.web.api.errors import Forbidden
from quay.web.console.page import Context, NoPage, SignInFirst, View

Gather = TypeVar("Gather", bound=Callable[..., Coroutine[Any, Any, Context]])
Offered = Callable[[Context], bool]

ROWS: Final = 100
"""Rows of a page of what the API gives in one piece."""


@attrs.frozen
class Tab:
    """`offered` says of the subject of the page (as the API shows it) whether this tab is for the one who looks."""

    key: str
    title: str
    gather: Callable[..., Coroutine[Any, Any, Context]] = attrs.field(eq=False)
    offered: Offered = attrs.field(eq=False)
    listed: bool


class Tabs:
    """The tabs of a page; that of the key `x` is drawn by the template `{template}_x.html`."""

    def __init__(self, template: str) -> None:
        self._template = template
        self._tabs: list[Tab] = []

    def tab(
        self, key: str, title: str, offered: Offered = lambda subject: True, *, listed: bool = True
    ) -> Callable[[Gather], Gather]:
        """
        Declare the decorated coroutine function as a tab: it is called with the View and the subject. One that is not
        `listed` belongs to the tab of the same title.
        """

        def declare(gather: Gather) -> Gather:
            self._tabs.append(Tab(key, title, gather, offered, listed))
            return gather

        return declare

    async def show(self, view: View, home: str, subject: Context) -> Context:
        """The tab that the query asks for, of the page at `home`. Raises `NoPage`, `SignInFirst`, `Forbidden`."""
        tab = self._chosen(view, self._offered(subject))
        return {
            "tab": tab.title,
            "tabs": self.navigation(home, subject),
            "part": f"{self._template}_{tab.key}.html",
            "home": home,
            **await tab.gather(view, subject),
        }

    def navigation(self, home: str, subject: Context) -> list[tuple[str, str]]:
        """The address and title of each tab of the page at `home` that is offered and listed."""
        offered = self._offered(subject)
        return [(_address(home, each, offered), each.title) for each in offered if each.listed]

    def _offered(self, subject: Context) -> list[Tab]:
        return [tab for tab in self._tabs if tab.offered(subject)]

    def _chosen(self, view: View, offered: Sequence[Tab]) -> Tab:
        key = view.query.get("tab") or offered[0].key
        for tab in offered:
            if tab.key == key:
                return tab
        if all(tab.key != key for tab in self._tabs):
            raise NoPage
        if not view.signed_in:
            raise SignInFirst
        raise Forbidden(f"{view.principal.name} may not see this part of the page.")


def _address(home: str, tab: Tab, offered: Sequence[Tab]) -> str:
    return home if tab is offered[0] else f"{home}?tab={tab.key}"


def rows(view: View, items: Sequence[Any]) -> Context:
    """The `rows` of `items` on the page of them that the query asks for; where `before` and `after` are, or None."""
    number = _number(view.query.get("page", ""))
    begin = min((number - 1) * ROWS, len(items))
    return {
        "rows": items[begin : begin + ROWS],
        "before": view.at(page=number - 1 if number > 2 else None) if number > 1 else None,
        "after": view.at(page=number + 1) if begin + ROWS < len(items) else None,
    }


def listed(view: View, items: Sequence[Any], answer: Context, name: str = "next_page") -> Context:
    """As `rows`, of what the API gives in pages: `answer` is its answer, `name` the parameter that says which page."""
    more = answer.get("next_page")
    return {
        "rows": items,
        "before": view.at(**{name: None}) if view.query.get(name) else None,
        "after": view.at(**{name: more}) if more else None,
    }


def paged(view: View, name: str = "next_page") -> dict[str, str]:
    """The query for the API that asks for the page that is looked at."""
    return {"next_page": view.query[name]} if view.query.get(name) else {}


def _number(text: str) -> int:
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 9 else 1
