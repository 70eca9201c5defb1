"""
The kinds of value that stand in the configuration: each is parsed once, here, and can be nothing else afterwards.

Every `parse` takes what YAML made of a value and raises `ValueError` with a sentence for the administrator.
Source: Quay's configuration schema (durations `^[0-9]+(w|m|d|h|s)$`, sizes `^[0-9]+(G|M)$`); bitmath 1.3, with which
Quay reads sizes: `G` is SI, a power of 1000, and `Gi` is NIST, a power of 1024.
"""

from __future__ import annotations

import ipaddress
import re
import reprlib
from datetime import time
from typing import ClassVar, Final, Self

import attrs

_DURATION = re.compile(r"([0-9]{1,12})([wdhms])")
_SECONDS: Final = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_CENTURY: Final = 100 * 365 * 86400
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_SIZE = re.compile(r"([0-9]{1,18})(?:([KMGT])(i?)B?)?", re.IGNORECASE)
_POWERS: Final = {"K": 1, "M": 2, "G": 3, "T": 4}
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*\.?|\[(?P<v6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{{1,5}}))?")
_ENDPOINT = re.compile(r"(?:(?P<v4>[0-9.]+)|\[(?P<v6>[0-9A-Fa-f:.]+)\]):(?P<port>[0-9]{1,5})")

_ADDRESS = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}"
_SENDER = re.compile(rf"{_ADDRESS}|[^\x00-\x1f\x7f<>\ud800-\udfff]{{1,255}}<{_ADDRESS}>")
MAIL_ADDRESS: Final = re.compile(_ADDRESS)
"""An address to which a letter can go, of those that need no quotes and nothing but ASCII (RFC 5321)."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Hostile YAML can alias itself into values whose full repr would never end.
_brief = reprlib.Repr()
_brief.maxlevel, _brief.maxstring, _brief.maxother = 2, 60, 60


def shown(value: object) -> str:
    """`value`, short enough for a sentence."""
    return _brief.repr(value)


def is_number(value: object) -> bool:
    """Whether YAML said a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


class Duration(int):
    """A length of time in whole seconds, written `2w`, `1d`, `12h`, `55m` or `30s`; a plain number counts seconds."""

    __slots__ = ()
    UNIT: ClassVar[int] = 1

    @classmethod
    def parse(cls, value: object) -> Self:
        """The duration that `value` spells: at least nothing, at most a century."""
        if isinstance(value, int) and not isinstance(value, bool):
            seconds = value * cls.UNIT
        elif isinstance(value, str) and (match := _DURATION.fullmatch(value)):
            seconds = int(match[1]) * _SECONDS[match[2]]
        else:
            raise ValueError(f"{shown(value)} is not a duration; write 30s, 55m, 12h, 1d or 2w.")
        if not 0 <= seconds <= _CENTURY:
            raise ValueError(f"{shown(value)} is out of range; a duration lies between 0s and a hundred years.")
        return cls(seconds)

    def __str__(self) -> str:
        unit = next((unit for unit, length in _SECONDS.items() if self and self % length == 0), "s")
        return f"{int(self) // _SECONDS[unit]}{unit}"


class Minutes(Duration):
    """A `Duration` whose plain number counts minutes."""

    __slots__ = ()
    UNIT = 60


