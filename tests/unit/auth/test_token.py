"""Registry tokens: written, read, and refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import RSAKey

from quay.auth import token
from quay.auth.keyring import generate, kid
from quay.auth.principal import ACTIONS, ANONYMOUS, Access, Principal
from quay.auth.token import Claims
from quay.model.permission import Role
from quay.oci.errors import InvalidRequest, Unauthorized

NOW = 1_800_000_000
KEY = generate()
KID = kid(KEY)
USER = Principal("user", "devtable", 7)
CLAIMS = Claims(USER, Access({"devtable/simple": frozenset({"pull", "push"})}), "quay.example", KID, NOW, NOW + 3600)
HEADER = {"alg": "RS256", "typ": token.TYPE, "kid": KID}


def write(claims: Claims = CLAIMS, roots: dict[str, str] | None = None) -> str:
    return token.write(claims, KEY, "quay", roots or {})


def read(text: str, key: RSAKey = KEY, audience: str = "quay.example", now: float = NOW) -> Claims:
    return token.read(text, key, "quay", audience, now)


def segment(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def payload_of(text: str) -> dict[str, Any]:
    middle = text.split(".")[1]
    payload: dict[str, Any] = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return payload


def signed(payload: Any, header: dict[str, Any] = HEADER, key: RSAKey = KEY) -> str:
    """A token with any payload, and a signature that is right."""
    start = f"{segment(header)}.{segment(payload)}"
    return f"{start}.{segment(jws.JWSRegistry.algorithms['RS256'].sign(start.encode(), key))}"


def altered(**claims: Any) -> str:
    return signed({name: value for name, value in (payload_of(write()) | claims).items() if value is not None})


@pytest.mark.parametrize(
    "principal",
    [
        ANONYMOUS,
        USER,
        Principal("robot", "devtable+bot", 8, credential_uuid="u"),
        Principal("app_token", "devtable", 7, credential_uuid="u"),
        Principal("oauth_token", "devtable", 7, credential_uuid="u", scopes=frozenset({"repo:read", "repo:write"})),
        Principal("oauth_token", "devtable", 7, credential_uuid="u", scopes=frozenset()),
        Principal("access_token", "$token", credential_uuid="u", repository_id=3, role=Role.WRITE),
    ],
)
def test_what_is_written_is_read(principal: Principal) -> None:
    """Every kind of principal comes back from its token as it went in."""
    claims = attrs.evolve(CLAIMS, principal=principal)
    assert read(write(claims)) == claims


def test_the_layout_is_that_of_quay() -> None:
    """Header, claims and context carry the fields that Quay's own tools read."""
    text = write(roots={"devtable/simple": "quay"})
    assert json.loads(base64.urlsafe_b64decode(text.split(".")[0] + "==")) == HEADER
    payload = payload_of(text)
    assert payload | {"context": None} == {
        "iss": "quay",
        "aud": "quay.example",
        "sub": "devtable",
        "nbf": NOW,
        "iat": NOW,
        "exp": NOW + 3600,
        "access": [{"type": "repository", "name": "devtable/simple", "actions": ["push", "pull"]}],
        "context": None,
    }
    assert payload["context"] == {
        "version": 2,
        "entity_kind": "user",
        "entity_reference": "devtable",
        "kind": "user",
        "user": "devtable",
        "com.apostille.roots": {"devtable/simple": "quay"},
        "com.apostille.root": "quay",
        "holder": {"namespace": 7},
    }


@pytest.mark.parametrize(
    ("principal", "entity", "reference"),
    [
        (ANONYMOUS, "anonymous", None),
        (USER, "user", "devtable"),
        (Principal("robot", "devtable+bot", 8, credential_uuid="u"), "robot", "devtable+bot"),
        (Principal("app_token", "devtable", 7, credential_uuid="u"), "appspecifictoken", "u"),
        (Principal("oauth_token", "devtable", 7, credential_uuid="u"), "oauthtoken", "u"),
        (Principal("access_token", "$token", credential_uuid="u"), "token", "u"),
    ],
)
def test_the_entity_is_named_as_in_quay(principal: Principal, entity: str, reference: str | None) -> None:
    """People and robots are referred to by name, tokens by uuid, nobody not at all."""
    context = payload_of(write(attrs.evolve(CLAIMS, principal=principal)))["context"]
    assert (context["entity_kind"], context["entity_reference"]) == (entity, reference)


