"""What stands around every page: the messages that everybody should read, and how often the bell rang."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from markupsafe import Markup

from quay.oci.errors import RegistryError
from quay.web.console.page import Context, View
from quay.web.pages.markdown import render

RINGS: Final = 9
"""So many things to know are counted; of more it is only said that there are more."""


async def surroundings(view: View) -> Context:
    """The global `messages`; and `rings`, what the bell says: an empty text if there is nothing to know."""
    return {"messages": await _messages(view), "rings": await _rings(view) if view.signed_in else ""}


async def _messages(view: View) -> list[Context]:
    try:
        found = await view.ask("getGlobalMessages")
    except RegistryError:  # this registry tells nobody anything before he has signed in
        return []
    return [{"severity": one["severity"], "content": rendered(one)} for one in found["messages"]]


def rendered(message: Context) -> Any:
    """The content of a message as a page shows it: Markdown as HTML, all else as text."""
    return _rendered(message["content"]) if message["media_type"] == "text/markdown" else message["content"]


@lru_cache(maxsize=64)
def _rendered(text: str) -> Markup:
    return render(text)


async def _rings(view: View) -> str:
    found = await view.ask("listUserNotifications", query={"limit": str(RINGS)})
    count = len(found["notifications"])
    return f"{count}+" if found["additional"] else str(count or "")
