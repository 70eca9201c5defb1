"""What people choose, as they write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.bundles.choice import Choice, ChoiceInvalid, Choices

REPOSITORIES = st.from_regex(r"[a-z0-9]{1,8}/[a-z0-9]{1,8}(/[a-z0-9]{1,4})?", fullmatch=True)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "taken", "left"),
    [
        ("acme/web", ["acme/web:1", "acme/web:latest"], ["acme/web2:1", "acme/webs/x:1"]),
        ("acme/web:1.*", ["acme/web:1.0", "acme/web:1.10-rc"], ["acme/web:10", "acme/web:2.1"]),
        ("acme/*", ["acme/web:1", "acme/deep/er:1"], ["acmes/web:1"]),
        ("acme/*:v?", ["acme/web:v1"], ["acme/web:v10", "acme/web:1"]),
        ("*/web:[12].0", ["acme/web:1.0", "other/web:2.0"], ["acme/web:3.0"]),
        ("busybox", ["library/busybox:1"], ["acme/busybox:1"]),
    ],
)
def test_patterns(text: str, taken: list[str], left: list[str]) -> None:
    """A choice takes what its patterns match, and no more."""
    choices = Choices.parse([text])

    def takes(name: str) -> bool:
        repository, _, tag = name.partition(":")
        return bool(choices.within(repository).takes(tag))

    assert all(map(takes, taken))
    assert not any(map(takes, left))


@given(REPOSITORIES, TAGS)
def test_a_name_takes_itself(repository: str, tag: str) -> None:
    """Whatever is named without a pattern is taken, and is spelled as it was."""
    choice = Choice.parse(f"{repository}:{tag}")
    assert Choices((choice,)).within(repository).takes(tag) == [choice]
    assert Choice.parse(str(choice)) == choice


@given(st.lists(st.tuples(REPOSITORIES, TAGS), min_size=1, max_size=5), REPOSITORIES, TAGS)
def test_several(chosen: list[tuple[str, str]], repository: str, tag: str) -> None:
    """Several choices take what one of them takes."""
    choices = Choices.parse([f"{name}:{one}" for name, one in chosen])
    assert bool(choices.within(repository).takes(tag)) == ((repository, tag) in chosen)


def test_lists() -> None:
    """A list may have remarks and empty lines; the same twice is one choice."""
    choices = Choices.parse(["# images", "", "acme/web:1  # the old one", "acme/web:1"])
    assert [str(one) for one in choices.choices] == ["acme/web:1"]


@pytest.mark.parametrize("text", ["Acme/Web", "acme//web", "acme/web:", "acme/web:a b", "a" * 300, "acme/web@x"])
def test_refused(text: str) -> None:
    """What can be nothing is refused; and so is nothing at all."""
    with pytest.raises(ChoiceInvalid):
        Choices.parse([text])
    with pytest.raises(ChoiceInvalid):
        Choices.parse(["#"])