def test_nobody_is_called_anonymous() -> None:
    """A token for nobody says so in `sub` and in the context."""
    payload = payload_of(write(attrs.evolve(CLAIMS, principal=ANONYMOUS, access=Access())))
    assert (payload["sub"], payload["access"]) == ("(anonymous)", [])
    assert payload["context"]["entity_kind"] == "anonymous"
    assert payload["context"]["com.apostille.root"] == "$disabled"


def test_a_token_makes_nobody_a_superuser() -> None:
    """The power of a superuser is not written into a token."""
    assert not read(write(attrs.evolve(CLAIMS, principal=attrs.evolve(USER, superuser=True)))).principal.superuser


def test_empty_grants_stay() -> None:
    """A repository that was asked for in vain is in the token, with no actions."""
    claims = attrs.evolve(CLAIMS, access=Access({"a/b": frozenset(), "c/d": frozenset({"*"})}))
    assert read(write(claims)).access == claims.access


@pytest.mark.parametrize(
    ("granted", "allowed"),
    [
        (set(), set()),
        ({"pull"}, {"pull"}),
        ({"delete"}, {"delete"}),
        ({"push"}, {"pull", "push", "delete"}),
        ({"*"}, {"pull", "push", "delete", "*"}),
    ],
)
def test_greater_actions_include_lesser(granted: set[str], allowed: set[str]) -> None:
    """Pushing includes pulling and deleting, `*` includes all, and nothing reaches another repository."""
    access = Access({"a/b": frozenset(granted)})
    assert {action for action in ACTIONS if access.allows("a/b", action)} == allowed
    assert not any(access.allows("a/c", action) for action in ACTIONS)


def test_a_token_fits_into_a_request() -> None:
    """More repositories than a header can carry are refused when asked for, not when shown."""
    many = Access({f"namespace/repository-{n}": frozenset({"pull"}) for n in range(300)})
    with pytest.raises(InvalidRequest):
        write(attrs.evolve(CLAIMS, access=many))


# --- what is refused


def hs256(payload: dict[str, Any], secret: bytes) -> str:
    start = f"{segment(HEADER | {'alg': 'HS256'})}.{segment(payload)}"
    return f"{start}.{segment(hmac.new(secret, start.encode(), hashlib.sha256).digest() * 9)}"


PUBLIC_PEM = KEY.public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
OTHER = generate()
GOOD = payload_of(write())
SIGNATURE = write().split(".")[2]

