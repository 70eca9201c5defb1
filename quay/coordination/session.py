"""
A session with Redis: two connections, made and lost together. One asks, the other listens, because a connection that
has subscribed can do nothing else.

txredisapi speaks the protocol, and nothing more of it is used: its factories bring a reconnection, timers and a
reactor of their own. Source: Redis protocol specification (RESP2), "Pub/sub".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Self
from urllib.parse import SplitResult, unquote, urlsplit

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.logger import Logger
from twisted.python.failure import Failure
from txredisapi import RedisError, RedisProtocol, SubscriberProtocol

from quay.coordination import CoordinatorUnavailable

Heard = Callable[[bytes, bytes], None]
"""Called with the channel and the message."""

FAILURES: Final = (RedisError, ConnectError, DNSLookupError, OSError, TimeoutError)

log = Logger()


@attrs.frozen
class RedisAddress:
    """
    Where Redis is and how to be let in. `path` is that of a UNIX socket, and is used instead of host and port if
    given; `ca` is a PEM certificate that is trusted instead of the system's.
    """

    host: str = "127.0.0.1"
    port: int = 6379
    path: str = ""
    username: str = ""
    password: str = attrs.field(default="", repr=False)
    database: int = 0
    tls: bool = False
    ca: bytes = attrs.field(default=b"", repr=False)

    @classmethod
    def parse(cls, url: str, ca: bytes = b"") -> Self:
        """
        The address in `redis[s]://[user][:password@]host[:port][/database]` or `unix://[:password@]/path`. Raises
        `ValueError`; its message does not contain the URL, because the password is in it.
        """
        try:
            return cls(ca=ca, **_parts(urlsplit(url)))
        except ValueError:
            raise ValueError(
                "This is not the URL of a Redis. Write redis://:password@host:6379/0, rediss://… for TLS, or "
                "unix:///path; percent-encode what is not a letter or a digit in the password."
            ) from None

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        return f"redis{'s' if self.tls else ''}://{self.host}:{self.port}/{self.database}"

    def endpoint(self, reactor: Any) -> IStreamClientEndpoint:
        """Where to connect to; with TLS, the peer's certificate and name are verified."""
        if self.path:
            return UNIXClientEndpoint(reactor, self.path)
        plain = HostnameEndpoint(reactor, self.host, int(self.port))  # getaddrinfo wants an int, and no kind of it
        if not self.tls:
            return plain
        trust = trustRootFromCertificates([Certificate.loadPEM(self.ca)]) if self.ca else None
        endpoint: IStreamClientEndpoint = wrapClientTLS(optionsForClientTLS(self.host, trustRoot=trust), plain)
        return endpoint


def _parts(url: SplitResult) -> dict[str, Any]:
    user = {"username": unquote(url.username or ""), "password": unquote(url.password or "")}
    if url.scheme == "unix" and url.path and not url.hostname:
        return {"path": url.path, **user}
    if url.scheme in ("redis", "rediss") and url.hostname:
        database = int(url.path.strip("/") or 0)
        place = {"host": url.hostname, "port": url.port or 6379, "database": database, "tls": url.scheme == "rediss"}
        return {**place, **user}
    raise ValueError


class Session:
    """
    Whatever goes wrong in a session fails with `CoordinatorUnavailable`. When the first of its connections is gone,
    `lost` is called, before any command under way fails; the other connection goes with it.
    """

    def __init__(
        self, reactor: Any, address: RedisAddress, endpoint: IStreamClientEndpoint, lost: Callable[[Session], None]
    ) -> None:
        self._reactor = reactor
        self._address = address
        self._endpoint = endpoint
        self._lost = lost
        self._why = ""
        self._alive: set[RedisProtocol] = set()
        self._asking = RedisProtocol(charset=None, convertNumbers=False)
        self._listening = SubscriberProtocol(charset=None, convertNumbers=False)
        self._gone = [self._watch(self._asking), self._watch(self._listening)]

    async def open(self, channels: list[str], heard: Heard, within: float) -> None:
        """Connect, log in, and subscribe to `channels`, within so many seconds; `heard` gets what comes on them."""
        try:
            await Deferred.fromCoroutine(self._open(channels, heard)).addTimeout(within, self._reactor)
        except FAILURES as failure:
            self.abort()
            raise self._unavailable(failure) from failure
        except CancelledError:
            self.abort()
            raise

    async def evaluate(self, script: str, keys: list[str], args: list[object], within: float) -> Any:
        """What the Lua `script` returns."""
        return await self._answer(self._asking.eval, script, keys, args, within=within)

    async def set_new(self, key: str, value: str, milliseconds: int, within: float) -> bool:
        """Set `key`, for a time, unless it is set."""
        command = ("SET", key, value, "NX", "PX", milliseconds)
        return await self._answer(self._asking.execute_command, *command, within=within) is not None

    async def prove_listening(self, within: float) -> None:
        """Succeeds when everything published before this call has been heard."""
        await self._answer(self._listening.ping, within=within)

    def publish(self, channel: str, message: bytes) -> None:
        """Publish without waiting; if it fails, so does the session."""
        if self._asking.connected:
            self._asking.publish(channel, message).addErrback(lambda _: self.abort())

    def abort(self) -> None:
        """Cut both connections, without waiting for a peer that may be silent."""
        for protocol in tuple(self._alive):
            protocol.transport.abortConnection()

    async def close(self) -> None:
        """Cut both connections of an open session, and wait until they are gone."""
        self.abort()
        await DeferredList(self._gone)

    async def _open(self, channels: list[str], heard: Heard) -> None:
        self._listening.messageReceived = lambda _, channel, message: heard(channel, message)
        for protocol in (self._asking, self._listening):
            await self._connect(protocol)
            await self._log_in(protocol)
        for channel in channels:  # one at a time: the protocol takes one confirmation for each command
            await self._listening.subscribe(channel)

    async def _connect(self, protocol: RedisProtocol) -> None:
        factory = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        try:
            await self._endpoint.connect(factory)
        except ConnectingCancelledError as cancelled:  # the endpoint's own word for it
            raise CancelledError from cancelled
        self._alive.add(protocol)

    async def _log_in(self, protocol: RedisProtocol) -> None:
        if self._address.password:
            await protocol.auth(self._address.password, self._address.username or None)
        if self._address.database:
            await protocol.select(self._address.database)

    async def _answer(self, command: Callable[..., Deferred[Any]], *args: object, within: float) -> Any:
        try:
            return await command(*args).addTimeout(within, self._reactor)
        except FAILURES as failure:
            raise self._unavailable(failure) from failure

    def _watch(self, protocol: RedisProtocol) -> Deferred[None]:
        gone: Deferred[None] = Deferred()
        clean_up = protocol.connectionLost

        def lost(why: Failure) -> None:
            self._alive.discard(protocol)  # nothing may be asked of its transport any more
            if not self._why:
                self._why = why.getErrorMessage()
                self._lost(self)
                self.abort()
            clean_up(why)
            gone.callback(None)

        protocol.connectionLost = lost
        return gone

    def _unavailable(self, failure: BaseException) -> CoordinatorUnavailable:
        silent = "it does not answer" if isinstance(failure, TimeoutError) else ""
        why = (self._why or silent or str(failure) or type(failure).__name__).rstrip(".")
        return CoordinatorUnavailable(
            f"Redis at {self._address}, through which the nodes of this registry agree, cannot be used: {why}. "
            "Check that it runs there, that this machine may connect to it, and the password."
        )
