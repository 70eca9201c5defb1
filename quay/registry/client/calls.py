"""
Calls to one other registry: authorized as it wants them, again after what passes, and never more than a few at once.

A registry that says `Retry-After` is left alone for so long, by all calls. Whoever is refused with 401 asks the token
server that the challenge names, once; a token serves every call with the same scope until shortly before its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from twisted.internet.defer import DeferredLock, DeferredSemaphore
from twisted.internet.task import deferLater

from quay.egress import Answer, Body, Egress, EgressFailed, EgressRefused, Stream, Target
from quay.egress.policy import EgressError
from quay.registry.client.challenge import Challenge, Credentials, Token, challenges, read_token
from quay.registry.client.errors import RemoteError, RemoteFailed, RemoteRefused, RemoteWrong, refusal

R = TypeVar("R", Answer, Stream)

ATTEMPTS: Final = 5
PAUSE_S: Final = 1.0
"""Before the second attempt; twice as long before each one more."""
LONGEST_PAUSE_S: Final = 60.0
"""What a registry may ask for with `Retry-After`."""
LEEWAY_S: Final = 10
"""A token that ends so soon is not used any more."""
TIMEOUT_S: Final = 60.0
ANSWER_LIMIT: Final = 64 * 1024
REDIRECTS: Final = 4
TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class Calls:
    """
    Calls to the registry at `base`, a URL without a path, `at_once` at most. `random` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        reactor: Any,
        egress: Egress,
        base: str,
        credentials: Credentials | None,
        random: Callable[[], float],
        at_once: int,
    ) -> None:
        self._reactor = reactor
        self._egress = egress
        self._base = Target.parse(base)
        self._credentials = credentials
        self._random = random
        self._slots = DeferredSemaphore(at_once)
        self._not_before = 0.0
        self._basic = False
        self._tokens: dict[str, Token] = {}
        self._asking: dict[str, DeferredLock] = {}

    @property
    def host(self) -> str:
        """The registry, as people call it."""
        return self._base.host

    # --- what is asked

    async def ask(
        self,
        method: str,
        place: str,
        scope: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int = ANSWER_LIMIT,
    ) -> Answer:
        """
        A whole answer of at most `limit` bytes, whatever its status, once it is none of those that pass. `place` is a
        path, or a URL that the registry gave. Raises `RemoteError`.
        """

        async def once(url: str, allowed: Mapping[str, str]) -> Answer:
            sent = {**allowed, **(headers or {})}
            return await self._egress.request(
                method, url, headers=sent, body=body, limit=limit, redirects=REDIRECTS, timeout_s=TIMEOUT_S
            )

        return await self._patiently(place, scope, once)

    async def stream(
        self,
        method: str,
        place: str,
        scope: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Awaitable[Body]] | None = None,
        limit: int = ANSWER_LIMIT,
    ) -> Stream:
        """
        As `ask`, with a body that is still to come, for the caller to close. `body` makes the body of the request anew
        for each attempt.
        """

        async def once(url: str, allowed: Mapping[str, str]) -> Stream:
            sent = {**allowed, **(headers or {})}
            sending = None if body is None else await body()
            return await self._egress.stream(
                method, url, headers=sent, body=sending, limit=limit, redirects=0 if body else REDIRECTS
            )

        return await self._patiently(place, scope, once)

    def refusal(self, doing: str, answer: Answer | Stream) -> RemoteError:
        """What this answer means for `doing`, such as "list the tags of a/b"."""
        _closed(answer)
        return refusal(self.host, doing, answer.status, answer.body if isinstance(answer, Answer) else b"")

    def origin(self, place: str) -> Target:
        """Where `place` is, as the registry names it. Raises `RemoteRefused`."""
        try:
            return self._base.follow(place)
        except EgressRefused as refused:
            raise RemoteRefused(f"{self.host} leads to where nobody goes: {refused}") from None

    # --- patience

    async def _patiently(self, place: str, scope: str, once: Callable[[str, Mapping[str, str]], Awaitable[R]]) -> R:
        target = self.origin(place)
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                answer = await self._authorized(target, scope, once)
            except EgressRefused as refused:
                raise RemoteRefused(str(refused)) from None
            except EgressFailed as failed:
                if last:
                    raise RemoteFailed(str(failed)) from None
                await self.pause(attempt)
                continue
            if answer.status not in TRANSIENT or last:
                return answer
            _closed(answer)
            await self.pause(attempt, answer.headers.get("retry-after"))
        raise AssertionError("the last attempt answers or raises")

    async def pause(self, attempt: int, told: str | None = None) -> None:
        """Wait before the attempt that follows this one, counted from 0; `told` is what `Retry-After` says."""
        pause = PAUSE_S * 2**attempt * (0.5 + self._random())
        if told is not None and told.isascii() and told.isdigit():
            pause = min(max(pause, int(told[:9])), LONGEST_PAUSE_S)
            self._not_before = max(self._not_before, self._reactor.seconds() + pause)
        await deferLater(self._reactor, pause)

    # --- authorization

    async def _authorized(
        self, target: Target, scope: str, once: Callable[[str, Mapping[str, str]], Awaitable[R]]
    ) -> R:
        ours = target.origin == self._base.origin
        answer = await self._in_turn(once, target.url, self._allowed(scope) if ours else {})
        if answer.status != 401 or not ours:
            return answer
        used = self._tokens.get(scope)
        offered = challenges(answer.headers.get("www-authenticate", ""))
        _closed(answer)
        await self._prepare(offered, scope, used)
        return await self._in_turn(once, target.url, self._allowed(scope))

    async def _in_turn(
        self, once: Callable[[str, Mapping[str, str]], Awaitable[R]], url: str, allowed: Mapping[str, str]
    ) -> R:
        async with self._slots:
            wait = self._not_before - self._reactor.seconds()
            if wait > 0:
                await deferLater(self._reactor, wait)
            return await once(url, allowed)

    def _allowed(self, scope: str) -> dict[str, str]:
        token = self._tokens.get(scope)
        if token is not None and token.expires - LEEWAY_S > self._reactor.seconds():
            return {"Authorization": f"Bearer {token.value}"}
        if self._basic and self._credentials is not None:
            return {"Authorization": self._credentials.basic}
        return {}

    async def _prepare(self, offered: list[Challenge], scope: str, used: Token | None) -> None:
        """Get what the registry wants, unless somebody else has got it meanwhile."""
        bearer = next((one for one in offered if one.scheme == "bearer" and "realm" in one.parameters), None)
        if bearer is not None:
            async with self._asking.setdefault(scope, DeferredLock()):
                if self._tokens.get(scope) is used:
                    self._tokens[scope] = await self._token(bearer.parameters, scope)
        elif any(one.scheme == "basic" for one in offered) and self._credentials is not None:
            self._basic = True

    async def _token(self, told: Mapping[str, str], scope: str) -> Token:
        realm = self._realm(told["realm"])
        query = {"service": told["service"]} if "service" in told else {}
        wanted = told.get("scope") or scope
        scopes = [("scope", one) for one in wanted.split()]
        separator = "&" if "?" in realm.path else "?"
        url = f"{realm.url}{separator}{urlencode([*query.items(), *scopes])}"
        headers = {} if self._credentials is None else {"Authorization": self._credentials.basic}
        answer = await self._egress.request("GET", url, headers=headers, limit=ANSWER_LIMIT, timeout_s=TIMEOUT_S)
        if answer.status in TRANSIENT:
            raise EgressFailed(f"The token server of {self.host} answered {answer.status}.")
        if answer.status != 200:
            raise refusal(self.host, "give a token", answer.status, answer.body)
        token = read_token(answer.body, self._reactor.seconds())
        if token is None:
            raise RemoteWrong(f"The token server of {self.host} gave no token that could be used.")
        return token

    def _realm(self, url: str) -> Target:
        """Where the token server is; a password that was to go over https does not go over http."""
        try:
            realm = self._base.follow(url)
            self._egress.check(realm.url)
        except EgressError as error:
            raise RemoteError(f"{self.host} names a token server that is not asked: {error}") from None
        return realm


def _closed(answer: Answer | Stream) -> None:
    if isinstance(answer, Stream):
        answer.close()