HOSTILE = {
    "nothing": "",
    "dots": "..",
    "no signature": ".".join(write().split(".")[:2]) + ".",
    "four parts": write() + ".x",
    "a line end": write() + "\n",
    "stray characters": write().replace(".", ".!", 1),
    "alg none": f"{segment(HEADER | {'alg': 'none'})}.{segment(GOOD)}.",
    "alg none with a signature": f"{segment(HEADER | {'alg': 'none'})}.{segment(GOOD)}.{SIGNATURE}",
    "alg NoNe": signed(GOOD, HEADER | {"alg": "NoNe"}),
    "HS256 with the public key": hs256(GOOD, PUBLIC_PEM),
    "HS256 with an empty key": hs256(GOOD, b""),
    "PS256": signed(GOOD, HEADER | {"alg": "PS256"}),
    "a key of its own": signed(GOOD, HEADER | {"jwk": OTHER.as_dict(private=False)}, OTHER),
    "jwk": signed(GOOD, HEADER | {"jwk": KEY.as_dict(private=False)}),
    "jku": signed(GOOD, HEADER | {"jku": "https://example.org/keys"}),
    "x5u": signed(GOOD, HEADER | {"x5u": "https://example.org/cert"}),
    "x5c": signed(GOOD, HEADER | {"x5c": ["MII"]}),
    "crit": signed(GOOD, HEADER | {"crit": ["exp"]}),
    "b64": signed(GOOD, HEADER | {"b64": False, "crit": ["b64"]}),
    "typ JWT": signed(GOOD, HEADER | {"typ": "JWT"}),
    "no typ": signed(GOOD, {"alg": "RS256", "kid": KID}),
    "no kid": signed(GOOD, {"alg": "RS256", "typ": token.TYPE}),
    "kid traversal": signed(GOOD, HEADER | {"kid": "../../../../dev/null"}),
    "kid SQL": signed(GOOD, HEADER | {"kid": "' OR 1=1 --"}),
    "kid upper case": signed(GOOD, HEADER | {"kid": KID.upper()}),
    "kid with a line end": signed(GOOD, HEADER | {"kid": KID + "\n"}),
    "kid list": signed(GOOD, HEADER | {"kid": [KID]}),
    "header list": f"{segment([1])}.{segment(GOOD)}.{SIGNATURE}",
    "header string": f"{segment('alg')}.{segment(GOOD)}.{SIGNATURE}",
    "header depth": f"{segment(b'[' * 380)}.{segment(GOOD)}.{SIGNATURE}",
    "header bytes": f"{segment(bytes(range(256)))}.{segment(GOOD)}.{SIGNATURE}",
    "another key": signed(GOOD, HEADER, OTHER),
    "tampered": f"{segment(HEADER)}.{segment(GOOD | {'sub': 'admin'})}.{SIGNATURE}",
    "too long": write() + "A" * token.LIMIT,
    "aud": altered(aud="another.example"),
    "aud list": altered(aud=["quay.example", "another.example"]),
    "no aud": altered(aud=None),
    "iss": altered(iss="another"),
    "no iss": altered(iss=None),
    "expired": altered(exp=NOW - 31, iat=NOW - 900, nbf=NOW - 900),
    "no exp": altered(exp=None),
    "exp text": altered(exp=str(NOW + 60)),
    "exp float": altered(exp=NOW + 60.5),
    "exp true": altered(exp=True),
    "exp infinite": altered(exp=float("inf")),
    "exp NaN": altered(exp=float("nan")),
    "nbf in the future": altered(nbf=NOW + 31),
    "no nbf": altered(nbf=None),
    "iat in the future": altered(iat=NOW + 31),
    "no iat": altered(iat=None),
    "lifetime too long": altered(exp=NOW + 3661),
    "lifetime too long by nbf": altered(iat=NOW + 20, nbf=NOW - 100, exp=NOW + 3600),
    "ends before it begins": altered(exp=NOW - 10, iat=NOW, nbf=NOW),
    "no access": altered(access=None),
    "access object": altered(access={}),
    "access of a registry": altered(access=[{"type": "registry", "name": "catalog", "actions": ["*"]}]),
    "access action": altered(access=[{"type": "repository", "name": "a/b", "actions": ["pull", "administer"]}]),
    "access actions text": altered(access=[{"type": "repository", "name": "a/b", "actions": "pull"}]),
    "access name": altered(access=[{"type": "repository", "name": ["a"], "actions": []}]),
    "access text": altered(access=["repository:a/b:pull"]),
    "no context": altered(context=None),
    "context list": altered(context=[]),
    "context version": altered(context=GOOD["context"] | {"version": 1}),
    "entity kind": altered(context=GOOD["context"] | {"entity_kind": "god"}),
    "entity kind list": altered(context=GOOD["context"] | {"entity_kind": ["user"]}),
    "no holder": altered(context={"version": 2, "entity_kind": "user"}),
    "holder list": altered(context=GOOD["context"] | {"holder": []}),
    "holder text": altered(context=GOOD["context"] | {"holder": {"namespace": "7"}}),
    "holder true": altered(context=GOOD["context"] | {"holder": {"namespace": True}}),
    "holder role": altered(context=GOOD["context"] | {"holder": {"role": 9}}),
    "sub": altered(sub=7),
    "payload list": signed([GOOD]),
    "payload text": signed("claims"),
    "payload no JSON": signed(b"{"),
    "payload no UTF-8": signed(b"\xff"),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_everything_else_is_refused(text: str) -> None:
    """A token that is not exactly ours is refused with `invalid_token` and a sentence, however well it is signed."""
    with pytest.raises(Unauthorized) as refused:
        read(text)
    assert refused.value.facts["error"] == "invalid_token"
    assert refused.value.message.startswith("The bearer token is refused: ")


def test_the_unaltered_token_is_taken() -> None:
    """The control of the test above: signed the same way, the right claims are read."""
    assert read(altered()) == CLAIMS


def test_clocks_may_differ_by_half_a_minute() -> None:
    """A token is taken up to 30 s before it begins and after it ends, and not a second more."""
    text = write()
    assert read(text, now=NOW - 30) == read(text, now=NOW + 3629) == CLAIMS
    for now in (NOW - 31, NOW + 3630, NOW - 3600 * 24 * 365, NOW + 3600 * 24 * 365):
        with pytest.raises(Unauthorized):
            read(text, now=now)


@settings(max_examples=300)
@given(st.text(alphabet="abcXYZ019-_.=! \n\0é", max_size=700) | st.binary(max_size=300).map(segment))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever is sent as a token, the outcome is a refusal."""
    for hostile in (text, f"{segment(HEADER)}.{text}.{SIGNATURE}", f"{text}.{segment(GOOD)}.{SIGNATURE}"):
        with pytest.raises(Unauthorized):
            read(hostile)
