"""
The keys that sign registry tokens, and the verification of tokens that any node of this installation has signed.

Each process makes its own RSA key, keeps the private half in memory only, and publishes the public half as a service
key in the database before the first token is signed with it; so every node verifies every other's tokens, and those
of a process that is gone, until they expire. A key is named by its RFC 7638 thumbprint, in hex.

A token is verified once and then remembered: until it expires, or its key is revoked. Nothing is answered from memory
while a revocation could be missed.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

import attrs
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from quay.auth import token
from quay.auth.principal import Access, Principal
from quay.auth.remembered import Remembered, Shared
from quay.auth.token import Claims
from quay.database import Change, Database, Transaction
from quay.interfaces import IPool
from quay.model import key as service_key
from quay.model.key import ServiceKey
from quay.oci.errors import Unavailable

BITS: Final = 2048
UNKNOWN_S: Final = 5
"""Seconds for which a key id that nobody published is not looked up again."""


@attrs.frozen
class PublicKey:
    """A published key. `expires` is in seconds since the epoch."""

    kid: str
    rsa: RSAKey = attrs.field(eq=False)
    expires: float

    @classmethod
    def of(cls, row: ServiceKey) -> PublicKey | None:
        """The key in `row`; None if it is not an RSA key, or not the one that its id names."""
        try:
            rsa = RSAKey.import_key(dict(row.jwk))
        except (JoseError, KeyError, TypeError, ValueError):
            return None
        expires = float("inf") if row.expires_ms is None else row.expires_ms / 1000
        return cls(row.kid, rsa, expires) if kid(rsa) == row.kid else None

    def jwk(self) -> dict[str, object]:
        """The public key as a JWK (RFC 7517), fit for a JWK set."""
        return {**self.rsa.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": token.ALGORITHM}


@attrs.frozen
class SigningKey:
    """A private key of this process."""

    kid: str
    rsa: RSAKey = attrs.field(repr=False, eq=False)
    made: float
    expires: float


class Keyring(Service):
    """
    Mints and verifies registry tokens. A new key every `rotate_s` seconds, valid for `valid_s`; the published keys are
    read again every `refresh_s`, so that a revocation is in force by then even if its announcement was missed.
    `trusted` says whether announcements are heard now.
    """

    name = "keyring"
    _log = Logger()

    def __init__(
        self,
        database: Database,
        pool: IPool,
        clock: IReactorTime,
        *,
        service: str = "quay",
        rotate_s: float = 55 * 60,
        valid_s: float = 120 * 60,
        refresh_s: float = 60,
        remembered: int = 4096,
    ) -> None:
        if valid_s < rotate_s + token.MAX_LIFETIME:
            raise ValueError(f"A key valid for {valid_s} s ends before the last token that is signed with it.")
        self._database = database
        self._pool = pool
        self._clock = clock
        self._service = service
        self._rotate_s = rotate_s
        self._valid_s = valid_s
        self._refresh_s = refresh_s
        self.trusted: Callable[[], bool] = lambda: True
        self._signing: SigningKey | None = None
        self._keys: dict[str, PublicKey] = {}
        self._changes = 0
        self._tokens: Remembered[str, Claims] = Remembered(clock.seconds, remembered)
        self._unknown: Remembered[str, bool] = Remembered(clock.seconds, 1024)
        self._looking: Shared[str, PublicKey | None] = Shared()
        self._mending: Shared[str, None] = Shared()
        self._upkeep = LoopingCall(lambda: Deferred.fromCoroutine(self._keep_up()))
        self._upkeep.clock = clock
        self._ended: Deferred[Any] | None = None

    async def start(self) -> None:
        """Read the published keys and publish one of our own. Fails if the database does."""
        await self._refresh()
        await self._rotate()
        self._ended = self._upkeep.start(self._refresh_s, now=False)

    async def stop(self) -> None:
        """Stop rotating, and forget the private key."""
        ended, self._ended = self._ended, None
        if ended is not None:
            self._upkeep.stop()
            await ended
        self._signing = None

    # --- tokens

    async def mint(
        self,
        principal: Principal,
        audience: str,
        access: Access,
        lifetime: int = 3600,
        roots: Mapping[str, str] | None = None,
    ) -> str:
        """
        A token with which `principal` has `access` to the service `audience` for up to `lifetime` seconds; `roots`
        as in `token.write`. Raises `Unavailable` if there is no key to sign with, and `InvalidRequest` for a token
        that gets too long.
        """
        if not audience or not 0 < lifetime <= token.MAX_LIFETIME:
            raise ValueError(f"A token needs an audience and a lifetime of 1 to {token.MAX_LIFETIME} s.")
        if self._signing is not None and self._signing.kid not in self._keys:  # it has been changed, or revoked
            await self._mending.run("", self._keep_up)
        key, now = self._signing, int(self._clock.seconds())
        if key is None or key.expires <= now + token.SKEW:
            raise _no_key()
        claims = Claims(principal, access, audience, key.kid, now, min(now + lifetime, int(key.expires)))
        return await self._pool.run(token.write, claims, key.rsa, self._service, roots or {})

    def verified(self, text: str, audience: str) -> Claims | None:
        """What the token `text` claims, if it is remembered as verified: a look into a table, and nothing else."""
        claims = self._tokens.get(text)
        return claims if claims is not None and claims.audience == audience and self.trusted() else None

    async def verify(self, text: str, audience: str) -> Claims:
        """What the token `text` claims, if this installation signed it for `audience`. Raises `Unauthorized`."""
        claims = self.verified(text, audience)
        if claims is not None:
            return claims
        key = await self._key(token.kid_of(text))
        claims = token.read(text, key.rsa, self._service, audience, self._clock.seconds())
        if self._keys.get(key.kid) == key and self.trusted():  # else it may have been revoked while we looked
            self._tokens.keep(text, claims, min(claims.expires + token.SKEW, key.expires))
        return claims

    # --- keys

    def jwks(self) -> dict[str, list[dict[str, object]]]:
        """The public keys that are valid now, as a JWK set (RFC 7517)."""
        now = self._clock.seconds()
        return {"keys": [key.jwk() for _, key in sorted(self._keys.items()) if now < key.expires]}

    def forget(self, changes: Iterable[Change]) -> None:
        """Drop what rests on a service key that has changed: to be told of every commit, on every node."""
        kids = {change[1] for change in changes if change[0] == "key"}
        if kids:
            self._changes += 1
            self._replace({kid: key for kid, key in self._keys.items() if kid not in kids})
            self._unknown.drop(lambda _: True)

    def forget_all(self) -> None:
        """Drop what rests on any key but our own: revocations may have been missed. They are looked up when needed."""
        own = self._signing.kid if self._signing is not None else ""
        self._changes += 1
        self._keys = {kid: key for kid, key in self._keys.items() if kid == own}
        self._tokens.drop(lambda _: True)
        self._unknown.drop(lambda _: True)

    async def _key(self, kid: str) -> PublicKey:
        known = self._keys.get(kid) if self.trusted() else None
        key = known or await self._looking.run(kid, lambda: self._look_up(kid))
        if key is None:
            raise token.refused("the key that signed it is unknown or revoked")
        if key.expires <= self._clock.seconds():
            raise token.refused("the key that signed it has expired")
        return key

    async def _look_up(self, kid: str) -> PublicKey | None:
        if self._unknown.get(kid):
            return None
        changes = self._changes
        row = await self._database.read(service_key.find, kid)
        key = PublicKey.of(row) if row is not None and self._trusts(row) else None
        if changes == self._changes:
            self._learn(kid, key)
        return key

    def _trusts(self, row: ServiceKey) -> bool:
        return row.service == self._service and row.approved_ms is not None

    def _learn(self, kid: str, key: PublicKey | None) -> None:
        if key is None:
            self._unknown.keep(kid, True, self._clock.seconds() + UNKNOWN_S)
        else:
            self._keys[kid] = key

    async def _refresh(self) -> None:
        changes = self._changes
        rows = await self._database.read(service_key.active, self._service)
        if changes == self._changes:  # else the next round does it
            keys = (PublicKey.of(row) for row in rows if self._trusts(row))
            self._replace({key.kid: key for key in keys if key is not None})

    def _replace(self, keys: dict[str, PublicKey]) -> None:
        self._keys = keys
        self._tokens.drop(lambda claims: claims.kid not in keys)

    # --- our own key

    async def _keep_up(self) -> None:
        try:
            await self._refresh()
            if self._due():
                await self._rotate()
        except Exception:  # whatever it was, the next round tries again, and meanwhile the old key goes on
            self._log.failure("The signing keys could not be brought up to date; next try in {s} s", s=self._refresh_s)

    def _due(self) -> bool:
        key = self._signing
        return key is None or key.kid not in self._keys or self._clock.seconds() >= key.made + self._rotate_s

    async def _rotate(self) -> None:
        rsa = await self._pool.run(generate)
        now = self._clock.seconds()
        key = SigningKey(kid(rsa), rsa, now, now + self._valid_s)
        await self._database.write(_publish, key, self._service)
        self._keys[key.kid] = PublicKey(key.kid, rsa, key.expires)
        self._signing = key
        self._log.info("Signing registry tokens with key {kid}", kid=key.kid)


def generate() -> RSAKey:
    """A new private key. Takes a tenth of a second of one processor."""
    return RSAKey.generate_key(BITS, auto_kid=False)


def kid(rsa: RSAKey) -> str:
    """The key's id: its RFC 7638 thumbprint in hex."""
    return base64.urlsafe_b64decode(rsa.thumbprint() + "=").hex()


def _publish(txn: Transaction, key: SigningKey, service: str) -> None:
    public = cast(dict[str, Any], key.rsa.as_dict(private=False))
    service_key.publish(txn, key.kid, service, public, int(key.expires * 1000), approved=True)
    service_key.prune(txn)


def _no_key() -> Unavailable:
    return Unavailable(
        "The registry has no valid key to sign tokens with.",
        advice="Try again in a minute. If it lasts, its log says why the key could not be renewed.",
        headers={"Retry-After": "30"},
    )
