"""
What can happen in a repository, and how it is told: the payload that receivers of Quay's notifications know.

Source: Quay's repository notifications (names of events, members of the payload, options of an event).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs
from zope.interface import implementer

from quay.interfaces import INotice
from quay.model.notification import NotificationInvalid
from quay.model.repository import Repository

PUSH: Final = "repo_push"

_BUILD: Final = ("build_queued", "build_start", "build_success", "build_failure", "build_cancelled")
EVENTS: Final[Mapping[str, str]] = {
    PUSH: "was pushed to",
    "build_queued": "has a build that waits",
    "build_start": "is being built",
    "build_success": "was built",
    "build_failure": "could not be built",
    "build_cancelled": "has a build that was cancelled",
    "vulnerability_found": "has a vulnerability that was found",
    "repo_mirror_sync_started": "is being mirrored",
    "repo_mirror_sync_success": "was mirrored",
    "repo_mirror_sync_failed": "could not be mirrored",
    "repo_image_expiry": "has tags that expire soon",
}
"""What can happen, as Quay spells it, and what a repository to which it happens …"""

_SAMPLE_BUILD: Final = {
    "build_id": "build-id",
    "build_name": "some-build",
    "docker_tags": ["latest", "foobar"],
    "is_manual": True,
    "trigger_kind": None,
    "trigger_metadata": {},
}
_SAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    PUSH: {"updated_tags": ["latest", "foobar"]},
    "vulnerability_found": {
        "tags": ["latest", "foobar"],
        "vulnerability": {
            "id": "CVE-FAKE-CVE",
            "description": "A futurist vulnerability",
            "link": "https://security-tracker.debian.org/tracker/CVE-FAKE-CVE",
            "priority": "Critical",
            "has_fix": True,
        },
    },
    "repo_image_expiry": {"tags": ["latest", "foobar"], "expiring_in": "1 days"},
    **dict.fromkeys(_BUILD, _SAMPLE_BUILD),
}


@attrs.frozen
class Place:
    """Where clients reach this registry: `host` as it stands before a repository, `url` as it stands before a path."""

    host: str
    url: str


@implementer(INotice)
@attrs.frozen
class Notice:
    """What is told."""

    uuid: str
    event: str
    repository_id: int
    payload: Mapping[str, Any]
    text: str


def notice(uuid: str, event: str, repository: Repository, place: Place, data: Mapping[str, Any]) -> Notice:
    """What is told of `event` in `repository`; `data` are the members that are this event's own."""
    name = repository.name
    payload = {
        "repository": str(name),
        "namespace": name.namespace,
        "name": name.path,
        "docker_url": f"{place.host}/{name}",
        "homepage": f"{place.url}/repository/{name}",
        "visibility": "public" if repository.public else "private",
        **data,
    }
    return Notice(uuid, event, repository.id, payload, _text(event, payload))


def _text(event: str, payload: Mapping[str, Any]) -> str:
    tags = tags_of(payload)
    rest = f" ({', '.join(tags)})" if tags else ""
    return f"Repository {payload['repository']} {EVENTS.get(event, event)}{rest}"


def tags_of(payload: Mapping[str, Any]) -> list[str]:
    """The tags that the payload of whatever event names."""
    return [str(tag) for tag in payload.get("updated_tags") or payload.get("docker_tags") or payload.get("tags") or ()]


def sample(event: str) -> Mapping[str, Any]:
    """Members of the payload of a made-up `event`, for a test."""
    return _SAMPLES.get(event, {"message": "This is a test."})


def options(event: str, written: Mapping[str, Any]) -> dict[str, Any]:
    """
    What of `written` means something for `event`: `ref-regex` of builds, `level` of vulnerabilities, `days` of
    expiry. Raises `NotificationInvalid`, also for an event that never happens.
    """
    if event not in EVENTS:
        raise NotificationInvalid(f"{event[:80]!r} is not an event of a repository; there are {', '.join(EVENTS)}.")
    found = {key: written[key] for key in _options_of(event) if written.get(key) not in (None, "")}
    if "ref-regex" in found:
        _check_pattern(found["ref-regex"])
    if "level" in found and str(found["level"]) not in map(str, range(7)):
        raise NotificationInvalid("level is the index of a priority, from 0 (defcon 1) to 6 (unknown).")
    if str(found.get("days")).isdecimal():  # as forms send it
        found["days"] = int(str(found["days"])[:9])
    if event == "repo_image_expiry" and not _is_days(found.get("days")):
        raise NotificationInvalid("repo_image_expiry needs days: how many days before the expiry, from 1 to 3650.")
    return found


def _options_of(event: str) -> tuple[str, ...]:
    if event in _BUILD:
        return ("ref-regex",)
    return {"vulnerability_found": ("level",), "repo_image_expiry": ("days",)}.get(event, ())


def _is_days(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 3650


def _check_pattern(pattern: object) -> None:
    if not isinstance(pattern, str) or len(pattern) > 255:
        raise NotificationInvalid("ref-regex is a regular expression of at most 255 characters.")
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        raise NotificationInvalid("ref-regex is not a regular expression.") from None
