"""Accept headers: who takes what."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.oci import media_types
from quay.oci.media_types import OCI_INDEX, OCI_MANIFEST, accepts, is_media_type, normalise


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], True),
        ([""], True),
        (["*/*"], True),
        (["application/*"], True),
        (["text/*"], False),
        ([OCI_MANIFEST], True),
        ([OCI_MANIFEST.upper()], True),
        ([OCI_INDEX], False),
        ([OCI_INDEX, OCI_MANIFEST], True),
        ([f"{OCI_INDEX}, {OCI_MANIFEST}"], True),
        ([f"{OCI_INDEX},{OCI_MANIFEST};q=0.1"], True),
        ([f"{OCI_MANIFEST};q=0"], False),
        ([f"{OCI_MANIFEST}; Q=0.000"], False),
        ([f"{OCI_MANIFEST};charset=utf-8;q=0.5"], True),
        ([f"*/*, {OCI_MANIFEST};q=0"], False),
        ([f"*/*;q=0, {OCI_MANIFEST}"], True),
        (["application/*;q=0, */*"], False),
        ([f"{OCI_MANIFEST};q=0, {OCI_MANIFEST}"], True),
        ([f'text/x;a="b,c", {OCI_MANIFEST}'], True),
        (["garbage"], False),
        ([";;,,;"], True),
        (["application/json"], False),
    ],
)
def test_accepts(headers: list[str], expected: bool) -> None:
    """The most specific range decides, over all headers; no header takes everything."""
    assert accepts(headers, OCI_MANIFEST) is expected


@given(st.lists(st.text(max_size=40), max_size=4))
def test_accepts_answers_every_header(headers: list[str]) -> None:
    """Nothing that a client sends as Accept raises."""
    assert accepts(headers, OCI_MANIFEST) in (True, False)


@pytest.mark.parametrize("header", ['"' * 16_000, '"\\' * 8_000, "q=0;" * 4_000, "," * 16_000, " " * 16_000])
def test_accepts_is_cheap(header: str, cost: Callable[..., float]) -> None:
    """A header of 16 KiB costs little, whatever is in it."""
    assert cost(accepts, [header], OCI_MANIFEST) < 5


def test_normalise() -> None:
    """Parameters, spaces and capitals are not part of a media type."""
    assert normalise(" Application/JSON ; charset=utf-8") == "application/json"
    assert normalise("") == ""


def test_media_type_is_two_names() -> None:
    """What could break a header is no media type."""
    assert is_media_type("application/vnd.example+json")
    assert not any(map(is_media_type, ["", "a", "a/", "/b", "a/b/c", "a/b\r\nx: y", "a/b;q=1", "a/" + "b" * 128]))


def test_long_headers_are_not_remembered() -> None:
    """Only what clients usually send takes room in memory."""
    before = media_types._remembered.cache_info().currsize
    for number in range(10):
        assert accepts([f"x/{number}," + ",".join(f"a/{n}" for n in range(1000)), OCI_INDEX], OCI_INDEX)
    assert media_types._remembered.cache_info().currsize == before
