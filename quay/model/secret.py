"""
Secrets that machines show: long and random, so that their SHA-256 is as good as a slow hash and can be looked up. The
secret itself is given out once, when it is made, and is in no row afterwards.
"""

from __future__ import annotations

import hashlib
import secrets
import string
from typing import Final

_ALPHABET: Final = string.ascii_uppercase + string.digits


def fresh(length: int) -> str:
    """A new secret of `length` capital letters and digits: five bits and more each."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def hashed(secret: str) -> str:
    """What is kept of `secret`, and what it is found by: 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
