"""Manifests: what an image consists of, the labels on it, and what refers to it."""

from __future__ import annotations

from typing import Annotated, Any, Final, NotRequired, TypedDict

from quay.database import Transaction
from quay.model import label as labels
from quay.model import referrer
from quay.model import tag as tags
from quay.model.content import StoredManifest
from quay.model.label import Label, LabelInvalid, MediaType
from quay.model.permission import Role
from quay.model.referrer import Referrer
from quay.oci.history import Layer
from quay.oci.labels import EXPIRES_AFTER
from quay.web.api import needs, pages
from quay.web.api.call import Call
from quay.web.api.errors import NotFound
from quay.web.api.route import PREFIX, Routes
from quay.web.api.shapes import Schema
from quay.web.api.tag import digest_of
from quay.web.api.views import optional_date

routes = Routes("manifest", "Manage the manifests of a repository.")

REFERRERS: Final = 100
_ONE: Final = "/repository/<repository:repository>/manifest/<manifestref>"
_READS: Final = needs.repository(Role.READ, images=True)
_CHANGES: Final = needs.repository(Role.WRITE, writable=True, images=True)

# --- a manifest ---------------------------------------------------------------------------------------------------


class LayerView(TypedDict):
    """A layer of an image, and the step that made it."""

    index: int
    compressed_size: int
    is_remote: bool
    urls: list[str]
    command: list[str] | None
    comment: str | None
    author: str | None
    blob_digest: str
    created_datetime: str | None


class ManifestView(TypedDict):
    """A manifest as it was pushed; an index has no layers."""

    digest: str
    is_manifest_list: bool
    manifest_data: str
    config_media_type: str | None
    layers_compressed_size: int | None
    layers: list[LayerView] | None


@routes.get(_ONE, "getRepoManifest", _READS)
async def show(call: Call, manifestref: str) -> ManifestView:
    """Get a manifest, with its layers."""
    stored = await _stored(call, manifestref)
    manifests = call.means.registry.manifests
    manifest = await manifests.parsed(stored)
    layers = None if manifest.is_index else await manifests.layers(call.repository, manifest)
    return {
        "digest": stored.digest,
        "is_manifest_list": manifest.is_index,
        "manifest_data": stored.content.decode("utf-8", "replace"),
        "config_media_type": manifest.config.media_type if manifest.config else None,
        "layers_compressed_size": None if layers is None else sum(layer.size for layer in layers),
        "layers": None if layers is None else [_layer(number, layer) for number, layer in enumerate(layers)],
    }


async def _stored(call: Call, manifestref: str) -> StoredManifest:
    """The manifest that the path names by its digest. Raises `NotFound`, `ManifestUnknown`."""
    return await call.means.registry.manifests.find(call.repository, digest_of(manifestref))


def _layer(index: int, layer: Layer) -> LayerView:
    return {
        "index": index,
        "compressed_size": layer.size,
        "is_remote": layer.foreign,
        "urls": list(layer.urls),
        "command": None if layer.command is None else list(layer.command),
        "comment": layer.comment,
        "author": layer.author,
        "blob_digest": layer.digest,
        "created_datetime": optional_date(layer.created_ms),
    }


# --- labels -------------------------------------------------------------------------------------------------------


class LabelQuery(TypedDict):
    filter: Annotated[str, Schema(default="", maxLength=255, description="Only labels whose keys begin with this")]


class LabelView(TypedDict):
    """A label; `source_type` says whether it came with the manifest or was added."""

    id: str
    key: str
    value: str
    source_type: str
    media_type: str


class LabelViews(TypedDict):
    labels: list[LabelView]


class NewLabel(TypedDict):
    """Adds a label to a manifest."""

    key: Annotated[str, Schema(maxLength=255, description="The key for the label")]
    value: Annotated[str, Schema(maxLength=labels.VALUE_LIMIT, description="The value for the label")]
    media_type: NotRequired[MediaType | None]


class Labelled(TypedDict):
    label: LabelView


@routes.get(f"{_ONE}/labels", "listManifestLabels", _READS)
async def list_labels(call: Call, manifestref: str, query: LabelQuery) -> LabelViews:
    """List the labels of a manifest."""
    stored = await _stored(call, manifestref)
    found = await call.read(labels.labels, stored.id, prefix=query["filter"])
    return {"labels": [_label(one) for one in found]}


