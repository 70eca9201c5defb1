"""Signatures: whose they are, and that nobody else's are taken for them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.bundles.signing import SIGNED_LIMIT, PublicKey, Signer, TrustedKeys, Untrusted, opened
from quay.bundles.waybill import BundleInvalid

SIGNER, OTHER = Signer(b"s" * 32), Signer(b"o" * 32)
TRUSTED = {"near": SIGNER.public}


@given(st.binary(max_size=2000))
def test_signed(payload: bytes) -> None:
    """What was signed is opened, and whoever signed it is told; another key of the same secret is the same key."""
    found = opened("bundle", SIGNER.sign("bundle", payload), TRUSTED)
    assert (found.payload, found.signer) == (payload, "near")
    assert Signer(b"s" * 32).public == SIGNER.public


@given(st.data())
def test_any_change_is_found(data: st.DataObject) -> None:
    """Whatever byte is another one, the document is refused."""
    signed = SIGNER.sign("bundle", b'{"tags": []}')
    at = data.draw(st.integers(0, len(signed) - 1))
    changed = signed[:at] + bytes([data.draw(st.integers(0, 255).filter(lambda n: n != signed[at]))]) + signed[at + 1 :]
    try:
        found = opened("bundle", changed, TRUSTED)
    except (Untrusted, BundleInvalid):
        return
    assert found.payload == b'{"tags": []}'  # the last bits of base64, which mean nothing


def test_strangers() -> None:
    """Nobody who is not trusted is believed, unless somebody says so: then nothing is said of who it is."""
    signed = OTHER.sign("bundle", b"{}")
    with pytest.raises(Untrusted, match=r"SHA256:.* nobody here trusts"):
        opened("bundle", signed, TRUSTED)
    assert opened("bundle", signed, TRUSTED, unsigned=True).signer == ""


def test_a_name_is_no_key() -> None:
    """A header that tells the fingerprint of a trusted key, over the signature of another one, opens nothing."""
    _, payload, _ = OTHER.sign("bundle", b"{}").split(b".")
    head, _, signature = SIGNER.sign("bundle", b"something else").split(b".")
    with pytest.raises(Untrusted, match="signature"):
        opened("bundle", b".".join((head, payload, signature)), TRUSTED, unsigned=True)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "EdDSA"])
def test_algorithms(algorithm: str) -> None:
    """The document does not choose how it is verified."""
    header = {"alg": algorithm, "kid": SIGNER.public.fingerprint, "typ": "quay-bundle+jws"}
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=")
    with pytest.raises(Untrusted):
        opened("bundle", head + b".e30.", TRUSTED)


def test_kinds() -> None:
    """A receipt is no bundle, though the same key signed it; nor is anything else."""
    with pytest.raises(BundleInvalid):
        opened("bundle", SIGNER.sign("receipt", b"{}"), TRUSTED)
    for nonsense in (
        b"",
        b"a.b.c",
        b"{}",
        b"..",
        b"x" * 5000,
        b"\xff.\xff.\xff",
        base64.b64encode(b"[" * 9000) + b".a.b",
    ):
        with pytest.raises(BundleInvalid):
            opened("bundle", nonsense, TRUSTED)
    with pytest.raises(BundleInvalid, match="at most"):
        opened("bundle", b"x" * (SIGNED_LIMIT + 1), TRUSTED)


def test_keys(tmp_path: Path) -> None:
    """Keys are kept under the names of their owners, and no name leads out of their directory."""
    keys = TrustedKeys(tmp_path / "trusted", OTHER.public)
    assert list(keys.all()) == ["this registry"]
    keys.add("near", PublicKey.parse(SIGNER.public.pem.encode()))
    assert keys.all()["near"] == SIGNER.public
    for name in ("../near", "", ".near", "a/b", "x" * 65):
        with pytest.raises(BundleInvalid):
            keys.add(name, SIGNER.public)
    assert keys.remove("near")
    assert not keys.remove("near")
    for pem in (b"", b"-----BEGIN PUBLIC KEY-----\nMFkwEw==\n-----END PUBLIC KEY-----\n", b"x" * 10_000):
        with pytest.raises(BundleInvalid):
            PublicKey.parse(pem)
