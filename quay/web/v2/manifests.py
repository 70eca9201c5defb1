"""
Manifests, tags and referrers. Source: OCI Distribution Specification 1.1, "Pulling manifests", "Pushing Manifests",
"Deleting manifests", "Listing Tags", "Listing Referrers".
"""

from __future__ import annotations

from typing import Final

from quay.model.repository import Repository
from quay.oci.errors import InvalidRequest, ManifestUnknown, TagInvalid
from quay.oci.manifest import MANIFEST_LIMIT, referrers_index
from quay.oci.media_types import OCI_INDEX
from quay.oci.ranges import next_link
from quay.oci.reference import Digest, Tag, parse_reference
from quay.registry import Registry
from quay.registry.caller import Caller
from quay.registry.manifests import Served
from quay.web.request import RegistryRequest
from quay.web.respond import send_empty, send_json
from quay.web.v2.call import Call, accept, header, link_next, page_of, queries

NO_REFERRERS: Final = referrers_index(())


async def get(call: Call) -> None:
    """`GET` and `HEAD /v2/<name>/manifests/<reference>`"""
    reference = _existing(call)
    found = await call.registry.manifests.find(call.repository, reference)
    served = Served(found.content, found.media_type, found.digest)
    if isinstance(reference, Tag):
        served = await call.registry.manifests.serve(call.repository, reference, found, accept(call.request))
    send(call.request, call.registry, call.caller, call.repository, reference, served)


def send(
    request: RegistryRequest,
    registry: Registry,
    caller: Caller,
    repository: Repository,
    reference: Digest | Tag,
    served: Served,
) -> None:
    """Answer with a manifest; a `GET` that takes the body is a pull."""
    set_header = request.responseHeaders.setRawHeaders
    digest = served.digest.encode()
    set_header(b"Content-Type", [served.media_type.encode()])
    set_header(b"Docker-Content-Digest", [digest])
    set_header(b"Vary", [b"Accept"])
    if request.setETag(b'"%s"' % digest) is None:
        set_header(b"Content-Length", [b"%d" % len(served.content)])
        if request.method == b"GET":
            request.write(served.content)
            registry.manifests.pulled(caller, repository, reference, served.digest)
    request.finish()


async def put(call: Call) -> None:
    """`PUT /v2/<name>/manifests/<reference>`"""
    reference, tags = parse_reference(call.argument), [Tag.parse(text) for text in queries(call.request, "tag")]
    raw = await call.request.body.read(MANIFEST_LIMIT)
    accepted = await call.registry.manifests.put(
        call.caller, call.repository, reference, header(call.request, "Content-Type"), raw, tags
    )
    headers = {
        "Location": call.url(f"manifests/{accepted.digest}"),
        "Docker-Content-Digest": str(accepted.digest),
    }
    if accepted.subject is not None:
        headers["OCI-Subject"] = str(accepted.subject)
    if tags:
        headers["OCI-Tag"] = ", ".join(tags)
    send_empty(call.request, 201, headers)


async def delete(call: Call) -> None:
    """`DELETE /v2/<name>/manifests/<reference>`"""
    await call.registry.manifests.delete(call.caller, call.repository, _existing(call))
    send_empty(call.request, 202)


async def list_tags(call: Call) -> None:
    """`GET /v2/<name>/tags/list`: a client checks that it is told the name it asked for."""
    limit, after = page_of(call.request, call.registry.policy)
    names = await call.registry.manifests.tags(call.repository, after=after, limit=limit + 1) if limit else []
    link_next(call.request, names, limit)
    send_json(call.request, 200, {"name": call.spelled("/tags/list"), "tags": names[:limit]})


async def list_referrers(call: Call) -> None:
    """`GET /v2/<name>/referrers/<digest>`"""
    digest, artifact_type = Digest.parse(call.argument), call.query("artifactType") or None
    page = await call.registry.manifests.referrers(
        call.repository,
        digest,
        artifact_type=artifact_type,
        after=_after(call),
        limit=call.registry.policy.page_limit,
    )
    if page.after is not None:
        params = {"after": page.after} | ({"artifactType": artifact_type} if artifact_type else {})
        call.request.setHeader("Link", next_link(call.request.path.decode("latin-1"), params))
    if artifact_type:
        call.request.setHeader("OCI-Filters-Applied", "artifactType")
    send_referrers(call.request, page.index)


def list_no_referrers(request: RegistryRequest, subject: str) -> None:
    """The same where there is no repository: 404 would mean that this registry does not list referrers."""
    Digest.parse(subject)
    send_referrers(request, NO_REFERRERS)


def send_referrers(request: RegistryRequest, index: bytes) -> None:
    """Answer with an index of referrers."""
    request.setHeader("Content-Type", OCI_INDEX)
    request.setHeader("Content-Length", str(len(index)))
    request.write(index)
    request.finish()


def _existing(call: Call) -> Digest | Tag:
    """The manifest that is asked for. Raises `ManifestUnknown` for what cannot be a tag: so there is none."""
    try:
        return parse_reference(call.argument)
    except TagInvalid as nothing:
        raise ManifestUnknown(nothing.message, advice=nothing.advice, reference=call.argument[:160]) from nothing


def _after(call: Call) -> int:
    text = call.query("after")
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidRequest("after= is not the mark of a page.", advice="Follow the Link header of the page before.")
    return int(text)
