"""
Archives of images: a tag as a tar file that `docker load`, `podman load` and skopeo take, and tags from such a file.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypedDict

from quay.model.permission import Role
from quay.model.repository import Repository
from quay.oci.ranges import parse_range
from quay.oci.reference import Digest, Tag, parse_reference
from quay.registry.archives import Wanted
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import UnsupportedMedia
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.send import send_source

routes = Routes("archive", "Carry images as files.")

TAR: Final = "application/x-tar"


class ArchiveQuery(TypedDict):
    format: Annotated[
        Literal["docker", "oci"],
        Schema(default="docker", description="docker: one image, for docker load; oci: a layout, all platforms"),
    ]
    platform: Annotated[
        str,
        Schema(default="linux/amd64", maxLength=100, description="Of an index, the image that a docker archive has"),
    ]
    referrers: Annotated[
        bool, Schema(default=False, description="With the signatures and other referrers, in an OCI layout")
    ]


@routes.get(
    "/repository/<repository:repository>/manifest/<manifestref>/archive",
    "getArchive",
    needs.repository(Role.READ, images=True),
    gives=TAR,
)
async def download(call: Call, manifestref: str, query: ArchiveQuery) -> None:
    """Get what a tag or digest names as a tar file: a docker archive or an OCI layout."""
    reference, request = parse_reference(manifestref), call.request
    wanted = Wanted(call.repository, reference, _image(call), query["format"], query["platform"], query["referrers"])
    source = await call.means.registry.archives.pack(wanted)
    try:
        span = parse_range(request.getHeader("Range"), source.size)
    except BaseException:
        source.close()
        raise
    if span is None:  # who goes on with a broken download has been counted
        stored = await call.means.registry.manifests.find(call.repository, reference)
        call.means.registry.manifests.pulled(call.caller, call.repository, reference, stored.digest)
    request.setHeader("Content-Type", TAR)
    request.setHeader("Content-Disposition", f'attachment; filename="{_file_name(call.repository, reference)}"')
    await send_source(request, source, span, reactor=call.means.clock, pool=call.means.cpu)


def _image(call: Call) -> str:
    """The repository as clients call it: `registry.example.com/team/app`."""
    return f"{call.base.partition('://')[2]}/{call.repository.name}"


def _file_name(repository: Repository, reference: Digest | Tag) -> str:
    name = repository.name.path.replace("/", "-")
    return f"{name}-{reference.hex[:12] if isinstance(reference, Digest) else reference}.tar"


class UploadQuery(TypedDict):
    tag: Annotated[
        str, Schema(default="", maxLength=128, description="What the one image in the archive is to be called here")
    ]


class TakenView(TypedDict):
    """What came of an archive: `blobs` of `bytes` in all were taken from it."""

    tags: list[str]
    digests: list[str]
    blobs: int
    bytes: int


@routes.post(
    "/repository/<repository:repository>/archive",
    "uploadArchive",
    needs.repository(Role.WRITE, writable=True, images=True),
    takes=TAR,
)
async def upload(call: Call, query: UploadQuery) -> TakenView:
    """Push the images in a tar file, a docker archive or an OCI layout, which may be compressed by gzip or zstd."""
    request = call.request
    if (request.getHeader("Content-Type") or "").lower().startswith("multipart/"):
        raise UnsupportedMedia("The body is a form; send the tar file itself, as curl --upload-file does.")
    tag = Tag.parse(query["tag"]) if query["tag"] else None
    taken = await call.means.registry.archives.take(call.caller, call.repository, request.body, tag)
    return {"tags": list(taken.tags), "digests": list(taken.digests), "blobs": taken.blobs, "bytes": taken.bytes}
