"""
How an installation begins by itself, before anybody is asked anything: with a configuration and secrets of its own, on
TLS, with a certificate by its own authority for all that its machine is called. What is asked afterwards, in the
console, changes the same file. Everything here waits for the disk.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import attrs

from quay.config import Endpoint, initial_text, parse
from quay.config.edit import edited
from quay.config.surroundings import FILENAME
from quay.config.values import Hostname
from quay.files import write_whole
from quay.setup import checks, machine
from quay.setup.answers import host_of
from quay.setup.certificates import SERVER, CertificateFiles


@attrs.frozen(kw_only=True)
class Beginning:
    """
    Where it listens, and at which addresses plain HTTP hands out the certificate of its authority. `hostname` is what
    clients are told; without one, each is told what he called it.
    """

    listen: tuple[Endpoint, ...]
    plain: tuple[Endpoint, ...] = ()
    hostname: Hostname | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Whom the certificate is for: the name that it is given, and all that the machine is called."""
        given = () if self.hostname is None else (host_of(self.hostname),)
        return tuple(dict.fromkeys([*given, *machine.names(), *machine.addresses()]))


def usual(listening: Endpoint | None = None) -> Beginning:
    """
    There, or else on 443 of all addresses if this process may listen there, else 8443; beside it on 80 or 8080, if that
    is free.
    """
    if listening is None:
        listening = Endpoint("0.0.0.0", machine.usual_port())  # noqa: S104  # others are to reach it, and it speaks TLS
    plain = beside(listening)
    return Beginning(listen=(listening,), plain=() if checks.refusal(plain) else (plain,))


def beside(listening: Endpoint) -> Endpoint:
    """Where plain HTTP is looked for, beside TLS."""
    return Endpoint(listening.host, 80 if listening.port == 443 else 8080)


def is_new(data: Path) -> bool:
    """Whether nothing has begun in this data directory, which need not be there."""
    return not any((data / name).exists() for name in (FILENAME, "quay.db"))


def begin(data: Path, beginning: Beginning, now: datetime) -> None:
    """
    Write the certificate, then the configuration, without which it has not begun. Raises `ConfigError` and `Unfit` for
    what cannot be, and `OSError`.
    """
    wanted = {
        "LISTEN": ", ".join(map(str, beginning.listen)),
        "PLAIN_LISTEN": ", ".join(map(str, beginning.plain)) or None,
        "SERVER_HOSTNAME": beginning.hostname and str(beginning.hostname),
        "TLS_CERTIFICATE": SERVER,
        "TLS_KEY": SERVER,
    }
    text = edited(initial_text(), {key: value for key, value in wanted.items() if value is not None})
    parse(text, {}, data, data=str(data))
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    CertificateFiles(data).make(beginning.names, now)
    write_whole(data / FILENAME, text.encode())
