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
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from twisted.web.client import Agent
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from quay import __version__
from quay.egress.flow import HANG_UP_S, Body, Patience, Sending, Stream, fields, translated
from quay.egress.policy import Address, EgressError, EgressFailed, EgressRefused, Policy, Target
from quay.egress.wire import Bytes, Collector, Line, PlainAgent

__all__ = ["Answer", "Body", "Egress", "EgressError", "EgressFailed", "EgressRefused", "Policy", "Stream", "Target"]

TIMEOUT_S: Final = 10.0
LIMIT: Final = 64 * 1024
HEAD_LIMIT: Final = 64 * 1024
"""Bytes that may come besides a body: the head, and what TLS and chunks add."""
DRAIN: Final = 16 * 1024
DRAIN_S: Final = 1.0
"""How much of a body that nobody reads is waited for, and for how long."""
AT_ONCE: Final = 16
"""Requests, and as many streams besides: a long one does not keep a short one waiting."""
PATIENCE_S: Final = 30.0
"""How long a stream may stand still."""
USER_AGENT: Final = f"quay-on-one-reactor/{__version__}"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_FOR_ANYBODY: Final = ("accept", "range", "user-agent")
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
    body: bytes | Sending | None
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
        self._streams = DeferredSemaphore(AT_ONCE)

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

    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        limit: int = LIMIT,
        redirects: int = 0,
        patience_s: float = PATIENCE_S,
    ) -> Stream:
        """
        The answer to one request, as soon as its head is there: for the caller to close. Each side may take its time,
        but not stand still for `patience_s` seconds. A body longer than `limit` fails in the middle. Redirects as in
        `request`. Raises `EgressRefused`, `EgressFailed`.
        """
        given = {"User-Agent": USER_AGENT} | dict(headers or {})
        _check_headers(given)
        sending = None if body is None else Sending(body)
        asked = _Request(method=method.upper(), target=self.check(url), headers=given, body=sending, limit=limit)
        await self._streams.acquire()
        try:
            return await self._streaming(asked, redirects if sending is None else 0, patience_s)
        except BaseException:
            self._streams.release()
            raise

    async def _streaming(self, asked: _Request, redirects: int, patience_s: float) -> Stream:
        for left in range(redirects, -1, -1):
            response, line = await self._begun(asked, patience_s)
            location = fields(response.headers).get("location")
            if not redirects or response.code not in _REDIRECTS or location is None:
                return self._stream(asked, response, line, patience_s)
            line.hang_up(0)
            if left:
                asked = _redirected(asked, asked.target.follow(location))
                self._policy.check(asked.target)
        raise EgressFailed(f"{asked.target.host} redirects again and again.")

    def _stream(self, asked: _Request, response: Any, line: Line, patience_s: float) -> Stream:
        def hang_up(within_s: float) -> None:
            self._streams.release()
            line.hang_up(within_s)

        return Stream(asked.target.host, response, asked.limit, self._reactor, patience_s, hang_up)

    async def _begun(self, asked: _Request, patience_s: float) -> tuple[Any, Line]:
        wide = attrs.evolve(asked, limit=2 * asked.limit)  # what TLS and chunks add; the stream counts the body
        opening = Deferred.fromCoroutine(self._opened(wide))
        patience = Patience(self._reactor, patience_s, opening.cancel)
        if isinstance(asked.body, Sending):
            asked.body.patience = patience
        try:
            return await opening
        except CancelledError:
            if patience.exhausted:
                raise EgressFailed(f"{asked.target.host} did not answer within {patience_s:.0f} seconds.") from None
            raise
        finally:
            patience.end()

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
        response, line = await self._opened(asked)
        ended = False
        try:
            collector = Collector(asked.limit or DRAIN)
            response.deliverBody(collector)
            body, ended = await (collector.done if asked.limit else self._drained(collector))
            return Answer(response.code, fields(response.headers), body, ended)
        except Exception as error:
            raise translated(error, asked.target.host) from None  # what lies below may quote the URL
        finally:
            line.hang_up(HANG_UP_S if ended else 0)

    async def _opened(self, asked: _Request) -> tuple[Any, Line]:
        """The head of the answer, and the line on which its body comes, for the caller to hang up."""
        target = asked.target
        addresses = self._policy.choose(target.host, await self._addresses(target))
        line = Line(self._reactor, target, addresses, self._policy, self.trust, asked.limit + HEAD_LIMIT)
        try:
            return await self._talk(asked, line), line
        except Exception as error:
            line.hang_up(0)
            raise translated(error, target.host) from None
        except BaseException:
            line.hang_up(0)
            raise

    async def _talk(self, asked: _Request, line: Line) -> Any:
        agent = PlainAgent(Agent.usingEndpointFactory(self._reactor, line))
        headers: Any = dict(asked.headers)  # a dict is invariant, and treq wants one of text or bytes
        return await treq.client.HTTPClient(agent, data_to_body_producer=_producer).request(
            asked.method,
            asked.target.url,
            headers=headers,
            data=asked.body,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )

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


def _producer(body: bytes | Sending) -> IBodyProducer:
    return IBodyProducer(Bytes(body) if isinstance(body, bytes) else body)


def _check_headers(fields: Mapping[str, str]) -> None:
    for name, value in fields.items():
        if _TOKEN.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise EgressRefused(f"The header {name[:80]!r} of the request would break it: remove the line breaks.")


def _redirected(asked: _Request, target: Target) -> _Request:
    """The same to another place; what was meant for one host is not shown to another."""
    headers = asked.headers
    if target.origin != asked.target.origin:
        headers = {name: value for name, value in headers.items() if name.lower() in _FOR_ANYBODY}
    return attrs.evolve(asked, target=target, headers=headers)
