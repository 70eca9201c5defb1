"""
What this machine is called, and where it can be reached: proposals for whoever sets the registry up.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

Address = IPv4Address | IPv6Address

_ELSEWHERE: Final = ("192.0.2.1", "2001:db8::1")
"""Addresses of nobody (RFC 5737, RFC 3849): the way to them leads through the first address of this machine."""


def names() -> tuple[str, ...]:
    """What the machine calls itself, the fullest name first, and localhost last."""
    found = [name.lower() for name in (socket.getfqdn(), socket.gethostname()) if _is_name(name)]
    return (*dict.fromkeys(sorted(found, key=lambda name: -name.count("."))), "localhost")


def addresses() -> tuple[str, ...]:
    """
    Its addresses, at least one: those first by which others most probably reach it; loopback last, link-local ones not
    at all.
    """
    found = [*_routed(), *in_ipv4_table(), *in_ipv6_table()]
    usable = [address for address in found if not (address.is_link_local or address.is_unspecified)]
    ordered = sorted(dict.fromkeys(usable), key=lambda address: (address.is_loopback, address.version))
    return tuple(map(str, ordered)) or ("127.0.0.1",)


def is_loopback(host: str) -> bool:
    """Whether this name or address means the machine itself, for itself only."""
    with suppress(ValueError):
        return ip_address(host.strip("[]")).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def usual_port() -> int:
    """443, if this process may listen there, else 8443."""
    return 443 if _may_listen(443) else 8443


def _may_listen(port: int) -> bool:
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _is_name(name: str) -> bool:
    return name.isascii() and name not in ("", "localhost", "localhost.localdomain") and not name.endswith(".arpa")


def _routed() -> list[Address]:
    found: list[Address] = []
    for family, elsewhere in zip((socket.AF_INET, socket.AF_INET6), _ELSEWHERE, strict=True):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))  # sends nothing, but chooses the way
            found.append(ip_address(probe.getsockname()[0]))
    return found


def in_ipv4_table(table: Path = Path("/proc/self/net/fib_trie")) -> list[Address]:
    """What the kernel answers for: the leaves of its routes that are marked as local."""
    found: list[Address] = []
    leaf = ""
    for line in _lines(table):
        word = line.strip()
        if word.startswith("|-- "):
            leaf = word.removeprefix("|-- ")
        elif word == "/32 host LOCAL":
            found.append(IPv4Address(leaf))
    return found


def in_ipv6_table(table: Path = Path("/proc/self/net/if_inet6")) -> list[Address]:
    """The same for IPv6, where each line begins with an address."""
    return [IPv6Address(bytes.fromhex(line.split()[0])) for line in _lines(table) if line.strip()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
