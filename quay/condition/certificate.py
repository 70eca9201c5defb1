"""
The certificate that clients are shown, and the authority above it: whether they will be believed, and for how long.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import attrs
from cryptography import x509

from quay import authority
from quay.authority import Pair, Unfit
from quay.condition.finding import Finding, fine, remarkable, unseen, wrong
from quay.config import Config
from quay.setup import CertificateFiles
from quay.setup.answers import host_of

EXPIRED: Final = "/docs/runbooks#certificate-expired"
PLAIN: Final = "/docs/runbooks#no-tls"
CLOSE: Final = timedelta(days=14)
"""So long before its end, a certificate that nobody renews is worth a word."""
LATE: Final = authority.RENEWAL - timedelta(days=5)
"""By then, the server has renewed what it can renew."""
AUTHORITY_CLOSE: Final = timedelta(days=365)
"""Clients need their time to believe another authority."""


def certificate(config: Config, now: datetime) -> Iterator[Finding]:
    """What is to be said of the certificate that the configuration names, and of one's own authority."""
    if config.tls_certificate is None or config.tls_key is None:
        yield _without(config)
        return
    try:
        pair = authority.read(config.tls_certificate.read_bytes(), config.tls_key.read_bytes())
    except PermissionError as error:
        yield unseen(f"{error.filename} may not be read by this user; look as root, or as the server's user.")
        return
    except OSError as error:
        yield wrong(f"The certificate cannot be read: {error.filename}: {error.strerror}.", "quay setup url", EXPIRED)
        return
    except Unfit as unfit:
        yield wrong(str(unfit), _shown(config.tls_certificate), EXPIRED)
        return
    if x509.load_pem_x509_certificates(config.tls_certificate.read_bytes())[0] != pair.certificate:
        yield wrong(
            f"The key does not belong to the first certificate in {config.tls_certificate}, which is the one that is "
            "shown: put the server's own first.",
            _shown(config.tls_certificate),
            EXPIRED,
        )
        return
    yield from _names(config, pair, now)
    own = _own_authority(config)
    issued = own is not None and authority.is_issued_by(pair.certificate, own)
    yield _expiry(config.tls_certificate, pair.certificate, now, renewed=issued)
    yield from _chain(config.tls_certificate, pair, issued)
    if own is not None and issued:
        yield _authority(own, now)


@attrs.frozen
class Expiry:
    """When a certificate ends, and whether the server renews it by itself before that."""

    ends: datetime
    renewed: bool

    def is_close(self, now: datetime) -> bool:
        """Whether those who run the registry should know of it, wherever they look."""
        return self.ends - now < (LATE if self.renewed else authority.RENEWAL)


def expiry(config: Config) -> Expiry | None:
    """Of the certificate that the configuration names; None if there is none, or it cannot be read."""
    if config.tls_certificate is None:
        return None
    try:
        shown = x509.load_pem_x509_certificates(config.tls_certificate.read_bytes()[: authority.LIMIT])[0]
    except (OSError, ValueError):
        return None
    own = _own_authority(config)
    return Expiry(shown.not_valid_after_utc, own is not None and authority.is_issued_by(shown, own))


def _without(config: Config) -> Finding:
    if config.external_tls_termination:
        return fine("A proxy in front of this server has the certificate (EXTERNAL_TLS_TERMINATION).")
    if all(endpoint.is_loopback for endpoint in config.listen):
        return fine("This server speaks plain HTTP, to this machine only.")
    return remarkable(
        "This server speaks plain HTTP: passwords and images travel in the clear, and docker refuses it unless it is "
        "among its insecure-registries.",
        "quay setup url",
        PLAIN,
    )


def _names(config: Config, pair: Pair, now: datetime) -> Iterator[Finding]:
    if config.hostname is None:
        yield remarkable(
            "SERVER_HOSTNAME is not set, so whatever a client calls this server goes, and no certificate is compared.",
            "quay setup url",
        )
        return
    host = host_of(config.hostname)
    try:
        authority.check(pair, host, now)
    except Unfit as unfit:
        yield wrong(str(unfit), _shown(config.tls_certificate), EXPIRED)
        return
    yield fine(f"The certificate is for {', '.join(authority.names_of(pair.certificate)[:6])}, as it should be.")


def _expiry(file: Path, found: x509.Certificate, now: datetime, *, renewed: bool) -> Finding:
    left = found.not_valid_after_utc - now
    said = f"The certificate ends on {found.not_valid_after_utc:%Y-%m-%d}, in {left.days} days"
    if left <= timedelta(0):
        return wrong(f"The certificate ended on {found.not_valid_after_utc:%Y-%m-%d}.", _shown(file), EXPIRED)
    if renewed and left < LATE:
        return remarkable(f"{said}, and should have been renewed by the server by now.", "quay serve", EXPIRED)
    if not renewed and left < CLOSE:
        return remarkable(f"{said}; nobody renews it by himself: ask its authority.", _shown(file), EXPIRED)
    return fine(f"{said}; it is renewed by this server." if renewed else f"{said}.")


def _chain(file: Path, pair: Pair, issued: bool) -> Iterator[Finding]:
    top = pair.chain[-1]
    if issued or top.issuer == top.subject:
        yield fine(f"The certificate leads to {_called(top.issuer)}.")
    elif len(pair.chain) == 1:
        yield remarkable(
            f"The certificate comes alone, and was issued by {_called(top.issuer)}: where that is not itself a CA that "
            "clients believe, put the certificates in between below it in the same file.",
            _shown(file),
            EXPIRED,
        )


def _authority(own: x509.Certificate, now: datetime) -> Finding:
    left = own.not_valid_after_utc - now
    said = f"The registry's own authority ends on {own.not_valid_after_utc:%Y-%m-%d}"
    if left <= timedelta(0):
        return wrong(f"{said.replace('ends', 'ended')}: clients believe nothing of it.", "quay setup url", EXPIRED)
    if left < AUTHORITY_CLOSE:
        return remarkable(f"{said}: make a new one in the setup, and let clients trust it in time.", "", EXPIRED)
    return fine(f"{said}.")


def _own_authority(config: Config) -> x509.Certificate | None:
    try:
        return CertificateFiles(config.data).authority()
    except (OSError, Unfit):
        return None


def _called(name: x509.Name) -> str:
    return name.rfc4514_string() or "an authority without a name"


def _shown(file: Path | None) -> str:
    return f"openssl x509 -in {shlex.quote(str(file))} -noout -subject -issuer -dates -ext subjectAltName"
