"""
JSON as strangers send it: read once and strictly, and every refusal names the place of the fault.

What two readers could understand differently is refused: a member that stands twice, NaN, a byte order mark, text
that is not UTF-8, numbers that do not fit 63 bits. What costs more than a manifest may cost is refused before it is
parsed. Source: RFC 8259; RFC 7493 (I-JSON); OCI Image Specification 1.1 "Descriptors".
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Never, TypeVar

import attrs

from quay.oci.errors import DigestInvalid, ManifestInvalid
from quay.oci.reference import Digest

T = TypeVar("T")

DEPTH_LIMIT: Final = 64
CONTAINER_LIMIT: Final = 20_000
MEMBER_LIMIT: Final = 50_000
DIGIT_LIMIT: Final = 20  # no number that fits 64 bits is longer
SIZE_LIMIT: Final = 2**63
NO_TEXTS: Final[Mapping[str, str]] = MappingProxyType({})

_PRINTABLE = re.compile(r"[!-~][ -~]{0,254}")
_KINDS: Final = {str: "a string", int: "an integer", dict: "an object", list: "an array"}


def refusal(place: str, problem: str, advice: str = "") -> ManifestInvalid:
    """The error for a fault at `place`, a JSON path; the empty path is the document itself."""
    return ManifestInvalid(f"The manifest is refused: {place or 'it'} {problem}.", advice=advice, path=place)


@attrs.frozen
class JsonObject:
    """
    A JSON object and the path at which it stands. Each reader returns a member in its proper shape, or raises
    `ManifestInvalid` with the member's path. Where absence is allowed, `null` is absence: Go writes it for nil.
    """

    members: dict[str, object]
    path: str = ""

    def has(self, key: str) -> bool:
        return self.members.get(key) is not None

    def refusal(self, key: str, problem: str, advice: str = "") -> ManifestInvalid:
        return refusal(self.place(key), problem, advice)

    def place(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def text(self, key: str) -> str:
        return self._checked(key, self._required(key, str))

    def optional_text(self, key: str) -> str | None:
        value = self._optional(key, str)
        return None if value is None else self._checked(key, value)

    def media_type(self, key: str = "mediaType") -> str:
        """Any media type: printable ASCII is all we ask, because others invent them and we only keep them."""
        value = self._required(key, str)
        if _PRINTABLE.fullmatch(value) is None:
            raise self.refusal(key, "is not a media type", "A media type is printable ASCII of 1 to 255 characters.")
        return value

    def optional_media_type(self, key: str) -> str | None:
        return self.media_type(key) if self.members.get(key) else None

    def integer(self, key: str) -> int:
        return self._required(key, int)

    def size(self, key: str = "size") -> int:
        """A number of bytes, as every client can hold it."""
        value = self.integer(key)
        if not 0 <= value < SIZE_LIMIT:
            raise self.refusal(key, "is not a size", "A size is the number of bytes, from 0 to 2^63 - 1.")
        return value

    def digest(self, key: str = "digest") -> Digest:
        try:
            return Digest.parse(self._required(key, str))
        except DigestInvalid as fault:
            raise self.refusal(key, "is not a digest that this registry knows", fault.advice) from None

    def child(self, key: str) -> JsonObject | None:
        value = self._optional(key, dict)
        return None if value is None else JsonObject(value, self.place(key))

    def children(self, key: str, limit: int) -> list[JsonObject]:
        """The array of objects under `key`, at most `limit` of them."""
        values = self._optional(key, list) or []
        if len(values) > limit:
            raise self.refusal(key, f"has {len(values)} elements", f"This registry takes {limit} at most.")
        return [self._element(key, index, value) for index, value in enumerate(values)]

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._optional(key, list)
        return tuple(self._checked(key, value) for value in values) if values else ()

    def text_map(self, key: str) -> Mapping[str, str]:
        """The object of strings under `key`, such as annotations."""
        values = self._optional(key, dict)
        if not values:
            return NO_TEXTS
        return {
            self._checked(key, name): self._checked(f"{key}[{name[:80]!r}]", value) for name, value in values.items()
        }

    def _required(self, key: str, kind: type[T]) -> T:
        value = self._optional(key, kind)
        if value is None:
            raise self.refusal(key, "is missing", f"Put {_KINDS[kind]} there.")
        return value

    def _optional(self, key: str, kind: type[T]) -> T | None:
        value = self.members.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or isinstance(value, bool):  # Python's True is an integer
            raise self.refusal(key, f"is not {_KINDS[kind]}", f"Put {_KINDS[kind]} there.")
        return value

    def _element(self, key: str, index: int, value: object) -> JsonObject:
        if not isinstance(value, dict):
            raise self.refusal(f"{key}[{index}]", "is not an object", "Every element of this array is an object.")
        return JsonObject(value, f"{self.path}.{key}[{index}]" if self.path else f"{key}[{index}]")

    def _checked(self, key: str, value: object) -> str:
        """`value` if it is text that a database and a terminal can hold."""
        if not isinstance(value, str):
            raise self.refusal(key, "is not a string", "Write this value as a JSON string.")
        if not is_plain(value):
            raise self.refusal(key, "has a NUL or half a surrogate pair", "Write text that UTF-8 can encode.")
        return value


def is_plain(text: str) -> bool:
    """Whether UTF-8 can encode `text` and it has no NUL, which PostgreSQL does not store."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return "\0" not in text


def load(raw: bytes, path: str = "", *, containers: int = CONTAINER_LIMIT, members: int = MEMBER_LIMIT) -> JsonObject:
    """
    The JSON object that `raw` spells; `path` is where it stands. It may have so many objects and arrays, and so many
    members in all. Raises `ManifestInvalid`.
    """
    if raw.count(b"{") + raw.count(b"[") > containers or raw.count(b",") > members:
        advice = f"Stay below {containers} objects and arrays, and {members} members."
        raise refusal(path, "has too many members", advice)
    try:
        value = _DECODER.decode(raw.decode())
    except RecursionError:
        raise _too_deep(path) from None
    except UnicodeDecodeError as fault:
        raise refusal(path, f"is not UTF-8 at byte {fault.start}", "Encode the manifest as UTF-8.") from None
    except ValueError as fault:
        raise refusal(path, f"is not JSON: {fault}", "Send one JSON object, without a byte order mark.") from None
    if not isinstance(value, dict):
        raise refusal(path, "is not a JSON object", "Send one JSON object.")
    _check_depth(value, path)
    return JsonObject(value, path)


def _check_depth(value: object, path: str) -> None:
    level = [value]
    for _ in range(DEPTH_LIMIT):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise _too_deep(path)


def _too_deep(path: str) -> ManifestInvalid:
    return refusal(path, "is nested too deeply", f"This registry takes {DEPTH_LIMIT} levels at most.")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        [(name, _), *_] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the member {name[:80]!r} stands twice in one object")
    return members


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no number of JSON")


def _integer(digits: str) -> int:
    if len(digits) > DIGIT_LIMIT:
        raise ValueError(f"an integer has {len(digits)} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is too large a number")
    return value


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer, parse_float=_finite
)
