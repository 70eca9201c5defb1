"""
The signature that Docker folds into a manifest of schema 1: a JSON web signature written as one more member.

The signed payload is the document without that member: its first `formatLength` bytes and `formatTail`, which the
protected header of each signature tells. The key stands beside the signature, so a good signature proves that the
manifest is whole, never who made it: nothing here may be taken for authentication.

Source: Docker Image Manifest Version 2, Schema 1 "Signed Manifests"; RFC 7515; RFC 7518 (ES256 and RS256).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from datetime import UTC, datetime
from typing import Final, Self

import attrs
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from quay.oci.document import JsonObject, load
from quay.oci.errors import ManifestUnverified

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

SIGNATURE_LIMIT: Final = 2  # Docker writes one
NUMBER_LIMIT: Final = 1024  # bytes: RSA of 8192 bits; greater keys are an attack on our time
EXPONENT_LIMIT: Final = 2**32
COORDINATE: Final = 32  # bytes, on the curve P-256

_SPACE: Final = b" \t\r\n"
_INDENT: Final = "   "


def signed_payload(raw: bytes, document: JsonObject) -> bytes:
    """
    The payload that every signature in `document`, which was read from `raw`, signs. Raises `ManifestUnverified` for
    a signature that does not hold, `ManifestInvalid` for one that is no signature.
    """
    signatures = [_Signature.read(node) for node in document.children("signatures", SIGNATURE_LIMIT)]
    if not signatures:
        raise _unverified("it has no signature")
    formats = {(signature.format_length, signature.format_tail) for signature in signatures}
    if len(formats) > 1:
        raise _unverified("its signatures disagree on what they sign")
    length, tail = formats.pop()
    if not 0 < length <= len(raw):
        raise _unverified("formatLength lies outside the document")
    payload = raw[:length] + tail
    encoded = _encoded(payload)
    for signature in signatures:
        signature.verify(encoded)
    return payload


@attrs.frozen
class _Signature:
    """One element of `signatures`."""

    algorithm: str
    key: PublicKey
    protected: str
    signature: bytes
    format_length: int
    format_tail: bytes

    @classmethod
    def read(cls, node: JsonObject) -> Self:
        header, key = node.child("header"), None
        if header is not None:
            key = header.child("jwk")
        if header is None or key is None:
            raise _unverified(f"{node.place('header')} has no key")
        protected = load(_decoded(node, "protected"), node.place("protected"))
        if protected.has("crit"):
            raise _unverified(f"{protected.place('crit')} asks for extensions that are unknown here")
        return cls(
            algorithm=header.text("alg"),
            key=_public_key(key),
            protected=node.text("protected"),
            signature=_decoded(node, "signature"),
            format_length=protected.integer("formatLength"),
            format_tail=_decoded(protected, "formatTail"),
        )

    def verify(self, payload: str) -> None:
        """Raise `ManifestUnverified` unless this signs `payload`, which is base64url."""
        signed = f"{self.protected}.{payload}".encode()
        try:
            if self.algorithm == "ES256" and isinstance(self.key, ec.EllipticCurvePublicKey):
                self.key.verify(_der(self.signature), signed, ec.ECDSA(SHA256()))
            elif self.algorithm == "RS256" and isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(self.signature, signed, padding.PKCS1v15(), SHA256())
            else:
                raise _unverified(f"{self.algorithm[:40]!r} with this key is no algorithm that this registry knows")
        except InvalidSignature:
            raise _unverified("the signature is not one of this content") from None


def sign(payload: bytes, key: SigningKey, signed_at: datetime | None = None) -> bytes:
    """
    `payload`, a JSON object with at least one member, with its signature by `key` (EC P-256 or RSA) folded in. Clients
    compute the digest of `payload` from the result.
    """
    length = len(payload[: payload.rindex(b"}")].rstrip(_SPACE))
    protected = {"formatLength": length, "formatTail": _encoded(payload[length:])}
    if signed_at is not None:
        protected["time"] = signed_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    sealed = _encoded(json.dumps(protected, separators=(",", ":")).encode())
    signed = f"{sealed}.{_encoded(payload)}".encode()
    block = {
        "header": {"jwk": jwk_of(key.public_key()), "alg": "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"},
        "signature": _encoded(_signature_of(signed, key)),
        "protected": sealed,
    }
    member = json.dumps({"signatures": [block]}, indent=len(_INDENT))
    return payload[:length] + b"," + member[1 : member.rindex("\n")].encode() + payload[length:]


def _signature_of(signed: bytes, key: SigningKey) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(signed, padding.PKCS1v15(), SHA256())
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(SHA256())))
    return r.to_bytes(COORDINATE, "big") + s.to_bytes(COORDINATE, "big")


def key_id(key: PublicKey) -> str:
    """The fingerprint by which Docker's clients know `key`: twelve groups of four letters."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    letters = base64.b32encode(hashlib.sha256(spki).digest()[:30]).decode()
    return ":".join(letters[start : start + 4] for start in range(0, len(letters), 4))


def jwk_of(key: PublicKey) -> dict[str, str]:
    """`key` as a JSON web key with Docker's key id."""
    numbers = key.public_numbers()
    if isinstance(numbers, rsa.RSAPublicNumbers):
        return {
            "kty": "RSA",
            "kid": key_id(key),
            "n": _encoded(_bytes_of(numbers.n)),
            "e": _encoded(_bytes_of(numbers.e)),
        }
    x, y = (_encoded(number.to_bytes(COORDINATE, "big")) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "kid": key_id(key), "crv": "P-256", "x": x, "y": y}


def _public_key(jwk: JsonObject) -> PublicKey:
    """The key that stands beside a signature. Its `kid` is not looked at: no key is known here by its name."""
    kind = jwk.text("kty")
    try:
        if kind == "EC" and jwk.text("crv") == "P-256":
            return ec.EllipticCurvePublicNumbers(_number(jwk, "x"), _number(jwk, "y"), ec.SECP256R1()).public_key()
        if kind == "RSA" and (exponent := _number(jwk, "e")) < EXPONENT_LIMIT:
            return rsa.RSAPublicNumbers(exponent, _number(jwk, "n")).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise _unverified(f"{jwk.path} is not a public key") from None
    raise _unverified(f"{jwk.path} is neither an EC key on P-256 nor an RSA key")


def _number(jwk: JsonObject, name: str) -> int:
    octets = _decoded(jwk, name)
    if len(octets) > NUMBER_LIMIT:
        raise _unverified(f"{jwk.place(name)} is longer than {NUMBER_LIMIT} bytes")
    return int.from_bytes(octets, "big")


def _bytes_of(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _der(signature: bytes) -> bytes:
    if len(signature) != 2 * COORDINATE:
        raise _unverified("an ES256 signature has 64 bytes")
    r, s = (int.from_bytes(half, "big") for half in (signature[:COORDINATE], signature[COORDINATE:]))
    return encode_dss_signature(r, s)


def _encoded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _decoded(node: JsonObject, key: str) -> bytes:
    text = node.text(key).rstrip("=")
    try:
        standard = text.translate({ord("-"): "+", ord("_"): "/"}) + "=" * (-len(text) % 4)
        return binascii.a2b_base64(standard, strict_mode=True)
    except (binascii.Error, ValueError):
        raise _unverified(f"{node.place(key)} is not base64url") from None


def _unverified(problem: str) -> ManifestUnverified:
    return ManifestUnverified(
        f"The signed manifest is refused: {problem}.",
        advice="Push the exact bytes that were signed, or push schema 2, which needs no signature.",
    )
