"""
The whole server: a core with its workers and its ports, started one after the other and stopped in reverse. Until all
of it runs, the ports answer 503.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any, Final

from OpenSSL import SSL, crypto
from twisted.application.service import Service
from twisted.internet import ssl
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from quay.config import Config, Endpoint
from quay.coordination import CoordinatorUnavailable
from quay.database.migrations import SchemaUnfit
from quay.lock import DataInUse, DataLock, DataUnusable
from quay.model import apptoken, namespace, removal, session, time_machine, words
from quay.oci.errors import RegistryError
from quay.registry.logbook import forget_old
from quay.registry.sealing import AuditSealer
from quay.service.core import core_of
from quay.service.front import front_of
from quay.service.logbook import seal_key
from quay.service.metrics import CoreMetrics, Metrics, ServerMetrics
from quay.service.outside import AuthoritiesUnusable
from quay.service.upkeep import Upkeep
from quay.storage import StorageError
from quay.watchdog import Watchdog
from quay.web.channel import Limits, RegistrySite
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
)
"""Reasons not to start that are sentences: what nobody foresaw is logged with its traceback."""


class Appliance(Service):
    """The whole server: a core, its workers and its ports. `failed` is the sentence with which it did not start."""

    name = "quay"

    def __init__(self, reactor: Any, config: Config) -> None:
        self._reactor = reactor
        self.config = config
        self.core = core_of(reactor, config)
        self.failed = ""
        self.ports: list[IListeningPort] = []
        self._lock = DataLock(config.data)
        self._metrics = Metrics(reactor)
        self._watchdog = Watchdog(reactor)
        self._site = RegistrySite(
            starting(),
            reactor=reactor,
            observer=self._metrics.requests.observe,
            limits=Limits(connections=config.maximum_connections),
            translations=TRANSLATIONS,
        )
        self._workers = self._made_workers() if config.setup_complete else []
        self._metrics.show(CoreMetrics(self.core), ServerMetrics(self._site.connections, self._workers, self._watchdog))
        self._starting: Deferred[None] = succeed(None)

    def startService(self) -> None:
        super().startService()
        self._starting = Deferred.fromCoroutine(self._start()).addErrback(self._could_not_start)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        self._lock.acquire()
        for endpoint in self.config.listen:
            self.ports.append(self._listen(endpoint))
        await self.core.start()
        for worker in self._workers:
            worker.startService()
        self._watchdog.startService()
        _spare_the_collector()
        front = front_of(self._reactor, self.core, self._metrics)
        self._site.resource, self._site.express = front, front.express
        for line in await self._greeting():
            log.info("{line}", line=line)

    async def _stop(self) -> None:
        self._starting.cancel()
        if not self.failed:
            log.info("Stopping")
        for port in self.ports:
            await maybeDeferred(port.stopListening)
        await self._retired()
        await self._watchdog.stopService()
        for worker in self._workers:
            await worker.stopService()
        await self.core.stop()
        self._lock.release()

    def _could_not_start(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # it was told to stop before it had started
        self.failed = failure.getErrorMessage()
        if failure.check(*EXPECTED):
            log.critical("Quay could not start: {why}", why=self.failed)
        else:
            log.failure("Quay could not start: {why}", failure=failure, why=self.failed)
        self._reactor.callLater(0, _stop_reactor, self._reactor)

    def _listen(self, endpoint: Endpoint) -> IListeningPort:
        listening = {"interface": endpoint.host, "backlog": 1024}
        chain, key = self.config.tls_certificate, self.config.tls_key
        found: IListeningPort
        try:
            if chain is None or key is None:
                found = self._reactor.listenTCP(endpoint.port, self._site, **listening)
            else:
                found = self._reactor.listenSSL(endpoint.port, self._site, _certificate(chain, key), **listening)
        except CannotListenError as error:
            why = os.strerror(error.socketError.errno)
            raise StartFailed(
                f"The server cannot listen on {endpoint}: {why}. Stop what listens there, or set LISTEN to another "
                "address and port of this machine."
            ) from error
        return found

    def _made_workers(self) -> list[Worker]:
        core, clock = self.core, self._reactor

        async def expire_tags(time: Time) -> None:
            while await core.database.write(time_machine.expire_tags, 500) and not time.spent:
                pass

        async def reap_uploads(time: Time) -> None:
            await core.registry.uploads.reap(clock.seconds() - core.policy.upload_s)

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
        return [
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
            Worker("notification-log", core.notifications.forget, clock, period=FORGET_S, coordinator=core.coordinator),
        ]

    def _first_user(self) -> str:
        """The command as it can be typed where this server was started."""
        program = os.path.relpath(sys.argv[0]) if Path(sys.argv[0]).name == "quay" else f"{sys.executable} -m quay"
        data = "".join(f"{key}={os.environ[key]} " for key in ("QUAY_CONFIG", "QUAY_DATA") if key in os.environ)
        return f"{data}{program} user create NAME --email ADDRESS --superuser"

    async def _retired(self) -> None:
        """Connections come to their ends; those that take too long are left to the end of the process."""
        gone = self._site.connections.retire()
        late = self._reactor.callLater(GRACE_S, gone.cancel)
        try:
            await gone
        except CancelledError:
            log.warn(
                "{count} connections were still busy after {grace} s", count=len(self._site.connections), grace=GRACE_S
            )
        if late.active():
            late.cancel()

    def _url(self, port: IListeningPort) -> str:
        address: Any = port.getHost()
        return f"{'https' if self.config.tls_key else 'http'}://{Endpoint(address.host, address.port)}"

    async def _greeting(self) -> list[str]:
        lines = [f"Listening on {self._url(port)}" for port in self.ports]
        lines.append(f"Data in {self.config.data}, database {self.config.database_uri.place}")
        if not await self.core.database.read(namespace.any_superuser):
            lines.append(f"No superuser yet. Make the first user with: {self._first_user()}")
        return lines


def _spare_the_collector() -> None:
    """
    What is in memory when all has started stays there: Python's collector, for which everybody waits, need not look
    through it each time, and so takes a fraction of a millisecond instead of tens.
    """
    gc.collect()
    gc.freeze()


def _certificate(chain: Path, key: Path) -> ssl.CertificateOptions:
    """What speaks TLS 1.2 and newer with this certificate, and those that lead to its CA. Raises `StartFailed`."""
    try:
        own, *others = [ssl.Certificate.loadPEM(pem) for pem in _pems(chain.read_bytes())]
        options = ssl.CertificateOptions(
            privateKey=ssl.KeyPair.load(key.read_bytes(), crypto.FILETYPE_PEM).original,
            certificate=own.original,
            extraCertChain=[other.original for other in others],
            raiseMinimumTo=ssl.TLSVersion.TLSv1_2,
        )
        options.getContext()  # else it would be the first client who finds out that they do not belong together
    except (OSError, ValueError, crypto.Error, SSL.Error) as error:
        raise StartFailed(
            f"TLS cannot be spoken with TLS_CERTIFICATE {chain} and TLS_KEY {key}: {error or 'no certificate'}. Both "
            "must be PEM files that this user may read, and the key that of the first certificate."
        ) from error
    return options


def _pems(text: bytes) -> list[bytes]:
    end = b"-----END CERTIFICATE-----"
    return [part + end for part in text.split(end) if b"-----BEGIN CERTIFICATE-----" in part]


def _stop_reactor(reactor: Any) -> None:
    if reactor.running:
        reactor.stop()
