"""Whatever is known, or looks, like a secret, is *** in what leaves the machine."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
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

# Possessive (++) where a long word could be gone through again and again.
_PATTERNS: Final = (
    (re.compile(r"\b(bearer|basic|digest)\s+[A-Za-z0-9+/=._~-]{8,}+", re.IGNORECASE), r"\1 ***"),
    (re.compile(r"(://[^\s/:@]*+:)[^\s/@]++@"), r"\1***@"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]++\.[\w-]*+"), HIDDEN),  # a JWT
)
_KEY: Final = re.compile(r"""(?<![\w.-])([\w.-]++)["']?+\s*+[=:]\s*+["']?+""")
_VALUE: Final = re.compile(r"""[^\s"',;&]*+""")
_OF_A_SECRET: Final = re.compile(r"passw|secret|token|(?:api|access|private)_?key|credential", re.IGNORECASE)


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
        return "".join(_without_values(text))


def _without_values(text: str) -> Iterator[str]:
    """The text, with what is assigned to the names of secrets hidden."""
    told = 0
    for key in _KEY.finditer(text):
        if key.start() < told or not _OF_A_SECRET.search(key[1]):
            continue
        value = _VALUE.match(text, key.end())
        if value is not None and value[0]:
            yield text[told : key.end()]
            yield HIDDEN
            told = value.end()
    yield text[told:]


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
