"""
The coordinator of several nodes, through one Redis (6 or later, `maxmemory-policy noeviction`).

`quay.coordination` says what is promised; this is how. All announcements go over one channel. Each node is listed in
a sorted set, with the time until which it may trust what it hears, by a *beat* that it repeats four times in that
time: first it is listed, then it proves that it listens. An announcement is published and the list read in one script,
so the announcing node knows who must acknowledge it, on a channel of the announcing node's own.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as WaitedInVain
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from quay.coordination import CoordinatorUnavailable, Listener, Listeners
from quay.coordination.announcement import Announcement, Receipt, Receipts
from quay.coordination.lease import RedisLease, milliseconds
from quay.coordination.session import RedisAddress, Session
from quay.interfaces import ICoordinator, ILease

GAP: Final = b"gap"
"""What is announced when announcements may have been missed by everybody."""

_NOW: Final = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "
_TELL_GAP: Final = f"redis.call('PUBLISH', KEYS[2], '{GAP.decode()}')"

BEAT: Final = f"""{_NOW}
local vanished = redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
if vanished > 0 or ARGV[3] == '1' then {_TELL_GAP} end
"""
LEAVE: Final = f"redis.call('ZREM', KEYS[1], ARGV[1]) if ARGV[2] == '1' then {_TELL_GAP} end"
ANNOUNCE: Final = f"""{_NOW}
redis.call('PUBLISH', KEYS[2], ARGV[1])
return redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')
"""

log = Logger()


def elapsed() -> float:
    """Seconds on a clock that nobody sets, and that goes on while the machine sleeps, where there is such a one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@implementer(ICoordinator)
