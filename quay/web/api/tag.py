"""
Tags: listed with their history, moved, made to expire, locked, deleted, restored, and put beyond restoration.

What is done here is on record as Quay records it; nobody is notified of a push, because nothing was pushed.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from quay.database import Transaction
from quay.model import attachment, content, pull, time_machine
from quay.model import tag as tags
from quay.model.attachment import Attachment
from quay.model.permission import Role
from quay.model.reachability import lock
from quay.model.tag import FOREVER, TagRow
from quay.oci import media_types
from quay.oci.errors import DigestInvalid, TagInvalid
from quay.oci.reference import Digest, Tag
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest, Forbidden, NotFound
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.views import http_date, optional_date

routes = Routes("tag", "Manage the tags of a repository.")

PAGE_LIMIT: Final = 100
_TAGS: Final = "/repository/<repository:repository>/tag/"
_ONE: Final = f"{_TAGS}<tag>"
_CHANGES: Final = needs.repository(Role.WRITE, writable=True, images=True)

DigestText = Annotated[str, Schema(maxLength=255, description="The digest of a manifest")]

# --- the list -----------------------------------------------------------------------------------------------------


class TagQuery(TypedDict):
    specificTag: NotRequired[Annotated[str, Schema(maxLength=255, description="Filters the tags to the specific tag")]]
    limit: Annotated[int, Schema(default=50, minimum=1, maximum=PAGE_LIMIT, description="How many a page has at most")]
    page: Annotated[int, Schema(default=1, minimum=1, maximum=10_000_000, description="Page index for the results")]
    onlyActiveTags: Annotated[bool, Schema(default=False, description="Filter to only active tags")]
    detailed: Annotated[
        bool,
        Schema(
            default=False,
            description="Say what is attached to each tag, for which platforms an index has images, and when it was "
            "pulled last; leave out the tags by which cosign attaches something",
        ),
    ]
    filter_tag_name: NotRequired[
        Annotated[str, Schema(maxLength=255, description="like:<a part of the name>, or eq:<the name>")]
    ]


class TagView(TypedDict):
    """
    One lifetime of a tag; `end_ts` and `expiration` say when it ended or will end. `attached`, of an index `platforms`,
    and, where they are counted, `pull_count` and `last_pulled` are in the detailed list only.
    """

    name: str
    reversion: bool
    immutable: bool
    start_ts: int
    end_ts: NotRequired[int]
    manifest_digest: str
    is_manifest_list: bool
    size: int
    last_modified: str
    expiration: NotRequired[str]
    attached: NotRequired[list[Attachment]]
    platforms: NotRequired[list[str]]
    pull_count: NotRequired[int]
    last_pulled: NotRequired[str | None]


class TagPage(TypedDict):
    tags: list[TagView]
    page: int
    has_additional: bool


@routes.get(_TAGS, "listRepoTags", needs.repository(Role.READ, images=True))
async def list_tags(call: Call, query: TagQuery) -> TagPage:
    """List the tags of a repository: what they are, and what they were."""
    limit, page, repository_id = query["limit"], query["page"], call.repository.id

    def read(txn: Transaction) -> TagPage:
        found = time_machine.lifetimes(
            txn,
            repository_id,
            active=query["onlyActiveTags"],
            folded=query["detailed"],
            offset=(page - 1) * limit,
            limit=limit + 1,
            **_names(query),
        )
        shown = found[:limit]
        views = _detailed(txn, repository_id, shown) if query["detailed"] else [_view(one) for one in shown]
        if query["detailed"] and call.means.config.image_pull_stats:
            _count_pulls(txn, repository_id, views)
        return {"tags": views, "page": page, "has_additional": len(found) > limit}

    return await call.read(read)


def _detailed(txn: Transaction, repository_id: int, found: list[TagRow]) -> list[TagView]:
    attached = attachment.attached(txn, repository_id, [one.digest for one in found])
    indexes = [one.manifest_id for one in found if one.media_type in media_types.INDEXES]
    platforms = attachment.platforms(txn, repository_id, indexes)
    views = []
    for one in found:
        view = _view(one)
        view["attached"] = attached.get(one.digest, [])
        if one.manifest_id in platforms:
            view["platforms"] = platforms[one.manifest_id]
        views.append(view)
    return views


def _count_pulls(txn: Transaction, repository_id: int, views: list[TagView]) -> None:
    """Have them say how often they were pulled."""
    found = pull.pulls(txn, repository_id, (view["name"] for view in views))
    for view in views:
        pulled = found[view["name"]]
        view["pull_count"] = pulled.count
        view["last_pulled"] = optional_date(pulled.last_ms)


def _names(query: TagQuery) -> dict[str, str]:
    """Which names are asked for. Raises `BadRequest`."""
    wanted = query.get("filter_tag_name")
    if query.get("specificTag"):
        return {"name": query["specificTag"]}
    if not wanted:
        return {}
    operation, _, name = wanted.partition(":")
    if operation not in ("like", "eq") or not name:
        raise BadRequest("filter_tag_name must be like:<a part of the name> or eq:<the name>.")
    return {"part" if operation == "like" else "name": name}


def _view(row: TagRow) -> TagView:
    view: TagView = {
        "name": row.name,
        "reversion": row.reversion,
        "immutable": row.immutable,
        "start_ts": row.start_ms // 1000,
        "manifest_digest": row.digest,
        "is_manifest_list": row.media_type in media_types.INDEXES,
        "size": row.layers_size,
        "last_modified": http_date(row.start_ms),
    }
    if row.until_ms is not None:
        view["end_ts"] = row.until_ms // 1000
        view["expiration"] = http_date(row.until_ms)
    return view


# --- changes ------------------------------------------------------------------------------------------------------


class TagChange(TypedDict):
    """Makes changes to a specific tag: what it names, when it expires, whether it is locked."""

    manifest_digest: NotRequired[Annotated[DigestText | None, Schema(description="What the tag is to name")]]
    image: NotRequired[Annotated[Any, Schema(description="Of old clients: images have no ids any more")]]
    expiration: NotRequired[
        Annotated[int | float | None, Schema(description="When it expires, in seconds since the epoch; null for never")]
    ]
    immutable: NotRequired[Annotated[bool, Schema(description="Whether the tag is locked")]]


@routes.put(_ONE, "changeTag", _CHANGES, status=201)
async def change(call: Call, tag: str, body: TagChange) -> str:
    """Change which manifest a tag points to, or create it; let it expire; lock or unlock it."""
    name = _parsed(tag)
    if "image" in body:
        raise NotFound("Images have no ids in this registry: name what the tag should be by manifest_digest.")
    steps = [_CHANGE[member] for member in _CHANGE if member in body]
    if not steps:
        raise BadRequest("There is nothing to change: give manifest_digest, expiration or immutable.")
    if body.get("immutable") is False:  # what is unlocked can be changed by the same call
        steps.insert(0, steps.pop())

    def work(txn: Transaction) -> None:
        for step in steps:
            step(txn, call, name, body)

    await call.write(work)
    return "Updated"


def _move(txn: Transaction, call: Call, name: Tag, body: TagChange) -> None:
    repository = call.repository
    if body["manifest_digest"] is None:
        return
    lock(txn, repository.id)
    target = content.manifest(txn, repository.id, digest_of(body["manifest_digest"]))
    if target is None:
        raise NotFound(f"{repository.name} has no manifest {body['manifest_digest']}.")
    before = tags.retarget(txn, repository.id, name, target.id)
    if before is None:
        call.record(txn, "create_tag", tag=name, manifest_digest=target.digest)
    elif before.digest != target.digest:
        call.record(txn, "move_tag", tag=name, manifest_digest=target.digest, original_manifest_digest=before.digest)


def _expire(txn: Transaction, call: Call, name: Tag, body: TagChange) -> None:
    expiration = body["expiration"]
    if not call.means.config.change_tag_expiration:
        raise BadRequest("This registry does not let users change when tags expire.")
    expires_ms = None if expiration is None else min(int(expiration * 1000), FOREVER)
    if expires_ms is not None and expires_ms <= txn.now_ms:
        raise BadRequest("The expiration lies in the past: delete the tag instead.")
    if expires_ms is not None and expires_ms > _LAST_DATE_MS:
        raise BadRequest("The expiration lies too far ahead: leave it out, or give null for never.")
    before = _there(call, name, tags.expire(txn, call.repository.id, name, expires_ms))
    if before.expires_ms != expires_ms:
        new, old = optional_date(expires_ms), optional_date(before.expires_ms)
        call.record(txn, "change_tag_expiration", tag=name, expiration_date=new, old_expiration_date=old)


def _lock(txn: Transaction, call: Call, name: Tag, body: TagChange) -> None:
    immutable = body["immutable"]
    if not call.means.config.immutable_tags:
        raise BadRequest("This registry has no immutable tags: FEATURE_IMMUTABLE_TAGS is off.")
    before = _there(call, name, tags.set_immutable(txn, call.repository.id, name, immutable))
    if before.immutable and not immutable and call.role < Role.ADMIN:
        raise Forbidden(f"Only an administrator of {call.repository.name} may unlock its tags.")
    if before.immutable != immutable:
        call.record(txn, "change_tag_immutability", tag=name, immutable=immutable)


_CHANGE: Final = {"manifest_digest": _move, "expiration": _expire, "immutable": _lock}
_LAST_DATE_MS: Final = 253_402_300_799_000  # the end of the year 9999


def _there(call: Call, name: Tag, found: TagRow | None) -> TagRow:
    if found is None:
        raise NotFound(f"{call.repository.name} has no tag {name}.")
    return found


def _parsed(tag: str) -> Tag:
    """Raises `BadRequest`."""
    try:
        return Tag.parse(tag)
    except TagInvalid as fault:
        raise BadRequest(f"{fault.message} {fault.advice}") from None


def digest_of(text: str) -> Digest:
    """Raises `NotFound` for what can be the digest of nothing."""
    try:
        return Digest.parse(text)
    except DigestInvalid as fault:
        raise NotFound(fault.message) from None


@routes.delete(_ONE, "deleteFullTag", _CHANGES)
async def delete(call: Call, tag: str) -> None:
    """Delete the specified repository tag; until its time is up it can be restored."""
    repository = call.repository

    def remove(txn: Transaction) -> None:
        lock(txn, repository.id)
        row = tags.resolve_tag(txn, repository.id, tag)
        if row is None or not tags.delete_tag(txn, repository.id, tag):
            raise BadRequest(f"{repository.name} has no tag {tag[:128]}.")
        call.record(txn, "delete_tag", tag=row.name, manifest_digest=row.digest)

    await call.write(remove)


# --- the time machine ---------------------------------------------------------------------------------------------


class RestoreTag(TypedDict):
    """Restores a tag to a specific manifest."""

    manifest_digest: DigestText


class Restored(TypedDict):
    """Nothing more is said."""


@routes.post(f"{_ONE}/restore", "restoreTag", _CHANGES)
async def restore(call: Call, tag: str, body: RestoreTag) -> Restored:
    """Restore a repository tag back to a previous manifest in the repository."""
    name, digest = _parsed(tag), digest_of(body["manifest_digest"])

    def work(txn: Transaction) -> None:
        restored = time_machine.restore_tag(txn, call.repository, name, digest)
        call.record(txn, "revert_tag", tag=restored.name, manifest_digest=restored.digest)

    await call.write(work)
    return {}


class ExpireTag(TypedDict):
    """Removes a tag from the time machine."""

    manifest_digest: DigestText
    include_submanifests: NotRequired[Annotated[bool, Schema(description="Also what lies below an index")]]
    is_alive: NotRequired[Annotated[bool, Schema(description="The tag as it is now, not what is in its history")]]


@routes.post(f"{_ONE}/expire", "removeTagFromTimemachine", _CHANGES, when=lambda config: config.permanently_delete_tags)
async def forget(call: Call, tag: str, body: ExpireTag) -> Literal[""]:
    """Remove a tag, or what it was, from the time machine: it cannot be restored, and its space is free at once."""
    name, digest = _parsed(tag), digest_of(body["manifest_digest"])
    how = {"alive": body.get("is_alive", False), "children": body.get("include_submanifests", False)}

    def work(txn: Transaction) -> None:
        if not time_machine.forget(txn, call.repository, name, digest, **how):
            raise BadRequest(f"There is nothing to delete: {name} does not name {digest}, or did not.")
        call.record(txn, "permanently_delete_tag", tag=name, manifest_digest=digest)

    await call.write(work)
    return ""
