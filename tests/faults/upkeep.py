"""
All the upkeep of a data directory, as a server does it sooner or later: tags expire, garbage is collected, uploads are
reaped. `python -m tests.faults.upkeep HOURS…` does it for each moment so many hours ahead, one after the other, on the
data directory of `QUAY_DATA`; `QUAY_CRASH_AT` arms a fault as it does in a server.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from quay import faults
from quay.config import settle
from quay.config.surroundings import Surroundings
from quay.model import time_machine
from quay.registry.garbage import AllTheTime, GarbageCollector
from quay.service.core import Core, core_of


async def keep_up(reactor: Any, core: Core) -> None:
    """What the workers of a server do at this moment."""
    while await core.database.write(time_machine.expire_tags, 500):
        pass
    await GarbageCollector(core.database, core.stores, core.policy, reactor).run(AllTheTime())
    await core.registry.uploads.reap(reactor.seconds() - core.policy.upload_s)


async def at_each(reactor: Any, environ: Mapping[str, str], moments_h: Sequence[float]) -> None:
    core = core_of(reactor, settle(Surroundings.of(None, environ)))
    core.threads.startService()  # not the whole core: with its keys it has work of its own, at times of its own
    for point in filter(None, environ.get("QUAY_CRASH_AT", "").split(",")):
        name, _, nth = point.partition(":")
        faults.arm(name, int(nth))
    for ahead_h in moments_h:
        reactor.seconds = lambda ahead_h=ahead_h: time.time() + ahead_h * 3600
        await keep_up(reactor, core)
    await core.database.stop()
    core.threads.stopService()


def main(environ: Mapping[str, str], moments_h: Sequence[float]) -> None:
    """Do it, in this process, and end it."""
    task.react(lambda reactor: Deferred.fromCoroutine(at_each(reactor, environ, moments_h)))


if __name__ == "__main__":
    main(os.environ, [float(hours) for hours in sys.argv[1:]])
