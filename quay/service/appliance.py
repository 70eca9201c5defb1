"""
The whole server: a core with its workers and its ports, started one after the other and stopped in reverse. Until all
of it runs, the ports answer 503.
"""

from __future__ import annotations

import gc
import os
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure

from quay import __version__
from quay.bundles.depot import Depot
from quay.config import Config, Endpoint
from quay.coordination import CoordinatorUnavailable
from quay.database.migrations import SchemaUnfit
from quay.lock import DataInUse, DataLock, DataUnusable
from quay.model import apptoken, removal, session, time_machine, words
from quay.oci.errors import RegistryError
from quay.registry.logbook import forget_old
from quay.registry.sealing import AuditSealer
from quay.service.backups import BackupMetrics, Backups
from quay.service.core import core_of
from quay.service.founding import Restarts, invitation
from quay.service.front import front_of, plain_front_of
from quay.service.jobs import Jobs
from quay.service.logbook import seal_key
from quay.service.metrics import CoreMetrics, Metrics, ServerMetrics
from quay.service.outside import AuthoritiesUnusable
from quay.service.supervision import Supervision, Supervisor
from quay.service.tls import Certificates, Renewal, TlsMetrics, TlsUnusable
from quay.service.upkeep import Upkeep
from quay.setup import CertificateFiles
from quay.storage import StorageError
from quay.timers import Timers
from quay.watchdog import Watchdog
from quay.web.connections import Limits
from quay.web.factory import RegistrySite
from quay.web.prompt import send_promptly
from quay.web.site import TRANSLATIONS, starting
from quay.worker import Budget as Time
from quay.worker import Worker

log = Logger()

EXPIRE_TAGS_S: Final = 30
REAP_UPLOADS_S: Final = 3600
FORGET_TOKENS_S: Final = 3600
SEAL_S: Final = 30
INDEX_WORDS_S: Final = 3600
FORGET_LOGS_S: Final = 3600
REMOVE_NAMESPACES_S: Final = 10
REAP_SESSIONS_S: Final = 3600
NOTIFY_S: Final = 5
FORGET_S: Final = 86400
JOBS_S: Final = 5
SCHEDULE_S: Final = 10
JOB_S: Final = 365 * 86400
"""A job may take its time: it is told when the server stops."""
RENEW_S: Final = 3600
GRACE_S: Final = 20
"""How long answers under way may take once the server is told to stop."""


class StartFailed(Exception):
    """The server could not start; the message is for the administrator."""


EXPECTED: Final = (
    StartFailed,
    DataInUse,
    DataUnusable,
    SchemaUnfit,
    RegistryError,
    StorageError,
    CoordinatorUnavailable,
    AuthoritiesUnusable,
    TlsUnusable,
)
"""Reasons not to start that are sentences: what nobody foresaw is logged with its traceback."""


