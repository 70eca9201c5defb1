"""
What long commands of an administrator have in common, beside a running server or without one: in whose name they work,
how they are watched, and how the server hears of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from twisted.internet.task import LoopingCall

from quay.auth.principal import Principal
from quay.database import Transaction
from quay.model import directory, namespace
from quay.oci.errors import Denied
from quay.registry.caller import Caller
from quay.registry.policy import Policy
from quay.service import upkeep
from quay.service.core import Core

TICK_S: Final = 0.5


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


async def forget_beside(core: Core) -> bool:
    """Let a server that runs beside this process hear that something was changed; whether there is one."""
    beside = upkeep.beside_a_server(core)
    if beside:
        await core.database.write(upkeep.ask_to_forget)
    return beside
