"""
Addresses that people type and old links have: `/namespace/repository:tag`, as in a pull, and `/namespace`.

They lead to the pages. What is not there, or may not be seen, is answered as an address at which there is nothing.
Source: Quay's web routes.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from quay.oci.errors import NameInvalid, RegistryError
from quay.oci.reference import RepositoryName
from quay.web.console.page import Context, Elsewhere, NoPage, PageTable, View

pages = PageTable()


@pages.page("/<namespace>/<path:rest>", "console/problem.html")
async def repository(view: View, namespace: str, rest: str) -> Context:
    """To the repository, or to its tag."""
    path, _, tag = rest.rstrip("/").partition(":")
    try:
        name = RepositoryName.parse(f"{namespace}/{path}")
    except NameInvalid:
        raise NoPage from None
    if not await _is_there(view, "getRepo", repository=name):
        raise NoPage
    home = f"/repository/{quote(str(name))}"
    raise Elsewhere(f"{home}?{urlencode({'tab': 'tags', 'tag': tag})}" if tag else home)


@pages.page("/<namespace>", "console/problem.html")
async def owner(view: View, namespace: str) -> Context:
    """To the organization or the user."""
    if await _is_there(view, "getOrganization", orgname=namespace):
        raise Elsewhere(f"/organization/{quote(namespace)}")
    if await _is_there(view, "getUserInformation", username=namespace):
        raise Elsewhere(f"/user/{quote(namespace)}")
    raise NoPage


async def _is_there(view: View, nickname: str, **path: Any) -> bool:
    if b"text/html" not in (view.request.getHeader(b"Accept") or b""):
        return False  # a client that guesses addresses is told in its own language that there is nothing
    try:
        await view.ask(nickname, **path)
    except RegistryError:
        return False
    return True