class Appliance(Service):
    """
    The whole server: a core, its workers and its ports. `failed` is the sentence with which it did not start;
    `restarts` is what it knows of its own start, `supervisor` who is told how it does.
    """

    name = "quay"

    def __init__(
        self, reactor: Any, config: Config, restarts: Restarts | None = None, supervisor: Supervisor | None = None
    ) -> None:
        self._reactor = reactor
        self.config = config
        self._restarts = restarts or Restarts()
        self.core = core_of(reactor, config)
        self.failed = ""
        self.ports: list[IListeningPort] = []
        self._plain_ports: list[IListeningPort] = []
        self._lock = DataLock(config.data)
        self._metrics = Metrics(reactor)
        self._timers = Timers(reactor)
        self._watchdog = Watchdog(reactor)
        self.supervision = Supervision(reactor, supervisor or Supervisor(), self.core.database.check)
        self._site = self._made_site()
        self._plain_site = self._made_site()
        self._certificates: Certificates | None = None
        self._renewal: Renewal | None = None
        if config.tls_certificate is not None and config.tls_key is not None:
            self._certificates = Certificates(config.tls_certificate, config.tls_key)
            files = CertificateFiles(config.data)
            self._renewal = Renewal(self._certificates, files, self.core.threads.blobs, reactor.seconds)
            self._metrics.show(TlsMetrics(self._certificates))
        self._backups = Backups(reactor, self.core, self._restarts.surroundings.found)
        self._workers = self._made_workers() if config.setup_complete else []
        self._metrics.show(BackupMetrics(self._backups))
        self._metrics.show(CoreMetrics(self.core), ServerMetrics(self._site.connections, self._workers, self._watchdog))
        self._starting: Deferred[None] = succeed(None)

    def startService(self) -> None:
        super().startService()
        self._starting = Deferred.fromCoroutine(self._start()).addErrback(self._could_not_start)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        self._timers.startService()
        self.supervision.startService()
        self._lock.acquire()
        if self._renewal is not None:
            self._renewal.begin()
        for endpoint in self.config.listen:
            self.ports.append(self._listen(endpoint, self._site, self._certificates))
        for endpoint in self.config.plain_listen if self._certificates is not None else ():
            self._plain_ports.append(self._listen(endpoint, self._plain_site, None))
        await self.core.start()
        for worker in self._workers:
            worker.startService()
        _spare_the_collector()
        front = front_of(self._reactor, self.core, self._metrics, self._restarts, self._workers)
        self._site.resource, self._site.express = front, front.express
        self._plain_site.resource = plain_front_of(self._reactor, self.core)
        self._watchdog.startService()  # from here on there is somebody to be kept waiting
        for line in await self._greeting():
            log.info("{line}", line=line)
        self.supervision.ready(f"quay {__version__} serves {', '.join(map(self._url, self.ports))}")

    async def _stop(self) -> None:
        self._starting.cancel()
        self.supervision.stopping()
        if not self.failed:
            log.info("Stopping")
        for port in (*self.ports, *self._plain_ports):
            await maybeDeferred(port.stopListening)
        for site in (self._site, self._plain_site):
            await self._retired(site)
        await self.supervision.stopService()
        await self._watchdog.stopService()
        for worker in self._workers:
            await worker.stopService()
        await self.core.stop()
        self._lock.release()
        await self._timers.stopService()

    def _could_not_start(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # it was told to stop before it had started
        self.failed = failure.getErrorMessage()
        self.supervision.failed(self.failed)
        if failure.check(*EXPECTED):
            log.critical("Quay could not start: {why}", why=self.failed)
        else:
            log.failure("Quay could not start: {why}", failure=failure, why=self.failed)
        self._reactor.callLater(0, _stop_reactor, self._reactor)

    def _made_site(self) -> RegistrySite:
        return RegistrySite(
            starting(),
            reactor=self._reactor,
            observer=self._metrics.requests.observe,
            limits=Limits(connections=self.config.maximum_connections),
            translations=TRANSLATIONS,
        )

    async def reload(self) -> None:
        """Take up certificates that were replaced on the disk; connections that are open go on."""
        if self._renewal is not None:
            self.supervision.reloading()
            await self._renewal.reload()
            self.supervision.ready()

    def _listen(self, endpoint: Endpoint, site: RegistrySite, certificates: Certificates | None) -> IListeningPort:
        listening = {"interface": endpoint.host, "backlog": 1024}
        found: Port
        try:
            if certificates is None:
                found = self._reactor.listenTCP(endpoint.port, site, **listening)
            else:
                found = self._reactor.listenSSL(endpoint.port, site, certificates, **listening)
        except CannotListenError as error:
            why = os.strerror(error.socketError.errno)
            raise StartFailed(
                f"The server cannot listen on {endpoint}: {why}. Stop what listens there, or set LISTEN to another "
                "address and port of this machine."
            ) from error
        send_promptly(found)
        return found

    def _made_workers(self) -> list[Worker]:
        core, clock = self.core, self._reactor

        async def expire_tags(time: Time) -> None:
            while await core.database.write(time_machine.expire_tags, 500) and not time.spent:
                pass

        async def reap_uploads(time: Time) -> None:
            await core.registry.uploads.reap(clock.seconds() - core.policy.upload_s)
            await core.threads.blobs.run(Depot(self.config.data).prune, clock.seconds())

        async def remove_namespaces(time: Time) -> None:
            while await core.database.write(removal.proceed) and not time.spent:
                pass

        async def reap_sessions(time: Time) -> None:
            while await core.database.write(session.reap) and not time.spent:
                pass

        async def record_use(time: Time) -> None:
            await core.portal.record_use()

        async def forget_tokens(time: Time) -> None:
            shown_s = self.config.expired_app_specific_token_gc
            while shown_s is not None and not time.spent:
                until_ms = int((clock.seconds() - shown_s) * 1000)
                if not await core.database.write(apptoken.forget_expired, until_ms, 500):
                    break

        async def index_words(time: Time) -> None:
            while await core.database.write(words.index_missing, 100) and not time.spent:
                pass

        async def forget_logs(time: Time) -> None:
            await forget_old(core.database, time)

        frequency = float(self.config.garbage_collection_frequency)
        notifier = Worker("notifier", core.notifications.deliver, clock, period=NOTIFY_S)
        core.notifications.wake = notifier.run_now
        renewal = [] if self._renewal is None else [Worker("tls-renewal", self._renewal.run, clock, period=RENEW_S)]
        return [
            *renewal,
            Worker(
                "garbage-collector",
                Upkeep(clock, core).collect,
                clock,
                period=frequency,
                budget=max(10.0, frequency / 2),
                coordinator=core.coordinator,
            ),
            Worker("tag-expiry", expire_tags, clock, period=EXPIRE_TAGS_S, coordinator=core.coordinator),
            Worker("upload-reaper", reap_uploads, clock, period=REAP_UPLOADS_S, coordinator=core.coordinator),
            Worker(
                "namespace-removal", remove_namespaces, clock, period=REMOVE_NAMESPACES_S, coordinator=core.coordinator
            ),
            Worker("session-reaper", reap_sessions, clock, period=REAP_SESSIONS_S, coordinator=core.coordinator),
            Worker("last-use", record_use, clock, period=60),
            Worker("token-expiry", forget_tokens, clock, period=FORGET_TOKENS_S, coordinator=core.coordinator),
            Worker(
                "audit-sealer",
                AuditSealer(core.database, lambda: seal_key(core), clock).run,
                clock,
                period=SEAL_S,
                coordinator=core.coordinator,
            ),
            Worker("search-index", index_words, clock, period=INDEX_WORDS_S, coordinator=core.coordinator),
            Worker("log-upkeep", forget_logs, clock, period=FORGET_LOGS_S, coordinator=core.coordinator),
            notifier,
            *(self._lane(lane) for lane in ("jobs", "backups", "bundles", "imports")),
            Worker("backup-schedule", self._backups.keep_to_schedule, clock, period=SCHEDULE_S),
            Worker("notification-log", core.notifications.forget, clock, period=FORGET_S, coordinator=core.coordinator),
        ]

    def _lane(self, name: str) -> Worker:
        jobs, coordinator = Jobs(self._reactor, self.core, self._backups, name), self.core.coordinator
        return Worker(name, jobs.run, self._reactor, period=JOBS_S, budget=JOB_S, coordinator=coordinator)

    async def _retired(self, site: RegistrySite) -> None:
        """Connections come to their ends; those that take too long are left to the end of the process."""
        gone = site.connections.retire()
        late = self._reactor.callLater(GRACE_S, gone.cancel)
        try:
            await gone
        except CancelledError:
            log.warn("{count} connections were still busy after {grace} s", count=len(site.connections), grace=GRACE_S)
        if late.active():
            late.cancel()

    def _url(self, port: IListeningPort) -> str:
        address: Any = port.getHost()
        return f"{'https' if self.config.tls_key else 'http'}://{Endpoint(address.host, address.port)}"

    async def _greeting(self) -> list[str]:
        lines = [f"Listening on {self._url(port)}" for port in self.ports]
        lines.append(f"Data in {self.config.data}, database {self.config.database_uri.place}")
        if self._renewal is not None:
            lines += await self.core.threads.blobs.run(self._renewal.introduction)
        address: Any = self.ports[0].getHost()
        return [*lines, *await invitation(self.core, Endpoint(address.host, address.port))]


def _spare_the_collector() -> None:
    """
    What is in memory when all has started stays there: Python's collector, for which everybody waits, need not look
    through it each time, and so takes a fraction of a millisecond instead of tens.
    """
    gc.collect()
    gc.freeze()


def _stop_reactor(reactor: Any) -> None:
    if reactor.running:
        reactor.stop()
