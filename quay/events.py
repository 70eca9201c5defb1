"""
What happened, as frozen values, and the bus that tells those who asked.

An event says who did what to which repository, from where and when. It is published after the fact: after the commit
and, for bytes, after they are durable. The bus is of one process, and nothing on it is kept: what must survive is
written down by a listener.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any, Protocol, Self, TypeVar

import attrs
from twisted.logger import Logger

from quay.oci.reference import Digest, RepositoryName, Tag

E = TypeVar("E")

log = Logger()


class _Principal(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def namespace_id(self) -> int | None: ...


class _Caller(Protocol):
    """As `quay.registry.caller.Caller` has it."""

    @property
    def principal(self) -> _Principal: ...
    @property
    def ip(self) -> str: ...
    @property
    def user_agent(self) -> str: ...


class _Repository(Protocol):
    """As `quay.model.repository.Repository` has it."""

    @property
    def id(self) -> int: ...
    @property
    def namespace_id(self) -> int: ...
    @property
    def name(self) -> RepositoryName: ...


@attrs.frozen
class Actor:
    """Who did it. `kind` is the kind of credential: user, robot, app_token, …; `namespace_id` is None for nobody."""

    kind: str
    name: str
    namespace_id: int | None = None


@attrs.frozen(kw_only=True)
class RepositoryEvent:
    """What all events have: `at_ms` is in milliseconds since the epoch, and is now unless it is given."""

    actor: Actor
    repository_id: int
    namespace_id: int
    repository: RepositoryName
    ip: str = ""
    user_agent: str = ""
    at_ms: int = attrs.field(factory=lambda: int(time() * 1000))

    @classmethod
    def by(cls, caller: _Caller, repository: _Repository, **facts: Any) -> Self:
        """The event that `caller` caused in `repository`; `facts` are the fields that are this event's own."""
        principal = caller.principal
        return cls(
            actor=Actor(principal.kind, principal.name, principal.namespace_id),
            repository_id=repository.id,
            namespace_id=repository.namespace_id,
            repository=repository.name,
            ip=caller.ip,
            user_agent=caller.user_agent,
            **facts,
        )


@attrs.frozen(kw_only=True)
class Pushed(RepositoryEvent):
    """A manifest is here; `tag` is None if it was pushed by its digest."""

    digest: Digest
    tag: Tag | None = None


@attrs.frozen(kw_only=True)
class Pulled(RepositoryEvent):
    """A manifest was handed out; `tag` is None if it was asked for by its digest."""

    digest: Digest
    tag: Tag | None = None


@attrs.frozen(kw_only=True)
class Deleted(RepositoryEvent):
    """A tag is gone, and `digest` is what it named; or, where `tag` is None, the manifest `digest` is gone."""

    digest: Digest
    tag: Tag | None = None


@attrs.frozen(kw_only=True)
class RepositoryCreated(RepositoryEvent):
    """A repository exists that did not."""


class Bus:
    """Tells each listener, in the order in which they subscribed, before `publish` returns."""

    def __init__(self) -> None:
        self._listeners: tuple[tuple[type[Any], Callable[[Any], None]], ...] = ()

    def subscribe(self, kind: type[E], listener: Callable[[E], None]) -> Callable[[], None]:
        """
        Call `listener` with every event that is a `kind` (`RepositoryEvent` for all of them). Call what is returned
        to end it. Whoever subscribes or leaves while an event is told does so from the next event on.
        """
        entry = (kind, listener)
        self._listeners += (entry,)

        def leave() -> None:
            self._listeners = tuple(other for other in self._listeners if other is not entry)

        return leave

    def publish(self, event: object) -> None:
        """Tell it. A listener that fails is logged, and hurts neither the publisher nor the other listeners."""
        for kind, listener in self._listeners:
            if isinstance(event, kind):
                self._tell(listener, event)

    @staticmethod
    def _tell(listener: Callable[[Any], None], event: object) -> None:
        try:
            listener(event)
        except Exception:
            log.failure("{listener} failed on {event}", listener=listener, event=event)
