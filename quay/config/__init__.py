"""
The configuration: YAML and the environment in, one frozen `Config` out, or every reason why not, each with its path.

Keys have Quay's names, so that the file of a Quay installation can be used. A key that nobody knows is an error; one
that this release does not implement is a warning. This package reads files that it is pointed to and the mapping it is
given, never the environment of the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import attrs
import cattrs

from quay.config import foreign
from quay.config.checks import concerns, contradictions
from quay.config.document import ConfigError, Document, overrides, read_document, read_file, read_value
from quay.config.keys import SETTINGS, Config, DatabaseArguments, Redis, StorageLocation
from quay.config.reference import default_text, initial_text, reference
from quay.config.secrets import DatabaseUri, Secret, Vault
from quay.config.structure import converter, nearest, sentences
from quay.config.surroundings import Surroundings
from quay.config.values import Duration, Endpoint, Network, Size

__all__ = [
    "Config",
    "ConfigError",
    "DatabaseArguments",
    "DatabaseUri",
    "Duration",
    "Endpoint",
    "Network",
    "Redis",
    "Secret",
    "Size",
    "StorageLocation",
    "default_text",
    "initial_text",
    "load",
    "parse",
    "reference",
    "settle",
]

SUGGESTIONS = 20  # so many unknown keys are told their nearest; a file of nothing else is something else


def load(path: Path | None, environ: Mapping[str, str], *, data: str = "var") -> Config:
    """
    The configuration in the file `path`, or the defaults if there is none, with the variables `QUAY_KEY` of `environ`
    laid over it. `data` is the data directory where neither says DATA. Raises `ConfigError`.
    """
    if path is None:
        return parse("", environ, Path.cwd(), data=data)
    return _Reading(environ, file=path).config(read_file(path), path.parent.absolute(), data)


def settle(surroundings: Surroundings) -> Config:
    """The configuration of a process in these surroundings. Raises `ConfigError`."""
    return load(surroundings.found, surroundings.environ, data=surroundings.begin)


def parse(text: str, environ: Mapping[str, str], base: Path, *, data: str = "var") -> Config:
    """As `load`, from `text`; a relative DATA begins at `base`. Raises `ConfigError`."""
    return _Reading(environ).config(text, base.absolute(), data)


@attrs.define
class _Reading:
    """One pass over a configuration, collecting what is to be said about it."""

    environ: Mapping[str, str] = attrs.field(repr=False)
    file: Path | None = None
    problems: list[str] = attrs.Factory(list)
    warnings: list[str] = attrs.Factory(list)

    def config(self, text: str, base: Path, data: str) -> Config:
        document = self._document(text)
        self.problems += document.problems
        written = {**document.values, **self._environment()}
        self._classify(written)
        values = self._structured(written, self._data(written, base, data))
        self._stop_if_wrong()
        return self._checked(values)

    def _document(self, text: str) -> Document:
        try:
            return read_document(text)
        except ConfigError as error:
            raise ConfigError(f"{self.file}: {error}" if self.file else str(error)) from None

    def _environment(self) -> dict[str, object]:
        """The keys that the environment sets; a variable that sets none is worth a warning only."""
        found: dict[str, object] = {}
        for key, text in overrides(self.environ):
            if key not in SETTINGS and not foreign.is_known(key):
                self.warnings.append(f"QUAY_{key[:80]}: there is no key {key[:80]}.{nearest(key, SETTINGS)}")
                continue
            try:
                found[key] = _override(key, text)
            except ValueError as error:
                self.problems.append(f"QUAY_{key}: {error}")
        return found

    def _classify(self, written: Mapping[str, object]) -> None:
        """Say what is to be said about the keys of `written` that are not implemented."""
        strangers = [key for key in written if key not in SETTINGS and not foreign.is_known(key)]
        choices = [*SETTINGS, *(pattern for pattern in foreign.KNOWN if "*" not in pattern)]
        for number, key in enumerate(strangers):
            hint = nearest(key, choices) if number < SUGGESTIONS else ""
            self.problems.append(
                f"{key[:80]}: there is no such key.{hint or ' `quay config reference` lists them all.'}"
            )
        self.warnings += foreign.remarks({key: value for key, value in written.items() if key not in SETTINGS})

    def _data(self, written: Mapping[str, object], base: Path, data: str) -> Path:
        value = written.get("DATA")
        if value is not None and (not isinstance(value, str) or not value or "\0" in value):
            self.problems.append("DATA: is not a path; write text.")
            value = None
        return base / (value or data)

    def _structured(self, written: Mapping[str, object], data: Path) -> dict[str, Any]:
        made = converter(Vault(self.environ, data))
        values: dict[str, Any] = {"data": data}
        for key, field in SETTINGS.items():
            if field.name == "data":
                continue
            value = field.metadata["setting"].default if written.get(key) is None else written[key]
            value, remarks = foreign.take_options(key, value)
            self.warnings += remarks
            kind: Any = field.type
            try:
                values[field.name] = made.structure(value, kind)
            except (ValueError, cattrs.BaseValidationError) as error:
                self.problems += sentences(error, key)
        return values

    def _checked(self, values: dict[str, Any]) -> Config:
        values["storage_preference"] = values["storage_preference"] or tuple(values["storage"])
        config = Config(**values)
        self.problems += contradictions(config)
        self.warnings += concerns(config)
        self._stop_if_wrong()
        return attrs.evolve(config, warnings=tuple(self.warnings))

    def _stop_if_wrong(self) -> None:
        if self.problems:
            raise ConfigError(*self.problems, warnings=tuple(self.warnings))


def _override(key: str, text: str) -> object:
    """
    The value of a variable. Text, paths, secrets and lists are taken as they stand, so that nothing in them needs
    quotes, unless they are plainly YAML (`{file: path}`, `[a, b]`); everything else is YAML. Empty means the default.
    """
    kind = SETTINGS[key].type if key in SETTINGS else None
    listed = get_origin(kind) is tuple
    members = (kind,) if listed or get_origin(kind) is None else get_args(kind)
    plain = any(isinstance(member, type) and issubclass(member, str | Path | Secret) for member in members)
    is_yaml = (text[:1], text[-1:]) in ((("[", "]"),) if listed else (("{", "}"),))
    return text if text and (plain or listed) and not is_yaml else read_value(text)
