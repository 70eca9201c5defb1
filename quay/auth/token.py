"""
Registry tokens: what `/v2/auth` hands out and every request to `/v2/` shows, a JWT signed with RS256.

`write` and `read` are each other's inverse. Only the fields that Quay puts into a token are written, and in `context`
what a `Principal` (`holder`) and an `Access` (`repositories`) need beside them; nothing is read that is not exactly of
that shape. The type in the header is our own, so that no other kind of token is taken for one of these. A token never
carries the power of a superuser, and never a secret.

Source: Docker Registry v2 token authentication, "Token specification"; RFC 7519; RFC 8725 (best current practices).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import attrs
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from quay.auth.principal import ACTIONS, Access, Kind, Principal
from quay.model.permission import Role
from quay.oci.errors import InvalidRequest, Unauthorized

R = TypeVar("R")

TYPE: Final = "registry+jwt"
ALGORITHM: Final = "RS256"
LIMIT: Final = 12 * 1024
"""Characters in a token: what fits into a request's head beside everything else."""

MAX_LIFETIME: Final = 3660
SKEW: Final = 30
"""Seconds by which the clocks of two nodes may differ."""

KID: Final = re.compile(r"[0-9a-f]{64}")
_SHAPE = re.compile(r"([A-Za-z0-9_-]{1,512})\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]{342,683}")

ENTITY_KINDS: Final[Mapping[Kind, str]] = {
    "anonymous": "anonymous",
    "user": "user",
    "robot": "robot",
    "app_token": "appspecifictoken",
    "oauth_token": "oauthtoken",
    "access_token": "token",
}
_KINDS: Final = {entity: kind for kind, entity in ENTITY_KINDS.items()}
_LEGACY_KINDS: Final[Mapping[Kind, str]] = {
    "anonymous": "anonymous",
    "user": "user",
    "robot": "user",
    "app_token": "user",
    "oauth_token": "oauth",
    "access_token": "token",
}


@attrs.frozen
class Claims:
    """What a verified token says. Times are seconds since the epoch."""

    principal: Principal
    access: Access
    audience: str
    kid: str
    issued: int
    expires: int


def write(claims: Claims, key: RSAKey, issuer: str, roots: Mapping[str, str]) -> str:
    """
    The token that says `claims`, signed with `key`. `roots` names, for a repository, who signs its tags (`quay`,
    `signer`); those without are `$disabled`. Raises `InvalidRequest` if it gets longer than a request can carry.
    """
    header = {"alg": ALGORITHM, "typ": TYPE, "kid": claims.kid}
    payload = json.dumps(_payload(claims, issuer, roots), separators=(",", ":"))
    token = jws.serialize_compact(header, payload, key, algorithms=[ALGORITHM])
    if len(token) > LIMIT:
        raise InvalidRequest(
            f"A token for {len(claims.access.grants)} repositories is too long to be sent with a request.",
            advice="Ask for fewer repositories at once.",
        )
    return token


def kid_of(token: str) -> str:
    """The id of the key that `token` says it was signed with. Nothing is verified yet. Raises `Unauthorized`."""
    shape = _SHAPE.fullmatch(token) if len(token) <= LIMIT else None
    if shape is None:
        raise refused("it is not a token of this registry")
    header = _json(shape[1])
    kid = header.get("kid")
    if header != {"alg": ALGORITHM, "typ": TYPE, "kid": kid} or not isinstance(kid, str) or not KID.fullmatch(kid):
        raise refused(f"its header is not exactly that of a {TYPE} token")
    return kid


def read(token: str, key: RSAKey, issuer: str, audience: str, now: float) -> Claims:
    """
    What `token` says, if `key` signed it, `issuer` made it, for `audience`, and it is valid at the time `now`.
    `key` belongs to `kid_of(token)`. Raises `Unauthorized`.
    """
    kid = kid_of(token)
    try:
        payload = jws.deserialize_compact(token, key, algorithms=[ALGORITHM]).payload
    except (JoseError, ValueError):
        raise refused("its signature is wrong") from None
    try:
        return _claims(json.loads(payload), kid, issuer, audience, now)
    except (KeyError, TypeError, ValueError):  # signed with our key, and yet not written by `write`
        raise refused("what it claims is not what this registry puts into a token") from None


def refused(why: str) -> Unauthorized:
    """Why a token is not taken; `error` is the code of RFC 6750 for the `WWW-Authenticate` header."""
    return Unauthorized(
        f"The bearer token is refused: {why}.",
        advice="Log in again: a client gets a new token from /v2/auth.",
        error="invalid_token",
    )


# --- writing


