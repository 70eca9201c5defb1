"""What this registry can do beyond what every registry can: read by consoles and mirrors before they begin."""

from __future__ import annotations

from typing import TypedDict

from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.route import Routes

routes = Routes("capabilities", "What this registry can do.")


class SparseManifests(TypedDict):
    """Whether an index may be pushed of which not every manifest is here, and which must be."""

    supported: bool
    required_architectures: list[str]
    optional_architectures_allowed: bool


class Capabilities(TypedDict):
    """What this registry can do; `mirror_architectures` are those that a mirror can be confined to."""

    sparse_manifests: SparseManifests
    mirror_architectures: list[str]


@routes.get("/registry/capabilities", "getRegistryCapabilities", needs.anonymous_too)
async def capabilities(call: Call) -> Capabilities:
    """Return what this registry can do."""
    sparse = call.means.registry.policy.sparse_index
    return {
        "sparse_manifests": {
            "supported": sparse,
            "required_architectures": [],
            "optional_architectures_allowed": sparse,
        },
        "mirror_architectures": [],
    }
