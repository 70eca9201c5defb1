"""
The certificates of an installation: files in its data directory, which their owner alone may read.

A certificate and its key are in one file, so that they cannot be parted by a crash between two writes; whoever serves
with it finds either the old pair or the new one. Everything here waits for the disk.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import attrs
from cryptography import x509

from quay import authority
from quay.authority import Pair, Unfit
from quay.files import write_whole

DIRECTORY: Final = "tls"
SERVER: Final = f"{DIRECTORY}/server.pem"
"""Where the server's certificate is, from the data directory: with its chain and its key."""


@attrs.frozen
class CertificateFiles:
    """The directory `tls` of the data directory `data`."""

    data: Path

    @property
    def server(self) -> Path:
        """The certificate that the server shows, those above it, and its key."""
        return self.data / SERVER

    @property
    def _authority(self) -> Path:
        return self.data / DIRECTORY / "authority.pem"

    @property
    def _asked(self) -> Path:
        """The key that waits for its certificate."""
        return self.data / DIRECTORY / "request.key"

    @property
    def _request(self) -> Path:
        return self.data / DIRECTORY / "request.csr"

    def authority(self) -> x509.Certificate | None:
        """The certificate of one's own authority, if there is one."""
        pair = self._own_authority()
        return None if pair is None else pair.certificate

    def request(self) -> bytes | None:
        """The request that waits for a certificate, as PEM, if there is one."""
        with suppress(FileNotFoundError):
            return self._request.read_bytes()
        return None

    def current(self) -> Pair | None:
        """What the server shows, if there is anything; raises `Unfit` if that is damaged."""
        try:
            pem = self.server.read_bytes()
        except FileNotFoundError:
            return None
        return authority.read(pem, pem)

    def make(self, names: tuple[str, ...], now: datetime) -> Pair:
        """A new certificate for these names, by one's own authority, which is founded if there is none. `Unfit`."""
        own = self._own_authority()
        if own is None or authority.is_due(own.certificate, now):
            own = authority.found(f"Quay authority of {names[0]}", now)
            write_whole(self._authority, own.pem)
        pair = authority.issue(own, names, now)
        write_whole(self.server, pair.pem)
        return pair

    def take(self, certificates: bytes, key: bytes | None, hostname: str, now: datetime) -> Pair:
        """
        Serve with this certificate from now on. Where no `key` comes with it, it is the answer to the request, whose
        key is here. Raises `Unfit`, and nothing has changed then.
        """
        pair = authority.read(certificates, self._asked_key() if key is None else key)
        authority.check(pair, hostname, now)
        write_whole(self.server, pair.pem)
        if key is None:
            self._asked.unlink(missing_ok=True)
            self._request.unlink(missing_ok=True)
        return pair

    def ask(self, names: tuple[str, ...]) -> bytes:
        """A request for a certificate for these names; its key stays here. Raises `Unfit`."""
        key, request = authority.request(names)
        write_whole(self._asked, key)
        write_whole(self._request, request)
        return request

    def renew(self, now: datetime) -> bool:
        """Replace the server's certificate, if one's own authority issued it and it ends soon; whether that was so."""
        own, current = self._own_authority(), self.current()
        if own is None or current is None or not authority.is_issued_by(current.certificate, own.certificate):
            return False
        if not authority.is_due(current.certificate, now) or now >= own.certificate.not_valid_after_utc:
            return False
        renewed = authority.issue(own, authority.names_of(current.certificate), now)
        write_whole(self.server, renewed.pem)
        return True

    def _own_authority(self) -> Pair | None:
        try:
            return authority.read_authority(self._authority.read_bytes())
        except FileNotFoundError:
            return None

    def _asked_key(self) -> bytes:
        try:
            return self._asked.read_bytes()
        except FileNotFoundError:
            raise Unfit("No key came with the certificate, and none waits for one here: give its key, too.") from None