class RedisCoordinator(Service):
    """
    Leases and announcements through Redis.

    `prefix` keeps apart the installations that share a Redis. `patience` is the second of `quay.coordination`, and the
    same on all nodes; `elapsed` is the clock that ends trust. A lease fails with `CoordinatorUnavailable` while Redis
    cannot be reached; an announcement does not fail.
    """

    name = "coordinator"

    def __init__(
        self,
        reactor: Any,
        address: RedisAddress,
        *,
        prefix: str = "quay:",
        patience: float = 1.0,
        random: Callable[[], float] = random.random,
        elapsed: Callable[[], float] = elapsed,
    ) -> None:
        self._reactor = reactor
        self._elapsed = elapsed
        self._address = address
        self._endpoint = address.endpoint(reactor)
        self._prefix = prefix
        self._patience = patience
        self._silence = 4 * patience  # a Redis that says nothing for so long is given up
        self._longest_search = self._silence + 2 * patience  # one attempt, and the pause before the next
        self._random = random
        self._node = secrets.token_hex(8)
        self._shared = [f"{prefix}nodes", f"{prefix}announcements"]
        self._receipts_channel = f"{prefix}receipts:"
        self._listeners = Listeners()
        self._receipts: dict[int, Receipts] = {}
        self._number = 0
        self._session: Session | None = None
        self._trusted_from = self._trusted_until = 0.0
        self._away = False  # Redis was not there when we last looked
        self._unsettled_until = 0.0  # nodes may be listening until then that are not listed where we look
        self._owes_gap = False
        self._life: Deferred[None] | None = None

    # --- what it promises

    @property
    def connected(self) -> bool:
        """True while no node's `announce` fires before this node has heard it."""
        return self._session is not None and self._trusted_from <= self._elapsed() < self._trusted_until

    def lease(self, name: str, seconds: float) -> Deferred[ILease | None]:
        return Deferred.fromCoroutine(self._lease(f"{self._prefix}lease:{name}", milliseconds(seconds)))

    def announce(self, channel: str, message: bytes) -> Deferred[None]:
        """As `ICoordinator.announce`; the listeners on this node have been called before this returns."""
        self._number += 1
        announcement = Announcement(self._node, self._number, channel, message)
        return Deferred.fromCoroutine(self._announce(announcement, announcement.encode()))

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        return self._listeners.subscribe(channel, listener)

    def on_gap(self, listener: Callable[[], None]) -> None:
        """As `ICoordinator.on_gap`: called when the connection is lost, and again before it is trusted anew."""
        self._listeners.on_gap(listener)

    # --- life

    async def start(self) -> None:
        """Connect, and stay connected. Fails with `CoordinatorUnavailable` if Redis cannot be used now."""
        if not self.running:
            self._begin(await self._open())

    def startService(self) -> None:
        """Connect as soon as Redis can be used, and stay connected."""
        if not self.running:
            self._begin(None)

    async def stop(self) -> None:
        """Take leave of the other nodes and disconnect."""
        super().stopService()
        life, self._life = self._life, None
        if life is not None:
            life.cancel()
            await life

    def stopService(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.stop())

    def _begin(self, session: Session | None) -> None:
        super().startService()
        living = Deferred.fromCoroutine(self._live(session))
        self._life = living.addErrback(lambda failure: failure.trap(CancelledError))

    async def _live(self, session: Session | None) -> None:
        failures = 0
        while self.running:
            failures = 0 if await self._live_once(session, log_failure=failures == 0) else failures + 1
            session = None
            pause = min(0.2 * 2.0 ** min(failures, 10), self._patience)
            await deferLater(self._reactor, pause * (0.5 + self._random()))

    async def _live_once(self, session: Session | None, log_failure: bool) -> bool:
        """Use one session until it is lost; tells whether there was one."""
        try:
            session = session or await self._attempt(log_failure)
            if session is not None:
                await self._use(session)
        except CancelledError:
            raise
        except Exception:
            log.failure("the connection to Redis failed in an unforeseen way, and is made anew")
        return session is not None

    async def _attempt(self, log_failure: bool) -> Session | None:
        try:
            return await self._open()
        except CoordinatorUnavailable as unavailable:
            self._away = True
            if log_failure:
                log.warn("{unavailable} This node goes on trying.", unavailable=unavailable)
            return None

    async def _open(self) -> Session:
        session = Session(self._reactor, self._address, self._endpoint, self._down)
        own = self._receipts_channel + self._node
        await session.open([self._shared[1], own], lambda *heard: self._heard(session, *heard), self._silence)
        try:
            await self._beat(session)
        except (CoordinatorUnavailable, CancelledError):
            await session.close()
            raise
        return session

    async def _use(self, session: Session) -> None:
        self._up(session)
        try:
            await self._keep_beating(session)
        except CoordinatorUnavailable as unavailable:
            log.warn("{unavailable} Until it can, nothing is answered from memory.", unavailable=unavailable)
        finally:
            self._down(session)
            await self._take_leave(session)
            await session.close()

    def _up(self, session: Session) -> None:
        self._listeners.tell_gap()  # whatever was learned while nothing was heard
        if self._away:  # others may look for it still, and meanwhile change what they cannot announce
            self._away, self._trusted_from = False, self._elapsed() + self._longest_search
        self._session = session
        self._unsettled_until = self._reactor.seconds() + self._patience
        log.info("connected to Redis at {address}", address=self._address)

    def _down(self, session: Session) -> None:
        if self._session is session:
            self._session = None
            self._unsettled_until = self._reactor.seconds() + self._patience
            self._listeners.tell_gap()

    async def _take_leave(self, session: Session) -> None:
        try:
            await session.evaluate(LEAVE, self._shared, [self._node, int(self._owes_gap)], self._patience)
        except CoordinatorUnavailable:
            log.debug("could not take leave: the other nodes will wait for this one once, and drop what they hold")

    # --- beats

    async def _keep_beating(self, session: Session) -> None:
        try:
            while True:
                await deferLater(self._reactor, self._patience / 4)
                await self._beat(session)
        except CoordinatorUnavailable:
            session.abort()
            raise

    async def _beat(self, session: Session) -> None:
        since = self._elapsed()
        await self._be_listed(session)
        await session.prove_listening(self._silence)
        self._trusted_until = since + 0.9 * self._patience  # sooner than the others stop waiting

    async def _be_listed(self, session: Session) -> None:
        owed, self._owes_gap = self._owes_gap, False
        try:
            args = [self._node, round(self._patience * 1000), int(owed)]
            await session.evaluate(BEAT, self._shared, args, self._silence)
        except (CoordinatorUnavailable, CancelledError):
            self._owes_gap |= owed
            raise

    # --- announcements

    async def _announce(self, announcement: Announcement, encoded: bytes) -> None:
        receipts = self._receipts[announcement.number] = Receipts(self._node)
        settled = self._unsettled_until
        self._listeners.tell(announcement.channel, announcement.message)
        try:
            nodes = await self._opened().evaluate(ANNOUNCE, self._shared, [encoded], self._patience)
            receipts.expect(node.decode() for node in nodes)
            await receipts.complete.addTimeout(self._patience, self._reactor)
        except WaitedInVain:
            log.info("the nodes {nodes} did not acknowledge an announcement in time", nodes=receipts.missing)
        except CoordinatorUnavailable as unavailable:
            settled = self._unsettled_until
            self._owe_gap(unavailable)
        finally:
            del self._receipts[announcement.number]
        await self._wait_until(settled)

    def _owe_gap(self, unavailable: CoordinatorUnavailable) -> None:
        if not self._owes_gap:
            log.error("A change could not be announced to the other nodes. {unavailable}", unavailable=unavailable)
        self._owes_gap = True

    async def _wait_until(self, moment: float) -> None:
        seconds = moment - self._reactor.seconds()
        if seconds > 0:
            await deferLater(self._reactor, seconds)

    def _heard(self, session: Session, channel: bytes, message: bytes) -> None:
        try:
            if channel.decode() != self._shared[1]:
                self._take_receipt(Receipt.decode(message))
            elif message == GAP:
                self._listeners.tell_gap()
            else:
                self._told(session, Announcement.decode(message))
        except ValueError:
            log.error(
                "something on {channel} could not be read: is another version of this program there?", channel=channel
            )
            self._listeners.tell_gap()

    def _told(self, session: Session, announcement: Announcement) -> None:
        if announcement.origin != self._node:
            self._listeners.tell(announcement.channel, announcement.message)
            receipt = Receipt(announcement.number, self._node)
            session.publish(self._receipts_channel + announcement.origin, receipt.encode())

    def _take_receipt(self, receipt: Receipt) -> None:
        receipts = self._receipts.get(receipt.number)
        if receipts is not None:
            receipts.take(receipt.node)

    # --- leases

    async def _lease(self, key: str, lasting: int) -> ILease | None:
        token = secrets.token_hex(16)
        held = await self._opened().set_new(key, token, lasting, self._silence)
        return RedisLease(self._compare_and, key, token) if held else None

    async def _compare_and(self, script: str, key: str, *args: object) -> bool:
        """Run a script that changes `key` if it still holds the token, the first of `args`."""
        return bool(await self._opened().evaluate(script, [key], [*args], self._silence))

    def _opened(self) -> Session:
        if self._session is None:
            raise CoordinatorUnavailable(
                f"This node has no connection to Redis at {self._address} now, and goes on trying to make one. "
                "Check that Redis runs there and that this machine may connect to it."
            )
        return self._session
