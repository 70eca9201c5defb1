"""
The pages of bundles, for superusers: one is planned, made, fetched; or brought, verified and loaded; with the keys and
receipts that it takes.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from quay.bundles.depot import KEPT_S
from quay.model.job import ENDED, lane_of
from quay.oci.errors import RegistryError
from quay.web.api.errors import NotFound
from quay.web.api.route import PREFIX
from quay.web.console.commands import Command
from quay.web.console.page import Context, PageTable, View
from quay.web.console.superuser import BUNDLES, HOME, navigation, only_superusers, tabs

pages = PageTable()

ADDRESS: Final = f"{PREFIX}/superuser/bundles"
SIZES: Final = (
    (0, "one file, however large"),
    (4_000_000_000, "4 GB, for FAT32"),
    (4_700_000_000, "4.7 GB, a DVD"),
    (25_000_000_000, "25 GB, a Blu-ray disc"),
    (650_000_000, "650 MB, a CD"),
)


@pages.page("/superuser/bundles", "console/superuser_bundles.html")
async def show(view: View) -> Context:
    """All bundles that are kept here, the plan of another one, and whom to trust."""
    only_superusers(view)
    found = await view.ask("listBundles")
    wanted = {name: view.query.get(name, "") for name in ("choices", "platforms", "limit", "receipt")}
    base = shlex.quote(f"{view.api.base(view.request)}{ADDRESS}")
    return {
        "found": found,
        "jobs": await _under_way(view),
        "days": KEPT_S // 86400,
        "list": BUNDLES,
        "sizes": SIZES,
        "wanted": wanted,
        "receipt": f"{ADDRESS}/receipt",
        "receipts": f"{ADDRESS}/receipts",
        "sends": [
            Command("A receipt", f"curl -f -u {shlex.quote(view.principal.name)} -T receipt.jws {base}/receipts/far")
        ],
        **await _plan(view, wanted),
        **_frame(view),
    }


@pages.page("/superuser/bundles/<uuid>", "console/superuser_bundle.html")
async def one(view: View, uuid: str) -> Context:
    """One bundle: its volumes, and what may be done with it."""
    only_superusers(view)
    found = await view.ask("listBundles")
    bundle = next((each for each in found["bundles"] if each["uuid"] == uuid), None)
    if bundle is None:
        raise NotFound("There is no such bundle: it was deleted, or its time is over.")
    volumes = f"{ADDRESS}/{uuid}/volumes"
    user = shlex.quote(view.principal.name)
    url = shlex.quote(f"{view.api.base(view.request)}{volumes}/")
    files = [each | {"address": f"{volumes}/{quote(each['name'])}"} for each in bundle["volumes"]]
    fetches = [
        Command(each["name"], f"curl -f -C - -O -u {user} {shlex.quote(view.api.base(view.request) + each['address'])}")
        for each in files[:3]
    ]
    sends = [Command("A volume", f"curl -f -u {user} -T images.bundle.001 {url}")]
    return {
        "bundle": bundle,
        "files": files,
        "volumes": volumes,
        "jobs": await _under_way(view),
        "commands": sends if bundle["kind"] == "received" else fetches,
        "list": BUNDLES,
        **_frame(view),
    }


async def _plan(view: View, wanted: Mapping[str, str]) -> Context:
    """What the bundle that is described in the address would have; or why there can be none."""
    if not wanted["choices"].strip():
        return {"plan": None, "refused": None}
    query = {**wanted, "limit": wanted["limit"] or "0"}
    try:
        return {"plan": await view.ask("planBundle", query=query), "refused": None}
    except RegistryError as error:
        return {"plan": None, "refused": f"{error.message} {error.advice}".strip()}


async def _under_way(view: View) -> list[Any]:
    found = await view.ask("listJobs")
    return [each for each in found["jobs"] if lane_of(each["kind"]) == "bundles" and each["state"] not in ENDED]


def _frame(view: View) -> Context:
    return {"tab": "Bundles", "tabs": navigation(tabs.navigation(HOME, {}))}
