"""What can happen, how it is told, and what narrows it."""

from __future__ import annotations

from typing import Any

import pytest

from quay.model.notification import NotificationInvalid
from quay.notifications.notice import EVENTS, options


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_of_quay(event: str) -> None:
    """Every event of a repository that Quay has may be asked for."""
    assert options(event, {"days": 7, "other": "x"}) in ({}, {"days": 7})


@pytest.mark.parametrize("event", ["", "quota_warning", "push", "repo_push ", "x" * 1000])
def test_other_events(event: str) -> None:
    """What never happens in a repository is refused, shortly."""
    with pytest.raises(NotificationInvalid) as refused:
        options(event, {})
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("event", "written", "kept"),
    [
        ("repo_push", {"level": 3, "days": 7}, {}),
        ("build_failure", {"ref-regex": "refs/heads/.*"}, {"ref-regex": "refs/heads/.*"}),
        ("build_failure", {"ref-regex": ""}, {}),
        ("vulnerability_found", {"level": "3"}, {"level": "3"}),
        ("vulnerability_found", {"level": 0}, {"level": 0}),
        ("repo_image_expiry", {"days": 7}, {"days": 7}),
        ("repo_image_expiry", {"days": "7"}, {"days": 7}),
    ],
)
def test_options(event: str, written: dict[str, Any], kept: dict[str, Any]) -> None:
    """Of the options of an event only those are kept that mean something for it."""
    assert options(event, written) == kept


@pytest.mark.parametrize(
    ("event", "written"),
    [
        ("build_failure", {"ref-regex": "("}),
        ("build_failure", {"ref-regex": "a" * 256}),
        ("build_failure", {"ref-regex": 7}),
        ("vulnerability_found", {"level": 9}),
        ("vulnerability_found", {"level": "high"}),
        ("vulnerability_found", {"level": [1]}),
        ("repo_image_expiry", {}),
        ("repo_image_expiry", {"days": 0}),
        ("repo_image_expiry", {"days": True}),
        ("repo_image_expiry", {"days": "seven"}),
    ],
)
def test_bad_options(event: str, written: dict[str, Any]) -> None:
    """An option that makes no sense is refused with a sentence."""
    with pytest.raises(NotificationInvalid):
        options(event, written)
