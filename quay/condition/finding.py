"""What was found: how it is, in a sentence, and what to do about it."""

from __future__ import annotations

from enum import Enum

import attrs


class State(Enum):
    """How it is. Only what is wrong makes an examination fail."""

    FINE = "fine"
    REMARKABLE = "remarkable"
    WRONG = "wrong"
    UNSEEN = "unseen"
    """It could not be looked at; the sentence says why."""


@attrs.frozen
class Finding:
    """`fix` is a command to copy, and `link` leads to the documentation, from the root of the registry; or empty."""

    state: State
    sentence: str
    fix: str = ""
    link: str = ""


def fine(sentence: str) -> Finding:
    """All is well."""
    return Finding(State.FINE, sentence)


def remarkable(sentence: str, fix: str = "", link: str = "") -> Finding:
    """It works, but somebody should know."""
    return Finding(State.REMARKABLE, sentence, fix, link)


def wrong(sentence: str, fix: str = "", link: str = "") -> Finding:
    """It does not work, or will not for long."""
    return Finding(State.WRONG, sentence, fix, link)


def unseen(sentence: str, fix: str = "") -> Finding:
    """It could not be looked at."""
    return Finding(State.UNSEEN, sentence, fix)
