"""The configuration as it may be shown: each key with its value, and *** for every secret."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

import attrs

from appliance.support.redaction import HIDDEN
from quay.config import Config, DatabaseArguments, Redis, Secret, StorageLocation
from quay.config.keys import SETTINGS, Authority
from quay.config.secrets import DatabaseUri

_OPEN: Final = frozenset(
    {"storage_path", "bucket_name", "host", "hostname", "port", "is_secure", "region", "endpoint_url"}
)
"""The options of a storage that are no secret: of others, nobody knows."""


def shown(config: Config) -> dict[str, Any]:
    """Every key, with its value as it is in force."""
    return {key: _plain(getattr(config, field.name)) for key, field in SETTINGS.items()}


def _plain(value: object) -> Any:
    if isinstance(value, DatabaseUri):
        return value.place
    if isinstance(value, Secret):
        return HIDDEN
    if isinstance(value, StorageLocation):
        return [value.driver, {name: option if name in _OPEN else HIDDEN for name, option in value.options.items()}]
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    if isinstance(value, Redis | DatabaseArguments | Authority):
        fields: Any = attrs.fields(type(value))
        return {field.name: _plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Enum):
        return value.value
    return value if value is None or type(value) in (bool, int, float, str) else _text(value)


def _text(value: object) -> Any:
    return int(value) if isinstance(value, int) else float(value) if isinstance(value, float) else str(value)