class Size(int):
    """A number of bytes, written `20G` or `512M` (powers of 1000, as Quay enforces it), or `20Gi` (powers of 1024)."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """The size that `value` spells, at least one byte."""
        match = _SIZE.fullmatch(str(value)) if isinstance(value, str) or is_number(value) else None
        if match is None or int(match[1]) == 0:
            raise ValueError(f"{shown(value)} is not a size; write a number of bytes, 512M, 20G or 20Gi.")
        base = 1024 if match[3] else 1000
        return cls(int(match[1]) * base ** _POWERS.get((match[2] or "").upper(), 0))

    def __str__(self) -> str:
        for unit, power in reversed(_POWERS.items()):
            if self % 1000**power == 0:
                return f"{int(self) // 1000**power}{unit}"
        return f"{int(self)}"


class Count(int):
    """A whole number, at least 1."""

    __slots__ = ()
    LEAST: ClassVar[int] = 1
    MOST: ClassVar[int] = 1_000_000

    @classmethod
    def parse(cls, value: object) -> Self:
        """The number `value`, if it is one and in range."""
        if not isinstance(value, int) or isinstance(value, bool) or not cls.LEAST <= value <= cls.MOST:
            raise ValueError(f"{shown(value)} is not a whole number from {cls.LEAST} to {cls.MOST}.")
        return cls(value)


class Port(Count):
    """A TCP port to connect to."""

    __slots__ = ()
    MOST = 65535


class Kept(Count):
    """How many of something are kept; 0 means none."""

    __slots__ = ()
    LEAST = 0


class TimeOfDay(str):
    """A time of the clock on the wall, `02:00` or `23:59`."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """The time that `value` spells."""
        if not isinstance(value, str) or _TIME.fullmatch(value) is None:
            raise ValueError(f'{shown(value)} is not a time of day; write "02:00", with quotes, or "23:59".')
        return cls(value)

    @property
    def time(self) -> time:
        return time.fromisoformat(self)


class Index(Count):
    """The number of a Redis database."""

    __slots__ = ()
    LEAST = 0
    MOST = 65535


class Hostname(str):
    """How clients reach the registry: `host` or `host:port`, without a scheme or a path."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """The name that `value` spells; an IPv6 address stands in brackets."""
        if not isinstance(value, str):
            raise ValueError(
                f"{shown(value)} is not a host name; write registry.example.org or registry.example.org:8443."
            )
        if "://" in value or "/" in value:
            raise ValueError(
                f"{shown(value)} has a scheme or a path; write only the host, and the port if there is one."
            )
        match = _HOST.fullmatch(value)
        if match is None or len(value) > 259 or not _fits(match["v6"], match["port"]):
            raise ValueError(f"{shown(value)} is not a host name; write registry.example.org or [2001:db8::1]:8443.")
        return cls(value)


class MailSender(str):
    """From whom letters come: an address, or `Name <address>`."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """The sender that `value` spells."""
        if not isinstance(value, str) or _SENDER.fullmatch(value) is None:
            raise ValueError(
                f"{shown(value)} is not the sender of a letter; write quay@example.org or Quay <quay@example.org>."
            )
        return cls(value)


def _fits(address: str | None, port: str | None) -> bool:
    """Whether what stood in brackets is an address, and the port a port."""
    return (address is None or _is_address(address)) and (port is None or 0 < int(port) <= 65535)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@attrs.frozen
class Endpoint:
    """An address of this machine and a port, where the registry listens; port 0 takes any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, value: object) -> Endpoint:
        """The endpoint that `value` spells: `127.0.0.1:8080` or `[::1]:8080`."""
        match = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
        host = (match["v4"] or match["v6"]) if match else ""
        if match is None or not _is_address(host) or int(match["port"]) > 65535:
            raise ValueError(
                f"{shown(value)} is not an address and a port; "
                "write 127.0.0.1:8080, [::1]:8080, or 0.0.0.0:8080 for every IPv4 address."
            )
        return cls(host, int(match["port"]))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_network(value: object) -> Network:
    """The network that `value` spells in CIDR notation; one address is a network of one."""
    try:
        return ipaddress.ip_network(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"{shown(value)} is not a network; write 10.0.0.0/8, 2001:db8::/32 or one address.") from None


class Authentication(str):
    """Where passwords are checked: `Database`, or `AppToken` where only application tokens and robots may log in."""

    __slots__ = ()
    OFFERED: ClassVar = ("Database", "AppToken")
    LATER: ClassVar = ("LDAP", "Keystone", "JWT", "OIDC")

    @classmethod
    def parse(cls, value: object) -> Self:
        """The authentication that `value` names, if this release has it."""
        if value in cls.LATER:
            raise ValueError(
                f"{value} is not implemented yet, so nobody could log in; use Database, or AppToken for tokens only."
            )
        if value not in cls.OFFERED:
            raise ValueError(f"{shown(value)} is not a kind of authentication; use Database or AppToken.")
        return cls(value)
