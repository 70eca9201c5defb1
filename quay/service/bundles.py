"""
Bundles for the commands of an administrator, beside a running server or without one.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from quay.bundles import Bundles, Cargo
from quay.bundles.depot import Depot
from quay.bundles.extents import check_room
from quay.bundles.signing import PURPOSE, Signer
from quay.config import Config
from quay.service.core import Core

R = TypeVar("R")


def bundles_of(reactor: Any, core: Core) -> Bundles:
    """What the core may do with bundles, once it has started."""
    config = core.config
    called = str(config.hostname) if config.hostname is not None else socket.gethostname()
    signer = Signer(core.seals.key(PURPOSE))
    pool, cpu = core.threads.blobs, core.threads.cpu
    return Bundles(core.registry, core.stores, signer, Depot(config.data), called, reactor, pool, cpu)


async def check_space(core: Core, bundles: Bundles, cargo: Cargo) -> None:
    """See that the storage has room for what it has not got. Raises `NoRoom`."""
    location = core.config.storage[core.config.storage_preference[0]]
    path = location.options.get("storage_path")
    if isinstance(path, str):
        await core.threads.blobs.run(check_room, Path(path), await bundles.new_bytes(cargo))


def run(config: Config, work: Callable[[Core, Bundles, Any], Awaitable[R]]) -> R:
    """Do `work` with a core of its own, its bundles and the reactor. What it raises is raised here."""
    from twisted.internet import reactor

    from quay import service

    return service.run(config, lambda core: work(core, bundles_of(reactor, core), reactor))
