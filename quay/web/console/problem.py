"""What a page that did not work suggests: where to look instead, whom to ask, and where the error is explained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, unquote

import attrs

from quay.oci.errors import RegistryError
from quay.web.api.errors import DESCRIPTIONS, ApiError

PLACES: Final = ("repository", "organization", "user")
"""What stands before the name of a namespace in the addresses of the console."""
LONGEST: Final = 80


@attrs.frozen
class Hint:
    """A sentence, and a link in it, if there is one."""

    text: str
    link: str = ""
    address: str = ""


def hints(path: str, status: int, error: RegistryError | None = None) -> list[Hint]:
    """What may help whoever asked for the page at `path` and was answered with `status`."""
    named = [one[:LONGEST] for one in unquote(path).split("/") if one]
    found = list(_elsewhere(named) if status == 404 else _askable(named) if status == 403 else ())
    kind = error.error_type if isinstance(error, ApiError) else ""
    if kind in DESCRIPTIONS:
        found.append(Hint("What this error means:", kind, f"/docs/errors#{kind}"))
    return found


def _elsewhere(named: list[str]) -> Iterator[Hint]:
    """Nothing is said of what there is: these are addresses that anybody could have thought of."""
    wanted = named[1:] if named and named[0] in PLACES else named
    if wanted:
        last = wanted[-1].partition(":")[0]
        yield Hint("Perhaps a search finds it:", last, f"/search?q={quote(last, safe='')}")
    if len(wanted) > 1:
        yield Hint("Whatever its owner shows you is at", wanted[0], f"/{quote(wanted[0], safe='')}")
    yield Hint("What you are looking for may be private, deleted, or called something else now.")


def _askable(named: list[str]) -> Iterator[Hint]:
    if named[:1] == ["superuser"]:
        yield Hint("This is for the people who run the registry. If you should be one of them, they can see to it.")
    elif len(named) > 1 and named[0] in PLACES:
        yield Hint("Ask who administers", named[1], f"/{quote(named[1], safe='')}")
        yield Hint("What roles there are:", "Teams and permissions", "/docs/teams")
