"""
Labels of an image, and the one that bounds its life. Both are written by strangers: what cannot be read is not there.

Source: OCI Image Specification 1.1 "Image Configuration"; Quay's label `quay.expires-after`.
"""

from __future__ import annotations

import json
import re
from typing import Final

from quay.oci.document import is_plain

EXPIRES_AFTER: Final = "quay.expires-after"
CONFIG_LIMIT: Final = 4 * 1024 * 1024
LONGEST_LIFE: Final = 1000 * 365 * 86_400  # seconds: an end beyond that may not be a date any more

_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"([0-9]{1,18})([smhdw])")


def labels_of(config: bytes) -> dict[str, str]:
    """The labels in the config blob of an image; none for anything else, however odd."""
    if len(config) > CONFIG_LIMIT:
        return {}
    try:
        return labels_in(json.loads(config))
    except (ValueError, RecursionError):
        return {}


def labels_in(image: object) -> dict[str, str]:
    """The labels under `config.Labels` of an image's JSON, those that are strings."""
    config = image.get("config") if isinstance(image, dict) else None
    labels = config.get("Labels") if isinstance(config, dict) else None
    if not isinstance(labels, dict):
        return {}
    return {key: value for key, value in labels.items() if isinstance(value, str) and is_plain(key + value)}


def expires_after(value: str) -> int | None:
    """The duration that `value` spells, such as `90m` or `2w`, in seconds; None for anything else."""
    duration = _DURATION.fullmatch(value.strip())
    if duration is None:
        return None
    seconds = int(duration[1]) * _SECONDS[duration[2]]
    return seconds if seconds <= LONGEST_LIFE else None
