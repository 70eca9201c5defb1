"""The way in: signing in, and the repositories that somebody sees first."""

from __future__ import annotations

from quay.web.console import user
from quay.web.console.page import Context, Elsewhere, PageTable, View, only_signed_in

pages = PageTable()


@pages.page("/signin", "console/signin.html")
async def sign_in(view: View) -> Context:
    """Where one signs in; whoever has done so is sent on."""
    next_ = view.query.get("next", "/")
    if view.signed_in:
        raise Elsewhere(next_)
    return {"next": next_, "may_sign_up": user.may_sign_up(view)}


@pages.page("/", "console/home.html")
async def home(view: View) -> Context:
    """One's own repositories, those with a star, those pushed to last, and how to push the first one."""
    if not view.signed_in:
        return {"own": None, "starred": [], "recent": [], "organizations": []}
    me = await view.ask("getLoggedInUser")
    own = await view.ask("listRepos", query={"namespace": me["username"], "last_modified": "true"})
    starred = await view.ask("listRepos", query={"starred": "true", "last_modified": "true"})
    return {
        "own": own["repositories"],
        "starred": starred["repositories"],
        "recent": (await view.ask("listRepos", query={"recent": "true"}))["repositories"],
        "organizations": me["organizations"],
    }


@pages.page("/organizations", "console/organizations.html")
async def organizations(view: View) -> Context:
    """The organizations that one belongs to."""
    only_signed_in(view)
    me = await view.ask("getLoggedInUser")
    return {"organizations": me["organizations"]}
