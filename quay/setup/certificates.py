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

CALLED: Final = "Quay authority of "
"""So begin the names of authorities that are made here."""
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
    def _next(self) -> Path:
        """The authority that is to take over, once all clients trust it."""
        return self.data / DIRECTORY / "authority-next.pem"

    @property
    def _former(self) -> Path:
        """The certificates of authorities that others have taken over from; no keys."""
        return self.data / DIRECTORY / "authority-former.pem"

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

    def authorities(self, now: datetime) -> tuple[x509.Certificate, ...]:
        """
        All that clients should trust now: one's own authority, the one that is to take over, those before. An authority
        whose own file is lost is found above the server's certificate.
        """
        above = () if (current := self.current()) is None else current.chain[1:]
        lost = [each for each in above if self.authority() is None and authority.called(each).startswith(CALLED)]
        present = [pair.certificate for pair in (self._own_authority(), self._pair(self._next)) if pair is not None]
        found = dict.fromkeys([*present, *lost, *self._formers()])
        return tuple(each for each in found if now < each.not_valid_after_utc)

    def found_next(self, name: str, now: datetime) -> x509.Certificate:
        """The authority that is to take over, founded if there is none yet. Until then, nothing is issued by it."""
        present = self._pair(self._next)
        if present is None:
            present = authority.found(f"{CALLED}{name}", now)
            write_whole(self._next, present.pem)
        return present.certificate

    def take_over(self, now: datetime) -> Pair:
        """
        Let the authority that was founded for it issue from now on, beginning with the certificate that the server has.
        Raises `Unfit` if there is none, or the server's is not of one's own authority.
        """
        following, current = self._pair(self._next), self.current()
        if following is None:
            raise Unfit("No authority waits to take over: found it first, and let every client trust it.")
        known = self.authorities(now)
        if current is None or not any(authority.is_issued_by(current.certificate, each) for each in known):
            raise Unfit("The server's certificate is not of its own authority, so there is nothing to take over.")
        write_whole(self._former, b"".join(authority.pem_of(each) for each in known if each != following.certificate))
        write_whole(self._authority, following.pem)
        issued = authority.issue(following, authority.names_of(current.certificate), now)
        write_whole(self.server, issued.pem)
        self._next.unlink()
        return issued

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
            own = authority.found(f"{CALLED}{names[0]}", now)
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
        return self._pair(self._authority)

    def _pair(self, path: Path) -> Pair | None:
        try:
            return authority.read_authority(path.read_bytes())
        except FileNotFoundError:
            return None

    def _formers(self) -> list[x509.Certificate]:
        try:
            return x509.load_pem_x509_certificates(self._former.read_bytes())
        except FileNotFoundError:
            return []
        except ValueError:
            raise Unfit(f"{self._former} is damaged: remove it, and have clients trust the authority anew.") from None

    def _asked_key(self) -> bytes:
        try:
            return self._asked.read_bytes()
        except FileNotFoundError:
            raise Unfit("No key came with the certificate, and none waits for one here: give its key, too.") from None
