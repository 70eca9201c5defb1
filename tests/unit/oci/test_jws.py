"""Signatures folded into manifests: ours are Docker's, and no bad one holds."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from quay.oci.document import load
from quay.oci.errors import ManifestInvalid, ManifestUnverified
from quay.oci.jws import SIGNATURE_LIMIT, PublicKey, SigningKey, jwk_of, key_id, sign, signed_payload

Json = dict[str, Any]
PAYLOAD = b'{\n   "name": "team/app",\n   "tags": ["\xc3\xa4", {}]\n}'
CURVE = ec.generate_private_key(ec.SECP256R1())
MODULUS = rsa.generate_private_key(65537, 2048)
KEYS = pytest.mark.parametrize("key", [CURVE, MODULUS], ids=["ES256", "RS256"])
DOCKER = Path(__file__).with_name("signed_by_docker.json").read_bytes()


def payload_of(raw: bytes) -> bytes:
    return signed_payload(raw, load(raw))


def bent(raw: bytes, **members: Any) -> bytes:
    """The document with other members in its first signature; `None` takes one away."""
    document = json.loads(raw)
    block = document["signatures"][0]
    block.update(members)
    document["signatures"][0] = {name: value for name, value in block.items() if value is not None}
    return json.dumps(document).encode()


def number_of(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=="), "big")


def protected(**members: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(members).encode()).decode().rstrip("=")


@KEYS
def test_signed_is_read_back(key: SigningKey) -> None:
    """What was signed is given back to the byte, and the result is the same object with one member more."""
    raw = sign(PAYLOAD, key, datetime(2026, 1, 2, tzinfo=UTC))
    assert payload_of(raw) == PAYLOAD
    assert {**json.loads(PAYLOAD), "signatures": json.loads(raw)["signatures"]} == json.loads(raw)


@given(st.dictionaries(st.text(), st.text() | st.integers(-9, 9), min_size=1), st.sampled_from([None, 0, 1, 3]))
def test_any_layout_is_signed(value: dict[str, object], indent: int | None) -> None:
    """Payloads of every layout survive, trailing white space included."""
    for tail in (b"", b"\n", b" \r\n\t"):
        payload = json.dumps(value, indent=indent).encode() + tail
        assert payload_of(sign(payload, CURVE)) == payload


def test_layout_is_docker_s() -> None:
    """The block follows the last member, indented by three, and tells format and time."""
    raw = sign(PAYLOAD, CURVE, datetime(2026, 1, 2, tzinfo=UTC))
    length = PAYLOAD.rindex(b"\n}")
    assert raw.startswith(PAYLOAD[:length] + b',\n   "signatures": [\n      {\n         "header": {')
    assert raw.endswith(b"\n      }\n   ]\n}")
    text = json.loads(raw)["signatures"][0]["protected"]
    header = json.loads(base64.urlsafe_b64decode(text + "=="))
    assert header == {"formatLength": length, "formatTail": "Cn0", "time": "2026-01-02T00:00:00Z"}


def test_docker_s_own_signatures_hold() -> None:
    """A document that Docker's library signed with an RSA key and one on P-256 is whole."""
    assert json.loads(payload_of(DOCKER))["name"] == "a/b"
    assert [block["header"]["alg"] for block in json.loads(DOCKER)["signatures"]] == ["ES256", "RS256"]


def test_key_ids_are_docker_s() -> None:
    """The key ids of that library are ours, without which its clients refuse a key."""
    for block in json.loads(DOCKER)["signatures"]:
        jwk = block["header"]["jwk"]
        n, e, x, y = (number_of(jwk.get(name, "AA")) for name in "nexy")
        if jwk["kty"] == "RSA":
            key: PublicKey = rsa.RSAPublicNumbers(e, n).public_key()
        else:
            key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        assert jwk_of(key) == jwk


@KEYS
def test_key_id_is_twelve_groups_of_four(key: SigningKey) -> None:
    """The fingerprint is spelled as Docker's clients check it."""
    ident = key_id(key.public_key())
    assert [len(group) for group in ident.split(":")] == [4] * 12
    assert jwk_of(key.public_key())["kid"] == ident


@KEYS
def test_changed_content_is_not_signed(key: SigningKey) -> None:
    """One letter of another name, and the signature does not hold."""
    raw = sign(PAYLOAD, key).replace(b"team/app", b"team/apq")
    with pytest.raises(ManifestUnverified, match="not one of this content"):
        payload_of(raw)


