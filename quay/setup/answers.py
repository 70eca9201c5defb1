"""
The answers of whoever sets a registry up, as frozen values: from a form or from a file, with the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeVar, get_args
from urllib.parse import quote, urlencode

import attrs
import cattrs

from quay.config import Endpoint, Network, Redis, Secret
from quay.config.keys import SslMode
from quay.config.secrets import Vault
from quay.config.structure import converter, sentences
from quay.config.values import Hostname, Port

Tls = Literal["own", "given", "request", "proxy"]
"""Where TLS comes from: an authority of one's own; a certificate that is given; one that is asked for (until it comes,
one's own); a proxy in front."""

SSL_MODES: Final = get_args(SslMode)

A = TypeVar("A")


class AnswersWrong(Exception):
    """Answers that cannot be meant; `problems` has a sentence for each, with the name of the answer in front."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@attrs.frozen(kw_only=True)
class Administrator:
    """The first user, who administers the registry."""

    name: str
    email: str
    password: Secret


@attrs.frozen(kw_only=True)
class Names:
    """
    How clients reach the registry, and where it listens. `plain` is where, beside TLS, plain HTTP serves the
    certificate of the authority; `certificate` and `key` are PEM, for `given`.
    """

    hostname: Hostname
    others: tuple[str, ...] = ()
    listen: tuple[Endpoint, ...]
    plain: tuple[Endpoint, ...] = ()
    tls: Tls = "own"
    certificate: Secret | None = None
    key: Secret | None = None
    proxies: tuple[Network, ...] = ()

    @property
    def host(self) -> str:
        """The name alone, without a port or brackets."""
        return host_of(self.hostname)

    @property
    def called(self) -> tuple[str, ...]:
        """Every name that a certificate should have."""
        return tuple(dict.fromkeys([self.host, *(name.strip("[]") for name in self.others)]))


@attrs.frozen(kw_only=True)
class Keeping:
    """
    Where rows and blobs are. What is not given stays as it is configured; `database` is "kept" where that is so. All
    but `blobs` and `redis` is of the PostgreSQL server.
    """

    database: Literal["kept", "sqlite", "postgresql"] = "kept"
    host: str = "localhost"
    port: Port = Port(5432)  # noqa: RUF009  # a number cannot change
    name: str = "quay"
    user: str = "quay"
    password: Secret | None = None
    sslmode: SslMode = "prefer"
    redis: Redis | None = None
    blobs: str | None = None

    def uri(self) -> str:
        """The address of the PostgreSQL database, with its password."""
        password = "" if self.password is None else f":{quote(self.password.reveal(), safe='')}"
        server = f"[{self.host}]" if ":" in self.host else self.host
        where = f"{quote(self.user, safe='')}{password}@{server}:{int(self.port)}/{quote(self.name, safe='')}"
        return f"postgresql://{where}?{urlencode({'sslmode': self.sslmode})}"


def host_of(hostname: str) -> str:
    """The host in `host`, `host:port` or `[address]:port`."""
    if hostname.startswith("["):
        return hostname[1:].partition("]")[0]
    return hostname.partition(":")[0]


def read_answers(kind: type[A], plain: Mapping[str, Any], vault: Vault, path: str = "") -> A:
    """The answers of this `kind` that `plain`, of texts, lists and mappings, spells. Raises `AnswersWrong`."""
    made = converter(vault)
    try:
        return made.structure(dict(plain), kind)
    except (ValueError, cattrs.BaseValidationError) as error:
        raise AnswersWrong(*(sentence.removeprefix(".") for sentence in sentences(error, path))) from None
