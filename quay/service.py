"""
The composition root: from a configuration to a running registry.

Nothing else imports the reactor, reads the environment or names a concrete driver. The parts are started one after the
other and stopped in reverse; until all of them run, the ports answer 503.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from OpenSSL import SSL, crypto
from twisted.application.service import IServiceMaker, Service
from twisted.internet import ssl
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import FilteringLogObserver, Logger, LogLevel, LogLevelFilterPredicate, textFileLogObserver
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from twisted.python.usage import Options as UsageOptions
from zope.interface import implementer

from quay import faults
from quay.auth import Portal
from quay.auth.internal import LocalUsers
from quay.auth.keyring import Keyring
from quay.auth.passwords import Passwords
from quay.config import Config, ConfigError, Endpoint, settle
from quay.config.surroundings import Surroundings
from quay.coordination import CoordinatorUnavailable, MemoryCoordinator
from quay.database import Change, Transaction, once, open_database
from quay.database.migrations import SchemaUnfit
from quay.events import Bus
from quay.interfaces import ICoordinator
from quay.lock import DataInUse, DataLock
from quay.model import namespace, time_machine
from quay.oci.errors import RegistryError
from quay.registry import Registry
from quay.registry.access import Access
from quay.registry.audit import AuditTrail
from quay.registry.blobs import Blobs, Stores
from quay.registry.cache import Cache
from quay.registry.manifests import Manifests
from quay.registry.policy import Policy
from quay.registry.uploads import Uploads
from quay.storage import StorageError, open_store
from quay.storage.upload import Budget
from quay.tasks import Tasks
from quay.threads import ImmediatePool, Threads
from quay.web.channel import Limits, RegistrySite
from quay.web.guard import Guard
from quay.web.respond import Addresses
from quay.web.site import TRANSLATIONS, Front, Parts, starting
from quay.web.token import LIFETIME_S, ServiceKeys, TokenService
from quay.web.v2 import DistributionAPI
from quay.web.v2.call import Means
from quay.worker import Budget as Time
from quay.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")

log = Logger()

CHANGES: Final = "changes"
"""The channel on which a node tells the others what it changed."""

EXPIRE_TAGS_S: Final = 30
REAP_UPLOADS_S: Final = 3600
GRACE_S: Final = 20
"""How long answers under way may take once the server is told to stop."""


class StartFailed(Exception):
    """The server could not start; the message is for the administrator."""


EXPECTED: Final = (StartFailed, DataInUse, SchemaUnfit, RegistryError, StorageError, CoordinatorUnavailable)
"""Reasons not to start that are sentences: what nobody foresaw is logged with its traceback."""


def policy_of(config: Config) -> Policy:
    """What the registry obeys, in its own words."""
    return Policy(
        read_only=config.registry_state == "readonly",
        anonymous_pulls=config.anonymous_access,
        library_namespace=config.library_namespace if config.library_support else None,
        nested_names=config.extended_repository_names,
        private_on_push=config.create_private_repo_on_push,
        namespace_on_push=config.create_namespace_on_push,
        public_catalog=config.public_catalog,
        sparse_index=config.sparse_index,
        referrers=config.referrers_api,
        blob_limit=config.maximum_layer_size,
        page_size=config.pagination_size,
        time_machine_s=config.default_tag_expiration,
        untagged_s=config.push_temp_tag_expiration,
        upload_s=config.upload_expiration,
        super_users=frozenset(config.super_users if config.super_users_allowed else ()),
    )


def coordinator_of(reactor: Any, config: Config) -> Any:
    """Redis where the configuration names one, else the memory of this process."""
    if config.events_redis is None:
        return MemoryCoordinator(reactor)
    from quay.coordination.redis import RedisCoordinator
    from quay.coordination.session import RedisAddress

    redis = config.events_redis
    password = redis.password.reveal() if redis.password is not None else ""
    return RedisCoordinator(
        reactor, RedisAddress(redis.host, redis.port, password=password, database=redis.db, tls=redis.ssl)
    )


def stores_of(config: Config, threads: Threads) -> Stores:
    """The blob stores, with one memory budget for all uploads."""
    budget = Budget()
    stores = {
        name: open_store(name, location.driver, location.options, threads.blobs, budget)
        for name, location in config.storage.items()
    }
    return Stores(stores, config.storage_preference[0])


class Core:
    """
    The registry without its ports: what a server serves, and what a command works with. Waits in `threads`, and keeps
    its blobs in `stores`.
    """

    def __init__(self, reactor: Any, config: Config, threads: Threads, stores: Stores) -> None:
        self.config = config
        self.policy = policy_of(config)
        self.threads = threads
        self.database = open_database(reactor, config.database_url, threads)
        self.coordinator: ICoordinator = coordinator_of(reactor, config)
        self.stores = stores
        self.bus = Bus()
        self.tasks = Tasks()
        self.cache = Cache(reactor.seconds)
        self.audit = AuditTrail(reactor, self.database, self.bus)
        self.passwords = Passwords(self.threads.cpu)
        self.keyring = Keyring(
            self.database,
            self.threads.cpu,
            reactor,
            service=config.service_key_service,
            rotate_s=config.service_key_refresh,
            valid_s=config.service_key_expiration,
        )
        self.portal = Portal(
            self.database,
            LocalUsers(self.database, self.passwords),
            reactor,
            superusers=self.policy.super_users,
            passwords_allowed=config.authentication == "Database" and config.direct_login,
            app_tokens_allowed=config.app_specific_tokens,
            last_access=config.user_last_accessed,
        )
        self.registry = self._registry(reactor)
        self.database.on_commit(self._announce)
        self.coordinator.subscribe(CHANGES, self._changed)
        self.coordinator.on_gap(self._forget_all)
        for memory in (self.cache, self.portal, self.keyring):
            memory.trusted = lambda: self.coordinator.connected

    def _registry(self, reactor: Any) -> Registry:
        access = Access(self.database, self.policy, self.bus)
        blobs = Blobs(self.database, self.stores, self.cache, self.policy)
        alone = self.config.events_redis is None
        uploads = Uploads(reactor, self.database, self.stores, self.policy, self.tasks, idle_s=60.0 if alone else 0.5)
        manifests = Manifests(self.database, blobs, self.cache, self.policy, self.bus, self.threads.cpu, self.tasks)
        return Registry(self.database, self.cache, self.policy, access, blobs, uploads, manifests)

    # A change is forgotten here first, so that this node is exact even when the others cannot be told.

    def _announce(self, changes: tuple[Change, ...]) -> Deferred[None]:
        self._forget(changes)
        return self.coordinator.announce(CHANGES, json.dumps(changes).encode())

    def _changed(self, message: bytes) -> None:
        self._forget(tuple(tuple(change) for change in json.loads(message)))

    def _forget(self, changes: tuple[Change, ...]) -> None:
        self.cache.drop(changes)
        self.portal.forget(changes)
        self.keyring.forget(changes)

    def _forget_all(self) -> None:
        self.cache.clear()
        self.portal.forget_all()
        self.keyring.forget_all()

    async def start(self) -> None:
        """Threads, schema, database, coordination, keys."""
        self.threads.startService()
        await self.threads.db_write.run(once, self.config.database_url, lambda txn: None)
        await self.database.start()
        await _called(self.coordinator, "start")
        for store in self.stores.by_location.values():
            await store.check()
        await self.keyring.start()
        for part in (self.tasks, self.registry.uploads, self.audit):
            part.startService()

    async def stop(self) -> None:
        """
        In reverse, as far as it was started; what was begun is finished, uploads are suspended, the audit log is
        written.
        """
        if not self.threads.running:
            return
        await self.registry.uploads.stopService()
        await self.tasks.stopService()
        await self.audit.stopService()
        await self.keyring.stop()
        await _called(self.coordinator, "stop")
        await self.database.stop()
        self.threads.stopService()


def core_of(reactor: Any, config: Config) -> Core:
    """The core that the configuration describes, not started."""
    sqlite = config.database_uri.is_sqlite
    threads = Threads(reactor, db_read=4 if sqlite else 8, db_write=1 if sqlite else 8)
    return Core(reactor, config, threads, stores_of(config, threads))


def front_of(reactor: Any, core: Core) -> Front:
    """Everything that a port of the core's serves."""
    config = core.config
    service = str(config.hostname) if config.hostname is not None else config.service_key_service
    addresses = Addresses(config.scheme, config.hostname, config.trusted_proxies)
    guard = Guard(core.portal, core.keyring, core.registry.access, addresses, service)
    lifetime_s = min(LIFETIME_S, int(config.jwt_maximum_age))
    parts = Parts(
        api=DistributionAPI(Means(reactor, core.registry, guard, core.threads.blobs)),
        tokens=TokenService(
            core.portal, core.keyring, core.registry.access, core.policy, addresses, service, lifetime_s
        ),
        keys=ServiceKeys(core.keyring, config.service_key_service),
    )
    return Front(parts, core.database, core.stores, config.registry_title)


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