def test_every_signature_must_hold() -> None:
    """A good signature does not excuse a bad one."""
    document = json.loads(DOCKER)
    document["signatures"][1]["signature"] = document["signatures"][0]["signature"]
    length = DOCKER.index(b',\n   "signatures"')
    raw = DOCKER[:length] + b',"signatures":' + json.dumps(document["signatures"]).encode() + b"\n}"
    with pytest.raises(ManifestUnverified):
        payload_of(raw)


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({"signature": "AAAA"}, "64 bytes"),
        ({"signature": "A" * 86}, "content"),
        ({"signature": "*"}, "base64url"),
        ({"header": None}, "no key"),
        ({"header": {"alg": "ES256"}}, "no key"),
        ({"header": {"alg": "none", "jwk": jwk_of(CURVE.public_key())}}, "'none'"),
        ({"header": {"alg": "HS256", "jwk": jwk_of(CURVE.public_key())}}, "'HS256'"),
        ({"header": {"alg": "RS256", "jwk": jwk_of(CURVE.public_key())}}, "'RS256'"),
        ({"header": {"alg": "ES256", "jwk": jwk_of(MODULUS.public_key())}}, "'ES256'"),
        ({"header": {"alg": "ES256", "jwk": {"kty": "oct", "k": "AAAA"}}}, "neither"),
        ({"header": {"alg": "ES256", "jwk": {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}}}, "neither"),
        ({"header": {"alg": "ES256", "jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}}, "not a public key"),
        ({"header": {"alg": "RS256", "jwk": {"kty": "RSA", "n": "AA", "e": "AQAB"}}}, "not a public key"),
        ({"header": {"alg": "RS256", "jwk": {"kty": "RSA", "n": "_" * 40_000, "e": "AQAB"}}}, "longer than"),
        ({"header": {"alg": "RS256", "jwk": {"kty": "RSA", "n": "_" * 400, "e": "_" * 400}}}, "neither"),
        ({"protected": protected(formatLength=10**9, formatTail="Cn0")}, "outside"),
        ({"protected": protected(formatLength=-1, formatTail="Cn0")}, "outside"),
        ({"protected": protected(formatLength=9, formatTail="Cn0", crit=["x"])}, "extensions"),
    ],
)
def test_bad_signatures(members: Json, word: str) -> None:
    """Each fault of a signature is told in a sentence."""
    with pytest.raises(ManifestUnverified) as refused:
        payload_of(bent(sign(PAYLOAD, CURVE), **members))
    assert word in refused.value.message
    assert refused.value.advice


@pytest.mark.parametrize(
    "members",
    [
        {"signature": None},
        {"signature": 7},
        {"protected": None},
        {"protected": "e30"},
        {"protected": protected(formatLength="9", formatTail="Cn0")},
        {"protected": base64.urlsafe_b64encode(b'{"formatLength":1,"formatLength":2}').decode()},
        {"header": []},
        {"header": {"alg": 1, "jwk": {}}},
    ],
)
def test_no_signatures_at_all(members: Json) -> None:
    """What is not even shaped as a signature is an invalid manifest."""
    with pytest.raises(ManifestInvalid, match="signatures"):
        payload_of(bent(sign(PAYLOAD, CURVE), **members))


def test_signatures_that_disagree() -> None:
    """Two signatures of two payloads are refused before either is trusted."""
    document = json.loads(sign(PAYLOAD, CURVE))
    other = dict(document["signatures"][0], protected=protected(formatLength=5, formatTail="fQ"))
    document["signatures"].append(other)
    with pytest.raises(ManifestUnverified, match="disagree"):
        payload_of(json.dumps(document).encode())


def test_signatures_are_few() -> None:
    """Verification costs time, so the number of signatures is bounded."""
    document = json.loads(sign(PAYLOAD, CURVE))
    document["signatures"] *= SIGNATURE_LIMIT + 1
    with pytest.raises(ManifestInvalid, match="elements"):
        payload_of(json.dumps(document).encode())


def test_greatest_keys_are_cheap(cost: Callable[..., float]) -> None:
    """The most signatures by the greatest keys cost little."""
    modulus, signature = (base64.urlsafe_b64encode(byte * 1024).decode().rstrip("=") for byte in (b"\xff", b"\x7f"))
    header = {"alg": "RS256", "jwk": {"kty": "RSA", "n": modulus, "e": "_____w"}}
    document = json.loads(bent(sign(PAYLOAD, MODULUS), header=header, signature=signature))
    document["signatures"] *= SIGNATURE_LIMIT
    raw = json.dumps(document).encode()
    with pytest.raises(ManifestUnverified):
        payload_of(raw)
    assert cost(payload_of, raw) < 10
