"""Certificates: what one's own authority issues is believed, and what nobody would believe is refused in a sentence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from quay import authority
from quay.authority import Pair, Unfit

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
NAMES = ("registry.example.org", "10.0.0.5", "fd00::5")


@pytest.fixture(scope="module")
def own() -> Pair:
    return authority.found("Quay authority of registry.example.org", NOW)


@pytest.fixture(scope="module")
def server(own: Pair) -> Pair:
    return authority.issue(own, NAMES, NOW)


def verify(own: Pair, server: Pair, name: str, when: datetime = NOW) -> None:
    subject = x509.DNSName(name) if name[0].isalpha() and ":" not in name else x509.IPAddress(ip_address(name))
    builder = PolicyBuilder().store(Store([own.certificate])).time(when)
    builder.build_server_verifier(subject).verify(server.certificate, [])


def test_believed_by_a_verifier_that_is_not_ours(own: Pair, server: Pair) -> None:
    """RFC 5280's path validation, by the library, accepts the certificate for each of its names."""
    for name in NAMES:
        verify(own, server, name)


@pytest.mark.parametrize("name", ["other.example.org", "10.0.0.6"])
def test_not_believed_for_another_name(own: Pair, server: Pair, name: str) -> None:
    """It is no certificate for anybody else."""
    with pytest.raises(VerificationError):
        verify(own, server, name)


def test_lives(own: Pair, server: Pair) -> None:
    """The authority is good for ten years, the certificate for one, and both for a clock that is a day slow."""
    assert own.certificate.not_valid_after_utc - NOW == timedelta(days=3652)
    assert server.certificate.not_valid_after_utc - NOW == timedelta(days=365)
    verify(own, server, NAMES[0], NOW - timedelta(hours=23))


def test_no_certificate_outlives_its_authority(own: Pair) -> None:
    """What an old authority issues ends with it."""
    late = own.certificate.not_valid_after_utc - timedelta(days=10)
    assert authority.issue(own, NAMES, late).certificate.not_valid_after_utc == own.certificate.not_valid_after_utc


def test_an_authority_that_can_do_no_more(own: Pair, server: Pair) -> None:
    """It issues for servers and makes no further authorities; what it issued is none."""
    limits = own.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (limits.critical, limits.value.ca, limits.value.path_length) == (True, True, 0)
    assert not server.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_two_authorities_share_nothing(own: Pair) -> None:
    """Every installation has a key of its own."""
    other = authority.found("Quay authority of registry.example.org", NOW)
    assert other.pem != own.pem
    assert authority.fingerprint(other.certificate) != authority.fingerprint(own.certificate)
    assert not authority.is_issued_by(authority.issue(other, NAMES, NOW).certificate, own.certificate)


def test_read_back(own: Pair, server: Pair) -> None:
    """What was written is read: the key, the certificate, and the authority above it."""
    found = authority.read(server.pem, server.pem)
    assert found.chain == server.chain == (server.certificate, own.certificate)
    assert authority.names_of(found.certificate) == NAMES


def test_the_key_is_in_no_repr(server: Pair) -> None:
    """A pair that gets into a log gives nothing away."""
    assert "PrivateKey" not in repr(server)


def test_a_chain_in_any_order(own: Pair, server: Pair) -> None:
    """The certificate of the key is found wherever it stands, and those that lead nowhere are left out."""
    stranger = authority.found("Another", NOW)
    pem = b"".join(authority.pem_of(each) for each in (stranger.certificate, own.certificate, server.certificate))
    assert authority.read(pem, server.pem).chain == (server.certificate, own.certificate)


@pytest.mark.parametrize(
    ("certificates", "key", "why"),
    [
        (b"", None, "no certificate in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None, "no certificate in PEM"),
        (None, b"", "The key is none in PEM"),
        (b"x" * 300_000, None, "longer than 256 KiB"),
    ],
)
def test_not_pem(server: Pair, certificates: bytes | None, key: bytes | None, why: str) -> None:
    """What is no PEM is refused, with what it should look like."""
    with pytest.raises(Unfit, match=why):
        authority.read(server.pem if certificates is None else certificates, server.pem if key is None else key)


def pem_of(key: object, protection: serialization.KeySerializationEncryption | None = None) -> bytes:
    made: bytes = key.private_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection or serialization.NoEncryption()
    )
    return made


def test_keys_that_nobody_can_use(server: Pair) -> None:
    """A key with a passphrase, of a rare kind, or too short: each is refused by its reason."""
    short = rsa.generate_private_key(65537, 1024)
    refused = {
        pem_of(server.key, serialization.BestAvailableEncryption(b"secret")): "passphrase",
        pem_of(ed25519.Ed25519PrivateKey.generate()): "of a kind that not every client",
        pem_of(short): "1024 bits",
    }
    for key, why in refused.items():
        with pytest.raises(Unfit, match=why):
            authority.read(server.pem, key)


def test_a_key_of_another_certificate(own: Pair, server: Pair) -> None:
    """A pair that does not match is refused before anybody is served with it."""
    with pytest.raises(Unfit, match="does not belong"):
        authority.read(server.pem, authority.issue(own, NAMES, NOW).pem)


def test_check(server: Pair) -> None:
    """A certificate will do for its names, in brackets too, now."""
    for name in ("Registry.Example.ORG", "registry.example.org.", "10.0.0.5", "[fd00::5]", "fd00:0::5"):
        authority.check(server, name, NOW)


@pytest.mark.parametrize(
    ("name", "when", "why"),
    [
        ("other.example.org", NOW, "not for other.example.org, but for registry.example.org, 10.0.0.5"),
        ("10.0.0.50", NOW, "not for 10.0.0.50"),
        (NAMES[0], NOW + timedelta(days=365), "ended on 2027-11-26"),
        (NAMES[0], NOW - timedelta(days=2), "Is the clock of this machine right"),
    ],
)
def test_check_refuses(server: Pair, name: str, when: datetime, why: str) -> None:
    """For another name, or at another time, it will not, and the sentence says why."""
    with pytest.raises(Unfit, match=why):
        authority.check(server, name, when)


def test_wildcards(own: Pair) -> None:
    """A star stands for one label, the first (RFC 6125 section 6.4.3)."""
    pair = authority.issue(own, ["*.example.org"], NOW)
    authority.check(pair, "registry.example.org", NOW)
    for name in ("example.org", "a.b.example.org", "registry.example.com"):
        with pytest.raises(Unfit):
            authority.check(pair, name, NOW)


@pytest.mark.parametrize("name", ["registrierung-ü.example", ""])
def test_a_name_that_is_none(own: Pair, name: str) -> None:
    """What cannot stand in a certificate is said by its name."""
    names = [name] if name else []
    with pytest.raises(Unfit):
        authority.issue(own, names, NOW)


def test_renewal_is_due(server: Pair) -> None:
    """A month before its end it is time for another one."""
    assert not authority.is_due(server.certificate, NOW + timedelta(days=334))
    assert authority.is_due(server.certificate, NOW + timedelta(days=336))


def test_a_request() -> None:
    """A request is signed by the key that stays here, and asks for all the names."""
    key, pem = authority.request(NAMES)
    asked = x509.load_pem_x509_csr(pem)
    assert asked.is_signature_valid
    wanted = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert wanted.get_values_for_type(x509.DNSName) == [NAMES[0]]
    assert b"PRIVATE KEY" in key
    assert b"PRIVATE KEY" not in pem
