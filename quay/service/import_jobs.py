"""
Imports from other registries as jobs: done by the server, which calls nobody that its configuration does not allow.

What was asked for is in the cursor of the job, the password sealed; it goes when the job ends. A job that was
interrupted begins again, and what is here is not fetched twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from quay.importing import Choice, Tally
from quay.importing.remote import SECRET
from quay.importing.report import summary
from quay.importing.source import SourceError
from quay.model import job
from quay.registry.client import Credentials, RegistryClient
from quay.registry.garbage import Time
from quay.service.core import Core
from quay.service.importing import Order, from_client

TOLD: Final = 200
"""So many things that did not come are named in the log of a job."""


class Reporting(Protocol):
    """As `quay.service.jobs.Report` has it."""

    measure: Callable[[], job.Progress]
    stopped: bool

    def say(self, line: str) -> None: ...


class ImportJobs:
    """What the jobs of the kind `import` do."""

    def __init__(self, reactor: Any, core: Core) -> None:
        self._reactor = reactor
        self._core = core

    async def run(self, one: job.Job, report: Reporting, time: Time) -> None:
        """Import what the job says. Raises `SourceError` if something did not come."""
        wanted = one.cursor
        kept: list[Mapping[str, Any]] = [wanted]

        def begun(what: str, tally: Tally) -> Callable[[], object]:
            report.measure = lambda: job.Progress(tally.done, tally.total or None, kept[0])
            report.say(f"Looking at {wanted['registry']}." if what else "Bringing what is new.")
            return lambda: None

        try:
            tally = await self._imported(one, wanted, begun)
        finally:
            if not time.spent:  # else it is taken up again
                kept[0] = {}
        for line in summary(tally, lambda count: f"{count} bytes", dry=bool(wanted["dry_run"])):
            report.say(line)
        for problem in tally.problems[:TOLD]:
            report.say(f"{problem.what}: {problem.why}")
        if tally.troubles:
            verb = "cannot" if wanted["dry_run"] else "did not"
            raise SourceError(f"{tally.troubles} things {verb} come; the others are not kept by that.")

    async def _imported(
        self, one: job.Job, wanted: Mapping[str, Any], begun: Callable[[str, Tally], Callable[[], object]]
    ) -> Tally:
        core = self._core
        client = RegistryClient(self._reactor, core.egress, wanted["registry"], self._credentials(wanted))
        order = Order(
            choice=Choice(
                repositories=tuple(wanted["repositories"]), tags=tuple(wanted["tags"]), replace=not wanted["keep"]
            ),
            below=wanted["into"] or None,
            user=one.requester,
            public=wanted["public"],
            dry=wanted["dry_run"],
            beside=False,
            ip=wanted["ip"],
            begun=begun,
        )
        return await from_client(self._reactor, core, client, order)

    def _credentials(self, wanted: Mapping[str, Any]) -> Credentials | None:
        if not wanted["username"]:
            return None
        return Credentials(wanted["username"], self._core.vault.open(SECRET, wanted["password"]).decode())
