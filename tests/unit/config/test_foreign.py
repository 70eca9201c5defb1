"""Quay's keys that this release does not implement: each is spoken of, none twice, none that we implement."""

from __future__ import annotations

import pytest

from quay.config import foreign
from quay.config.keys import SETTINGS

NAMES = [pattern.replace("*", "X") for pattern in foreign.KNOWN]


def test_disjoint() -> None:
    """A key is either implemented or not, and if not, in one way only."""
    assert len(set(foreign.KNOWN)) == len(foreign.KNOWN)
    assert [key for key in SETTINGS if foreign.is_known(key)] == []


@pytest.mark.parametrize("key", NAMES)
def test_nothing_in_silence(key: str) -> None:
    """Every known key that asks for something other than what happens is named in exactly one sentence."""
    value = key not in foreign.ALWAYS.split()
    (sentence,) = foreign.remarks({key: value})
    assert sentence.startswith(f"{key}: ") and sentence.endswith(".")


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_off(value: object) -> None:
    """A feature that is off, or a setting that is empty, asks for what happens anyway."""
    assert list(foreign.remarks({"FEATURE_PROXY_CACHE": value, "BRANDING": value})) == []


def test_always_on() -> None:
    """What cannot be turned off is spoken of only when somebody tries."""
    assert list(foreign.remarks({"FEATURE_GENERAL_OCI_SUPPORT": True, "LOGS_MODEL": "database"})) == []
    assert list(foreign.remarks({"FEATURE_GENERAL_OCI_SUPPORT": False})) == [
        "FEATURE_GENERAL_OCI_SUPPORT: this cannot be turned off here."
    ]


def test_zero_is_not_off() -> None:
    """Zero is a number that somebody chose."""
    assert len(list(foreign.remarks({"REPO_MIRROR_INTERVAL": 0}))) == 1


def test_one_sentence_for_a_subject() -> None:
    """Keys of one subject share a sentence."""
    assert list(foreign.remarks({"FEATURE_REPO_MIRROR": True, "REPO_MIRROR_INTERVAL": 25})) == [
        "FEATURE_REPO_MIRROR, REPO_MIRROR_INTERVAL: not implemented yet (repository mirroring), so they have no effect."
    ]


def test_restrictions() -> None:
    """A restriction that is not enforced says so, in words that nobody overlooks."""
    assert list(foreign.remarks({"DISABLE_PUSHES": True})) == [
        "DISABLE_PUSHES: this restriction is not implemented yet and is NOT enforced. "
        "Use REGISTRY_STATE: readonly to refuse pushes."
    ]


def test_options() -> None:
    """Options of Quay inside a key of ours are taken out, and spoken of; values that are no mapping pass."""
    assert foreign.take_options("USER_EVENTS_REDIS", {"host": "r", "username": "u"}) == (
        {"host": "r"},
        ["USER_EVENTS_REDIS.username: not used by this release."],
    )
    assert foreign.take_options("USER_EVENTS_REDIS", ["username"]) == (["username"], [])
    assert foreign.take_options("LISTEN", {"username": 1}) == ({"username": 1}, [])
