"""
Imports for the commands of an administrator, beside a running server or without one.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final

import attrs

from quay.config import Config, Network
from quay.database.predecessor import Predecessor, PredecessorUnfit
from quay.egress import Egress, Policy, Target
from quay.importing import Choice, Importer, NoRoom, Room, Tally
from quay.importing.bringing import Bringer
from quay.importing.distribution import DistributionDirectory, layout_of
from quay.importing.files import Files, can_link
from quay.importing.places import AGENT, Places
from quay.importing.predecessor import Succession
from quay.importing.predecessor.images import QuayImages, Reading
from quay.importing.predecessor.machines import Machines
from quay.importing.predecessor.registrar import Registrar
from quay.importing.predecessor.secrets import Opener
from quay.importing.predecessor.settings import Settings
from quay.importing.remote import RemoteSource
from quay.importing.source import Origin, Source, SourceError
from quay.importing.trees import Memory
from quay.registry.client import Credentials, RegistryClient, base_of
from quay.service.beside import forget_beside, superuser, watched
from quay.service.core import Core
from quay.service.outside import authorities

# Where a registry may send those who fetch a blob, besides what the configuration opens: on private sites, to a store
# beside it. What clouds keep for themselves stays closed.
PRIVATE: Final[tuple[Network, ...]] = tuple(
    ip_network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
LOOPBACK: Final[tuple[Network, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@attrs.frozen(kw_only=True)
class Order:
    """
    What somebody wants. `user` is who does it, by name, and whose the organizations become that have to be made; None
    is the only superuser. All goes `below` a namespace, if one is given. With `dry`, nothing is changed. `begun` hears
    what is begun (looking, or bringing, which has no name), and what can be watched, and gives what is called about
    twice a second. `beside`: this process is no server itself.
    """

    choice: Choice = attrs.field(factory=Choice)
    below: str | None = None
    user: str | None = None
    public: bool = False
    dry: bool = False
    beside: bool = True
    ip: str = ""
    begun: Callable[[str, Tally], Callable[[], object]] = lambda what, tally: lambda: None


def run(config: Config, work: Callable[[Any, Core], Awaitable[Tally]]) -> Tally:
    """Do `work` with the reactor and a core of its own. What it raises is raised here."""
    from twisted.internet import reactor

    from quay import service

    return service.run(config, lambda core: work(reactor, core))


async def from_registry(
    reactor: Any,
    core: Core,
    url: str,
    credentials: Credentials | None,
    order: Order,
    *,
    ca: Path | None = None,
    quay_token: str | None = None,
) -> Tally:
    """
    Bring what another registry has; `ca` is a file with the CAs to be believed; with a `quay_token`, a Quay's
    repositories are listed through its API. Raises what `Importer.run` raises,
    `EgressRefused`, and `Denied` if it is not clear who does it.
    """
    egress = Egress(reactor, policy_for(core.config, url))
    egress.trust = core.egress.trust if ca is None else await core.threads.blobs.run(authorities, ca)
    return await from_client(reactor, core, RegistryClient(reactor, egress, url, credentials), order, quay_token)


async def from_client(
    reactor: Any, core: Core, client: RegistryClient, order: Order, quay_token: str | None = None
) -> Tally:
    """As `from_registry`, by a client that is there."""
    await client.check()
    source = RemoteSource(client, core.registry.uploads, quay_token)
    return await _imported(reactor, core, source, order, _all_of(core, source, order))


async def from_distribution(reactor: Any, core: Core, place: Path, order: Order) -> Tally:
    """Bring what lies in the directory of a distribution registry. Raises as `from_registry`."""
    root = await core.threads.blobs.run(layout_of, place)
    files = Files(core.threads.blobs, core.registry.blobs, core.registry.uploads)
    source = DistributionDirectory(root, core.threads.blobs, files, takes_room=await _takes_room(core, root))
    return await _imported(reactor, core, source, order, _all_of(core, source, order))


def _all_of(core: Core, source: Source, order: Order) -> Callable[[Bringer], Awaitable[Tally]]:
    return lambda bringer: Importer(source, bringer, core.database).run(order.choice)


async def from_quay(
    reactor: Any,
    core: Core,
    file: Path | None,
    database: str | None,
    storage: tuple[Path, ...],
    order: Order,
) -> Tally:
    """
    Take over the Quay whose configuration is `file`, unless `database` and `storage` say otherwise where these are.
    Raises as `from_registry`.
    """
    pool = core.threads.blobs
    settings = await pool.run(Settings.read, file, database, storage)
    quay = await _opened(core, settings)
    try:
        reading = Reading(quay, pool)
        files = Files(pool, core.registry.blobs, core.registry.uploads)
        takes_room = await _takes_room(core, *settings.storage)
        images = QuayImages(reading, settings.storage, files, pool, takes_room=takes_room)
        opener = None if settings.key is None else Opener(settings.key)
        now_ms = int(reactor.seconds() * 1000)

        def succeed(bringer: Bringer) -> Awaitable[Tally]:
            registrar = Registrar(bringer.caller, Machines(bringer.caller, opener), settings.superusers)
            draft = core.notifications.draft
            return Succession(reading, images, bringer, core.database, registrar, draft, now_ms).run(order.choice)

        return await _imported(reactor, core, images, order, succeed, succession=True)
    finally:
        await pool.run(quay.close)


async def _opened(core: Core, settings: Settings) -> Predecessor:
    try:
        return await core.threads.blobs.run(Predecessor, settings.database)
    except PredecessorUnfit as unfit:
        raise SourceError(str(unfit)) from None


def policy_for(config: Config, url: str) -> Policy:
    """Whom an administrator's import may call, who has named the registry himself. Raises `EgressRefused`."""
    here = LOOPBACK if _is_loopback(Target.parse(base_of(url)).host) else ()
    return Policy(
        networks=(*config.egress_networks, *PRIVATE, *here),
        refused_hosts=frozenset(config.webhook_hostname_blacklist),
        own_ports=frozenset(endpoint.port for endpoint in config.listen),
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False


async def _imported(
    reactor: Any,
    core: Core,
    origin: Origin,
    order: Order,
    work: Callable[[Bringer], Awaitable[Tally]],
    *,
    succession: bool = False,
) -> Tally:
    """
    Look at what is to come, and then, unless that was all that is wanted, bring it: `work` does both. A server that
    runs beside this hears that something was changed.
    """
    caller = await core.database.read(superuser, order.user, core.policy)
    caller = attrs.evolve(caller, user_agent=AGENT, ip=order.ip)
    places = Places(core.database, core.policy, core.bus, caller, order.below, order.public, anywhere=succession)
    room, memory = Room(room_of(core)), Memory()

    def bringer(*, dry: bool) -> Bringer:
        cpu = core.threads.cpu
        return Bringer(origin, core.registry, core.database, places, cpu, room, dry=dry, memory=memory)

    if order.beside:
        core.cache.trusted = lambda: False  # nobody tells this process what a server beside it changes
    looking = bringer(dry=True)
    with watched(reactor, order.begun("Looking at", looking.tally)):
        found = await work(looking)
        if order.dry or not (found.manifests or succession):
            return await _judged(found, room, origin)
    await room.check(found.total if origin.takes_room else 0)
    bringing = bringer(dry=False)
    bringing.tally.total = found.total
    try:
        with watched(reactor, order.begun("", bringing.tally)):
            return await work(bringing)
    finally:
        if order.beside:
            await forget_beside(core)


async def _judged(found: Tally, room: Room, origin: Origin) -> Tally:
    """What was found, and whether there is room for it."""
    try:
        await room.check(found.total if origin.takes_room else 0)
    except NoRoom as why:
        found.problem("everything", why)
    return found


def directory_of(core: Core) -> Path | None:
    """Where the storage lies that takes blobs; None for one that is no directory here."""
    location = core.config.storage[core.stores.preferred]
    return Path(location.options["storage_path"]) if location.driver == "LocalStorage" else None


def room_of(core: Core) -> Callable[[], Awaitable[int | None]]:
    """What says how many bytes the storage that takes blobs has left, if it is a directory here."""
    path = directory_of(core)

    async def free() -> int | None:
        return None if path is None else await core.threads.blobs.run(_free, path)

    return free


async def _takes_room(core: Core, *places: Path) -> bool:
    """Whether what lies in these places would have to be copied."""
    store = directory_of(core)
    if store is None:
        return True
    return not all([await core.threads.blobs.run(can_link, place, store) for place in places])


def _free(path: Path) -> int:
    while not path.exists():
        path = path.parent
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
