"""
`/health` and what lies below it (`/health/instance`, `/health/endtoend` are Quay's names): whether the database and
every blob store do their work, really tried, by writing.

What was found is true for a second, and whoever asks while it is being found out waits for the same answer: asking
often costs the disks nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Final

from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quay.database import Database
from quay.oci.errors import RegistryError
from quay.registry.blobs import Stores
from quay.storage import StorageError
from quay.threads import shielded
from quay.web.request import RegistryRequest
from quay.web.respond import run_handler, send_json

REMEMBERED_S: Final = 1.0

Services = Mapping[str, bool]
"""Which of them work: `database`, and `storage:<location>` for each location."""


class Checkup:
    """One look at a time at all services, remembered for `REMEMBERED_S`."""

    def __init__(self, clock: IReactorTime, database: Database, stores: Stores) -> None:
        self._clock = clock
        self._database = database
        self._stores = stores
        self._found: Services = {}
        self._until = 0.0
        self._looking = DeferredLock()

    async def services(self) -> Services:
        """What was found; this may be cancelled, and disturbs nobody else who waits."""
        return await shielded(self._looking.run(self._look))

    async def _look(self) -> Services:
        if self._clock.seconds() >= self._until:
            found = {"database": await _works(self._database.check_writing())}
            for location, store in self._stores.by_location.items():
                found[f"storage:{location}"] = await _works(store.check())
            self._found, self._until = found, self._clock.seconds() + REMEMBERED_S
        return self._found


async def _works(trial: Awaitable[None]) -> bool:
    try:
        await trial
    except (RegistryError, StorageError):
        return False
    return True


class Health(Resource):
    """Answers 200, or 503 if one of the services does not work."""

    isLeaf = True

    def __init__(self, checkup: Checkup) -> None:
        super().__init__()
        self._checkup = checkup

    def render_GET(self, request: RegistryRequest) -> int:
        run_handler(request, self._answer(request))
        return NOT_DONE_YET

    async def _answer(self, request: RegistryRequest) -> None:
        services = await self._checkup.services()
        status = 200 if all(services.values()) else 503
        send_json(request, status, {"status_code": status, "data": {"services": services}})
