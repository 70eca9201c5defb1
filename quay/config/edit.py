"""
Changing keys of a configuration file that somebody has written, and leaving everything else of it as it is: its
comments, its order, what was said about other keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from quay.config.reference import yaml_line

_KEY: Final = re.compile(r"(#?)([A-Z][A-Z0-9_]*):(?:\s|$)")


def edited(text: str, values: Mapping[str, object]) -> str:
    """
    `text` with these keys set, on one line each, and with those that are None left to their defaults: in place of
    what stood there, else of the comment that shows the default, else at the end.
    """
    lines = list(_without(text.splitlines(), values))
    for key, value in values.items():
        written = [f"#{key}:" if value is None else f"{key}: {yaml_line(value)}"]
        place = next((number for number, line in enumerate(lines) if _commented(line) == key), None)
        if place is None:
            lines += [] if value is None else written
        elif value is not None:
            lines[place : place + 1] = written
    return "\n".join(lines) + "\n"


def _without(lines: list[str], values: Mapping[str, object]) -> Iterator[str]:
    """The lines, with the entries of these keys turned into a comment that keeps their place."""
    dropping = False
    for line in lines:
        match = _KEY.match(line)
        begins = match is not None and not match[1]
        if begins and match is not None and match[2] in values:
            dropping = True
            yield f"#{match[2]}:"
        elif dropping and (line[:1] in (" ", "\t", "-", "]", "}")):
            continue  # the rest of the entry
        else:
            dropping = False
            yield line


def _commented(line: str) -> str | None:
    match = _KEY.match(line)
    return match[2] if match is not None and match[1] else None
