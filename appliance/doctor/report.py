"""An examination for people and for machines."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from appliance.doctor.examination import Examined
from quay import __version__
from quay.condition import Finding, State

WIDTH: Final = 100
_COLOURS: Final = {State.FINE: "green", State.REMARKABLE: "yellow", State.WRONG: "red", State.UNSEEN: "bright_black"}
_INDENT: Final = " " * 14


def plain(examined: Sequence[Examined], *, base: str, details: bool) -> Iterator[str]:
    """
    Lines: for each check what is not fine, with its fix and, below `base`, its documentation; and what is fine in full
    if `details`, else in a word.
    """
    for one in examined:
        shown = [finding for finding in one.findings if details or finding.state is not State.FINE]
        if not shown:
            yield f"{_state(State.FINE)}  {one.check.name}: {one.check.about}"
        for finding in shown:
            yield from _lines(one.check.name, finding, base)
    yield ""
    yield f"{summary(examined)}."


def _lines(name: str, finding: Finding, base: str) -> Iterator[str]:
    first, *others = textwrap.wrap(f"{name}: {_shown(finding.sentence)}", WIDTH - len(_INDENT), break_on_hyphens=False)
    yield f"{_state(finding.state)}  {first}"
    yield from (f"{_INDENT}{line}" for line in others)
    if finding.fix:
        yield f"{_INDENT}$ {_shown(finding.fix)}"  # in one piece, to be copied
    if finding.link:
        yield f"{_INDENT}{base}{finding.link}"


def _shown(text: str) -> str:
    """Names of processes and hosts are other people's: they do nothing to a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _state(state: State) -> str:
    return click.style(f"{state.value:>12}", fg=_COLOURS[state], bold=state is State.WRONG or None)


def summary(examined: Sequence[Examined]) -> str:
    """`1 wrong, 2 remarkable, 30 fine, 1 not seen`."""
    counts = Counter(finding.state for one in examined for finding in one.findings)
    words = {State.WRONG: "wrong", State.REMARKABLE: "remarkable", State.FINE: "fine", State.UNSEEN: "not seen"}
    return ", ".join(
        f"{counts[state]} {word}" for state, word in words.items() if counts[state] or state is State.WRONG
    )


def machine(examined: Sequence[Examined]) -> dict[str, Any]:
    """The same as a value for JSON."""
    return {
        "version": __version__,
        "well": not any(finding.state is State.WRONG for one in examined for finding in one.findings),
        "findings": [
            {
                "check": one.check.name,
                "state": finding.state.value,
                "sentence": finding.sentence,
                "fix": finding.fix,
                "link": finding.link,
            }
            for one in examined
            for finding in one.findings
        ],
    }


def as_json(examined: Sequence[Examined]) -> str:
    """One document."""
    return json.dumps(machine(examined), indent=2, ensure_ascii=False)
