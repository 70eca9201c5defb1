"""
What a Quay has encrypted in its database, with its DATABASE_SECRET_KEY.

A value is `v0$$` and the base64 of a nonce of 13 bytes and AES-CCM with a tag of 16. Source: Quay, "Rotating
DATABASE_SECRET_KEY" and its data model; NIST SP 800-38C.
"""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from itertools import cycle, islice
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

PREFIX: Final = "v0$$"
NONCE: Final = 13
KEY_LENGTH: Final = 32


class Sealed(Exception):
    """A value that this key does not open."""


class Opener:
    """Opens values with the key that the configuration of a Quay spells."""

    def __init__(self, key: str) -> None:
        self._cipher = AESCCM(_key(key))

    def open(self, value: str) -> str:
        """What was encrypted. Raises `Sealed`."""
        try:
            data = base64.b64decode(value.removeprefix(PREFIX), validate=True) if value.startswith(PREFIX) else b""
            return self._cipher.decrypt(data[:NONCE], data[NONCE:], None).decode()
        except (InvalidTag, ValueError, binascii.Error):
            raise Sealed("It was not encrypted with this DATABASE_SECRET_KEY.") from None


def _key(text: str) -> bytes:
    """The key that `text` spells: a whole number, a UUID, or what its characters are; over and over, if it is short."""
    spelled: bytes | None = None
    with suppress(ValueError):
        spelled = bytes.fromhex(f"{int(text):02x}")
    if spelled is None:
        with suppress(ValueError):
            spelled = UUID(text).bytes
    if spelled is None:
        spelled = text.encode("latin-1", "replace")
    if not spelled:
        raise Sealed("The DATABASE_SECRET_KEY is empty.")
    return bytes(islice(cycle(spelled), KEY_LENGTH))
