"""YAML and the environment: strictness, limits, and errors that quote nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.config import ConfigError, parse
from quay.config.document import LIMIT, overrides, read_document, read_file, read_value


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_document(text)
    return str(caught.value)


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "null"])
def test_empty(text: str) -> None:
    """A file without a value is a configuration without keys."""
    assert read_document(text).values == {}


def test_no_surprises() -> None:
    """Values that YAML 1.1 would turn into other numbers or dates stay the text that was written."""
    text = "a: 012345\nb: 12:30\nc: 2024-01-01\nd: 0x1F\ne: 1_000\nf: 42\ng: -7\nh: yes\ni: 0\nj: 0o17"
    assert read_document(text).values == {
        "a": "012345", "b": "12:30", "c": "2024-01-01", "d": "0x1F", "e": "1_000",
        "f": 42, "g": -7, "h": True, "i": 0, "j": "0o17",
    }  # fmt: skip


def test_huge_numbers() -> None:
    """A number of thousands of digits is text, not a failure of the interpreter."""
    assert read_document("a: " + "9" * 5000).values == {"a": "9" * 5000}


def test_twice() -> None:
    """Keys given twice are all named with their lines, at every depth, and the rest is still read."""
    document = read_document("A: 1\nB: {x: 1, x: 2}\nA: 2\n")
    assert document.problems == (
        "x: given twice, in lines 2 and 2; keep one.",
        "A: given twice, in lines 1 and 3; keep one.",
    )


def test_merged_keys() -> None:
    """Anchors, aliases and merges work, and an override of a merged key is not a key given twice."""
    document = read_document("a: &a {x: 1, y: 2}\nb: &b\n  <<: *a\n  x: 3\nc: {<<: *b, y: 4}\nd: *b\n")
    assert document.problems == ()
    assert document.values["c"] == {"x": 3, "y": 4}


def test_not_a_mapping() -> None:
    """A list or a text is no configuration."""
    assert "not a mapping" in refusal("- a")
    assert "not a mapping" in refusal("hello")


def test_strange_keys() -> None:
    """A key that is no text is a problem of its own."""
    assert read_document("1: a\nno: b\nA: c").problems == (
        "1: a key is text; put quotes around it.",
        "False: a key is text; put quotes around it.",
    )


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("A:\n\tB: 1\n", "Line 2, column 1: a tab"),
        ("A: 1\n  B: 2\n", "Line 2"),
        ("A: [1, 2\nB: 3", "Line 2"),
        ("A: @hunter2", "Line 1, column 4"),
        ("A: *hunter2", "Line 1, column 4"),
        ("A: !hunter2 x", "Line 1: a value begins with !"),
        ("A: !!python/object/apply:os.system [hunter2]", "Line 1: a value begins with !"),
        ("A: !!int hunter2", "Line 1: a value begins with !"),
        ("A: 'hunter2", "Line 1"),
        ("A: 1\n--- hunter2\n", "Line 2"),
        ("A: 1\nB: \0hunter2", "Line 2: there is a character"),
        ("? [a, b]\n: hunter2", "Line 1"),
        ("{" * 5000, "deeper"),
        ("[" * 100_000, "deeper"),
        ("A: " + "[" * 40 + "]" * 40, "deeper"),
        ("\n".join(" " * n + "a:" for n in range(40)), "deeper"),
        ("- " * 100_000, "deeper"),
    ],
)
def test_syntax(text: str, where: str) -> None:
    """A syntax error says where it is and quotes nothing, since what stands there may be a password."""
    sentence = refusal(text)
    assert where in sentence
    assert "hunter2" not in sentence


def test_limits(tmp_path: Path) -> None:
    """A file that is too long, not text, or not there is refused in a sentence."""
    (tmp_path / "long").write_bytes(b"#" * (LIMIT + 1))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbfA: 1")
    assert "longer than" in refusal(read_file(tmp_path / "long"))
    assert read_file(tmp_path / "bom") == "A: 1"
    for name, sentence in (("binary", "not UTF-8"), ("absent", "No such file"), (".", "Is a directory")):
        with pytest.raises(ConfigError, match=sentence):
            read_file(tmp_path / name)


@pytest.mark.timeout(30)
def test_billion_laughs(tmp_path: Path) -> None:
    """Aliases of aliases cost neither time nor a long error."""
    lines = ["a0: &a0 [lol, lol]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    for key in ("LISTEN", "USER_EVENTS_REDIS", "DISTRIBUTED_STORAGE_CONFIG", "SUPER_USERS", "LOG_LEVEL", "DATA"):
        with pytest.raises(ConfigError) as caught:
            parse("\n".join([*lines, f"{key}: *a59", "DB_CONNECTION_ARGS: {sslmode: *a59}"]), {}, tmp_path)
        assert max(map(len, caught.value.problems)) < 1000


@pytest.mark.timeout(30)
def test_many_unknown_keys(tmp_path: Path) -> None:
    """A file of nothing but unknown keys is refused soon; only the first are told their nearest."""
    with pytest.raises(ConfigError) as caught:
        parse("\n".join(f"SERVER_HOSTNAM{n}: 1" for n in range(5000)), {}, tmp_path)
    assert len(caught.value.problems) == 5000


@given(st.text())
def test_only_config_errors(text: str) -> None:
    """Whatever the text, it is read or refused with a `ConfigError` that has a sentence."""
    try:
        parse(text, {}, Path("/nowhere"))
    except ConfigError as error:
        assert all(error.problems)


@given(st.text())
def test_only_value_errors(text: str) -> None:
    """The value of a variable is read or refused with a `ValueError`."""
    try:
        read_value(text)
    except ValueError as error:
        assert str(error)


def test_overrides() -> None:
    """Only variables of ours are considered, without those of the command itself."""
    environ = {"QUAY_LISTEN": "a", "QUAY_CONFIG": "b", "QUAY_CRASH_AT": "c", "PATH": "d", "QUAYPATH": "e"}
    assert list(overrides(environ)) == [("LISTEN", "a")]
