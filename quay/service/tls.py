"""
The certificate that the ports show: loaded once, loaded anew when its file changes, and never taken away from a
connection that is open. Who connects after a reload sees the new one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from OpenSSL import SSL, crypto
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from twisted.internet import ssl
from twisted.logger import Logger

from quay import authority
from quay.authority import Unfit
from quay.interfaces import IPool
from quay.setup import CertificateFiles
from quay.worker import Budget

log = Logger()

UNRENEWED: Final = "The server's certificate cannot be renewed: {why}"


class TlsUnusable(Exception):
    """TLS cannot be spoken with what the configuration names; the message is for the administrator."""


class Certificates(ssl.ContextFactory):
    """
    The certificate in the PEM file `chain`, those above it, and the key in the PEM file `key`; both may be one file.
    `load` first, which waits for the disk.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self.chain = chain
        self._key = key
        self._loaded = b""
        self._context: Any = None
        self.expires = 0.0
        """When the certificate ends, in seconds since the epoch."""

    def getContext(self) -> Any:
        """What a new connection begins with."""
        return self._context

    def load(self) -> bool:
        """Take what the files hold now; whether it is another pair than before. Raises `TlsUnusable`: all stays."""
        try:
            content = self.chain.read_bytes() + self._key.read_bytes()
            if content == self._loaded:
                return False
            own, *others = [ssl.Certificate.loadPEM(pem) for pem in _pems(self.chain.read_bytes())]
            options = ssl.CertificateOptions(
                privateKey=ssl.KeyPair.load(self._key.read_bytes(), crypto.FILETYPE_PEM).original,
                certificate=own.original,
                extraCertChain=[other.original for other in others],
                raiseMinimumTo=ssl.TLSVersion.TLSv1_2,
            )
            context = options.getContext()  # here it shows whether the two belong together
        except (OSError, ValueError, crypto.Error, SSL.Error) as error:
            raise TlsUnusable(
                f"TLS cannot be spoken with TLS_CERTIFICATE {self.chain} and TLS_KEY {self._key}: "
                f"{error or 'no certificate'}. Both must be PEM files that this user may read, and the key that of the "
                "first certificate."
            ) from error
        self._loaded, self._context = content, context
        self.expires = own.original.to_cryptography().not_valid_after_utc.timestamp()
        return True


def _pems(text: bytes) -> list[bytes]:
    end = b"-----END CERTIFICATE-----"
    return [part + end for part in text.split(end) if b"-----BEGIN CERTIFICATE-----" in part]


class Renewal:
    """Renews the server's certificate where one's own authority made it, and takes up what others have renewed."""

    def __init__(
        self, certificates: Certificates, files: CertificateFiles, pool: IPool, seconds: Callable[[], float]
    ) -> None:
        self._certificates = certificates
        self._files = files
        self._pool = pool
        self._seconds = seconds

    def begin(self) -> None:
        """
        Before anybody is served: renew what is due, as it is after a long rest, and take what the files hold. Waits for
        the disk. Raises `TlsUnusable`.
        """
        try:
            self._tell(self._renew())
        except (Unfit, OSError) as error:
            log.warn(UNRENEWED, why=str(error))
        self._certificates.load()

    async def run(self, time: Budget) -> None:
        """Renew what is due, then look at the files."""
        try:
            self._tell(await self._pool.run(self._renew))
        except Unfit as unfit:
            log.warn(UNRENEWED, why=str(unfit))
        await self.reload()

    def _renew(self) -> bool:
        return self._files.renew(datetime.fromtimestamp(self._seconds(), UTC))

    def _tell(self, renewed: bool) -> None:
        if renewed:
            log.info("The server's certificate was renewed by the registry's own authority")

    def introduction(self) -> list[str]:
        """How clients get to know the authority of the certificate, if it is one's own. Waits for the disk."""
        try:
            found = self._files.authorities(datetime.fromtimestamp(self._seconds(), UTC))
            current = self._files.current()
        except (OSError, Unfit):  # a server that runs has said what is wrong with them
            return []
        ours = current is not None and any(authority.is_issued_by(current.certificate, each) for each in found)
        if not ours or self._certificates.chain != self._files.server:
            return []
        return [
            f"Its authority, for clients to trust, is at /ca: SHA-256 {authority.fingerprint(each)}" for each in found
        ]

    async def reload(self) -> None:
        """Show new connections what the files hold now; if that is no good, what they were shown before."""
        try:
            if await self._pool.run(self._certificates.load):
                until = datetime.fromtimestamp(self._certificates.expires, UTC)
                log.info("TLS uses the certificate that ends at {until}", until=until.isoformat())
        except TlsUnusable as unusable:
            log.error("The certificate stays as it was: {why}", why=str(unusable))


class TlsMetrics(Collector):
    """When the certificate ends."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    def collect(self) -> Any:
        yield GaugeMetricFamily(
            "quay_tls_certificate_expiry_timestamp_seconds",
            "When the certificate that clients see ends.",
            self._certificates.expires,
        )
