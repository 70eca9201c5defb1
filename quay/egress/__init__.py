"""
The one outbound HTTP client: nobody else dials out.

It calls addresses that users choose (webhooks, mirrors), so it looks the name up itself, checks every address against
the policy, and connects to exactly what it has checked: a name that leads elsewhere a moment later gains nothing. So
does each redirect, if any is followed at all. Time, size and the number of calls at once are bounded, whatever the
other side does; nothing of an answer is logged.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Final

import attrs
import treq.client
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseFailed, ResponseNeverReceived
from zope.interface import implementer

from quay import __version__
from quay.egress.policy import Address, EgressError, EgressFailed, EgressRefused, Policy, Target
from quay.egress.wire import Bytes, Collector, Line, PlainAgent

__all__ = ["Answer", "Egress", "EgressError", "EgressFailed", "EgressRefused", "Policy", "Target"]

TIMEOUT_S: Final = 10.0
LIMIT: Final = 64 * 1024
HEAD_LIMIT: Final = 64 * 1024
"""Bytes that may come besides a body: the head, and what TLS and chunks add."""
DRAIN: Final = 16 * 1024
DRAIN_S: Final = 1.0
"""How much of a body that nobody reads is waited for, and for how long."""
HANG_UP_S: Final = 1.0
"""How long a connection may take to close after the end of an answer."""
AT_ONCE: Final = 16
USER_AGENT: Final = f"quay-on-one-reactor/{__version__}"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_REDIRECTS: Final = (301, 302, 303, 307, 308)


@attrs.frozen
class Answer:
    """What the other side said; `headers` in lower case. `complete` is False if the body was longer than the limit."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    complete: bool = True

    @property
    def succeeded(self) -> bool:
        """Whether the status is one of 2xx."""
        return 200 <= self.status < 300


@attrs.frozen(kw_only=True)
class _Request:
    method: str
    target: Target
    headers: Mapping[str, str]
    body: bytes | None
    limit: int


