"""
The files that pages are made of, served from the installed package: read once, never from a path that a client names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import ModuleType
from typing import Final

import attrs
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quay.oci.errors import NameUnknown
from quay.web.request import RegistryRequest
from quay.web.respond import send_empty, send_error

TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
"""What is served; a file of another kind is not."""


@attrs.frozen
class _File:
    body: bytes = attrs.field(repr=False)
    media_type: str
    etag: bytes


class StaticFiles(Resource):
    """The files right in `directory` of the installed `package`, by their names; with `only`, those alone."""

    isLeaf = True

    def __init__(self, package: str | ModuleType, directory: str, only: Collection[str] | None = None) -> None:
        super().__init__()
        found = (entry for entry in files(package).joinpath(directory).iterdir() if entry.is_file())
        served = (entry for entry in found if _suffix(entry.name) in TYPES)
        self._files = {entry.name: _read(entry) for entry in served if only is None or entry.name in only}

    def render_GET(self, request: RegistryRequest) -> int:
        name = b"/".join(request.postpath or []).decode("utf-8", "replace")
        file = self._files.get(name)
        if file is None:
            send_error(request, NameUnknown(f"There is no file {name[:80]!r}."))
            return NOT_DONE_YET
        request.setHeader("Cache-Control", "no-cache")  # kept, but asked for again: an upgrade shows at once
        request.setHeader("X-Content-Type-Options", "nosniff")
        if request.setETag(file.etag) is not None:
            send_empty(request, 304)
            return NOT_DONE_YET
        request.setHeader("Content-Type", file.media_type)
        request.setHeader("Content-Length", str(len(file.body)))
        request.write(file.body)
        request.finish()
        return NOT_DONE_YET


def _read(entry: Traversable) -> _File:
    body = entry.read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return _File(body, TYPES[_suffix(entry.name)], etag.encode())


def _suffix(name: str) -> str:
    return f".{name.rpartition('.')[2]}"
