"""
Bundles: images for a registry that this one cannot reach, made, fetched, brought and loaded by superusers.

A bundle that is made or brought is kept in the data directory of the node that was asked, and removed after a week.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypedDict

from quay.bundles import Choices, Into, Named, Order, Plan
from quay.bundles.depot import KEPT_S, Kept, check_name
from quay.bundles.gathering import Gathered
from quay.bundles.stored import received, sent
from quay.bundles.waybill import BundleInvalid, Receipt
from quay.database import Transaction
from quay.model import job as jobs
from quay.oci.ranges import parse_range
from quay.web.api import needs
from quay.web.api.bundle_trust import CHANGES, OCTETS, POWER, KeyView, VolumeView, recorded, routes
from quay.web.api.call import Call
from quay.web.api.errors import Conflict, NotFound
from quay.web.api.shapes import Schema
from quay.web.api.views import http_date
from quay.web.send import send_source

__all__ = ["routes"]

NAME: Final = "images.bundle"
"""What the files of a bundle are called if nobody says."""
SHOWN: Final = 500
"""Tags of a plan that are listed; the others are counted."""


class BundleView(TypedDict):
    """A bundle that is kept here until `until`; `kind` says whether it was made here or brought."""

    uuid: str
    kind: str
    name: str
    volumes: list[VolumeView]
    size: int
    touched: str
    until: str


class BundlesView(TypedDict):
    """What there is: bundles, the receipts of others, and whom this registry trusts; `pem` is its own public key."""

    bundles: list[BundleView]
    receipts: list[VolumeView]
    keys: list[KeyView]
    pem: str
    fingerprint: str


class FailedView(TypedDict):
    name: str
    why: str


class ShippedView(TypedDict):
    name: str
    digest: str
    referrers: int


class PlanView(TypedDict):
    """What a bundle would have. Sizes are in bytes; `held` is what the far side has, and `unchanged` its tags."""

    tags: list[ShippedView]
    count: int
    blobs: int
    bytes: int
    held: int
    unchanged: int
    absent: int
    failed: list[FailedView]
    volumes: list[int]
    size: int


_CHOICES: Final = Schema(
    maxLength=100_000, description="Repositories and tags, separated by blanks or lines: acme/web, acme/web:1.*, acme/*"
)
_LIMIT: Final = Schema(default=0, minimum=0, description="Bytes of a volume at most; 0 for one volume")
_PLATFORMS: Final = Schema(
    default="", maxLength=500, description="Of indexes, only the images for these, separated by blanks: linux/amd64"
)
_RECEIPT: Final = Schema(default="", maxLength=100, description="The name of a receipt of the far side")


class PlanQuery(TypedDict):
    choices: Annotated[str, _CHOICES]
    platforms: Annotated[str, _PLATFORMS]
    limit: Annotated[int, _LIMIT]
    receipt: Annotated[str, _RECEIPT]


class MakeBundle(TypedDict, total=False):
    """What is to be in it."""

    choices: Annotated[str, _CHOICES]
    platforms: Annotated[str, _PLATFORMS]
    limit: Annotated[int, _LIMIT]
    receipt: Annotated[str, _RECEIPT]
    name: Annotated[str, Schema(maxLength=80, description="What its files are called")]


class LoadBundle(TypedDict, total=False):
    """How it is to be loaded."""

    into: Annotated[str, Schema(maxLength=1000, description="Into which organizations: ORG, or FROM=ORG FROM=ORG")]
    named: Annotated[str, Schema(maxLength=400, description="What an archive without a name is called")]
    unsigned: Annotated[bool, Schema(description="Take what is not signed, or by somebody who is not known")]
    verify: Annotated[bool, Schema(description="Only verify it: nothing is loaded")]


class BegunView(TypedDict):
    """A bundle, and the job that is at work on it."""

    uuid: str
    job: str


@routes.get("/superuser/bundles/", "listBundles", needs.superuser, **POWER)
async def list_bundles(call: Call) -> BundlesView:
    """List the bundles that are kept here, the receipts of others, and the keys that are trusted."""
    bundles, wait = call.means.bundles, call.means.disk.run
    await wait(bundles.depot.prune, call.means.clock.seconds())
    found, receipts, keys = (
        await wait(bundles.depot.all),
        await wait(bundles.depot.receipts),
        await wait(bundles.keys.all),
    )
    return {
        "bundles": [_view(one) for one in found],
        "receipts": [{"name": name, "size": size} for name, size in receipts],
        "keys": [{"name": name, "fingerprint": key.fingerprint} for name, key in keys.items()],
        "pem": bundles.key.pem,
        "fingerprint": bundles.key.fingerprint,
    }


@routes.get("/superuser/bundles/plan", "planBundle", needs.superuser, **POWER)
async def plan(call: Call, query: PlanQuery) -> PlanView:
    """Say what a bundle would have, and how large it would be."""
    order = await _order(call, query["choices"], query["platforms"], query["limit"], query["receipt"])
    return _planned(await call.means.bundles.plan(order))


@routes.post("/superuser/bundles/", "makeBundle", needs.superuser, status=201, fresh=True, **POWER)
async def make(call: Call, body: MakeBundle) -> BegunView:
    """Make a bundle: a job does it."""
    choices, platforms = body.get("choices", ""), body.get("platforms", "")
    limit, receipt = body.get("limit", 0), body.get("receipt", "")
    await _order(call, choices, platforms, limit, receipt)
    check_name(body.get("name") or NAME)
    order = {
        "choices": choices.split(),
        "platforms": platforms.split(),
        "limit": limit,
        "receipt": receipt,
        "name": body.get("name") or NAME,
    }
    kept = await _begun(call, "made", order)
    return await _job(call, kept, "bundle_make", choices=" ".join(choices.split())[:500])


@routes.post("/superuser/bundles/incoming", "receiveBundle", needs.superuser, status=201, **CHANGES)
async def receive(call: Call) -> BundleView:
    """Begin to bring a bundle: its volumes come next."""
    kept = await _begun(call, "received", {"name": ""})

    def record(txn: Transaction) -> None:
        call.record(txn, "bundle_receive", bundle=kept.uuid)

    await call.write(record)
    return _view(kept)


@routes.put("/superuser/bundles/<bundle>/volumes/<volume>", "putBundleVolume", needs.superuser, takes=OCTETS, **CHANGES)
async def put_volume(call: Call, bundle: str, volume: str) -> VolumeView:
    """Bring one volume of a bundle, or an archive of images; it replaces one of the same name."""
    kept = await _found(call, bundle)
    if kept.kind != "received":
        raise Conflict("This bundle was made here: nothing is brought to it.")
    size = await received(call.request.body, call.means.bundles.depot.volume(kept, volume), call.means.disk)
    return {"name": volume, "size": size}


@routes.get("/superuser/bundles/<bundle>/volumes/<volume>", "getBundleVolume", needs.superuser, gives=OCTETS, **POWER)
async def get_volume(call: Call, bundle: str, volume: str) -> None:
    """Fetch one volume of a bundle; a part of it, where a Range is asked for."""
    kept = await _found(call, bundle)
    if volume not in dict(kept.volumes):
        raise NotFound(f"The bundle has no volume {volume[:100]!r}.")
    request, source = call.request, await sent(call.means.bundles.depot.volume(kept, volume), call.means.disk)
    try:
        span = parse_range(request.getHeader("Range"), source.size)
    except BaseException:
        source.close()
        raise
    request.setHeader("Content-Type", OCTETS)
    request.setHeader("Content-Disposition", f'attachment; filename="{volume}"')
    await send_source(request, source, span, reactor=call.means.clock, pool=call.means.disk)


@routes.post("/superuser/bundles/<bundle>/load", "loadBundle", needs.superuser, status=201, fresh=True, **CHANGES)
async def load(call: Call, bundle: str, body: LoadBundle) -> BegunView:
    """Load a bundle that was brought, or verify it: a job does it, as a push by who asks for it."""
    kept = await _found(call, bundle)
    if not kept.volumes:
        raise Conflict("Nothing has been brought yet.")
    into, named = body.get("into", "").split(), body.get("named", "")
    Into.parse(into)
    if named:
        Named.parse(named)
    change = {"into": into, "named": named, "unsigned": body.get("unsigned", False), "ip": call.caller.ip}
    await call.means.disk.run(lambda: call.means.bundles.depot.change(kept, **change))
    return await _job(call, kept, "bundle_verify" if body.get("verify") else "bundle_load", into=" ".join(into))


@routes.delete("/superuser/bundles/<bundle>", "deleteBundle", needs.superuser, **POWER)
async def delete(call: Call, bundle: str) -> None:
    """Delete a bundle that is kept here; what was loaded of it stays."""
    kept = await _found(call, bundle)
    await call.means.disk.run(call.means.bundles.depot.remove, kept.uuid)
    await recorded(call, "bundle_delete", bundle=kept.uuid)


# --- what they have in common -------------------------------------------------------------------------------------


async def _order(call: Call, choices: str, platforms: str, limit: int, receipt: str) -> Order:
    found: Receipt | None = None
    if receipt:
        found = await call.means.bundles.read_receipt(call.means.bundles.depot.receipt(receipt))
    return Order(
        choices=Choices.parse(choices.split()),
        receipt=found,
        platforms=frozenset(platforms.split()),
        limit=limit or None,
    )


async def _found(call: Call, uuid: str) -> Kept:
    try:
        found: Kept = await call.means.disk.run(call.means.bundles.depot.find, uuid)
    except BundleInvalid as error:
        raise NotFound(f"{error.message} {error.advice}") from error
    return found


async def _begun(call: Call, kind: Any, order: dict[str, Any]) -> Kept:
    depot = call.means.bundles.depot
    await call.means.disk.run(depot.prune, call.means.clock.seconds())
    kept: Kept = await call.means.disk.run(depot.begin, kind, order)
    return kept


async def _job(call: Call, kept: Kept, kind: str, **facts: Any) -> BegunView:
    def make(txn: Transaction) -> str:
        made = jobs.create(txn, kind, call.principal.name, cursor={"bundle": kept.uuid})
        said = {name: value for name, value in facts.items() if value}
        call.record(txn, kind, job=made.uuid, bundle=kept.uuid, **said)
        return made.uuid

    try:
        made = await call.write(make)
    except jobs.JobUnderWay as error:
        raise Conflict(str(error)) from error
    call.means.work_now(jobs.lane_of(kind))
    return {"uuid": kept.uuid, "job": made}


def _view(one: Kept) -> BundleView:
    return {
        "uuid": one.uuid,
        "kind": one.kind,
        "name": str(one.order.get("name", "")),
        "volumes": [{"name": name, "size": size} for name, size in one.volumes],
        "size": sum(size for _, size in one.volumes),
        "touched": http_date(int(one.touched_s * 1000)),
        "until": http_date(int((one.touched_s + KEPT_S) * 1000)),
    }


def _planned(made: Plan) -> PlanView:
    gathered: Gathered = made.gathered
    waybill = gathered.waybill
    return {
        "tags": [
            {"name": one.name, "digest": one.digest, "referrers": len(one.referrers)}
            for one in waybill.shipments[:SHOWN]
        ],
        "count": len(waybill.shipments),
        "blobs": len(waybill.blobs),
        "bytes": sum(waybill.blobs.values()),
        "held": sum(waybill.held.values()),
        "unchanged": len(waybill.unchanged),
        "absent": len(waybill.absent),
        "failed": [{"name": name, "why": why} for name, why in gathered.failed[:SHOWN]],
        "volumes": [volume.size for volume in made.volumes],
        "size": made.size,
    }
