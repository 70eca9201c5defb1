"""
YAML to a plain mapping, and the environment laid over it. Knows syntax, not meaning.

Stricter than YAML where a mistake would otherwise pass in silence (a key given twice, explicit tags), and simpler
where YAML 1.1 would change a value behind the writer's back: `012345`, `12:30` and `2024-01-01` stay text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import yaml

LIMIT: Final = 256 * 1024
DEPTH: Final = 32
PREFIX: Final = "QUAY_"
OURS: Final = ("QUAY_CONFIG", "QUAY_CRASH_AT", "QUAY_TEST_")  # of the command and its tests, not of the configuration


class ConfigError(Exception):
    """
    The configuration cannot be used. `problems` holds one sentence for each reason, `warnings` what else was noticed;
    `str()` is the problems, one per line.
    """

    def __init__(self, *problems: str, warnings: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.warnings = warnings


@attrs.frozen
class Document:
    """What was written: values by key, and problems that do not keep the rest from being read."""

    values: Mapping[str, object]
    problems: tuple[str, ...] = ()


class _Loader(yaml.SafeLoader):
    """The safe loader, noting keys that are given twice, with whole numbers only in their plain decimal form."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.twice: list[str] = []

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here and not in the constructor: there, merged keys (<<) would look like keys given twice.
        node = super().compose_mapping_node(anchor)
        seen: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in seen:
                self.twice.append(f"{key.value[:80]}: given twice, in lines {seen[key.value]} and {line}; keep one.")
            seen.setdefault(key.value, line)
        return node


_BEGINS = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_ENDS = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,99})")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":int", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(rf"\A{_NUMBER.pattern}\Z"), list("-0123456789"))


def read_file(path: Path) -> str:
    """The text of a configuration file. Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror}.") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"The configuration {path} is not UTF-8 text.") from None


def read_document(text: str) -> Document:
    """The mapping that `text` spells; null values are left out. Raises `ConfigError` where it is no mapping at all."""
    if len(text) > LIMIT:
        raise ConfigError(f"The configuration is longer than {LIMIT // 1024} KiB; that is no configuration.")
    loaded, twice = _load(text)
    if loaded is None:
        return Document({})
    if not isinstance(loaded, dict):
        raise ConfigError("The configuration is not a mapping; write KEY: value, one key per line.")
    strangers = [f"{str(key)[:80]}: a key is text; put quotes around it." for key in loaded if not isinstance(key, str)]
    values = {key: value for key, value in loaded.items() if isinstance(key, str)}
    return Document(values, (*twice, *strangers))


def read_value(text: str) -> object:
    """What `text`, the value of an environment variable, is in YAML. Raises `ValueError` with a sentence."""
    try:
        value, twice = _load(text)
    except ConfigError:
        raise ValueError("is not a YAML value; put quotes around text that has : # * & ! % @ { or [ in it.") from None
    if twice:
        raise ValueError("has a key that is given twice.")
    return value


def overrides(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The pairs (KEY, text) of the variables `QUAY_KEY` that may mean the configuration."""
    for name in sorted(environ):
        if name.startswith(PREFIX) and not name.startswith(OURS):
            yield name.removeprefix(PREFIX), environ[name]


def _load(text: str) -> tuple[object, list[str]]:
    try:
        _scan(text)
        loader = _Loader(text)
        try:
            return loader.get_single_data(), loader.twice
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax(error, text)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"Line {line}: there is a character that YAML does not allow.") from None


def _scan(text: str) -> None:
    """Refuse explicit tags, and nesting so deep that PyYAML would need minutes or more stack than there is."""
    depth = 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if isinstance(token, yaml.TagToken):
            raise ConfigError(f"Line {token.start_mark.line + 1}: a value begins with !; put quotes around it.")
        depth += isinstance(token, _BEGINS) - isinstance(token, _ENDS)
        if depth > DEPTH:
            raise ConfigError(f"Line {token.start_mark.line + 1}: this is nested deeper than any configuration is.")


def _syntax(error: yaml.MarkedYAMLError, text: str) -> str:
    """A sentence about a syntax error that quotes nothing of the text, since the text may be a password."""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return "The configuration is not YAML."
    line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
    where = f"Line {mark.line + 1}, column {mark.column + 1}"
    if "\t" in line[: mark.column + 1]:
        return f"{where}: a tab stands where YAML allows only blanks."
    problem = re.sub(r"'.*'|\".*\"|<.*>", "…", error.problem or "not YAML", flags=re.DOTALL)
    return f"{where}: {problem}; put quotes around text that has : # * & % @ {{ or [ in it, and check the indentation."
