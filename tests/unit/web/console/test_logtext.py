"""The lines of the audit log, as people read them."""

import pytest

from quay.model.audit import KINDS
from quay.web.console.logtext import SHOWN, TEXTS, text_of

DIGEST = "sha256:" + "ab" * 32


def line(kind, **metadata):
    return str(text_of({"kind": kind, "metadata": metadata}))


def test_kinds():
    """There is no line for what never happens."""
    assert TEXTS.keys() <= KINDS


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_whatever_an_entry_says(kind):
    """Each kind has a line, be the entry empty or full of what is none of its business."""
    assert line(kind)
    assert line(kind, tag=None, repo=["x"], role={"a": 1}, other=1)


def test_members():
    """A line names what the entry names; digests are short."""
    expected = (
        f"Moved the tag <code>v1</code> of <code>app</code> from <code>{DIGEST[:19]}</code> to <code>sha256:c</code>"
    )
    said = line("move_tag", tag="v1", repo="app", original_manifest_digest=DIGEST, manifest_digest="sha256:c")
    assert said == expected


def test_optional():
    """What the entry does not say is left out of the line."""
    assert line("pull_repo", repo="app") == "Pulled from <code>app</code>"
    assert line("pull_repo", repo="app", tag="") == "Pulled from <code>app</code>"
    assert line("pull_repo", repo="app", tag="v1") == "Pulled <code>v1</code> from <code>app</code>"


def test_a_kind_without_a_line():
    """Is told by its own words, without what every entry has."""
    said = line("repo_mirror_sync_failed", namespace="a", repo="b", why="no answer")
    assert said == "Repo mirror sync failed: why: <code>no answer</code>"


@pytest.mark.parametrize("kind", ["delete_tag", "repo_mirror_sync_failed"])
def test_escaped(kind):
    """Nothing that an entry says is markup, nor is the name of a member; nor is it a place to be filled."""
    hostile = "<script>alert(1)</script>"
    said = line(kind, tag=hostile, repo="{tag}", **{hostile: hostile})
    assert "<script" not in said
    assert "&lt;script&gt;" in said


def test_long():
    """What is very long is cut."""
    assert len(line("delete_tag", tag="x" * 10_000, repo="y")) < SHOWN + 100
