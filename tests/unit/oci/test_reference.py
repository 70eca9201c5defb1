"""The grammars of digests, tags and names: what is parsed prints as it was, and nothing else is parsed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.oci.errors import DigestInvalid, NameInvalid, TagInvalid
from quay.oci.reference import Digest, RepositoryName, Tag, parse_reference

HEX = "0123456789abcdef"
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
WORD = st.text(ALPHABET, min_size=1, max_size=6)
SEPARATOR = st.sampled_from([".", "_", "__", "-", "---"])
SEGMENT = st.builds(
    lambda first, rest: first + "".join(separator + word for separator, word in rest),
    WORD,
    st.lists(st.tuples(SEPARATOR, WORD), max_size=2),
)


@given(st.binary(), st.sampled_from(["sha256", "sha512"]))
def test_digest_of_bytes_parses(data: bytes, algorithm: str) -> None:
    """The digest of any bytes is what hashlib says, and parses to itself."""
    digest = Digest.of(data, algorithm)
    assert Digest.parse(str(digest)) == digest
    assert (digest.algorithm, digest.hex) == (algorithm, hashlib.new(algorithm, data).hexdigest())


@given(st.text() | st.text(HEX + "sha:", max_size=80) | st.text(HEX, max_size=130).map("sha256:".__add__))
def test_digest_refuses_all_but_its_two_spellings(text: str) -> None:
    """Either the text is an algorithm and its number of lower-case hex digits, or it is refused in a sentence."""
    algorithm, _, digits = text.partition(":")
    if len(digits) == {"sha256": 64, "sha512": 128}.get(algorithm) and set(digits) <= set(HEX):
        assert Digest.parse(text) == text
    else:
        with pytest.raises(DigestInvalid) as refused:
            Digest.parse(text)
        assert refused.value.message.endswith(".")


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 64 + "\n",
        "sha256:" + "a" * 63 + "\0",
        "sha256:" + "٠" * 64,
        "sha256:../../../../etc/passwd",
        "sha256:%2e%2e",
        "md5:" + "a" * 32,
        "sha512:" + "a" * 64,
        " sha256:" + "a" * 64,
        "SHA256:" + "a" * 64,
        "",
    ],
)
def test_digest_refuses_hostile_text(text: str) -> None:
    """Paths, other alphabets, other algorithms and stray bytes are no digests."""
    with pytest.raises(DigestInvalid):
        Digest.parse(text)


@given(st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z"))
def test_tag_of_the_alphabet_parses(text: str) -> None:
    """Every tag of the specification's grammar parses to itself."""
    assert Tag.parse(text.rstrip("\n")) == text.rstrip("\n")


@pytest.mark.parametrize("text", ["", ".a", "-a", "a" * 129, "a/b", "a:b", "a\n", "ä", "a b", "a\0"])
def test_tag_refuses(text: str) -> None:
    """Length, first character and alphabet are checked."""
    with pytest.raises(TagInvalid):
        Tag.parse(text)


def test_reference_with_a_colon_is_a_digest() -> None:
    """No tag has a colon, so a bad digest is never looked up as a tag."""
    assert isinstance(parse_reference("v1.0"), Tag)
    assert isinstance(parse_reference("sha256:" + "a" * 64), Digest)
    with pytest.raises(DigestInvalid):
        parse_reference("sha256:latest")


@given(st.lists(SEGMENT, min_size=2, max_size=5))
def test_name_prints_as_it_was_parsed(segments: list[str]) -> None:
    """A name of several segments is a namespace and a path, and prints as it was."""
    text = "/".join(segments)
    name = RepositoryName.parse(text)
    assert (name.namespace, name.path) == (segments[0], "/".join(segments[1:]))
    assert str(name) == text


@given(SEGMENT)
def test_name_of_one_segment_lies_in_the_library(segment: str) -> None:
    """Without a namespace the library is meant; where there is none, the name is refused."""
    assert RepositoryName.parse(segment) == RepositoryName("library", segment)
    with pytest.raises(NameInvalid):
        RepositoryName.parse(segment, library=None)


@given(st.text(ALPHABET + "./_-A%\\", max_size=20))
def test_name_parses_or_is_refused(text: str) -> None:
    """Whatever is typed either parses into lower-case segments or is refused, and no segment is ever dots."""
    try:
        name = RepositoryName.parse(text)
    except NameInvalid:
        return
    assert all(segment[0] in ALPHABET and segment[-1] in ALPHABET for segment in str(name).split("/"))


@pytest.mark.parametrize(
    "text",
    ["", "/", "a/", "/a", "a//b", "a/../b", "A/b", "a/b_", "a/-b", "a/b..c", "a/b___c", "a%2fb/c", "a\\b", "a/b\n"],
)
def test_name_refuses(text: str) -> None:
    """Empty segments, dots alone, upper case and escapes are no names."""
    with pytest.raises(NameInvalid):
        RepositoryName.parse(text)


def test_name_has_255_characters_at_most() -> None:
    """The limit of the specification holds exactly."""
    assert str(RepositoryName.parse("a/" + "b" * 253)) == "a/" + "b" * 253
    with pytest.raises(NameInvalid):
        RepositoryName.parse("a/" + "b" * 254)


def test_hostile_text_is_refused_at_once(cost: Callable[..., float]) -> None:
    """No input makes a grammar try long."""
    for text in ("a" + "-" * 250, "a-" * 120 + "/", "a" * 10**6, "a." * 10**6):
        for parse in (Digest.parse, Tag.parse, RepositoryName.parse):
            with pytest.raises((DigestInvalid, TagInvalid, NameInvalid)):
                parse(text)
            assert cost(parse, text) < 5
