"""
Who made a bundle or a receipt: signatures with a key of the installation, and the keys of others that it trusts.

A signed document is a JSON web signature in its compact form, by Ed25519, so that other programs can verify it, too;
its header says what kind of document it is, and the fingerprint of the key. The key follows from the secret of the
installation: all its nodes have the same one, and whoever keeps the secret keeps the key.

Source: RFC 7515; RFC 8037 and RFC 9864 (`Ed25519`); RFC 8410 (the keys as PEM).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, Self

import attrs
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from quay.bundles.waybill import DOCUMENT_LIMIT, BundleInvalid
from quay.files import write_whole
from quay.oci.errors import Denied

Kind = Literal["bundle", "receipt"]

ALGORITHM: Final = "Ed25519"
PURPOSE: Final = "bundles"
"""What the installation's secret makes the key for."""
SIGNED_LIMIT: Final = DOCUMENT_LIMIT * 4 // 3 + 4096
HEADER_LIMIT: Final = 2048
KEY_LIMIT: Final = 4096
OWN: Final = "this registry"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Untrusted(Denied):
    """It is not signed, or by nobody who is trusted here, or not as it is now."""

    status = 403


@attrs.frozen
class PublicKey:
    """The key by which somebody's signatures are verified; its `fingerprint` is for people to compare."""

    pem: str = attrs.field(repr=False)
    fingerprint: str

    @classmethod
    def of(cls, key: Ed25519PublicKey) -> Self:
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        told = sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
        return cls(pem, "SHA256:" + base64.b64encode(told).decode().rstrip("="))

    @classmethod
    def parse(cls, pem: bytes) -> Self:
        """The key in a file that `quay bundle key` wrote. Raises `BundleInvalid`."""
        try:
            found = load_pem_public_key(pem[:KEY_LIMIT])
        except (ValueError, UnsupportedAlgorithm):
            found = None
        if not isinstance(found, Ed25519PublicKey):
            raise BundleInvalid(
                "This is no public key for bundles: it has to be one of Ed25519, as PEM.",
                advice="Let the other side write it with `quay bundle key`.",
            )
        return cls.of(found)


@attrs.frozen
class Signed:
    """A document, and who signed it; `signer` is empty where it was taken without being verified."""

    payload: bytes = attrs.field(repr=False)
    signer: str


class Signer:
    """Signs for this installation; `secret` has 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        private = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = PublicKey.of(private.public_key())
        self._key = OKPKey.import_key(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def sign(self, kind: Kind, payload: bytes) -> bytes:
        """`payload`, signed. Takes a while for a large one."""
        header = {"alg": ALGORITHM, "kid": self.public.fingerprint, "typ": _typ(kind)}
        return jws.serialize_compact(header, payload, self._key, algorithms=[ALGORITHM]).encode()


def opened(kind: Kind, raw: bytes, trusted: Mapping[str, PublicKey], *, unsigned: bool = False) -> Signed:
    """
    The document in `raw`, signed with one of the keys that are `trusted`, by the names of their owners; with
    `unsigned`, whoever signed it. Takes a while for a large one. Raises `Untrusted`, `BundleInvalid`.
    """
    if len(raw) > SIGNED_LIMIT:
        raise BundleInvalid(f"The {kind} is described in {len(raw)} bytes; at most {SIGNED_LIMIT} are read.")
    raw = raw.strip()
    kid = _kid(kind, raw)
    for name, key in trusted.items():
        if key.fingerprint == kid:
            return Signed(_verified(kind, raw, key), name)
    if not unsigned:
        raise Untrusted(
            f"The {kind} is signed with the key {kid}, which nobody here trusts.",
            advice="Compare the fingerprint with whoever made it, and trust the key: quay bundle trust KEYFILE.",
        )
    return Signed(_decoded(kind, raw.split(b".")[1]), "")


def _kid(kind: Kind, raw: bytes) -> str:
    """The fingerprint that the header tells."""
    parts = raw.split(b".", 3)
    if len(parts) != 3 or len(parts[0]) > HEADER_LIMIT:
        raise BundleInvalid(f"This is no signed {kind}, or it is damaged.", advice="Copy it again.")
    try:
        header = json.loads(_decoded(kind, parts[0]))
    except (ValueError, RecursionError):
        header = None
    kid = header.get("kid") if isinstance(header, dict) else None
    if not isinstance(kid, str) or header.get("typ") != _typ(kind):
        raise BundleInvalid(f"This is no signed {kind}: its head says otherwise.")
    return kid[:100]


def _verified(kind: Kind, raw: bytes, key: PublicKey) -> bytes:
    try:
        return bytes(jws.deserialize_compact(raw, OKPKey.import_key(key.pem), algorithms=[ALGORITHM]).payload)
    except (JoseError, ValueError) as error:
        raise Untrusted(
            f"The signature of the {kind} is not one of these contents: somebody changed them, or they are damaged.",
            advice="Do not use it. Copy it again, and ask whoever made it.",
        ) from error


def _decoded(kind: Kind, text: bytes) -> bytes:
    try:
        return base64.b64decode(text.translate(_FROM_URL) + b"=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise BundleInvalid(f"This is no signed {kind}, or it is damaged.", advice="Copy it again.") from None


_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")


def _typ(kind: Kind) -> str:
    return f"quay-{kind}+jws"


class TrustedKeys:
    """The public keys of others, each a file below `directory` under the name of its owner. Waits for the disk."""

    def __init__(self, directory: Path, own: PublicKey) -> None:
        self._directory = directory
        self._own = own

    def all(self) -> dict[str, PublicKey]:
        """Whom to trust, by name: this registry itself, too."""
        found = {OWN: self._own}
        if self._directory.is_dir():
            for file in sorted(self._directory.glob("*.pem")):
                found[file.stem] = PublicKey.parse(file.read_bytes())
        return found

    def add(self, name: str, key: PublicKey) -> None:
        """Trust `key` as that of `name`, instead of one that was so called. Raises `BundleInvalid`."""
        write_whole(self._file(name), key.pem.encode())

    def remove(self, name: str) -> bool:
        """Trust it no more; False if there is none of this name. Raises `BundleInvalid`."""
        file = self._file(name)
        found = file.exists()
        file.unlink(missing_ok=True)
        return found

    def _file(self, name: str) -> Path:
        if _NAME.fullmatch(name) is None:
            raise BundleInvalid(
                f"{name[:80]!r} is no name for a key.", advice="Use letters, digits, '.', '_' and '-', up to 64."
            )
        return self._directory / f"{name}.pem"
