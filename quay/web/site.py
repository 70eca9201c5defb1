"""
The addresses of a server: which part answers what. The console has everything that no other part has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from quay import storage
from quay.oci.errors import RegistryError, StorageFull, Unavailable
from quay.storage import StorageError
from quay.web.request import RegistryRequest
from quay.web.respond import Translations, send_error
from quay.web.v2.express import Express

log = Logger()


def _storage_full(problem: Exception) -> RegistryError:
    return StorageFull(
        "The registry has no room for this: its storage is full.",
        advice="Nothing was lost. Ask the administrator for space, then push again; pulls go on meanwhile.",
        headers={"Retry-After": "60"},
    )


def _storage_failed(problem: Exception) -> RegistryError:
    log.error("storage failed: {problem}", problem=problem)
    return Unavailable(
        "The registry's storage does not work now.",
        advice="Try again. The administrator finds the reason in the log and at /health.",
        headers={"Retry-After": "10"},
    )


TRANSLATIONS: Final[Translations] = {storage.StorageFull: _storage_full, StorageError: _storage_failed}
"""What clients are told of failures that the use-cases leave as they are."""


@attrs.frozen
class Parts:
    """The resources that a front is made of, and what may spare a request all of them."""

    api: IResource
    tokens: IResource
    keys: IResource
    roots: Mapping[bytes, IResource]
    """What else there is, by the first segment of its address."""
    console: IResource
    """What answers everything else."""
    express: Express


class Front(Resource):
    """The root of a running server."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.express = parts.express
        self._console = parts.console
        self.putChild(b"v2", _Distribution(parts))
        keys = Resource()
        keys.putChild(b"services", parts.keys)
        self.putChild(b"keys", keys)
        for segment, resource in parts.roots.items():
            self.putChild(segment, resource)

    def getChild(self, path: bytes, request: RegistryRequest) -> IResource:
        request.postpath = [path, *(request.postpath or [])]  # it is the console that finds its page
        request.prepath = []
        return self._console


class _Distribution(Resource):
    """`/v2/`, where one address belongs to the token service."""

    isLeaf = True

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self._parts = parts

    def render(self, request: RegistryRequest) -> int:
        part = self._parts.tokens if request.path == b"/v2/auth" else self._parts.api
        answer: int = part.render(request)
        return answer


class _Starting(Resource):
    isLeaf = True

    def render(self, request: RegistryRequest) -> int:
        send_error(
            request,
            Unavailable(
                "The registry is starting.", advice="Try again in a few seconds.", headers={"Retry-After": "2"}
            ),
        )
        return NOT_DONE_YET


def starting() -> IResource:
    """What answers until everything runs."""
    resource: IResource = _Starting()
    return resource
