"""
Blobs. Source: OCI Distribution Specification 1.1, "Pulling blobs", "Deleting Blobs"; RFC 9110, sections 13 and 14.
"""

from __future__ import annotations

from typing import Final

from quay.oci.ranges import parse_range
from quay.oci.reference import Digest
from quay.registry.blobs import unknown
from quay.web.request import RegistryRequest
from quay.web.respond import send_empty
from quay.web.send import send_source
from quay.web.v2.call import Call, header

IMMUTABLE: Final = "max-age=31536000"


async def get(call: Call) -> None:
    """`GET` and `HEAD /v2/<name>/blobs/<digest>`"""
    request, digest = call.request, Digest.parse(call.argument)
    blob = await call.registry.blobs.stat(call.repository, digest)
    if request.method == b"HEAD" and not blob.locations:
        raise unknown(call.repository, digest)  # so that a client pushes it again, which heals it
    request.setHeader("Content-Type", "application/octet-stream")
    request.setHeader("Docker-Content-Digest", str(digest))
    request.setHeader("Cache-Control", IMMUTABLE)
    if request.setETag(b'"%s"' % digest.encode()) is not None:
        request.finish()
        return
    wanted = parse_range(_range_of(request, digest), blob.size)
    _, source = await call.registry.blobs.open(call.repository, digest)
    await send_source(request, source, wanted, reactor=call.means.clock, pool=call.means.pool)


async def delete(call: Call) -> None:
    """`DELETE /v2/<name>/blobs/<digest>`"""
    await call.registry.blobs.delete(call.repository, Digest.parse(call.argument))
    send_empty(call.request, 202)


def _range_of(request: RegistryRequest, digest: Digest) -> str | None:
    """The `Range` header where it counts: for GET only, and not for whoever has a part of something else."""
    is_fit = request.method == b"GET" and header(request, "If-Range") in (None, f'"{digest}"')
    return header(request, "Range") if is_fit else None
