"""
Uploads, in every way that clients push a blob, and mounts, which spare them one. Source: OCI Distribution
Specification 1.1, "Pushing blobs", "Mounting a blob from another repository"; Quay for `Range` on a chunk.
"""

from __future__ import annotations

from typing import Final

from quay.model.blob import Blob
from quay.model.repository import Repository
from quay.oci.errors import Denied, InvalidRequest, NameInvalid, NameUnknown
from quay.oci.ranges import parse_content_range
from quay.oci.reference import Digest, RepositoryName
from quay.registry.uploads import Chunk
from quay.web.request import RegistryRequest
from quay.web.respond import send_empty
from quay.web.v2.call import Call, header

EMPTY: Final = Digest.of(b"")


async def begin(call: Call) -> None:
    """`POST /v2/<name>/blobs/uploads/`, with `mount` and `from`, with `digest` and the blob itself, or with nothing."""
    mount, digest = call.query("mount"), call.query("digest")
    if mount is not None and await _is_mounted(call, Digest.parse(mount)):
        return
    if digest is not None and (call.request.body.length != 0 or digest == EMPTY):
        blob = await call.registry.uploads.receive_whole(
            call.repository, call.owner, Digest.parse(digest), call.request.body
        )
        _send_created(call, blob)
        return
    algorithm = _algorithm(call.query("digest-algorithm"), digest)
    _send_upload(call, 202, await call.registry.uploads.begin(call.repository, call.owner, algorithm), 0)


async def status(call: Call) -> None:
    """`GET /v2/<name>/blobs/uploads/<uuid>`"""
    offset = await call.registry.uploads.offset(call.repository, call.owner, call.argument)
    _send_upload(call, 204, call.argument, offset)


async def append(call: Call) -> None:
    """`PATCH /v2/<name>/blobs/uploads/<uuid>`"""
    offset = await call.registry.uploads.append(
        call.repository, call.owner, call.argument, call.request.body, _chunk(call.request)
    )
    _send_upload(call, 202, call.argument, offset)


async def finish(call: Call) -> None:
    """`PUT /v2/<name>/blobs/uploads/<uuid>?digest=<digest>`, with the last bytes or without"""
    digest = call.query("digest")
    if digest is None:
        raise InvalidRequest(
            "The upload cannot be finished: the request does not say which digest the blob has.",
            advice="Add ?digest=sha256:… to the upload's URL.",
        )
    blob = await call.registry.uploads.finish(
        call.repository, call.owner, call.argument, Digest.parse(digest), call.request.body, _chunk(call.request)
    )
    _send_created(call, blob)


async def cancel(call: Call) -> None:
    """`DELETE /v2/<name>/blobs/uploads/<uuid>`"""
    await call.registry.uploads.cancel(call.repository, call.owner, call.argument)
    send_empty(call.request, 204)


async def _is_mounted(call: Call, digest: Digest) -> bool:
    """Whether the blob could be linked from a repository that the caller may pull from; if so, it is answered."""
    source = await _mount_source(call, digest)
    blob = await call.registry.blobs.mount(call.repository, digest, source) if source is not None else None
    if blob is None:
        return False
    _send_created(call, blob)
    return True


async def _mount_source(call: Call, digest: Digest) -> int | None:
    origin = call.query("from")
    source = await (_any_source(call, digest) if origin is None else _origin(call, origin))
    if source is None:
        return None
    if call.registry.policy.anonymous_pulls and source.public:
        return source.id
    target, spelled = call.spelled("/blobs/uploads"), origin or str(source.name)
    may = await call.means.guard.may_mount(call.request, call.caller, call.rights, target, spelled, source)
    return source.id if may else None


async def _any_source(call: Call, digest: Digest) -> Repository | None:
    """A repository that has the blob: first among those of the token, which it can be mounted from without asking."""
    blobs, holder, reach = call.registry.blobs, call.caller.principal.namespace_id, call.rights.reach()
    found = await blobs.source_for(digest, holder, reach) if reach is not None else None
    return found or await blobs.source_for(digest, holder, None)


async def _origin(call: Call, spelled: str) -> Repository | None:
    try:
        return await call.registry.find(RepositoryName.parse(spelled, call.registry.policy.library_namespace))
    except (NameInvalid, NameUnknown, Denied):
        return None


def _send_created(call: Call, blob: Blob) -> None:
    headers = {"Location": call.url(f"blobs/{blob.digest}"), "Docker-Content-Digest": str(blob.digest)}
    send_empty(call.request, 201, headers)


def _send_upload(call: Call, status: int, uuid: str, offset: int) -> None:
    headers = {
        "Location": call.url(f"blobs/uploads/{uuid}"),
        "Range": f"0-{max(offset - 1, 0)}",
        "Docker-Upload-UUID": uuid,
    }
    send_empty(call.request, status, headers)


def _chunk(request: RegistryRequest) -> Chunk | None:
    content_range, quay_range = header(request, "Content-Range"), header(request, "Range")
    found = parse_content_range(content_range, quay_range)
    return None if found is None else Chunk(*found, lenient=content_range is None)


def _algorithm(asked: str | None, digest: str | None) -> str:
    algorithm = asked or (digest or "").partition(":")[0]
    return algorithm if algorithm == "sha512" else "sha256"
