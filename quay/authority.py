"""
Certificates: an authority of one's own, what it issues, requests to another one, and whether a certificate will do.

Pure functions from PEM and names to PEM or a sentence: nothing here reads a file or a clock. Keys are on P-256, which
everything speaks that speaks TLS 1.2. Source: RFC 5280; RFC 6125 (names); CA/Browser Forum Baseline Requirements 7.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, cast

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes as PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Address = IPv4Address | IPv6Address

AUTHORITY_LIFE: Final = timedelta(days=3652)
SERVER_LIFE: Final = timedelta(days=365)
"""Apple's clients believe nothing that is longer than 398 days, whoever issued it."""
RENEWAL: Final = timedelta(days=30)
"""So long before its end, a certificate of one's own authority is replaced."""
LEEWAY: Final = timedelta(days=1)
"""By so much a client's clock may be slow: sites without a time server have such clocks."""
LIMIT: Final = 256 * 1024
"""Bytes of PEM that are looked at."""
COMMON_NAME: Final = 64


class Unfit(Exception):
    """A certificate, a key or a name with which no client could be served; the message says why, to who sent it."""


@attrs.frozen
class Pair:
    """A certificate, those that lead from it to its authority, and its key."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey = attrs.field(repr=False)

    @property
    def certificate(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def pem(self) -> bytes:
        """All of it in one file, so that no crash can part them; the key is first, and in the clear."""
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return key + b"".join(pem_of(each) for each in self.chain)


def pem_of(certificate: x509.Certificate) -> bytes:
    """The certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def fingerprint(certificate: x509.Certificate) -> str:
    """What tells it from all others, as browsers and openssl show it: SHA-256, in pairs of digits."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def called(certificate: x509.Certificate) -> str:
    """Its common name, or all that it is called."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()


# --- making ---------------------------------------------------------------------------------------------------------


def found(name: str, now: datetime) -> Pair:
    """A new authority that is called `name`, good for ten years. It can issue for servers, and for no further one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    builder = (
        _builder(subject, subject, key, now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True, digital_signature=True), critical=True)
    )
    return Pair((builder.sign(key, hashes.SHA256()),), key)


def issue(authority: Pair, names: Iterable[str], now: datetime) -> Pair:
    """
    A new key, and a certificate for it: of a server that is called by each of `names`, hosts and addresses, good for a
    year, or until the end of the authority. Raises `Unfit` for what is no name.
    """
    called = tuple(dict.fromkeys(names))
    alternatives = [_alternative(name) for name in called]
    if not alternatives:
        raise Unfit("A certificate needs a name: give at least one host name or address.")
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    life = min(SERVER_LIFE, issuer.not_valid_after_utc - now)
    builder = (
        _builder(_name(called[0]), issuer.subject, key, now, life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(_authority_key(issuer), critical=False)
    )
    return Pair((builder.sign(authority.key, hashes.SHA256()), issuer), key)


def request(names: Iterable[str]) -> tuple[bytes, bytes]:
    """A new key, and a request that another authority makes a certificate for it: both as PEM. Raises `Unfit`."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = tuple(dict.fromkeys(names))
    alternatives = [_alternative(name) for name in called]
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_name(called[0]))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret, builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LEEWAY)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(**on: bool) -> x509.KeyUsage:
    off = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**(dict.fromkeys(off, False) | on))


def _authority_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:COMMON_NAME])])


def _alternative(name: str) -> x509.GeneralName:
    address = _address(name)
    if address is not None:
        return x509.IPAddress(address)
    try:
        return x509.DNSName(name)
    except ValueError:
        raise Unfit(f"{name[:80]!r} cannot stand in a certificate: write a host name in ASCII or an address.") from None


def _address(name: str) -> Address | None:
    try:
        return ip_address(name.strip("[]"))
    except ValueError:
        return None


# --- reading and judging --------------------------------------------------------------------------------------------


def read(certificates: bytes, key: bytes) -> Pair:
    """
    The pair that these PEM texts are: the server's certificate, in whatever place, those that lead to its authority
    in order, and the key, unprotected. Raises `Unfit`.
    """
    loaded = _key(key)
    chain = _chain(_certificates(certificates), loaded)
    return Pair(chain, loaded)


