"""
What two registries that exchange bundles give each other: receipts, and the keys by which they believe each other.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypedDict

from quay.bundles.signing import SIGNED_LIMIT, PublicKey
from quay.bundles.stored import received
from quay.database import Transaction
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import NotFound
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema

routes = Routes("bundles", "Images for registries that cannot be reached, for superusers.")

OCTETS: Final = "application/octet-stream"
JOSE: Final = "application/jose"
POWER: Final[dict[str, Any]] = {"when": lambda config: config.super_users_allowed, "always": True}
CHANGES: Final[dict[str, Any]] = {"when": lambda config: config.super_users_allowed}
"""As `POWER`, but not while the registry is read-only."""


class VolumeView(TypedDict):
    name: str
    size: int


class KeyView(TypedDict):
    name: str
    fingerprint: str


class TrustKey(TypedDict):
    name: Annotated[str, Schema(maxLength=64, description="Whose key it is")]
    pem: Annotated[str, Schema(maxLength=4096, description="The public key, as `quay bundle key` prints it")]


@routes.get("/superuser/bundles/receipt", "getBundleReceipt", needs.superuser, gives=JOSE, **POWER)
async def get_receipt(call: Call) -> None:
    """Fetch a receipt: what this registry has, for who makes the next bundle for it."""
    made = await call.means.bundles.receipt()
    request = call.request
    request.setHeader("Content-Type", JOSE)
    request.setHeader("Content-Disposition", 'attachment; filename="receipt.jws"')
    request.setHeader("Content-Length", str(len(made)))
    request.write(made)
    request.finish()


@routes.put("/superuser/bundles/receipts/<name>", "putBundleReceipt", needs.superuser, takes=OCTETS, **CHANGES)
async def put_receipt(call: Call, name: str) -> VolumeView:
    """Bring the receipt of a far side, under a name; it replaces the one before."""
    bundles = call.means.bundles
    path = bundles.depot.receipt(name)
    size = await received(call.request.body, path, call.means.disk, limit=SIGNED_LIMIT)
    try:
        await bundles.read_receipt(path)
    except BaseException:
        await call.means.disk.run(path.unlink, missing_ok=True)
        raise
    await recorded(call, "bundle_receipt_put", receipt=name)
    return {"name": name, "size": size}


@routes.delete("/superuser/bundles/receipts/<name>", "deleteBundleReceipt", needs.superuser, **CHANGES)
async def delete_receipt(call: Call, name: str) -> None:
    """Delete the receipt of a far side."""
    try:
        await call.means.disk.run(call.means.bundles.depot.receipt(name).unlink)
    except FileNotFoundError:
        raise NotFound(f"There is no receipt {name[:100]!r}.") from None
    await recorded(call, "bundle_receipt_delete", receipt=name)


@routes.post("/superuser/bundles/keys", "trustBundleKey", needs.superuser, status=201, fresh=True, **CHANGES)
async def trust(call: Call, body: TrustKey) -> KeyView:
    """Trust the key of another registry: bundles and receipts that are signed with it are taken."""
    key = PublicKey.parse(body["pem"].encode())
    await call.means.disk.run(call.means.bundles.keys.add, body["name"], key)
    await recorded(call, "bundle_key_trust", key=body["name"], fingerprint=key.fingerprint)
    return {"name": body["name"], "fingerprint": key.fingerprint}


@routes.delete("/superuser/bundles/keys/<name>", "distrustBundleKey", needs.superuser, fresh=True, **CHANGES)
async def distrust(call: Call, name: str) -> None:
    """Trust a key no more."""
    if not await call.means.disk.run(call.means.bundles.keys.remove, name):
        raise NotFound(f"There is no key of the name {name[:80]!r}.")
    await recorded(call, "bundle_key_distrust", key=name)


async def recorded(call: Call, kind: str, **facts: Any) -> None:
    """Put it on record."""

    def record(txn: Transaction) -> None:
        call.record(txn, kind, **facts)

    await call.write(record)