@routes.post(f"{_ONE}/labels", "addManifestLabel", _CHANGES, status=201)
async def add_label(call: Call, manifestref: str, body: NewLabel) -> Labelled:
    """Add a label to a manifest; quay.expires-after lets its tags expire."""
    key, value = body["key"], body["value"]
    _check_reserved(call, key)
    life = _life(call, key, value)
    stored = await _stored(call, manifestref)

    def add(txn: Transaction) -> Label:
        made = labels.add(txn, stored.repository_id, stored.id, key, value, body.get("media_type"))
        if life is not None:
            tags.expire_all(txn, stored.repository_id, stored.id, life)
        call.record(txn, "manifest_label_add", **_told(stored, made))
        return made

    made = await call.write(add)
    where = f"/repository/{call.repository.name}/manifest/{stored.digest}/labels/{made.uuid}"
    call.request.setHeader("Location", f"{call.base}{PREFIX}{where}")
    return {"label": _label(made)}


@routes.get(f"{_ONE}/labels/<labelid>", "getManifestLabel", _READS)
async def show_label(call: Call, manifestref: str, labelid: str) -> LabelView:
    """Retrieve the label with the specific ID under the manifest."""
    stored = await _stored(call, manifestref)
    found = await call.read(labels.find, stored.id, labelid)
    if found is None:
        raise NotFound(f"The manifest has no label {labelid[:80]!r}.")
    return _label(found)


@routes.delete(f"{_ONE}/labels/<labelid>", "deleteManifestLabel", _CHANGES)
async def delete_label(call: Call, manifestref: str, labelid: str) -> None:
    """Delete a label that was added to a manifest."""
    stored = await _stored(call, manifestref)

    def remove(txn: Transaction) -> None:
        found = labels.remove(txn, stored.id, labelid)
        if found is None:
            raise NotFound(f"The manifest has no label {labelid[:80]!r}.")
        call.record(txn, "manifest_label_delete", **_told(stored, found))

    await call.write(remove)


def _check_reserved(call: Call, key: str) -> None:
    config = call.means.config
    reserved = (*config.default_label_key_reserved_prefixes, *config.label_key_reserved_prefixes)
    if key != EXPIRES_AFTER and key.startswith(tuple(prefix for prefix in reserved if prefix)):
        raise LabelInvalid(f"Labels like {key[:80]!r} are reserved: add one with another prefix.")


def _life(call: Call, key: str, value: str) -> int | None:
    """For how many seconds the tags are to live, if the label says so. Raises `LabelInvalid`."""
    if key != EXPIRES_AFTER:
        return None
    life = call.means.registry.policy.life(value)
    if life is None:
        raise LabelInvalid(f"{value[:80]!r} is not a time to live: write it like 12h, 3d or 2w.")
    return life


def _told(stored: StoredManifest, label: Label) -> dict[str, Any]:
    value = label.value[:1000]
    return {"manifest_digest": stored.digest, "label_id": label.uuid, "key": label.key, "value": value}


def _label(label: Label) -> LabelView:
    return {
        "id": label.uuid,
        "key": label.key,
        "value": label.value,
        "source_type": label.source,
        "media_type": label.media_type,
    }


# --- referrers ----------------------------------------------------------------------------------------------------


class ReferrerQuery(TypedDict):
    next_page: NotRequired[str]
    artifact_type: NotRequired[Annotated[str, Schema(maxLength=255, description="Only referrers of this type")]]


class ReferrerView(TypedDict):
    """A manifest that names another one as its subject: a signature, a bill of materials."""

    digest: str
    media_type: str
    artifact_type: str | None
    size: int
    annotations: dict[str, str]


class ReferrerPage(TypedDict):
    referrers: list[ReferrerView]
    next_page: NotRequired[str]


@routes.get(f"{_ONE}/referrers", "listManifestReferrers", _READS, when=lambda config: config.referrers_api)
async def list_referrers(call: Call, manifestref: str, query: ReferrerQuery) -> ReferrerPage:
    """List what refers to a manifest, in the order in which it was pushed."""
    stored, kind = await _stored(call, manifestref), query.get("artifact_type")
    about = f"listManifestReferrers {stored.id} {kind or ''}"
    after = pages.position(call.means.seals, query.get("next_page"), about)
    found, more = await call.read(
        referrer.page,
        stored.repository_id,
        stored.digest,
        artifact_type=kind,
        after_id=after or 0,
        limit=REFERRERS,
    )
    page: ReferrerPage = {"referrers": [_referrer(one) for one in found]}
    if more:
        page["next_page"] = pages.token(call.means.seals, about, found[-1].id)
    return page


def _referrer(found: Referrer) -> ReferrerView:
    told = found.descriptor
    return {
        "digest": told.digest,
        "media_type": told.media_type,
        "artifact_type": told.artifact_type,
        "size": told.size,
        "annotations": dict(told.annotations),
    }
