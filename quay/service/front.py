"""
What the ports of a server answer: the web, made of the parts of a core.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.web.resource import IResource

from quay.auth.sessions import Sessions
from quay.auth.totp import SecondFactors
from quay.service.bundles import bundles_of
from quay.service.core import Core
from quay.service.founding import Restarts, steps_of
from quay.service.metrics import ExpressMetrics, Metrics
from quay.setup import CertificateFiles
from quay.web.api import RestAPI
from quay.web.api.call import Means as RestMeans
from quay.web.api.identity import Identifier
from quay.web.authority import AuthorityPage, PlainFront
from quay.web.console import Console
from quay.web.csrf import CsrfToken
from quay.web.explorer import Explorer
from quay.web.exported_logs import ExportedLogs
from quay.web.guard import Guard
from quay.web.health import Checkup, Health
from quay.web.live import Live
from quay.web.metrics import MetricsPage
from quay.web.oauth import OAuth
from quay.web.pages import Pages
from quay.web.respond import Addresses
from quay.web.setup import Setup
from quay.web.signin import SignIn
from quay.web.site import TRANSLATIONS, Front, Parts
from quay.web.static import StaticFiles
from quay.web.token import LIFETIME_S, ServiceKeys, TokenService
from quay.web.v2 import DistributionAPI
from quay.web.v2.call import Means
from quay.web.v2.express import Express
from quay.web.wellknown import WellKnown
from quay.worker import Worker


def front_of(
    reactor: Any, core: Core, metrics: Metrics, restarts: Restarts | None = None, workers: Sequence[Worker] = ()
) -> Front:
    """Everything that a port of the core's serves; `workers` are those that run beside it."""
    config = core.config
    restarts = restarts or Restarts()
    service = str(config.hostname) if config.hostname is not None else config.service_key_service
    addresses = Addresses(config.scheme, config.hostname, config.trusted_proxies)
    guard = Guard(core.portal, core.keyring, core.registry.access, addresses, service)
    lifetime_s = min(LIFETIME_S, int(config.jwt_maximum_age))
    express = Express(core.registry, guard, reactor.seconds)
    metrics.show(ExpressMetrics(express))
    means = _rest_means(reactor, core, addresses, workers)
    identifier = Identifier(core.portal, means.sessions, addresses)
    rest = RestAPI(means, identifier, TRANSLATIONS)
    pages = Pages(config.registry_title, addresses)
    core.tasks.spawn(pages.prepare(core.threads.cpu))
    parts = Parts(
        api=DistributionAPI(Means(reactor, core.registry, guard, core.threads.blobs)),
        tokens=TokenService(
            core.portal, core.keyring, core.registry.access, core.policy, addresses, service, lifetime_s
        ),
        keys=ServiceKeys(core.keyring, config.service_key_service),
        roots={
            b".well-known": WellKnown(config, addresses),
            b"api": rest,
            b"api-explorer": Explorer(pages),
            b"ca": _authority_page(reactor, core, pages, addresses),
            b"csrf_token": CsrfToken(identifier, means.sessions),
            b"exportedlogs": ExportedLogs(core.database, reactor),
            b"health": Health(means.checkup),
            b"live": Live(reactor, rest, identifier),
            b"metrics": MetricsPage(metrics.registry, addresses, config.metrics_networks),
            b"oauth": OAuth(means, identifier, pages),
            b"static": StaticFiles("quay.web.pages", "static"),
            **_setup(means, rest, identifier, pages, core, restarts),
        },
        console=Console(means, rest, identifier, pages, TRANSLATIONS),
        express=express,
    )
    return Front(parts)


def _setup(
    means: RestMeans, rest: RestAPI, identifier: Identifier, pages: Pages, core: Core, restarts: Restarts
) -> dict[bytes, IResource]:
    """The setup console, unless it is switched off."""
    if not core.config.setup_console:
        return {}
    steps = steps_of(core.config, restarts.surroundings, core.vault, means.clock.seconds)
    return {b"setup": Setup(means, rest, identifier, pages, steps, core.threads.blobs, restarts.again)}


def _authority_page(reactor: Any, core: Core, pages: Pages, addresses: Addresses) -> AuthorityPage:
    plain = core.config.plain_listen
    files = CertificateFiles(core.config.data)
    return AuthorityPage(files, core.threads.blobs, reactor, pages, addresses, plain[0].port if plain else None)


def plain_front_of(reactor: Any, core: Core) -> PlainFront:
    """What plain HTTP answers beside TLS."""
    config = core.config
    addresses = Addresses(config.scheme, config.hostname, config.trusted_proxies, config.listen[0].port)
    pages = Pages(config.registry_title, addresses)
    return PlainFront(
        _authority_page(reactor, core, pages, addresses), StaticFiles("quay.web.pages", "static"), addresses
    )


def _rest_means(reactor: Any, core: Core, addresses: Addresses, workers: Sequence[Worker]) -> RestMeans:
    config = core.config
    sessions = Sessions(
        core.database, core.portal, core.seals, core.tasks, reactor, lifetime_s=int(config.session_lifetime)
    )
    second_factors = SecondFactors(core.database, core.vault, reactor)
    return RestMeans(
        clock=reactor,
        config=config,
        database=core.database,
        registry=core.registry,
        portal=core.portal,
        passwords=core.passwords,
        sessions=sessions,
        second_factors=second_factors,
        sign_in=SignIn(core.database, core.portal, second_factors, sessions, addresses, reactor),
        seals=core.seals,
        vault=core.vault,
        tasks=core.tasks,
        addresses=addresses,
        notifications=core.notifications,
        egress=core.egress,
        bundles=bundles_of(reactor, core),
        cpu=core.threads.cpu,
        disk=core.threads.blobs,
        checkup=Checkup(reactor, core.database, core.stores),
        workers=workers,
    )
