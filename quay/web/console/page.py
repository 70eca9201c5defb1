"""
How a page of the console is declared: its address, its template, and the coroutine that gathers what it shows.

A page asks the API, as the one who looks at it: so it shows nothing that he may not see, and needs no rules of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlencode

import attrs
from twisted.internet.defer import Deferred

from quay.auth.principal import Principal
from quay.config import Config
from quay.interfaces import IPool
from quay.web.api import RestAPI
from quay.web.api.identity import Identity
from quay.web.request import RegistryRequest

Context = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")
Show = TypeVar("Show", bound=Callable[..., Coroutine[Any, Any, Context]])


@attrs.frozen
class View:
    """
    One look at a page: who looks, what he may ask, and when, in seconds since the epoch. `query` has the first value
    of each parameter.
    """

    request: RegistryRequest
    identity: Identity
    api: RestAPI
    config: Config
    query: Mapping[str, str]
    now: float
    cpu: IPool = attrs.field(repr=False)

    @property
    def principal(self) -> Principal:
        return self.identity.principal

    @property
    def signed_in(self) -> bool:
        """Whether somebody looks whom the registry knows."""
        return self.identity.session is not None

    def at(self, **changes: str | int | None) -> str:
        """The address of this page with these parameters of the query instead; None takes one away."""
        wanted = {name: value for name, value in {**self.query, **changes}.items() if value not in (None, "")}
        path: str = self.request.path.decode("latin-1")
        return f"{path}?{urlencode(wanted)}" if wanted else path

    def in_background(self, f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        """The result of what takes a while to reckon, and keeps nobody else waiting."""
        found: Deferred[R] = self.cpu.run(f, *args, **kwargs)
        return found

    async def ask(self, nickname: str, *, query: Mapping[str, str] | None = None, **path: Any) -> Any:
        """What the API's route `nickname` answers to him. Raises what the API would answer."""
        return await self.api.invoke(self.request, self.identity, nickname, path, query=query)


@attrs.frozen
class Page:
    """A page: `path` in Werkzeug's spelling, `show` called with the View and the parameters of the path."""

    path: str
    template: str
    show: Callable[..., Coroutine[Any, Any, Context]] = attrs.field(eq=False)


class PageTable:
    """The pages of one part of the console."""

    def __init__(self) -> None:
        self._pages: list[Page] = []

    def __iter__(self) -> Iterator[Page]:
        return iter(self._pages)

    def page(self, path: str, template: str) -> Callable[[Show], Show]:
        """Declare the decorated coroutine function as the page at `path`: it gives what `template` shows."""

        def declare(show: Show) -> Show:
            self._pages.append(Page(path, template, show))
            return show

        return declare


class Elsewhere(Exception):
    """The page is at another address of this registry now."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.where = where


class NoPage(Exception):
    """There is no page at this address, after all."""


class SignInFirst(Exception):
    """The page is for those who are signed in."""


def only_signed_in(view: View) -> None:
    """Raises `SignInFirst` for nobody in particular."""
    if not view.signed_in:
        raise SignInFirst
