"""
What several nodes agree on: leases, and announcements that each of them hears.

**Exact** means: once `announce` has fired on one node, every other node whose `connected` is True has called its
listeners. A cache that answers only while its coordinator is `connected`, and drops an entry when the change to it
is announced or a gap is called, never answers with what was true before a change whose announcement has fired.

The bound and its price, with Redis (one process has nobody to wait for):

* A node trusts what it heard for less than `patience` (a second) after it last proved, by a round trip on the very
  connection that brings it announcements, that it was listening. It proves it four times a second.
* An announcement waits for every node that could still trust itself, and for `patience` at most: after that, a node
  that has not acknowledged has stopped trusting itself. The same second is waited out after a connection was made or
  lost, because nodes may then be listening that are not yet known.
* When Redis itself was away, a node that has found it again does not trust itself before all others must have found
  it, too: for six times `patience`.
* This holds as long as clocks run at the same rate (to a tenth) and do not jump, and all nodes use the same Redis.
* The one exception: a node that writes but cannot reach Redis while others can. `announce` says so in the log, fires
  within two seconds all the same, because the write has been committed, and owes everyone a gap: all nodes drop what
  they hold when that node is back, or `patience` after it has vanished.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from quay.interfaces import ICoordinator, ILease

Listener = Callable[[bytes], None]

log = Logger()


class CoordinatorUnavailable(Exception):
    """What the nodes agree on cannot be asked or changed now; the message says why and what to do."""


class Listeners:
    """Those who listen on this node. One that fails is logged and hurts nobody else."""

    def __init__(self) -> None:
        self._channels: dict[str, tuple[Listener, ...]] = {}
        self._gap: tuple[Callable[[], None], ...] = ()

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        """As `ICoordinator.subscribe`. A listener that subscribed twice is called twice."""
        entry: Listener = lambda message: listener(message)  # noqa: E731  an identity of its own, to leave by
        self._channels[channel] = (*self._channels.get(channel, ()), entry)

        def leave() -> None:
            staying = tuple(other for other in self._channels.get(channel, ()) if other is not entry)
            self._channels[channel] = staying
            if not staying:
                del self._channels[channel]

        return leave

    def on_gap(self, listener: Callable[[], None]) -> None:
        """As `ICoordinator.on_gap`."""
        self._gap += (listener,)

    def tell(self, channel: str, message: bytes) -> None:
        """Call everyone who listens on `channel`."""
        for listener in self._channels.get(channel, ()):
            try:
                listener(message)
            except Exception:
                log.failure("a listener on {channel} failed", channel=channel)

    def tell_gap(self) -> None:
        """Call everyone who must know that announcements may have been missed."""
        for listener in self._gap:
            try:
                listener()
            except Exception:
                log.failure("a listener failed to take note that announcements may have been missed")


@implementer(ILease)
@attrs.define(eq=False)
class MemoryLease:
    """One holder of a name in the `MemoryCoordinator`'s table."""

    _table: dict[str, MemoryLease]
    _clock: IReactorTime
    _name: str
    expires: float

    def extend(self, seconds: float) -> Deferred[bool]:
        if not self._held():
            return succeed(False)
        self.expires = self._clock.seconds() + check_seconds(seconds)
        return succeed(True)

    def release(self) -> Deferred[None]:
        if self._held():
            del self._table[self._name]
        return succeed(None)

    def _held(self) -> bool:
        return self._table.get(self._name) is self and self._clock.seconds() < self.expires


@implementer(ICoordinator)
class MemoryCoordinator:
    """The coordinator of a node that is alone: nothing can be missed, and nobody has to be waited for."""

    connected = True

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._leases: dict[str, MemoryLease] = {}
        self._listeners = Listeners()

    def lease(self, name: str, seconds: float) -> Deferred[ILease | None]:
        now = self._clock.seconds()
        expires = now + check_seconds(seconds)
        self._forget_expired(now)
        if name in self._leases:
            return succeed(None)
        lease = self._leases[name] = MemoryLease(self._leases, self._clock, name, expires)
        return succeed(lease)

    def _forget_expired(self, now: float) -> None:
        for name in [name for name, lease in self._leases.items() if lease.expires <= now]:
            del self._leases[name]

    def announce(self, channel: str, message: bytes) -> Deferred[None]:
        self._listeners.tell(channel, message)
        return succeed(None)

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        return self._listeners.subscribe(channel, listener)

    def on_gap(self, listener: Callable[[], None]) -> None:
        self._listeners.on_gap(listener)


def check_seconds(seconds: float) -> float:
    """`seconds`, if a lease can last that long. Raises `ValueError`."""
    if not 0 < seconds < inf:
        raise ValueError(f"A lease cannot last {seconds} seconds: give it a positive, finite number.")
    return seconds
