"""
Bundles for the commands of an administrator, beside a running server or without one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.internet.task import LoopingCall

from quay.auth.principal import Principal
from quay.bundles import Bundles, Cargo
from quay.bundles.depot import Depot
from quay.bundles.extents import check_room
from quay.bundles.signing import PURPOSE, Signer
from quay.config import Config
from quay.database import Transaction
from quay.model import directory, namespace
from quay.oci.errors import Denied
from quay.registry.caller import Caller
from quay.registry.policy import Policy
from quay.service import upkeep
from quay.service.core import Core

R = TypeVar("R")

TICK_S: Final = 0.5


def bundles_of(reactor: Any, core: Core) -> Bundles:
    """What the core may do with bundles, once it has started."""
    config = core.config
    called = str(config.hostname) if config.hostname is not None else socket.gethostname()
    signer = Signer(core.seals.key(PURPOSE))
    pool, cpu = core.threads.blobs, core.threads.cpu
    return Bundles(core.registry, core.stores, signer, Depot(config.data), called, reactor, pool, cpu)


@contextmanager
def watched(reactor: Any, tick: Callable[[], object]) -> Iterator[None]:
    """Call `tick` again and again meanwhile, and at the end."""
    watching = LoopingCall(tick)
    watching.clock = reactor
    watching.start(TICK_S)
    try:
        yield
    finally:
        watching.stop()
        tick()


def superuser(txn: Transaction, name: str | None, policy: Policy) -> Caller:
    """Who loads: the superuser of this name, or the only one there is. Raises `Denied`."""
    if name is None:
        known = [one.name for one in directory.accounts(txn, "user", enabled_only=True, limit=1000) if one.superuser]
        known += [one for one in sorted(policy.super_users) if one not in known and namespace.find(txn, one)]
        if len(known) != 1:
            raise Denied(
                f"There are {len(known)} superusers, so it is not clear in whose name this is to be done.",
                advice="Say it: --user NAME." if known else "Make one: quay user create NAME --superuser.",
            )
        [name] = known
    found = namespace.find(txn, name)
    if found is None or found.kind != "user" or not found.enabled:
        raise Denied(f"There is no user {name[:80]}, or he is disabled.", advice="Name a superuser: --user NAME.")
    if not (found.superuser or found.name in policy.super_users):
        raise Denied(f"{name} is no superuser of this registry.", advice="Name one: --user NAME.")
    return Caller(Principal("user", found.name, found.id, superuser=True))


async def check_space(core: Core, bundles: Bundles, cargo: Cargo) -> None:
    """See that the storage has room for what it has not got. Raises `NoRoom`."""
    location = core.config.storage[core.config.storage_preference[0]]
    path = location.options.get("storage_path")
    if isinstance(path, str):
        await core.threads.blobs.run(check_room, Path(path), await bundles.new_bytes(cargo))


async def forget_beside(core: Core) -> bool:
    """Let a server that runs beside this process hear that something was changed; whether there is one."""
    beside = upkeep.beside_a_server(core)
    if beside:
        await core.database.write(upkeep.ask_to_forget)
    return beside


def run(config: Config, work: Callable[[Core, Bundles, Any], Awaitable[R]]) -> R:
    """Do `work` with a core of its own, its bundles and the reactor. What it raises is raised here."""
    from twisted.internet import reactor

    from quay import service

    service.arm(os.environ.get("QUAY_CRASH_AT", ""))
    return service.run(config, lambda core: work(core, bundles_of(reactor, core), reactor))
