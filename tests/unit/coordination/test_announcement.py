"""Announcements survive the way, and are complete when everybody who must has acknowledged them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.coordination.announcement import Announcement, Receipt, Receipts

one_line = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))


@given(st.integers(min_value=1), one_line, st.binary())
def test_announcement(number: int, channel: str, message: bytes) -> None:
    """Every message on every channel is read as it was written."""
    announcement = Announcement("a1b2", number, channel, message)
    assert Announcement.decode(announcement.encode()) == announcement


@given(st.binary())
def test_rubbish(data: bytes) -> None:
    """Bytes that are no announcement or receipt are a `ValueError` and nothing worse."""
    for kind in (Announcement, Receipt):
        try:
            kind.decode(data)
        except ValueError:
            continue


def test_channel_of_two_lines() -> None:
    """A channel whose name is not one line cannot be written."""
    with pytest.raises(ValueError, match="one line"):
        Announcement("a1b2", 1, "tags\n", b"").encode()


@given(st.sets(st.sampled_from("abcdef")), st.permutations("abcdef"), st.integers(0, 6))
def test_receipts(expected: set[str], arriving: list[str], known_after: int) -> None:
    """It is complete as soon as everybody expected is here, whether that is known before, between or after."""
    receipts = Receipts("a")
    for position, node in enumerate(arriving):
        if position == known_after:
            receipts.expect(expected)
        receipts.take(node)
        here = {"a", *arriving[: position + 1]}
        assert receipts.complete.called == (position >= known_after and expected <= here)
    if known_after == len(arriving):
        receipts.expect(expected)
    assert receipts.complete.called
    assert receipts.missing == set()


def test_receipt() -> None:
    """A receipt is read as it was written."""
    assert Receipt.decode(Receipt(7, "a1b2").encode()) == Receipt(7, "a1b2")
