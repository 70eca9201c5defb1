"""
Digests, repository names, tags and references: parsed once at the edge, exact inside.

Source: OCI Image Specification 1.1 "Digests"; OCI Distribution Specification 1.1 "Pulling manifests" (grammar of
`<name>` and `<reference>`); Quay's rules for namespaces.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, Self

import attrs

from quay.oci.errors import DigestInvalid, NameInvalid, TagInvalid

HEX_LENGTHS: Final = {"sha256": 64, "sha512": 128}

_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_SEGMENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
NAME_LIMIT: Final = 255


class Digest(str):
    """A canonical digest, `sha256:<64 hex>` or `sha512:<128 hex>`; a `str` that can be nothing else."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """The digest that `text` spells. Raises `DigestInvalid` for every other spelling."""
        if _DIGEST.fullmatch(text) is None:
            raise DigestInvalid(
                f"{text[:160]!r} is not a digest that this registry knows.",
                advice="A digest is sha256:<64 lower-case hex digits> or sha512:<128 lower-case hex digits>.",
            )
        return cls(text)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Self:
        """The digest of `data`."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")

    @property
    def algorithm(self) -> str:
        return self[:6]

    @property
    def hex(self) -> str:
        return self[7:]


class Tag(str):
    """A tag: at most 128 characters of the specification's alphabet."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """The tag that `text` spells. Raises `TagInvalid`."""
        if _TAG.fullmatch(text) is None:
            raise TagInvalid(
                f"{text[:160]!r} is not a tag.",
                advice="A tag has 1 to 128 letters, digits, '_', '.' or '-', and begins with none of the last two.",
            )
        return cls(text)


def parse_reference(text: str) -> Digest | Tag:
    """What stands after `/manifests/`: whatever has a colon is a digest, everything else a tag."""
    return Digest.parse(text) if ":" in text else Tag.parse(text)


@attrs.frozen(slots=True)
class RepositoryName:
    """A namespace and a path below it; `str()` is what the protocol calls `<name>`."""

    namespace: str
    path: str

    @classmethod
    def parse(cls, text: str, library: str | None = "library") -> Self:
        """
        The repository that `text` names. A name of one segment lies in the namespace `library`; where that is
        None, it is refused. Raises `NameInvalid`.
        """
        if len(text) > NAME_LIMIT or _PATH.fullmatch(text) is None:
            raise NameInvalid(
                f"{text[:160]!r} is not a repository name.",
                advice="Use lower-case segments such as team/app or team/group/app: letters and digits, "
                "separated by '.', '_', '__' or '-', 255 characters at most.",
            )
        namespace, slash, path = text.partition("/")
        if slash:
            return cls(namespace, path)
        if library is None:
            raise NameInvalid(
                f"{text!r} has no namespace, and this registry has no library namespace.",
                advice="Put the namespace in front: namespace/repository.",
            )
        return cls(library, text)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.path}"
