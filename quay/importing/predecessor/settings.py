"""
What of the configuration of a Quay says where its database and its blobs are, and who administers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import attrs

from quay.config import ConfigError
from quay.config.document import LIMIT, read_document
from quay.importing.files import read_small
from quay.importing.source import SourceError


@attrs.frozen
class Settings:
    """`storage` are directories of this machine in which blobs lie, each as a storage path of LocalStorage."""

    database: str = attrs.field(repr=False)
    key: str | None = attrs.field(default=None, repr=False)
    storage: tuple[Path, ...] = ()
    superusers: frozenset[str] = frozenset()

    @classmethod
    def read(cls, file: Path | None, database: str | None, storage: tuple[Path, ...]) -> Self:
        """
        What the config.yaml of a Quay says; `database` and `storage`, if given, say otherwise where these are now.
        Raises `SourceError`. Waits for the disk.
        """
        written = {} if file is None else _written(file)
        url = database or written.get("DB_URI")
        places = storage or tuple(_paths(written.get("DISTRIBUTED_STORAGE_CONFIG")))
        if not isinstance(url, str):
            raise SourceError("Nobody says where the database is: give --config, or --database.")
        if not places:
            raise SourceError(
                "Nobody says where the blobs lie: give the directory with --storage. Only storage that is a directory "
                "of this machine can be imported; copy that of another kind into one, with the same names, first."
            )
        key = written.get("DATABASE_SECRET_KEY")
        supers = written.get("SUPER_USERS")
        return cls(
            url,
            None if key is None else str(key),
            places,
            frozenset(str(name) for name in supers) if isinstance(supers, list) else frozenset(),
        )


def _written(file: Path) -> Mapping[str, object]:
    try:
        return read_document(read_small(f"The configuration {file}", file, LIMIT).decode("utf-8", "replace")).values
    except ConfigError as error:
        raise SourceError(f"The configuration {file} cannot be read: {error}") from None


def _paths(written: object) -> list[Path]:
    """The directories among the storage locations."""
    locations = written.values() if isinstance(written, Mapping) else ()
    pairs = [one for one in locations if isinstance(one, list | tuple) and len(one) == 2]
    found = [options.get("storage_path") for name, options in pairs if name == "LocalStorage" and _is_map(options)]
    return [Path(path) for path in found if isinstance(path, str) and Path(path).is_absolute()]


def _is_map(value: object) -> bool:
    return isinstance(value, Mapping)
