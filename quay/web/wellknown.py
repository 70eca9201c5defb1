"""
`/.well-known/`: what tools look for at the same address on every server.

`app-capabilities` says where a tool finds out about an image; what this registry does not have is not in it. Source:
RFC 8615; Quay's app-capabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quay.config import Config
from quay.oci.errors import NameUnknown
from quay.web.addresses import Addresses
from quay.web.api import routes_of
from quay.web.request import RegistryRequest
from quay.web.respond import send_error, send_json

APP: Final = "io.quay"
_OPERATIONS: Final = {"io.quay.manifest-security": "getRepoManifestSecurity"}
"""Quay's capabilities, each with the nickname of the operation where it is had."""
_PARAMETERS: Final = {"{repository}": "{namespace}/{reponame}", "{manifestref}": "{digest}"}
"""What Quay's templates call our parameters."""


class WellKnown(Resource):
    """All that is below `/.well-known/`."""

    isLeaf = True

    def __init__(self, config: Config, addresses: Addresses) -> None:
        super().__init__()
        self._addresses = addresses
        templates = {route.nickname: route.template for route in routes_of(config)}
        self._templates = {
            capability: _spelled(templates[nickname])
            for capability, nickname in _OPERATIONS.items()
            if nickname in templates
        }

    def render_GET(self, request: RegistryRequest) -> int:
        if request.postpath == [b"app-capabilities"]:
            base = self._addresses.external_url(request)
            send_json(request, 200, {"appName": APP, "capabilities": self._capabilities(base)})
        else:
            send_error(request, NameUnknown("There is nothing at this address below /.well-known/."))
        return NOT_DONE_YET

    def _capabilities(self, base: str) -> Mapping[str, Any]:
        return {name: {"rest-api-template": base + template} for name, template in self._templates.items()}


def _spelled(template: str) -> str:
    for ours, quays in _PARAMETERS.items():
        template = template.replace(ours, quays)
    return template
