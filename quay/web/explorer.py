"""
The API explorer, `/api-explorer`: what the API can do, for people, who may try it out there as who they are.

It is Swagger UI over our OpenAPI document, all of it served from this box under the policy of every page: nothing comes
from elsewhere, and no script is in the page itself. Of the package that brings Swagger UI only the files are used: its
code, which is for another web server, is never run.
"""

from __future__ import annotations

from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Final

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quay.oci.errors import Unsupported
from quay.web.pages import Pages
from quay.web.request import RegistryRequest
from quay.web.respond import send_error
from quay.web.static import StaticFiles

PACKAGE: Final = "flask_swagger_ui"
FILES: Final = ("swagger-ui-bundle.js", "swagger-ui.css", "oauth2-redirect.html", "oauth2-redirect.js")
"""What is served of Swagger UI; the last two take an OAuth token from the address to which it is sent."""

_POLICY: Final = "default-src 'none'; script-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"


class Explorer(Resource):
    """The page, and the files of Swagger UI below it."""

    isLeaf = True

    def __init__(self, pages: Pages) -> None:
        super().__init__()
        self._pages = pages
        self._files = StaticFiles(_unexecuted(PACKAGE), "dist", FILES)

    def render(self, request: RegistryRequest) -> int:
        """Answer `request`: any address below that is no file is told so."""
        if request.method not in (b"GET", b"HEAD"):
            send_error(
                request, Unsupported("The explorer is for reading.", advice="Use GET.", headers={"Allow": "GET, HEAD"})
            )
        elif request.postpath in ([], [b""], None):
            self._pages.send(request, "explorer.html")
        else:
            request.setHeader("Content-Security-Policy", _POLICY)
            self._files.render(request)
        return NOT_DONE_YET


def _unexecuted(package: str) -> ModuleType:
    """The installed package as the place of its files, without running it. Raises `ImportError`."""
    spec = find_spec(package)
    if spec is None:
        raise ImportError(f"The package {package!r} is missing, which brings the files of /api-explorer: install it.")
    return module_from_spec(spec)
