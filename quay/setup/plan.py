"""
From answers to a configuration file: what changes, what the environment decides anyway, and what the file will be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from quay.config import Config, ConfigError, Redis, default_text, parse
from quay.config.document import read_document
from quay.config.edit import edited
from quay.config.keys import SETTINGS
from quay.setup.answers import AnswersWrong, Keeping, Names
from quay.setup.certificates import SERVER

SECRET_KEYS: Final = ("DB_URI", "USER_EVENTS_REDIS")
PREFIX: Final = "QUAY_"


@attrs.frozen
class Plan:
    """
    What the file will be, and the `config` that a start with it gives. `changes` are the keys that get another value,
    with what is shown of it; `overridden` those that a variable of the environment decides, whatever the file says.
    """

    text: str = attrs.field(repr=False)
    config: Config
    changes: Mapping[str, str]
    overridden: tuple[str, ...]


def plan(text: str | None, names: Names, keeping: Keeping, environ: Mapping[str, str], data: Path) -> Plan:
    """
    What these answers make of the file with this `text`, or of no file. Raises `AnswersWrong` if the file cannot be
    changed, or could not be used afterwards.
    """
    given = default_text() if text is None else text
    before = _values(given)
    wanted = {**_of_names(names), **_of_keeping(keeping), **({"DATA": "."} if text is None else {})}
    changed = {key: value for key, value in wanted.items() if before.get(key) != value}
    made = edited(given, changed)
    if any(_values(made).get(key) != value for key, value in changed.items()):
        raise AnswersWrong(_UNCHANGEABLE)
    try:
        config = parse(made, environ, data, data=str(data))
    except ConfigError as error:
        raise AnswersWrong(*error.problems) from None
    shown = {key: _shown(key, value) for key, value in changed.items() if key != "DATA"}
    overridden = tuple(key for key in shown if _is_overridden(key, made, environ, data))
    return Plan(made, config, shown, overridden)


def _is_overridden(key: str, text: str, environ: Mapping[str, str], data: Path) -> bool:
    """Whether the environment gives the key another value than the file with this `text`, which can be used."""
    variable = PREFIX + key
    if variable not in environ:
        return False
    others = {name: value for name, value in environ.items() if name != variable}
    attribute = SETTINGS[key].name
    with_it, without_it = (parse(text, each, data, data=str(data)) for each in (environ, others))
    return bool(getattr(with_it, attribute) != getattr(without_it, attribute))


_UNCHANGEABLE: Final = (
    "The configuration file is written in a way that cannot be changed line by line: write it as one `KEY: value` for "
    "each line, as `quay config default` does."
)


def _values(text: str) -> Mapping[str, Any]:
    try:
        return read_document(text).values
    except ConfigError:
        raise AnswersWrong(_UNCHANGEABLE) from None


def _of_names(names: Names) -> dict[str, Any]:
    ours = names.tls != "proxy"
    return {
        "SERVER_HOSTNAME": str(names.hostname),
        "LISTEN": _listed(names.listen),
        "PLAIN_LISTEN": _listed(names.plain) if ours and names.plain else None,
        "TLS_CERTIFICATE": SERVER if ours else None,
        "TLS_KEY": SERVER if ours else None,
        "EXTERNAL_TLS_TERMINATION": None if ours else True,
        "TRUSTED_PROXIES": None if ours else _listed(names.proxies),
        "PREFERRED_URL_SCHEME": None,
    }


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _of_keeping(keeping: Keeping) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    if keeping.database != "kept":
        wanted["DB_URI"] = keeping.uri() if keeping.database == "postgresql" else None
    if keeping.blobs is not None:
        wanted["DISTRIBUTED_STORAGE_CONFIG"] = _local(keeping.blobs)
    if keeping.redis is not None:
        wanted["USER_EVENTS_REDIS"] = _redis(keeping.redis)
    return wanted


def _local(path: str) -> dict[str, Any] | None:
    return None if path == "blobs" else {"default": ["LocalStorage", {"storage_path": path}]}


def _redis(redis: Redis) -> dict[str, Any]:
    password = {} if redis.password is None else {"password": redis.password.reveal()}
    return {"host": redis.host, "port": int(redis.port), **password, "ssl": redis.ssl, "db": int(redis.db)}


def _shown(key: str, value: Any) -> str:
    if value is None:
        return f"the default, {SETTINGS[key].metadata['setting'].default}"
    if key in SECRET_KEYS:
        return "(has a password in it)"
    return str(value)
