"""
What another registry does not give, in sentences that say which one, and what it said itself.
"""

from __future__ import annotations

import json


class RemoteError(Exception):
    """Another registry did not do what it was asked; the message is a sentence without secrets."""


class RemoteRefused(RemoteError):
    """It wants other credentials, or others than these may do this."""


class RemoteMissing(RemoteError):
    """It has no such repository, tag, manifest or blob."""


class RemoteFailed(RemoteError):
    """It could not be reached, or not do it; it may be able to later."""


class RemoteWrong(RemoteError):
    """What it sent is not what it had promised."""


def refusal(host: str, doing: str, status: int, body: bytes) -> RemoteError:
    """What an answer with this status means for `doing`, such as "list the tags of a/b"."""
    said = _said(body)
    told = f"{host} answered {status}{f' ({said})' if said else ''} when it was to {doing}."
    if status in (401, 403):
        return RemoteRefused(f"{told} Check the credentials, and what they may do there.")
    if status == 404:
        return RemoteMissing(told)
    return RemoteFailed(told)


def _said(body: bytes) -> str:
    """The other side's own words, in one short line."""
    try:
        first = json.loads(body)["errors"][0]
        said = str(first.get("message") or first.get("code") or "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    return "".join(character if character.isprintable() else " " for character in said[:160]).strip()
