"""The bus tells everybody who asked, in order, whatever the others do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from twisted.trial.unittest import SynchronousTestCase

from quay.events import Actor, Bus, Deleted, Pulled, Pushed, RepositoryCreated, RepositoryEvent
from quay.oci.reference import Digest, RepositoryName, Tag

DIGEST = Digest.of(b"{}")
CALLER = SimpleNamespace(
    principal=SimpleNamespace(kind="robot", name="team+ci", namespace_id=7), ip="192.0.2.1", user_agent="podman/5"
)
REPOSITORY = SimpleNamespace(id=3, namespace_id=2, name=RepositoryName("team", "app"))


def test_by() -> None:
    """An event says who did what to which repository, from where and when."""
    event = Pushed.by(CALLER, REPOSITORY, digest=DIGEST, tag=Tag("v1"), at_ms=5)
    assert event == Pushed(
        actor=Actor("robot", "team+ci", 7),
        repository_id=3,
        namespace_id=2,
        repository=RepositoryName("team", "app"),
        digest=DIGEST,
        tag=Tag("v1"),
        ip="192.0.2.1",
        user_agent="podman/5",
        at_ms=5,
    )


def test_now() -> None:
    """An event happened now, in milliseconds, unless it is told otherwise."""
    before, after = (RepositoryCreated.by(CALLER, REPOSITORY).at_ms for _ in range(2))
    assert 1_700_000_000_000 < before <= after


def test_frozen() -> None:
    """What happened cannot be changed."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        RepositoryCreated.by(CALLER, REPOSITORY).ip = ""  # type: ignore[misc]


class BusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bus = Bus()
        self.told: list[Any] = []
        self.pushed = Pushed.by(CALLER, REPOSITORY, digest=DIGEST)

    def test_by_kind(self) -> None:
        """A listener hears the events of its kind, and of the kinds below it, and no others."""
        self.bus.subscribe(Pushed, self.told.append)
        self.bus.subscribe(RepositoryEvent, lambda event: self.told.append(type(event)))
        self.bus.publish(Pulled.by(CALLER, REPOSITORY, digest=DIGEST))
        self.bus.publish(self.pushed)
        self.bus.publish(object())
        assert self.told == [Pulled, self.pushed, Pushed]

    def test_order(self) -> None:
        """Listeners are called in the order in which they subscribed, before `publish` returns."""
        for number in range(3):
            self.bus.subscribe(Deleted, lambda _, number=number: self.told.append(number))
        self.bus.publish(Deleted.by(CALLER, REPOSITORY, digest=DIGEST))
        assert self.told == [0, 1, 2]

    def test_failing_listener(self) -> None:
        """A listener that fails is logged, and hurts neither the publisher nor the other listeners."""
        self.bus.subscribe(Pushed, lambda _: 1 // 0)
        self.bus.subscribe(Pushed, self.told.append)
        self.bus.publish(self.pushed)
        assert self.told == [self.pushed]
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    def test_leave(self) -> None:
        """Whoever left is not told; leaving twice does no harm, nor does it take a twin along."""
        leave, _ = [self.bus.subscribe(Pushed, self.told.append) for _ in range(2)]
        leave()
        leave()
        self.bus.publish(self.pushed)
        assert self.told == [self.pushed]

    def test_changes_while_telling(self) -> None:
        """Whoever subscribes or leaves while an event is told does so from the next one on."""

        def swap(event: Pushed) -> None:
            leave()
            self.bus.subscribe(Pushed, self.told.append)

        self.bus.subscribe(Pushed, swap)
        leave = self.bus.subscribe(Pushed, lambda _: self.told.append("leaving"))
        self.bus.publish(self.pushed)
        assert self.told == ["leaving"]

    def test_publish_while_telling(self) -> None:
        """A listener may publish what follows from what it was told."""
        self.bus.subscribe(Pushed, lambda _: self.bus.publish(Deleted.by(CALLER, REPOSITORY, digest=DIGEST)))
        self.bus.subscribe(Deleted, lambda event: self.told.append(event.digest))
        self.bus.publish(self.pushed)
        assert self.told == [DIGEST]
