"""
One request to a repository, as the handlers of the distribution API get it, and what they read from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

import attrs
from twisted.internet.interfaces import IReactorTime

from quay.interfaces import IPool
from quay.model.repository import Repository
from quay.oci.errors import InvalidRequest, NameInvalid
from quay.oci.ranges import next_link, parse_page_size
from quay.oci.reference import RepositoryName
from quay.registry import Registry
from quay.registry.caller import Caller
from quay.registry.policy import Policy
from quay.web.guard import Guard, Rights
from quay.web.request import RegistryRequest

_OLD_ENGINE: Final = re.compile(r"docker/1\.[0-9]\.")


@attrs.frozen
class Means:
    """What handlers work with; `pool` waits for blobs."""

    clock: IReactorTime
    registry: Registry
    guard: Guard
    pool: IPool


@attrs.frozen
class Call:
    """Who asks, for which repository, and what stands behind its name in the path."""

    means: Means
    request: RegistryRequest
    caller: Caller
    rights: Rights
    name: RepositoryName
    repository: Repository
    argument: str

    @property
    def registry(self) -> Registry:
        return self.means.registry

    @property
    def owner(self) -> str:
        """Whose uploads these are: the caller's, by a name that nobody else has."""
        principal = self.caller.principal
        return f"$token {principal.credential_uuid}" if principal.kind == "access_token" else principal.name

    def query(self, key: str) -> str | None:
        """As `query`."""
        return query(self.request, key)

    def url(self, rest: str) -> str:
        """The URL of `rest` in this repository, as the client reaches it."""
        return self.means.guard.external(self.request, f"/v2/{self.name}/{rest}")

    def spelled(self, rest: str) -> str:
        """The repository as the client spells it before `rest`, perhaps without the library namespace."""
        return decoded(self.request.path).removeprefix("/v2/").removesuffix("/").removesuffix(rest)


def decoded(path: bytes) -> str:
    """The path without percent-encoding. Raises `NameInvalid` for what is not ASCII then: no name is anything else."""
    try:
        return unquote_to_bytes(path).decode("ascii")
    except UnicodeDecodeError:
        raise NameInvalid(
            "The address has characters that no repository, tag or digest can have.",
            advice="Names are lower-case ASCII letters, digits and separators.",
        ) from None


def query(request: RegistryRequest, key: str) -> str | None:
    """The first value of a query parameter. Raises as `queries`."""
    return next(queries(request, key), None)


def queries(request: RegistryRequest, key: str) -> Iterator[str]:
    """The values of a query parameter. Raises `InvalidRequest` where one is not UTF-8 or holds a NUL."""
    for value in request.args.get(key.encode(), []):
        try:
            text: str = value.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise InvalidRequest(f"The query parameter {key} is not text.", advice="Send it as percent-encoded UTF-8.")
        yield text


def header(request: RegistryRequest, name: str) -> str | None:
    """A header's value, or None."""
    value: str | None = request.getHeader(name)
    return value


def accept(request: RegistryRequest) -> list[str]:
    """What the client takes, as `understood`."""
    return understood(list(request.requestHeaders.getRawHeaders("Accept", [])), request.getHeader("User-Agent") or "")


def understood(accepted: list[str], agent: str) -> list[str]:
    """
    What a client's `Accept` headers mean. None at all means that it takes anything, except from an engine older than
    1.10, which says nothing and understands schema 1 only.
    """
    if not accepted and _OLD_ENGINE.match(agent):
        return ["application/json"]
    return accepted


def page_of(request: RegistryRequest, policy: Policy) -> tuple[int, str | None]:
    """How many names a list should have, and after which: `n` and `last`, or Quay's `next_page`."""
    after = query(request, "last")
    limit = parse_page_size(query(request, "n"), policy.page_size, policy.page_limit)
    return limit, query(request, "next_page") if after is None else after


def link_next(request: RegistryRequest, names: list[str], limit: int) -> None:
    """Say where the next page is, if `names` has more than the `limit` of this one."""
    if limit and len(names) > limit:
        last = names[limit - 1]
        params: dict[str, str | int] = {"n": limit, "last": last, "next_page": last}
        request.setHeader("Link", next_link(request.path.decode("latin-1"), params))
