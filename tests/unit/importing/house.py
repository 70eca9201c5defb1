"""
A registry to import into, and one to import from, in the reactor of the test; blobs in memory, threads that are none.
"""

from __future__ import annotations

import ipaddress
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from twisted.trial.unittest import TestCase

from quay import config
from quay.auth.principal import Principal
from quay.database import Transaction
from quay.database.engines import sqlite
from quay.database.migrations import migrate
from quay.egress import Egress, Policy
from quay.importing import Choice, Importer, Room, Tally
from quay.importing.bringing import Bringer
from quay.importing.places import Places
from quay.importing.remote import RemoteSource
from quay.model import namespace, repository
from quay.model import tag as tags
from quay.oci.reference import Digest, RepositoryName
from quay.registry.blobs import Stores
from quay.registry.caller import Caller
from quay.registry.client import RegistryClient, calls
from quay.service.core import Core
from quay.storage.memory import MemoryBlobs
from tests.foreign import ForeignRegistry, reactor
from tests.http.application import ImmediateThreads

ROOM = 10**12
_templates: list[Path] = []


def template() -> Path:
    """A migrated database, made once."""
    if not _templates:
        made = Path(tempfile.mkdtemp(prefix="quay-importing-")) / "quay.db"
        engine = sqlite(str(made))
        migrate(engine)
        engine.dispose()
        _templates.append(made)
    return _templates[0]


class Tidy:
    """A test whose files are gone after it."""

    def mktemp(self) -> str:
        """A path at which nothing is yet."""
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)  # type: ignore[attr-defined]
        return f"{directory}/temp"


class ImportCase(Tidy, TestCase):
    """`core` is ours, `registry` the other one; `boss` does what is done."""

    timeout = 60

    async def setUp(self) -> None:
        self.patch(calls, "PAUSE_S", 0.001)
        self.directory = self.made_directory()
        found = config.parse(json.dumps({"SERVER_HOSTNAME": "ours.test"}), {}, self.directory, data=str(self.directory))
        self.store = MemoryBlobs("default")
        self.core = Core(reactor, found, ImmediateThreads(), Stores({"default": self.store}, "default"))
        await self.core.database.start()
        self.core.tasks.startService()
        self.addCleanup(self.core.database.stop)
        for part in (self.core.audit, self.core.notifications, self.core.registry.uploads):
            self.addCleanup(part.stopService)
        self.registry = self.foreign()
        self.boss = await self.core.database.write(
            namespace.create_user, "boss", email="boss@example.org", superuser=True, time_machine_s=3600
        )
        self.free: int | None = ROOM

    def made_directory(self) -> Path:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        shutil.copy(template(), directory / "quay.db")
        return directory

    def foreign(self, **options: Any) -> ForeignRegistry:
        """Another registry."""
        made = ForeignRegistry(**options)
        self.addCleanup(made.close)
        return made

    def importer(self, *, dry: bool = False, below: str | None = None, source: Any = None) -> Importer:
        """An import, as the command would begin it."""
        places = Places(self.core.database, self.core.policy, self.core.bus, self.caller(), below)
        self.core.cache.trusted = lambda: False
        source = source or RemoteSource(self.client(), self.core.registry.uploads)
        core = self.core
        bringer = Bringer(source, core.registry, core.database, places, core.threads.cpu, Room(self.room), dry=dry)
        return Importer(source, bringer, core.database)

    def caller(self) -> Caller:
        return Caller(Principal("user", "boss", self.boss.id, superuser=True), user_agent="quay import")

    async def room(self) -> int | None:
        return self.free

    def client(self) -> RegistryClient:
        policy = Policy(networks=(ipaddress.ip_network("127.0.0.1/32"),))
        return RegistryClient(reactor, Egress(reactor, policy), self.registry.url)

    async def imported(
        self, *, dry: bool = False, below: str | None = None, source: Any = None, **choice: Any
    ) -> Tally:
        """What came of an import of all, or of what is chosen."""
        return await self.importer(dry=dry, below=below, source=source).run(Choice(**choice))

    # --- what is here

    async def tag(self, name: str, tag: str) -> Digest | None:
        """What a tag is here."""

        def look(txn: Transaction) -> Digest | None:
            found = repository.find(txn, RepositoryName.parse(name))
            row = None if found is None else tags.resolve_tag(txn, found.id, tag)
            return None if row is None else row.digest

        return await self.core.database.read(look)

    async def rows(self, statement: str) -> list[Any]:
        """What the database says."""
        return await self.core.database.read(lambda txn: list(txn.execute(sa.text(statement))))

    def holds(self, data: bytes) -> bool:
        """Whether the store has these bytes."""
        outcome: list[int | None] = []
        self.store.stat(Digest.of(data)).addCallback(outcome.append)
        return outcome == [len(data)]
