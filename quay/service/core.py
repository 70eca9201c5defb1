"""
The registry without its ports: its parts, made from a configuration and tied together.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from twisted.internet.defer import Deferred

from quay.auth import Portal
from quay.auth.internal import LocalUsers
from quay.auth.keyring import Keyring
from quay.auth.passwords import Passwords
from quay.auth.seals import Seals
from quay.config import Config, Secret
from quay.coordination import MemoryCoordinator
from quay.database import Change, once, open_database
from quay.events import Bus
from quay.interfaces import ICoordinator
from quay.notifications import Notifications
from quay.registry import Registry
from quay.registry.access import Access
from quay.registry.archives import Archives
from quay.registry.audit import AuditTrail
from quay.registry.blobs import Blobs, Stores
from quay.registry.cache import Cache, Recent
from quay.registry.manifests import Manifests
from quay.registry.policy import Policy
from quay.registry.pulls import PullCounter
from quay.registry.uploads import Uploads
from quay.service.outside import authorities, egress_of, letters_of, methods_of, place_of
from quay.service.secrets import secret_of
from quay.storage import open_store
from quay.storage.upload import Budget
from quay.tasks import Tasks
from quay.threads import Threads

CHANGES: Final = "changes"
"""The channel on which a node tells the others what it changed."""


class Core:
    """
    The registry without its ports: what a server serves, and what a command works with. Waits in `threads`, and keeps
    its blobs in `stores`.

    After `start`, `seals` protects what is handed out (SECRET_KEY) and `vault` what is stored (DATABASE_SECRET_KEY).
    """

    seals: Seals
    vault: Seals

    def __init__(self, reactor: Any, config: Config, threads: Threads, stores: Stores) -> None:
        self._reactor = reactor
        self.config = config
        self.policy = policy_of(config)
        self.threads = threads
        self.database = open_database(reactor, config.database_url, threads)
        self.coordinator: ICoordinator = coordinator_of(reactor, config)
        self.alone = config.events_redis is None
        """No other node is there to be told anything."""
        self.stores = stores
        self.bus = Bus()
        self.tasks = Tasks()
        self.cache = Cache(reactor.seconds)
        self.audit = AuditTrail(reactor, self.database, self.bus)
        self.pulls = PullCounter(reactor, self.database, self.bus)
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
            robot_allowed=self.policy.allows_robot,
            last_access=config.user_last_accessed,
        )
        self.registry = self._registry(reactor)
        self.egress = egress_of(reactor, config)
        self.notifications = Notifications(
            reactor,
            self.database,
            self.bus,
            methods_of(reactor, self.database, self.egress, letters_of(reactor, config, self.egress)),
            lambda: self.vault,
            place_of(config),
        )
        self.database.on_commit(self._announce)
        self.coordinator.subscribe(CHANGES, self._changed)
        self.coordinator.on_gap(self.forget_all)
        for memory in (self.cache, self.portal, self.keyring):
            memory.trusted = lambda: self.coordinator.connected

    def _registry(self, reactor: Any) -> Registry:
        access = Access(self.database, self.policy, self.bus)
        blobs = Blobs(self.database, self.stores, self.cache, self.policy, reactor)
        recent = Recent()
        uploads = Uploads(reactor, self.database, self.stores, self.policy, self.tasks, recent, alone=self.alone)
        manifests = Manifests(
            self.database, blobs, self.cache, recent, self.policy, self.bus, self.threads.cpu, self.tasks
        )
        archives = Archives(blobs, manifests, uploads, self.policy, self.threads.cpu, self.tasks)
        return Registry(self.database, self.cache, self.policy, access, blobs, uploads, manifests, archives)

    # A change is forgotten here first, so that this node is exact even when the others cannot be told.

    def _announce(self, changes: tuple[Change, ...]) -> Deferred[None] | None:
        self._forget(changes)
        return None if self.alone else self.coordinator.announce(CHANGES, json.dumps(changes).encode())

    def _changed(self, message: bytes) -> None:
        self._forget(tuple(tuple(change) for change in json.loads(message)))

    def _forget(self, changes: tuple[Change, ...]) -> None:
        self.cache.drop(changes)
        self.portal.forget(changes)
        self.keyring.forget(changes)

    def forget_all(self) -> None:
        """Forget all that is cached."""
        self.cache.clear()
        self.portal.forget_all()
        self.keyring.forget_all()

    async def start(self) -> None:
        """Threads, secrets, schema, database, coordination, keys."""
        self.threads.startService()
        self.seals = await self._seals(self.config.secret_key, "secret_key")
        self.vault = await self._seals(self.config.database_secret_key, "database_secret_key")
        if self.config.egress_ca is not None:
            self.egress.trust = await self.threads.blobs.run(authorities, self.config.egress_ca)
        await self.threads.db_write.run(once, self.config.database_url, lambda txn: None)
        await self.database.start()
        await _called(self.coordinator, "start")
        for store in self.stores.by_location.values():
            await store.check()
        await self.keyring.start()
        for part in (self.tasks, self.registry.uploads, self.audit, self.notifications):
            part.startService()
        if self.config.image_pull_stats:
            self.pulls.startService()

    async def _seals(self, configured: Secret | None, name: str) -> Seals:
        secret = await self.threads.blobs.run(secret_of, configured, self.config.data / name)
        return Seals(secret, self._reactor.seconds)

    async def stop(self) -> None:
        """
        In reverse, as far as it was started; what was begun is finished, uploads are suspended, the audit log is
        written.
        """
        if not self.threads.running:
            return
        await self.registry.uploads.stopService()
        await self.tasks.stopService()
        await self.notifications.stopService()
        await self.audit.stopService()
        await self.pulls.stopService()
        await self.keyring.stop()
        await _called(self.coordinator, "stop")
        await self.database.stop()
        self.threads.stopService()


def core_of(reactor: Any, config: Config) -> Core:
    """The core that the configuration describes, not started."""
    sqlite = config.database_uri.is_sqlite
    threads = Threads(reactor, db_read=4 if sqlite else 8, db_write=1 if sqlite else 8)
    return Core(reactor, config, threads, stores_of(config, threads))


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
        shortest_life_s=config.labeled_expiration_minimum,
        longest_life_s=config.labeled_expiration_maximum,
        super_users=frozenset(config.super_users if config.super_users_allowed else ()),
        robots=frozenset(config.robots_whitelist) if config.robots_disallow else None,
        organizations_by_superusers=config.superusers_org_creation_only,
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


async def _called(part: object, method: str) -> None:
    """Call an optional method of a part, and wait for it."""
    found: Callable[[], Awaitable[None]] | None = getattr(part, method, None)
    if found is not None:
        await found()
