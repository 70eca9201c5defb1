"""
Seals: what this installation hands out or stores, and must be able to believe when it comes back.

A sealed value is encrypted, authenticated and dated, with a key that follows from the installation's secret and from
what the value is for: a page token is no session, and a TOTP secret no page token. Source: Fernet (the `cryptography`
library); HKDF, RFC 5869.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class SealBroken(Exception):
    """What came back was not sealed here, not for this purpose, or too long ago."""


class Seals:
    """Seals with keys that follow from `secret`; `now` gives the seconds since the epoch."""

    def __init__(self, secret: bytes, now: Callable[[], float]) -> None:
        self._secret = secret
        self._now = now
        self._fernets: dict[str, Fernet] = {}

    def key(self, purpose: str) -> bytes:
        """32 bytes that nobody else has, the same for the same `purpose`: for a MAC."""
        return HKDF(SHA256(), 32, salt=None, info=f"quay {purpose}".encode()).derive(self._secret)

    def seal(self, purpose: str, value: bytes) -> str:
        """`value`, sealed for `purpose`, in characters that fit into a URL."""
        return self._fernet(purpose).encrypt_at_time(value, int(self._now())).decode("ascii")

    def open(self, purpose: str, sealed: str, max_age_s: int | None = None) -> bytes:
        """What was sealed for `purpose`, not longer than `max_age_s` ago. Raises `SealBroken`."""
        fernet = self._fernet(purpose)
        try:
            if max_age_s is None:
                return fernet.decrypt(sealed.encode())
            return fernet.decrypt_at_time(sealed.encode(), max_age_s, int(self._now()))
        except (InvalidToken, UnicodeEncodeError):
            raise SealBroken(f"This is not what the registry gave out for {purpose}, or it is too old.") from None

    def _fernet(self, purpose: str) -> Fernet:
        if purpose not in self._fernets:
            self._fernets[purpose] = Fernet(base64.urlsafe_b64encode(self.key(purpose)))
        return self._fernets[purpose]
