"""What stands around every page: the messages that everybody should read, and how often the bell rang."""

from __future__ import annotations

from typing import Any, Final

from markupsafe import Markup

from quay.oci.errors import RegistryError
from quay.web.console.page import Context, View
from quay.web.pages.markdown import render

REMEMBERED: Final = 64
"""So many messages are kept as HTML: every page has those that are published, and they change seldom."""

RINGS: Final = 9
"""So many things to know are counted; of more it is only said that there are more."""


async def surroundings(view: View) -> Context:
    """
    The `messages`, for everybody and for those who run the registry; and `rings`, what the bell says: an empty text if
    there is nothing to know.
    """
    messages = [*await _messages(view), *await _certificate(view)]
    return {"messages": messages, "rings": await _rings(view) if view.signed_in else ""}


async def _messages(view: View) -> list[Context]:
    try:
        found = await view.ask("getGlobalMessages")
    except RegistryError:  # this registry tells nobody anything before he has signed in
        return []
    return [{"severity": one["severity"], "content": await rendered(view, one)} for one in found["messages"]]


async def _certificate(view: View) -> list[Context]:
    """What a superuser has to know of the certificate before clients do, on every page."""
    if not (view.signed_in and view.principal.superuser):
        return []
    try:
        found = await view.ask("getCertificate")
    except RegistryError:  # the session is too old for that
        return []
    if not found["close"]:
        return []
    over = found["days"] < 0
    when = "has ended" if over else f"ends in {found['days']} days"
    return [{"severity": "error" if over else "warning", "content": _CLOSE.format(when)}]


_CLOSE: Final = Markup(
    'The certificate of this registry {}. <a href="/docs/runbooks#certificate-expired">What to do</a>'
)


async def rendered(view: View, message: Context) -> Any:
    """The content of a message as a page shows it: Markdown as HTML, all else as text."""
    text = message["content"]
    if message["media_type"] != "text/markdown":
        return text
    if text not in _rendered:
        made = await view.in_background(render, text)
        if len(_rendered) >= REMEMBERED:
            _rendered.clear()
        _rendered[text] = made
    return _rendered[text]


_rendered: Final[dict[str, Markup]] = {}


async def _rings(view: View) -> str:
    found = await view.ask("listUserNotifications", query={"limit": str(RINGS)})
    count = len(found["notifications"])
    return f"{count}+" if found["additional"] else str(count or "")
