"""
Bundles as jobs: made, verified and loaded by the server, with what is kept in the data directory of this node.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import attrs

from quay.bundles import Bundles, Cargo, Choices, Into, Named, Order, Progress
from quay.bundles.depot import Kept
from quay.bundles.waybill import BundleInvalid
from quay.model import job
from quay.registry.caller import Caller
from quay.registry.garbage import Time
from quay.service.beside import superuser
from quay.service.bundles import bundles_of, check_space
from quay.service.core import Core


class Reporting(Protocol):
    """As `quay.service.jobs.Report` has it."""

    measure: Callable[[], job.Progress]

    def say(self, line: str) -> None: ...


class BundleJobs:
    """What jobs do with bundles. The cursor of such a job names the bundle."""

    def __init__(self, reactor: Any, core: Core) -> None:
        self._reactor = reactor
        self._core = core

    @property
    def kinds(self) -> Mapping[str, Callable[[job.Job, Any, Time], Awaitable[None]]]:
        """By the name of the kind."""
        return {"bundle_make": self._make, "bundle_verify": self._verify, "bundle_load": self._load}

    async def _begun(self, one: job.Job, report: Reporting) -> tuple[Bundles, Kept, Progress]:
        bundles = bundles_of(self._reactor, self._core)
        kept = await self._core.threads.blobs.run(bundles.depot.find, str(one.cursor.get("bundle", "")))
        progress = Progress(report.say)
        report.measure = lambda: job.Progress(progress.done, progress.total or None, one.cursor)
        return bundles, kept, progress

    async def _make(self, one: job.Job, report: Reporting, time: Time) -> None:
        bundles, kept, progress = await self._begun(one, report)
        order = kept.order
        receipt = None
        if order["receipt"]:
            receipt = await bundles.read_receipt(bundles.depot.receipt(order["receipt"]))
        plan = await bundles.plan(
            Order(
                choices=Choices.parse(order["choices"]),
                receipt=receipt,
                platforms=frozenset(order["platforms"]),
                limit=order["limit"] or None,
            )
        )
        report.say(f"{len(plan.gathered.waybill.shipments)} tags, {plan.size} bytes in {len(plan.volumes)} volumes.")
        await bundles.make(plan, kept.path / order["name"], progress, replace=True)
        for name, why in plan.gathered.failed:
            report.say(f"{name} is not in it: {why}")
        if plan.gathered.failed:
            raise BundleInvalid(f"{len(plan.gathered.failed)} tags could not be taken; the others are in the bundle.")

    async def _opened(self, bundles: Bundles, kept: Kept) -> Cargo:
        order = kept.order
        named = Named.parse(order["named"]) if order.get("named") else None
        return await bundles.open(kept.files, unsigned=bool(order.get("unsigned")), named=named)

    async def _verify(self, one: job.Job, report: Reporting, time: Time) -> None:
        bundles, kept, progress = await self._begun(one, report)
        cargo = await self._opened(bundles, kept)
        try:
            problems = await bundles.verify(cargo, progress)
        finally:
            await cargo.shelf.close()
        report.say(f"{len(cargo.shipments) + len(cargo.docked)} images, signed by {cargo.signer or 'nobody known'}.")
        if problems:
            raise BundleInvalid(f"It is not whole: {len(problems)} problems.")
        report.say("It is whole.")

    async def _load(self, one: job.Job, report: Reporting, time: Time) -> None:
        bundles, kept, progress = await self._begun(one, report)
        caller: Caller = await self._core.database.read(superuser, one.requester, self._core.policy)
        caller = attrs.evolve(caller, ip=str(kept.order.get("ip", "")))
        cargo = await self._opened(bundles, kept)
        try:
            await check_space(self._core, bundles, cargo)
            outcome = await bundles.load(caller, cargo, Into.parse(kept.order.get("into", [])), progress)
        finally:
            await cargo.shelf.close()
        report.say(str(outcome))
        if outcome.failed:
            raise BundleInvalid(f"{len(outcome.failed)} tags could not be loaded; the others are.")
