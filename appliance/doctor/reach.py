"""
Calling the server as its clients do: TCP, TLS with its certificate looked at by service-identity, `/v2/`.

The doctor calls what its administrator names only, from a thread and without a reactor; everybody else's calls go
through `quay.egress`. Source: OCI distribution specification, "Determining Support"; RFC 9525 (names in certificates).
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs
from cryptography import x509
from service_identity import VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from service_identity.exceptions import CertificateError

from appliance.doctor.patient import Patient, is_address
from quay.config import Config, Endpoint
from quay.setup.certificates import DIRECTORY
from quay.setup.machine import is_loopback

PATIENCE_S: Final = 8.0
READ: Final = 64 * 1024


class Unreached(Exception):
    """Nobody could be called like this; the message is a sentence that says how far it came."""


class Unbelieved(Unreached):
    """The certificate is for nobody, or of nobody."""


@attrs.frozen
class Answered:
    """An answer, with its headers in lower case, and how long it took to come."""

    status: int
    headers: Mapping[str, str]
    seconds: float
    body: bytes = attrs.field(default=b"", repr=False)

    @property
    def date(self) -> datetime | None:
        """When the server thinks that this was."""
        try:
            found = parsedate_to_datetime(self.headers.get("date", ""))
        except ValueError:
            return None
        return found if found.tzinfo else found.replace(tzinfo=UTC)


@attrs.frozen
class Trust:
    """
    Whom to believe: the CAs of the machine, and the one in the file, if there is one; or that one `alone`. `partial`
    says that there is one that may not be read, so that a certificate which is not believed may be good all the same.
    """

    file: Path | None = None
    alone: bool = False
    partial: bool = False

    def __str__(self) -> str:
        if self.file is None:
            return "the CAs of this machine"
        return f"the CA in {self.file}" if self.alone else "the registry's own authority"

    def context(self) -> ssl.SSLContext:
        """Raises `OSError`."""
        context = ssl.create_default_context(cafile=self.file if self.alone else None)
        if self.file is not None and not self.alone:
            context.load_verify_locations(self.file)
        context.check_hostname = False  # service-identity does that
        return context


def trust_of(config: Config) -> Trust:
    """The registry's own authority, where it has one that may be read."""
    own = config.data / DIRECTORY / "authority.pem"
    try:
        own.open("rb").close()
    except PermissionError:
        return Trust(partial=True)
    except OSError:
        return Trust()
    return Trust(own)


def urls(patient: Patient) -> tuple[str, ...]:
    """Every address of the server, as a URL; the one for its clients last."""
    config = patient.config
    scheme = "http" if config.tls_certificate is None else "https"
    found = [f"{scheme}://{_here(endpoint)}" for endpoint in config.listen if endpoint.port]
    if config.hostname is not None:
        found.append(f"{config.scheme}://{config.hostname}")
    return tuple(dict.fromkeys(found))


def _here(endpoint: Endpoint) -> Endpoint:
    """Where an endpoint for every address is called from here."""
    address = ipaddress.ip_address(endpoint.host)
    if address.is_unspecified:
        return Endpoint("127.0.0.1" if address.version == 4 else "::1", endpoint.port)
    return endpoint


def ask(url: str, path: str, trust: Trust, *, name: str | None = None, limit: int = READ) -> Answered:
    """
    What the server says to one GET, with the first `limit` bytes of its body. `name` is what its certificate has to be
    for, where it is not the host of the URL. Raises `Unreached`.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    began = time.monotonic()
    connected = _connected(host, port)
    try:
        if parts.scheme == "https":
            connected = _secured(connected, name or host, trust)
        return _asked(connected, parts.netloc, path, began, limit)
    finally:
        connected.close()


def _connected(host: str, port: int) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout=PATIENCE_S)
    except TimeoutError:
        raise Unreached(f"Nobody answers at {host}, port {port}, within {PATIENCE_S:.0f} s: a firewall?") from None
    except OSError as error:
        raise Unreached(f"No connection to {host}, port {port}: {error.strerror or error}.") from None


def _secured(plain: socket.socket, host: str, trust: Trust) -> socket.socket:
    try:
        secured = trust.context().wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise Unbelieved(f"The certificate is not believed by {trust}: {error.verify_message}.") from None
    except (ssl.SSLError, OSError) as error:
        why = str(getattr(error, "reason", None) or error).replace("_", " ").lower()
        raise Unreached(f"TLS does not work ({why}): is it plain HTTP there?") from None
    certificate = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
    if not is_for(certificate, host):
        secured.close()
        raise Unbelieved(f"The certificate that is shown is not for {host}.")
    return secured


def is_for(certificate: x509.Certificate, host: str) -> bool:
    """Whether a certificate is for this host; each is for loopback, where nobody is deceived."""
    if is_loopback(host):
        return True
    try:
        if is_address(host):
            verify_certificate_ip_address(certificate, host)
        else:
            verify_certificate_hostname(certificate, host)
    except (VerificationError, CertificateError):
        return False
    return True


def _asked(connected: socket.socket, netloc: str, path: str, began: float, limit: int) -> Answered:
    connection = HTTPConnection(netloc)
    connection.sock = connected
    try:
        connection.request("GET", path, headers={"User-Agent": "quay-doctor", "Connection": "close"})
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        body = response.read(limit)
    except (OSError, HTTPException) as error:
        raise Unreached(f"No answer that is HTTP came back: {error or type(error).__name__}.") from None
    return Answered(response.status, headers, time.monotonic() - began, body)
