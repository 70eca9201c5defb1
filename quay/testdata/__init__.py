"""
Test data: the users, organizations and repositories that Quay's permission matrices speak of, with images in them.

Everything gets in as it would in life: people through the model, images through the use-cases. What is there already
is left alone, so a run that was interrupted can be repeated; and a server may run meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer

from quay.auth.principal import Principal
from quay.database import Transaction
from quay.model import namespace
from quay.model.repository import Repository
from quay.oci.reference import Digest, RepositoryName, Tag
from quay.registry import Registry
from quay.registry.caller import Caller
from quay.testdata.contents import Delete, Step, contents
from quay.testdata.images import Content
from quay.testdata.people import ADMINISTRATOR, PASSWORD, DataRefused, populate, settle

if TYPE_CHECKING:
    from quay.config import Config
    from quay.service.core import Core

__all__ = ["DataRefused", "fill", "main"]

Echo = Callable[[str], object]
AGENT: Final = "quay initdb --test-data"


def main(config: Config, echo: Echo) -> None:
    """Fill the database and the storage of `config`, and tell `echo` about it. Raises `DataRefused`."""
    from quay import service

    service.run(config, lambda core: fill(core, echo))


async def fill(core: Core, echo: Echo) -> None:
    """Bring the test data into a running core. Raises `DataRefused` where others have users already."""
    hashed = await core.passwords.hash(PASSWORD)
    if await core.database.write(populate, hashed, core.policy.time_machine_s):
        echo("Made users (password: password), organizations, robots and repositories.")
    pusher = await Pusher.of(core)
    pushed = [name for name, steps in contents().items() if await pusher.complete(name, steps, echo)]
    await core.database.write(settle)
    echo("The test data is complete." if pushed else "The test data is there already.")


@attrs.frozen
class Pusher:
    """Does in a repository what a client would, in the name of devtable."""

    registry: Registry
    caller: Caller

    @classmethod
    async def of(cls, core: Core) -> Pusher:
        user = await core.database.read(_administrator)
        return cls(core.registry, Caller(Principal("user", user.name, user.id), "127.0.0.1", AGENT))

    async def complete(self, name: str, steps: Iterable[Step], echo: Echo) -> bool:
        """Take all these steps in the repository `name`; False if they have been taken."""
        repository = await self.registry.find(RepositoryName.parse(name))
        *_, last = steps
        if await self._has(repository, last):
            return False
        echo(f"Pushing to {name} …")
        for step in steps:
            await self._take(repository, step)
        return True

    async def _has(self, repository: Repository, step: Step) -> bool:
        """Whether the tag of this step is there."""
        tags = await self.registry.manifests.tags(repository, after=None, limit=self.registry.policy.page_limit)
        return step.tag in tags

    async def _take(self, repository: Repository, step: Step) -> None:
        if isinstance(step, Delete):
            await self.registry.manifests.delete(self.caller, repository, Tag(step.tag))
        else:
            await self._push(repository, step.content, step.tag)

    async def _push(self, repository: Repository, content: Content, tag: str | None) -> None:
        for blob in content.blobs:
            await self.registry.uploads.receive_whole(
                repository, self.caller.principal.name, Digest.of(blob), _Body(blob)
            )
        for child in content.children:
            await self._push(repository, child, None)
        reference = content.digest if tag is None else Tag(tag)
        await self.registry.manifests.put(self.caller, repository, reference, content.media_type, content.raw)


@attrs.frozen
class _Body:
    """Bytes that are all here, as an upload takes them."""

    data: bytes = attrs.field(repr=False)

    @property
    def length(self) -> int | None:
        return len(self.data)

    def deliver_to(self, consumer: IConsumer) -> Deferred[int]:
        consumer.write(self.data)
        return succeed(len(self.data))


def _administrator(txn: Transaction) -> namespace.Namespace:
    found = namespace.find(txn, ADMINISTRATOR)
    assert found is not None, "populate has just made sure of it"
    return found
