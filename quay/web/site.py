"""
The addresses of a server: which part answers what, and the few pages that belong to no part.

The web console will take `/`; until then, a person who opens it in a browser is told how to go on.
"""

from __future__ import annotations

from html import escape
from typing import Final

import attrs
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from quay import __version__, storage
from quay.oci.errors import NameUnknown, RegistryError, StorageFull, Unavailable
from quay.storage import StorageError
from quay.web.channel import RegistryRequest
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

PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}}
pre{{background:#8882;padding:1rem;overflow:auto}}:root{{color-scheme:light dark}}</style>
<h1>{title}</h1>
<p>This is a container registry. Log in, tag, push:</p>
<pre>docker login {host}
docker tag IMAGE {host}/NAMESPACE/REPOSITORY:TAG
docker push {host}/NAMESPACE/REPOSITORY:TAG</pre>
<p>Version {version}. Its state is at <a href="/health">/health</a>.</p>
"""


@attrs.frozen
class Parts:
    """The resources that a front is made of, and what may spare a request all of them."""

    api: IResource
    rest: IResource
    tokens: IResource
    keys: IResource
    health: IResource
    metrics: IResource
    express: Express


class Front(Resource):
    """The root of a running server."""

    def __init__(self, parts: Parts, title: str) -> None:
        super().__init__()
        self.express = parts.express
        self._title = title
        self.putChild(b"", self)
        self.putChild(b"v2", _Distribution(parts))
        self.putChild(b"api", parts.rest)
        self.putChild(b"health", parts.health)
        self.putChild(b"metrics", parts.metrics)
        keys = Resource()
        keys.putChild(b"services", parts.keys)
        self.putChild(b"keys", keys)

    def getChild(self, path: bytes, request: RegistryRequest) -> IResource:
        return _Nothing()

    def render_GET(self, request: RegistryRequest) -> bytes:
        host = escape(request.getHeader("Host") or "HOST")
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        request.setHeader("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        return PAGE.format(title=escape(self._title), host=host, version=__version__).encode()


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


class _Nothing(Resource):
    isLeaf = True

    def render(self, request: RegistryRequest) -> int:
        where = request.path.decode("latin-1")[:160]
        send_error(request, NameUnknown(f"There is nothing at {where!r}.", advice="The registry's API is at /v2/."))
        return NOT_DONE_YET


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