async def _called(part: object, method: str) -> None:
    """Call an optional method of a part, and wait for it."""
    found: Callable[[], Awaitable[None]] | None = getattr(part, method, None)
    if found is not None:
        await found()


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
        self._site = RegistrySite(
            starting(),
            reactor=reactor,
            limits=Limits(connections=config.maximum_connections),
            translations=TRANSLATIONS,
        )
        self._workers = self._made_workers() if config.setup_complete else []
        self._starting: Deferred[None] = succeed(None)

    def startService(self) -> None:
        super().startService()
        self._starting = Deferred.fromCoroutine(self._start()).addErrback(self._could_not_start)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        self._take_data()
        for endpoint in self.config.listen:
            self.ports.append(self._listen(endpoint))
        await self.core.start()
        for worker in self._workers:
            worker.startService()
        self._site.resource = front_of(self._reactor, self.core)
        for line in await self._greeting():
            log.info("{line}", line=line)

    async def _stop(self) -> None:
        self._starting.cancel()
        for port in self.ports:
            await maybeDeferred(port.stopListening)
        await self._retired()
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

    def _take_data(self) -> None:
        try:
            self._lock.acquire()
        except OSError as error:
            raise StartFailed(
                f"The data directory {self.config.data} cannot be used: {error.strerror}. Let this user write to it, "
                "or give another one with QUAY_DATA."
            ) from error

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

        async def record_use(time: Time) -> None:
            await core.portal.record_use()

        return [
            Worker("tag-expiry", expire_tags, clock, period=EXPIRE_TAGS_S, coordinator=core.coordinator),
            Worker("upload-reaper", reap_uploads, clock, period=REAP_UPLOADS_S, coordinator=core.coordinator),
            Worker("last-use", record_use, clock, period=60),
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
        lines += [f"Warning: {warning}" for warning in self.config.warnings]
        if not await self.core.database.read(namespace.any_superuser):
            lines.append(f"No superuser yet. Make the first user with: {self._first_user()}")
        return lines


def _console(level: str) -> FilteringLogObserver:
    """Log lines on standard error, from `level` upwards."""
    predicate = LogLevelFilterPredicate(LogLevel.levelWithName(level))
    return FilteringLogObserver(textFileLogObserver(sys.stderr), [predicate])


def _stop_reactor(reactor: Any) -> None:
    if reactor.running:
        reactor.stop()


class Options(UsageOptions):
    """What `twistd quay` takes."""

    optParameters = [["config", "c", None, "The configuration file; else quay.yaml in the data directory."]]  # noqa: RUF012


@implementer(IServiceMaker, IPlugin)
class QuayMaker:
    """Makes the server for `twistd`."""

    tapname = "quay"
    description = "A container registry with namespaces, teams, robots and a tag time machine."
    options = Options

    def makeService(self, options: Options) -> Appliance:
        from twisted.internet import reactor

        file = Path(options["config"]) if options["config"] else None
        try:
            config = settle(Surroundings.of(file, os.environ))
        except ConfigError as error:
            raise SystemExit(str(error)) from None
        return Appliance(reactor, config)


quay = QuayMaker()


def serve(config: Config) -> int:
    """Run a server in the foreground until it is told to stop; returns the exit status of the process."""
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner

    globalLogBeginner.beginLoggingTo([_console(config.log_level)], redirectStandardIO=False)
    _arm(os.environ.get("QUAY_CRASH_AT", ""))
    _open_many_files()
    appliance = Appliance(reactor, config)
    reactor.callWhenRunning(appliance.startService)
    reactor.addSystemEventTrigger("before", "shutdown", appliance.stopService)
    reactor.run()
    return 1 if appliance.failed else 0


def transact(config: Config, work: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """One transaction of a command, which may be the first to use the data directory. Raises `DatabaseUnavailable`."""
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    return once(config.database_url, work, *args, **kwargs)


def run(config: Config, work: Callable[[Core], Awaitable[R]]) -> R:
    """Do `work` with a core of its own, beside a running server or without one. What it raises is raised here."""
    from twisted.internet import task

    outcome: list[R | Failure] = []
    with suppress(SystemExit):  # the way in which `react` ends
        task.react(lambda reactor: Deferred.fromCoroutine(_worked(reactor, config, work)).addBoth(outcome.append))
    if not outcome:
        raise KeyboardInterrupt
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


async def _worked(reactor: Any, config: Config, work: Callable[[Core], Awaitable[R]]) -> R:
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    core = core_of(reactor, config)
    try:
        await core.start()
        return await work(core)
    finally:
        await core.stop()


def hashed(password: str) -> str:
    """A password hash, made at once: for commands, which have no reactor to keep from blocking."""
    done: Deferred[str] = Passwords(ImmediatePool()).hash(password)
    return str(done.result)


def _open_many_files() -> None:
    """Connections, uploads and downloads are open files: take as many as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _arm(points: str) -> None:
    """`name:count[,name:count…]`: where a test wants this process to die."""
    for point in filter(None, points.split(",")):
        name, _, count = point.partition(":")
        faults.arm(name, int(count or 1))
