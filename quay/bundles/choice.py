"""
What is to go into a bundle, as people write it: `acme/web`, `acme/web:1.*`, `acme/*`, each a line of a list.

A pattern is a glob: `*` stands for any characters, slashes too, `?` for one, `[…]` for one of these. Without a tag, all
tags are meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final, Self

import attrs

from quay.oci.errors import InvalidRequest
from quay.oci.reference import NAME_LIMIT

CHOICES_LIMIT: Final = 10_000

_REPOSITORY = re.compile(r"[a-z0-9*?\[\]!_.-]+(?:/[a-z0-9*?\[\]!_.-]+)*")
_TAG = re.compile(r"[A-Za-z0-9_.*?\[\]!-]{1,256}")


class ChoiceInvalid(InvalidRequest):
    """What was chosen cannot be, or there is nothing of that kind."""


@attrs.frozen
class Choice:
    """Tags that match `tag`, of repositories that match `repository`."""

    repository: str
    tag: str = "*"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `ChoiceInvalid`."""
        repository, colon, tag = text.partition(":")
        fits = len(repository) <= NAME_LIMIT and _REPOSITORY.fullmatch(repository) is not None
        if not fits or (colon and _TAG.fullmatch(tag) is None):
            raise ChoiceInvalid(
                f"{text[:160]!r} is nothing that could be chosen.",
                advice="Write acme/web for all its tags, acme/web:1.* for some, acme/* for all repositories of acme.",
            )
        if "/" not in repository and "*" not in repository:
            repository = f"library/{repository}"
        return cls(repository, tag if colon else "*")

    def __str__(self) -> str:
        return self.repository if self.tag == "*" else f"{self.repository}:{self.tag}"


@attrs.frozen
class Choices:
    """Everything that is chosen: what one of them takes."""

    choices: tuple[Choice, ...]

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Self:
        """What stands in these lines; what begins with `#` is a remark. Raises `ChoiceInvalid`."""
        texts = [text for line in lines if (text := line.partition("#")[0].strip())]
        if not texts:
            raise ChoiceInvalid("Nothing was chosen.", advice="Name repositories: acme/web, acme/web:1.*, acme/*.")
        if len(texts) > CHOICES_LIMIT:
            raise ChoiceInvalid(f"{len(texts)} things were chosen; at most {CHOICES_LIMIT} can be.")
        return cls(tuple(dict.fromkeys(Choice.parse(text) for text in texts)))

    def within(self, repository: str) -> Choices:
        """Those that may take tags of this repository."""
        return Choices(tuple(one for one in self.choices if fnmatchcase(repository, one.repository)))

    def takes(self, tag: str) -> Sequence[Choice]:
        """Those that take this tag of a repository that they are `within`."""
        return [one for one in self.choices if fnmatchcase(tag, one.tag)]

    def __bool__(self) -> bool:
        return bool(self.choices)