class Egress:
    """
    Calls other servers, under `policy`. `trust` are the CAs that are believed, those of the machine while it is None; a
    `resolver` other than the reactor's is for tests.
    """

    def __init__(self, reactor: Any, policy: Policy, *, trust: Any = None, resolver: Any = None) -> None:
        self._reactor = reactor
        self._policy = policy
        self.trust = trust
        self._resolver = resolver
        self._slots = DeferredSemaphore(AT_ONCE)

    def check(self, url: str) -> Target:
        """Where `url` leads, if nothing speaks against it before its name is looked up. Raises `EgressRefused`."""
        target = Target.parse(url)
        self._policy.check(target)
        return target

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int = LIMIT,
        redirects: int = 0,
        timeout_s: float = TIMEOUT_S,
    ) -> Answer:
        """
        The answer to one request, within `timeout_s` seconds from when its turn has come. Of the body, `limit` bytes
        are read; with 0, none is given, and it is hardly waited for. Redirects are followed `redirects` times at most,
        and only those of GET and HEAD; otherwise they are the answer. Raises `EgressRefused`, `EgressFailed`.
        """
        fields = {"User-Agent": USER_AGENT} | dict(headers or {})
        _check_headers(fields)
        asked = _Request(method=method.upper(), target=self.check(url), headers=fields, body=body, limit=limit)
        answered: Deferred[Answer] = self._slots.run(self._in_time, asked, redirects, timeout_s)
        return await answered

    def _in_time(self, asked: _Request, redirects: int, timeout_s: float) -> Deferred[Answer]:
        def late(result: object, timeout: float) -> Answer:
            if isinstance(result, Answer):
                return result
            raise EgressFailed(f"{asked.target.host} did not answer within {timeout:.0f} seconds.")

        answering = Deferred.fromCoroutine(self._follow(asked, redirects))
        return answering.addTimeout(timeout_s, self._reactor, late)

    async def _follow(self, asked: _Request, redirects: int) -> Answer:
        if asked.method not in ("GET", "HEAD") or asked.body is not None:
            redirects = 0
        for _ in range(redirects):
            answer = await self._ask(asked)
            if answer.status not in _REDIRECTS or "location" not in answer.headers:
                return answer
            asked = _redirected(asked, asked.target.follow(answer.headers["location"]))
            self._policy.check(asked.target)
        answer = await self._ask(asked)
        if redirects and answer.status in _REDIRECTS:
            raise EgressFailed(f"{asked.target.host} redirects again and again.")
        return answer

    async def _ask(self, asked: _Request) -> Answer:
        target = asked.target
        addresses = self._policy.choose(target.host, await self._addresses(target))
        line = Line(self._reactor, target, addresses, self._policy, self.trust, asked.limit + HEAD_LIMIT)
        ended = False
        try:
            answer = await self._talk(asked, line)
            ended = answer.complete
            return answer
        except EgressError:
            raise
        except Exception as error:
            raise _translated(error, target.host) from None  # what lies below may quote the URL
        finally:
            line.hang_up(HANG_UP_S if ended else 0)

    async def _talk(self, asked: _Request, line: Line) -> Answer:
        agent = PlainAgent(Agent.usingEndpointFactory(self._reactor, line))
        headers: Any = dict(asked.headers)  # a dict is invariant, and treq wants one of text or bytes
        response: Any = await treq.client.HTTPClient(agent, data_to_body_producer=Bytes).request(
            asked.method,
            asked.target.url,
            headers=headers,
            data=asked.body,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        collector = Collector(asked.limit or DRAIN)
        response.deliverBody(collector)
        body, complete = await (collector.done if asked.limit else self._drained(collector))
        return Answer(response.code, _fields(response.headers), body, complete)

    def _drained(self, collector: Collector) -> Deferred[tuple[bytes, bool]]:
        """Let a body end that nobody reads, within reason, because a cut connection fills the log of the other side."""
        done = collector.done.addTimeout(DRAIN_S, self._reactor)
        return done.addCallbacks(lambda drained: (b"", drained[1]), lambda _: (b"", False))

    async def _addresses(self, target: Target) -> list[Address]:
        if target.literal is not None:
            return [target.literal]
        lookup = _Lookup()
        resolver = self._reactor.nameResolver if self._resolver is None else self._resolver
        resolver.resolveHostName(lookup, target.host, target.port)
        return await lookup.done


@implementer(IResolutionReceiver)
class _Lookup:
    """Collects the addresses of a name; a lookup that takes too long goes on, and nobody listens to it."""

    def __init__(self) -> None:
        self.done: Deferred[list[Address]] = Deferred()
        self._found: list[Address] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Nothing is known yet."""

    def addressResolved(self, address: IAddress) -> None:
        found: Any = address
        self._found.append(ipaddress.ip_address(found.host))

    def resolutionComplete(self) -> None:
        self.done.callback(self._found)


def _check_headers(fields: Mapping[str, str]) -> None:
    for name, value in fields.items():
        if _TOKEN.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise EgressRefused(f"The header {name[:80]!r} of the request would break it: remove the line breaks.")


def _redirected(asked: _Request, target: Target) -> _Request:
    """The same to another place; what was meant for one host is not shown to another."""
    headers = asked.headers
    if target.origin != asked.target.origin:
        headers = {name: value for name, value in headers.items() if name.lower() in ("accept", "user-agent")}
    return attrs.evolve(asked, target=target, headers=headers)


def _fields(headers: Any) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
        for name, values in headers.getAllRawHeaders()
    }


def _translated(error: Exception, host: str) -> Exception:
    """What went wrong, in a sentence that does not tell more of a network than whether it works."""
    reasons: list[Any] = [error]
    if isinstance(error, ResponseFailed | ResponseNeverReceived):
        reasons += [reason.value if isinstance(reason, Failure) else reason for reason in error.reasons]
    if any(isinstance(reason, CancelledError | ConnectingCancelledError) for reason in reasons):
        return CancelledError()
    if any(isinstance(reason, SSL.Error | VerificationError) for reason in reasons):
        return EgressFailed(
            f"No secure connection to {host} could be made: its certificate must be valid, for this name, and issued "
            "by a CA that this registry knows (EGRESS_CA)."
        )
    if isinstance(error, ConnectError):
        return EgressFailed(f"No connection to {host} could be made.")
    if isinstance(error, ResponseFailed | ResponseNeverReceived | ConnectionClosed):
        return EgressFailed(f"{host} ended the connection without a proper answer.")
    return error
