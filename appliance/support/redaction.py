"""Whatever is known, or looks, like a secret, is *** in what leaves the machine."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self
from urllib.parse import quote, unquote

import attrs

from quay.config import Config, Secret, StorageLocation
from quay.config.secrets import DatabaseUri

HIDDEN: Final = "***"
SHORTEST: Final = 4
"""What is shorter would be found everywhere."""
KEPT: Final = ("secret_key", "database_secret_key")
"""The secrets that an installation made for itself, in its data directory."""

_HUSHED: Final = re.compile(r"key|secret|passw|token|credential", re.IGNORECASE)
"""In the name of an option of a storage."""

_PATTERNS: Final = (
    (re.compile(r"(?i)\b(bearer|basic|digest)\s+[A-Za-z0-9+/=._~-]{8,}"), r"\1 ***"),
    (re.compile(r"(://[^\s/:@]*:)[^\s/@]+@"), r"\1***@"),
    (
        re.compile(
            r"(?i)([\w.-]*(?:passw(?:or)?d|passwd|secret|token|api_?key|access_?key|private_?key|credential)[\w.-]*"
            r"[\"']?\s*[=:]\s*[\"']?)(?!\*\*\*)[^\s\"',;&]+"
        ),
        r"\1***",
    ),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S), HIDDEN),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), HIDDEN),  # a JWT
)


@attrs.frozen
class Redaction:
    """Hides `secrets`, which are known, and what looks alike."""

    secrets: tuple[str, ...] = attrs.field(repr=False)

    @classmethod
    def of(cls, config: Config, texts: Iterable[str] = ()) -> Self:
        """For an installation, with `texts` that are secret, too. Those that cannot be read are in nobody's log."""
        found = [*_revealed(config), *_kept(config), *texts]
        spellings = (each for secret in found if len(secret) >= SHORTEST for each in _spelled(secret))
        return cls(tuple(sorted(set(spellings), key=len, reverse=True)))

    def known(self, text: str) -> str:
        """The text without any secret of this installation."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def alike(self, text: str) -> str:
        """The text without anything that looks like somebody's secret: what others have written, a log, say."""
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text


def _revealed(value: object) -> list[str]:
    """Every secret anywhere in a value of the configuration."""
    if isinstance(value, DatabaseUri):
        return [word for word in re.findall(r"://[^/]*?:(.*)@", value.reveal()) if word]
    if isinstance(value, Secret):
        return [value.reveal()]
    if isinstance(value, StorageLocation):
        return [str(option) for name, option in value.options.items() if _HUSHED.search(name)]
    if isinstance(value, Mapping):
        return [secret for inner in value.values() for secret in _revealed(inner)]
    if isinstance(value, tuple | list):
        return [secret for inner in value for secret in _revealed(inner)]
    fields: Any = getattr(type(value), "__attrs_attrs__", ())
    return [secret for field in fields for secret in _revealed(getattr(value, field.name))]


def _kept(config: Config) -> list[str]:
    found: list[str] = []
    for name in KEPT:
        try:
            content = (config.data / name).read_bytes()
        except OSError:
            continue
        found += [content.hex(), base64.b64encode(content).decode(), content.decode("latin-1")]
    return found


def _spelled(secret: str) -> tuple[str, ...]:
    """How it may stand in a text: as it is, or for a header or a URL."""
    return secret, quote(secret, safe=""), unquote(secret), base64.b64encode(secret.encode()).decode()
