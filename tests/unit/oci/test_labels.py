"""Labels, and the label that bounds a life."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.oci.labels import LONGEST_LIFE, expires_after, labels_of

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["config", "Labels", "x"]), inner),
)


def test_labels_are_those_of_the_config() -> None:
    """Strings under `config.Labels` are labels; other values are not."""
    config = {"config": {"Labels": {"a": "b", "empty": "", "number": 1, "nothing": None}}}
    assert labels_of(json.dumps(config).encode()) == {"a": "b", "empty": ""}


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_labels_of_anything(config: bytes) -> None:
    """Whatever the config blob is, there are labels or none, and all of them are text."""
    assert all(isinstance(value, str) for value in labels_of(config).values())


@pytest.mark.parametrize(
    "config",
    [
        b"[" * 100_000,
        b'{"config":{"Labels":{"a":"\\ud800"}}}',
        b'{"config":{"Labels":{"a\\u0000":"b"}}}',
        b'{"a":' + b"1" * 5_000 + b"}",
        b'{"config":{"Labels":{"a":"b"}}}' + b" " * 4 * 1024 * 1024,
    ],
)
def test_hostile_configs_have_no_labels(config: bytes) -> None:
    """Depth, broken text and size are no reason to fail."""
    assert labels_of(config) == {}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("90m", 5_400), ("2h", 7_200), ("1d", 86_400), ("2w", 1_209_600), (" 1d ", 86_400), ("0s", 0)],
)
def test_durations(text: str, seconds: int) -> None:
    """Seconds, minutes, hours, days and weeks."""
    assert expires_after(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "d", "1", "1y", "1 d", "-1d", "1.5d", "1d2h", "1D", "٣d", "never", "9" * 18 + "w", "9" * 9_999 + "s"]
)
def test_no_durations(text: str) -> None:
    """Everything else bounds nothing, and so does a life beyond the calendar."""
    assert expires_after(text) is None


@given(st.integers(min_value=0), st.sampled_from("smhdw"))
def test_durations_are_bounded(count: int, unit: str) -> None:
    """No duration is longer than a thousand years."""
    assert 0 <= (expires_after(f"{count}{unit}") or 0) <= LONGEST_LIFE
