"""
The forms of the setup: from what a browser sends to the answers that `quay.setup` reads, and back, to show them again.

Nothing here says whether an answer will do. A field that is left empty is not answered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from quay.config import Config
from quay.setup import proposals
from quay.setup.kept import Plain

Fields = Mapping[str, Sequence[str]]
"""What a form sent: each name with its values."""

SECRETS: Final = ("password", "certificate", "key", "redis_password")
"""What is never shown again."""
_GAPS: Final = re.compile(r"[\s,]+")


def text(fields: Fields, name: str) -> str:
    """The value of a field, without spaces around it; "" if it was not sent."""
    return fields.get(name, [""])[-1].strip()


def _listed(fields: Fields, name: str) -> list[str]:
    """The words of a field, however they are separated."""
    return [word for word in _GAPS.split(text(fields, name)) if word]


def _given(**answers: Any) -> dict[str, Any]:
    return {name: value for name, value in answers.items() if value not in ("", None)}


def _number(value: str) -> Any:
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else value


def names(fields: Fields) -> Plain:
    """The answers about names and TLS."""
    return _given(
        hostname=text(fields, "hostname"),
        others=_listed(fields, "others"),
        listen=_listed(fields, "listen"),
        plain=_listed(fields, "plain"),
        tls=text(fields, "tls"),
        certificate=_pem(fields, "certificate"),
        key=_pem(fields, "key"),
        proxies=_listed(fields, "proxies"),
    )


def _pem(fields: Fields, name: str) -> str:
    found = text(fields, name).replace("\r\n", "\n")
    return f"{found}\n" if found else ""


def keeping(fields: Fields, before: Plain) -> Plain:
    """The answers about database and storage; passwords that were typed `before` need not be typed again."""
    database = text(fields, "database")
    answers = _given(database=database, blobs=text(fields, "blobs"))
    if database == "postgresql":
        answers |= _given(
            **{name: text(fields, name) for name in ("host", "name", "user", "sslmode")},
            port=_number(text(fields, "port")),
            password=fields.get("password", [""])[-1] or before.get("password"),
        )
    if text(fields, "use_redis"):
        remembered: Any = before.get("redis", {})
        answers["redis"] = _given(
            host=text(fields, "redis_host"),
            port=_number(text(fields, "redis_port")),
            password=fields.get("redis_password", [""])[-1] or remembered.get("password"),
            ssl=bool(text(fields, "redis_ssl")),
            db=_number(text(fields, "redis_db")),
        )
    return answers


# --- what the screens show ------------------------------------------------------------------------------------------


_LABELS: Final = {
    "hostname": "Name of the registry",
    "listen": "Where the server listens",
    "plain": "Where plain HTTP hands out the authority's certificate",
    "others": "Its other names",
    "proxies": "Addresses or networks of the proxy",
    "tls": "Who vouches for it",
    "port": "Port of PostgreSQL",
    "redis.port": "Port of Redis",
    "redis.host": "Host of Redis",
    "redis.db": "Number of the Redis database",
    "blobs": "Directory of the blobs",
}


def spoken(problem: str) -> str:
    """The sentence with the words of the screen for the answer that it begins with, if it begins with one."""
    path, colon, rest = problem.partition(": ")
    name = path.partition("[")[0]
    return f"{_LABELS[name]}: {rest}" if colon and name in _LABELS else problem


def shown_names(answers: Plain | None, config: Config, base: str) -> dict[str, str]:
    """What the fields about names show: what was answered, or else what this machine suggests."""
    found = proposals.names(config, urlsplit(base).hostname or "") if answers is None else answers
    shown = {name: _spelled(found.get(name, "")) for name in ("hostname", "listen", "plain", "tls", "proxies")}
    return {**shown, "others": "\n".join(found.get("others", ()))}


def _spelled(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def shown_keeping(answers: Plain | None) -> dict[str, Any]:
    """What the fields about database and storage show; of passwords, only whether there is one."""
    usual = {"database": "kept", "host": "localhost", "port": 5432, "name": "quay", "user": "quay"}
    found = {**usual, **(answers or {})}
    redis = found.get("redis", {})
    return {
        **{name: found.get(name, "") for name in ("database", "host", "port", "name", "user", "blobs")},
        "sslmode": found.get("sslmode", "prefer"),
        "has_password": bool(found.get("password")),
        "use_redis": "redis" in found,
        "redis_host": redis.get("host", ""),
        "redis_port": redis.get("port", 6379),
        "redis_db": redis.get("db", 0),
        "redis_ssl": redis.get("ssl", False),
        "redis_has_password": bool(redis.get("password")),
    }
