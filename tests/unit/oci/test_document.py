"""JSON from strangers: one meaning or none, at a bounded price."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.oci.document import DEPTH_LIMIT, JsonObject, load
from quay.oci.errors import ManifestInvalid

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, VALUES), st.booleans())
def test_objects_are_read_as_json_reads_them(value: dict[str, object], ascii_only: bool) -> None:
    """What is valid, in any notation, is what the standard library reads."""
    assert load(json.dumps(value, ensure_ascii=ascii_only).encode()).members == value


@given(st.binary())
def test_bytes_are_an_object_or_refused(raw: bytes) -> None:
    """No bytes raise anything but `ManifestInvalid`."""
    try:
        assert isinstance(load(raw).members, dict)
    except ManifestInvalid as refused:
        assert refused.message.endswith(".")


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "JSON"),
        (b"[]", "object"),
        (b"null", "object"),
        (b'{"a":1,"a":1}', "twice"),
        (b'{"x":{"b":1,"b":2}}', "'b'"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "Infinity"),
        (b'{"a":1e999}', "too large"),
        (b'\xef\xbb\xbf{"a":1}', "JSON"),
        (b'{"a":"\xff"}', "UTF-8 at byte 6"),
        ('{"a":1}'.encode("utf-16"), "UTF-8"),
        (b'{"a":1}x', "JSON"),
        (b'{"a":"\n"}', "JSON"),
        (b"{'a':1}", "JSON"),
        (b'{"a":1,}', "JSON"),
        (b'{"a":' + b"9" * 21 + b"}", "21 digits"),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "deeply"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "deeply"),
        (b'{"a":[' + b"{}," * 50_000 + b"{}]}", "too many"),
    ],
)
def test_refused(raw: bytes, word: str) -> None:
    """Each fault is named in the sentence."""
    with pytest.raises(ManifestInvalid) as refused:
        load(raw)
    assert word in refused.value.message


def test_depth_is_exact() -> None:
    """The limit counts the object itself; brackets in strings do not count."""
    deepest = b"[" * (DEPTH_LIMIT - 1) + b"]" * (DEPTH_LIMIT - 1)
    assert load(b'{"a":' + deepest + b',"b":"' + b"[{" * 200 + b'"}').has("a")
    with pytest.raises(ManifestInvalid):
        load(b'{"a":[' + deepest + b"]}")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":[' + b"1," * 2_000_000 + b"1]}",
        b'{"a":[' + b"[]," * 1_000_000 + b"[]]}",
        b'{"a":' + b"1" * 4_000_000 + b"}",
        b'{"a":[' + b",".join([b"1" * 4_300] * 900) + b"]}",
        b'{"a":"' + b"\\ud800" * 600_000 + b'"}',
        b'{"a":1' + b" " * 4_000_000 + b"}",
        b"{" + b",".join(b'"k%d":1' % index for index in range(40_000)) + b',"k39999":1}',
    ],
    ids=["numbers", "arrays", "digits", "integers", "surrogates", "space", "members"],
)
def test_four_mebibytes_are_read_or_refused_soon(raw: bytes, cost: Callable[..., float]) -> None:
    """No document of the greatest size holds the reactor for longer than it may be held."""
    assert cost(load, raw) < 20


MEMBERS = JsonObject(
    {
        "text": "t",
        "null": None,
        "number": 3,
        "true": True,
        "float": 3.0,
        "negative": -1,
        "huge": 2**63,
        "map": {"a": "b", "c": 1},
        "list": ["a", 1],
        "objects": [{}, 1],
        "nul": "a\0",
        "surrogate": "\ud800",
        "line": "a\r\nb: c",
    },
    "layers[3]",
)


@pytest.mark.parametrize(
    ("reader", "key", "place"),
    [
        ("text", "absent", "layers[3].absent is missing"),
        ("text", "null", "layers[3].null is missing"),
        ("text", "number", "layers[3].number is not a string"),
        ("text", "nul", "layers[3].nul has a NUL"),
        ("optional_text", "surrogate", "layers[3].surrogate has a NUL or half"),
        ("media_type", "line", "layers[3].line is not a media type"),
        ("integer", "true", "layers[3].true is not an integer"),
        ("size", "float", "layers[3].float is not an integer"),
        ("size", "negative", "layers[3].negative is not a size"),
        ("size", "huge", "layers[3].huge is not a size"),
        ("digest", "text", "layers[3].text is not a digest"),
        ("child", "list", "layers[3].list is not an object"),
        ("texts", "list", "layers[3].list is not a string"),
        ("texts", "map", "layers[3].map is not an array"),
        ("text_map", "map", "layers[3].map['c'] is not a string"),
    ],
)
def test_readers_name_the_place(reader: str, key: str, place: str) -> None:
    """A member of another shape is refused with its path and advice."""
    with pytest.raises(ManifestInvalid) as refused:
        getattr(MEMBERS, reader)(key)
    assert place in refused.value.message
    assert refused.value.advice


def test_children_are_objects_within_a_limit() -> None:
    """An element that is none is named by its index, and more than the limit are refused unread."""
    with pytest.raises(ManifestInvalid, match=r"layers\[3\]\.objects\[1\] is not an object"):
        MEMBERS.children("objects", 2)
    with pytest.raises(ManifestInvalid, match="has 2 elements"):
        MEMBERS.children("objects", 1)


def test_null_is_absence_where_absence_is_allowed() -> None:
    """Go writes null for what it does not have."""
    assert (MEMBERS.optional_text("null"), MEMBERS.child("null")) == (None, None)
    assert (MEMBERS.texts("null"), dict(MEMBERS.text_map("null")), MEMBERS.children("null", 1)) == ((), {}, [])
