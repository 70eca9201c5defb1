"""
Secrets of the configuration: they are shown to nobody by accident, neither in a log nor in an error.

A secret is written as text, or as where it is: `{file: path}` or `{env: NAME}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Never, Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import attrs

from quay.config.values import is_number

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FILE_LIMIT: Final = 64 * 1024


class Secret:
    """A text that only `reveal` gives away; `str` and `repr` are `***`, and it cannot be pickled."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> Never:
        raise TypeError("A secret is not pickled.")

    @classmethod
    def parse(cls, text: str, data: Path) -> Self:
        """The secret `text`; `data` is where relative paths begin, for kinds of secret that hold one."""
        if not text:
            raise ValueError("is empty; give it a value, {file: path} or {env: NAME}.")
        return cls(text)


class DatabaseUri(Secret):
    """The address of the database, as SQLAlchemy wants it: `sqlite:////path` or `postgresql+psycopg://…`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, data: Path) -> Self:
        """
        The database that `text` names. No sentence here repeats any of `text` but its scheme: a password with an
        unescaped character may stand wherever a parser thinks a port or a path is.
        """
        scheme, separator, rest = text.partition("://")
        if not separator or not re.fullmatch(r"[a-z0-9+]{1,30}", scheme):
            raise ValueError(
                "is not a database address; write sqlite:///quay.db or postgresql://user:password@host/name."
            )
        if scheme == "sqlite":
            return cls(f"sqlite:///{_sqlite_path(rest, data)}")
        if scheme in ("postgresql", "postgresql+psycopg"):
            _check_server(rest)
            return cls(f"postgresql+psycopg://{rest}")
        if scheme.partition("+")[0] in ("mysql", "mariadb"):
            raise ValueError("names a MySQL database, which is not supported; use PostgreSQL or SQLite.")
        raise ValueError(f"begins with {scheme}://, which is not supported; use postgresql:// or sqlite:///.")

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a file, and thus the database of one node only."""
        return self._text.startswith("sqlite:")

    @property
    def options(self) -> frozenset[str]:
        """The names of the options that it ends with."""
        return frozenset(name for name, _ in parse_qsl(self._text.partition("?")[2], keep_blank_values=True))

    def reveal_with(self, arguments: Mapping[str, str]) -> str:
        """The address with `arguments` of libpq as further options; SQLite has none of them."""
        if self.is_sqlite or not arguments:
            return self._text
        return f"{self._text}{'&' if '?' in self._text else '?'}{urlencode(arguments, quote_via=quote)}"

    @property
    def place(self) -> str:
        """Where the database is, for a human: the path, or host and name without user, password or options."""
        if self.is_sqlite:
            return self._text.removeprefix("sqlite:///")
        _, _, server = self._text.partition("?")[0].rpartition("@")
        return f"postgresql://{server.removeprefix('postgresql+psycopg://')}"


def _sqlite_path(rest: str, data: Path) -> Path:
    path = rest.removeprefix("/")
    if not rest.startswith("/") or path in ("", ":memory:"):
        raise ValueError("names a database in memory, which would forget everything; write sqlite:///quay.db.")
    if "?" in path or "\0" in path:
        raise ValueError("has options after the path, which SQLite does not get here; write sqlite:///quay.db.")
    return data / path


def _check_server(rest: str) -> None:
    try:
        parts = urlsplit(f"//{rest}")
        complete = parts.path.strip("/") != "" and (parts.port is None or parts.port > 0)
        complete &= "@" not in parts.path + parts.query and not parts.fragment  # pieces of a password, unescaped
    except ValueError:
        complete = False
    if not complete:
        raise ValueError(
            "is not a complete PostgreSQL address; write postgresql://user:password@host:5432/name, "
            "and write /, :, @, # and % in a password as %2F, %3A, %40, %23 and %25."
        )


@attrs.frozen
class Vault:
    """Where secrets are looked up: an environment, and the directory where relative paths begin."""

    environ: Mapping[str, str] = attrs.field(repr=False)
    data: Path

    def read(self, value: object, kind: type[Secret]) -> Secret:
        """The secret that `value` is or points to. Raises `ValueError`; its sentence never holds the secret."""
        return kind.parse(self._text(value), self.data)

    def _text(self, value: object) -> str:
        match value:
            case str():
                return value
            case {"file": str(path), **rest} if not rest:
                return self._from_file(self.data / path)
            case {"env": str(name), **rest} if not rest:
                return self._from_environment(name)
            case _ if is_number(value):
                return str(value)
        raise ValueError("is neither text, nor {file: path}, nor {env: NAME}; put quotes around text.")

    def _from_file(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                content = file.read(FILE_LIMIT + 1)
            if len(content) > FILE_LIMIT:
                raise ValueError(f"should be in {path}, which is longer than a secret may be ({FILE_LIMIT} bytes).")
            return _without_newline(content.decode())
        except UnicodeDecodeError:
            raise ValueError(f"should be in {path}, which is not UTF-8 text.") from None
        except OSError as error:
            raise ValueError(f"should be in {path}, which cannot be read: {error.strerror}.") from None

    def _from_environment(self, name: str) -> str:
        if _ENV_NAME.fullmatch(name) is None:
            raise ValueError("points to an environment variable by what is no name of one; write {env: NAME}.")
        if name not in self.environ:
            raise ValueError(f"should be in the environment variable {name}, which is not set.")
        return self.environ[name]


def _without_newline(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")