def _payload(claims: Claims, issuer: str, roots: Mapping[str, str]) -> dict[str, object]:
    repositories = dict(claims.access.repositories)
    return {
        "iss": issuer,
        "aud": claims.audience,
        "sub": claims.principal.name,
        "nbf": claims.issued,
        "iat": claims.issued,
        "exp": claims.expires,
        "access": [
            {"type": "repository", "name": name, "actions": [action for action in ACTIONS if action in granted]}
            for name, granted in claims.access.grants.items()
        ],
        "context": _context(claims.principal, {name: roots.get(name, "$disabled") for name in claims.access.grants})
        | ({"repositories": repositories} if repositories else {}),
    }


def _context(principal: Principal, roots: Mapping[str, str]) -> dict[str, object]:
    person = {"user": principal.name} if principal.namespace_id is not None else {}
    return {
        "version": 2,
        "entity_kind": ENTITY_KINDS[principal.kind],
        "entity_reference": _reference(principal),
        "kind": _LEGACY_KINDS[principal.kind],
        **person,
        "com.apostille.roots": roots,
        "com.apostille.root": next(iter(roots.values())) if len(roots) == 1 else "$disabled",
        "holder": _holder(principal),
    }


def _reference(principal: Principal) -> str | None:
    """What Quay finds the entity by: a person or robot by name, a token by uuid (never by its secret)."""
    if principal.kind == "anonymous":
        return None
    return principal.name if principal.kind in ("user", "robot") else principal.credential_uuid


def _holder(principal: Principal) -> dict[str, object]:
    holder = {
        "namespace": principal.namespace_id,
        "credential": principal.credential_uuid,
        "scopes": None if principal.scopes is None else sorted(principal.scopes),
        "repository": principal.repository_id,
        "role": principal.role,
    }
    return {name: value for name, value in holder.items() if value is not None}


# --- reading; each function raises KeyError, TypeError or ValueError where the shape is wrong


def _claims(payload: Any, kid: str, issuer: str, audience: str, now: float) -> Claims:
    issued, expires = _times(payload, now)
    if payload["iss"] != issuer:
        raise refused("another service made it")
    if payload["aud"] != audience:
        raise refused(f"it is not for {audience}")
    principal = _principal(_string(payload["sub"]), payload["context"])
    access = _access(payload["access"], payload["context"].get("repositories", {}))
    return Claims(principal, access, audience, kid, issued, expires)


def _times(payload: Any, now: float) -> tuple[int, int]:
    issued, expires, since = (_integer(payload[name]) for name in ("iat", "exp", "nbf"))
    if now >= expires + SKEW:
        raise refused("it has expired")
    if now < max(issued, since) - SKEW:
        raise refused("it is not valid yet; the clocks of two servers may differ")
    if not 0 < expires - min(issued, since) <= MAX_LIFETIME:
        raise refused(f"its lifetime is not between 1 s and {MAX_LIFETIME} s")
    return issued, expires


def _principal(name: str, context: Any) -> Principal:
    if context["version"] != 2:
        raise ValueError("another version")
    holder = _object(context["holder"])
    scopes = _maybe(_strings, holder.get("scopes"))
    role = _maybe(_integer, holder.get("role"))
    return Principal(
        kind=_KINDS[context["entity_kind"]],
        name=name,
        namespace_id=_maybe(_integer, holder.get("namespace")),
        credential_uuid=_maybe(_string, holder.get("credential")),
        scopes=None if scopes is None else frozenset(scopes),
        repository_id=_maybe(_integer, holder.get("repository")),
        role=None if role is None else Role(role),
    )


def _access(grants: Any, repositories: object) -> Access:
    numbers = {name: _integer(number) for name, number in _object(repositories).items()}
    return Access(dict(map(_grant, _list(grants))), numbers)


def _grant(grant: Any) -> tuple[str, frozenset[str]]:
    actions = frozenset(_strings(grant["actions"]))
    if grant["type"] != "repository" or not actions.issubset(ACTIONS):
        raise ValueError("not a grant on a repository")
    return _string(grant["name"]), actions


def _maybe(check: Callable[[object], R], value: object) -> R | None:
    return None if value is None else check(value)


def _integer(value: object) -> int:
    if type(value) is not int:  # a bool is an int, and a float may be NaN
        raise TypeError("not an integer")
    return value


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _strings(value: object) -> list[str]:
    return [_string(item) for item in _list(value)]


def _json(segment: str) -> dict[str, Any]:
    """The JSON object in one base64url segment. Raises `Unauthorized`."""
    try:
        value = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise refused("its header is not JSON")
    return value