def read_authority(pem: bytes) -> Pair:
    """An authority as `Pair.pem` wrote it. Raises `Unfit`."""
    return read(pem, pem)


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The hosts and addresses that the certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = names.get_values_for_type(x509.IPAddress)
    return (*names.get_values_for_type(x509.DNSName), *map(str, addresses))


def check(pair: Pair, hostname: str, now: datetime) -> None:
    """Raises `Unfit` unless clients that call the server `hostname` (no port) will believe it now, if its authority."""
    certificate = pair.certificate
    if now >= certificate.not_valid_after_utc:
        ended = certificate.not_valid_after_utc.date()
        raise Unfit(f"The certificate ended on {ended}, so no client would accept it. Ask its authority for a new one.")
    if now < certificate.not_valid_before_utc:
        begins = certificate.not_valid_before_utc
        raise Unfit(f"The certificate begins on {begins:%Y-%m-%d %H:%M} UTC. Is the clock of this machine right?")
    names = names_of(certificate)
    if not any(_covers(name, hostname) for name in names):
        listed = ", ".join(names[:10]) or "nothing (it has no subject alternative names, and clients look at no others)"
        raise Unfit(f"The certificate is not for {hostname}, but for {listed}. Change the name, or ask for another.")
    if any(now >= other.not_valid_after_utc for other in pair.chain[1:]):
        raise Unfit("A certificate on the way to the authority has ended. Take the present one from the authority.")


def is_due(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether it is time to replace it."""
    return now >= certificate.not_valid_after_utc - RENEWAL


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether this authority has signed it."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _covers(pattern: str, hostname: str) -> bool:
    """Whether a name in a certificate means this host; `*` stands for one label, the first."""
    pattern, hostname = pattern.lower().rstrip("."), hostname.lower().rstrip(".").strip("[]")
    address = _address(hostname)
    if address is not None:
        return _address(pattern) == address
    if pattern.startswith("*."):
        label, _, rest = hostname.partition(".")
        return bool(label) and rest == pattern[2:]
    return pattern == hostname


def _key(pem: bytes) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem[:LIMIT], password=None)
    except TypeError:
        raise Unfit(
            "The key is protected by a passphrase, which a server that starts by itself could not type. Remove it: "
            "openssl pkey -in protected.key -out plain.key."
        ) from None
    except ValueError:
        raise Unfit("The key is none in PEM: it must have a line -----BEGIN PRIVATE KEY----- or the like.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise Unfit("The key is of a kind that not every client can use: take RSA, or ECDSA on P-256.")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < 2048:
        raise Unfit(f"The key is RSA with {key.key_size} bits, which clients refuse: 2048 are the least.")
    return key


def _certificates(pem: bytes) -> list[x509.Certificate]:
    if len(pem) > LIMIT:
        raise Unfit(f"The certificates are longer than {LIMIT // 1024} KiB: give the server's and those above it only.")
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        found = []
    if not found:
        raise Unfit("There is no certificate in PEM: it must have a line -----BEGIN CERTIFICATE-----.")
    return found


def _chain(certificates: list[x509.Certificate], key: PrivateKey) -> tuple[x509.Certificate, ...]:
    """The certificate of `key`, and after it each one's issuer, as far as there is one."""
    public = _spki(key.public_key())
    own = next((each for each in certificates if _spki(each.public_key()) == public), None)
    if own is None:
        raise Unfit("The key does not belong to the certificate: give the key for which the certificate was made.")
    return tuple(_upwards(own, certificates))


def _upwards(own: x509.Certificate, others: list[x509.Certificate]) -> Iterator[x509.Certificate]:
    seen: list[x509.Certificate] = []
    current: x509.Certificate | None = own
    while current is not None and current not in seen:
        yield current
        seen.append(current)
        child = current
        current = next((each for each in others if each not in seen and is_issued_by(child, each)), None)


def _spki(key: object) -> bytes:
    public = cast("ec.EllipticCurvePublicKey", key)
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
