"""
How a route of the REST API is declared: its address, its nickname, what it needs, what it takes and what it gives.

Everything follows from the declaration: the authorization, the check of query and body, the status of the answer, and
both discovery documents. A handler is a coroutine function; what it raises is answered by the API.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar, get_type_hints

import attrs

from quay.config import Config
from quay.web.api.needs import Need
from quay.web.api.shapes import Body, Query

PREFIX: Final = "/api/v1"
Handler = TypeVar("Handler", bound=Callable[..., Coroutine[Any, Any, Any]])

_PARAMETER: Final = re.compile(r"<(?:(?P<converter>\w+):)?(?P<name>\w+)>")


@attrs.frozen
class Route:
    """
    One operation. `path` is in Werkzeug's spelling, below `/api/v1`; `nickname` is Quay's name for it, by which
    clients call it. `internal`: not in the discovery document unless asked for. `fresh`: a session must be fresh.
    `always`: also while the registry is read-only. `when` says for which configurations it exists. `takes` is the media
    type of a body that the handler reads itself, as a stream, and `gives` that of an answer that it sends itself.
    """

    method: str
    path: str
    nickname: str
    need: Need
    handler: Callable[..., Coroutine[Any, Any, Any]] = attrs.field(eq=False)
    tag: str
    status: int
    fresh: bool
    internal: bool
    always: bool
    when: Callable[[Config], bool] = attrs.field(eq=False)
    query: Query | None = attrs.field(eq=False)
    body: Body | None = attrs.field(eq=False)
    answer: Any = attrs.field(eq=False)
    takes: str | None = None
    gives: str | None = None

    @property
    def parameters(self) -> Iterator[str]:
        """The names of the parameters in the path, in order."""
        for found in _PARAMETER.finditer(self.path):
            yield found["name"]

    @property
    def template(self) -> str:
        """The whole path as the discovery documents spell it: `/api/v1/repository/{repository}/tag/`."""
        return PREFIX + _PARAMETER.sub(lambda found: f"{{{found['name']}}}", self.path)

    @property
    def changes(self) -> bool:
        """Whether it may change anything."""
        return self.method != "GET"

    @property
    def summary(self) -> str:
        """The first sentence of what the handler says of itself."""
        return " ".join((self.handler.__doc__ or "").split())


class Routes:
    """The routes of one noun, under its `tag` in the discovery documents."""

    def __init__(self, tag: str, description: str) -> None:
        self.tag = tag
        self.description = description
        self._routes: list[Route] = []

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def get(self, path: str, nickname: str, need: Need, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a GET. `options` are those of `route`."""
        return self.route("GET", path, nickname, need, **options)

    def post(self, path: str, nickname: str, need: Need, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a POST. `options` are those of `route`."""
        return self.route("POST", path, nickname, need, **options)

    def put(self, path: str, nickname: str, need: Need, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a PUT. `options` are those of `route`."""
        return self.route("PUT", path, nickname, need, **options)

    def delete(self, path: str, nickname: str, need: Need, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a DELETE, which is answered with 204 unless said otherwise. `options` are those of `route`."""
        return self.route("DELETE", path, nickname, need, **{"status": 204} | options)

    def route(
        self,
        method: str,
        path: str,
        nickname: str,
        need: Need,
        *,
        status: int = 200,
        fresh: bool = False,
        internal: bool = False,
        always: bool = False,
        when: Callable[[Config], bool] = lambda config: True,
        takes: str | None = None,
        gives: str | None = None,
    ) -> Callable[[Handler], Handler]:
        """
        Declare the decorated coroutine function as a route. It is called with the `Call`, with those parameters of the
        path that the need does not take, and with `query` and `body` if it has parameters of these names: TypedDicts,
        of which only what they name comes in.
        """

        def declare(handler: Handler) -> Handler:
            hints = get_type_hints(handler, include_extras=True)
            made = Route(
                method=method,
                path=path,
                nickname=nickname,
                need=need,
                handler=handler,
                tag=self.tag,
                status=status,
                fresh=fresh,
                internal=internal,
                always=always,
                when=when,
                query=Query(hints["query"]) if "query" in hints else None,
                body=Body(hints["body"]) if "body" in hints else None,
                answer=hints["return"],
                takes=takes,
                gives=gives,
            )
            self._routes.append(made)
            return handler

        return declare
