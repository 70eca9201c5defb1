"""
Whom the registry may call: what a URL may look like, and which addresses are open.

Everything here is pure. A name is not judged by its spelling but by the addresses it leads to, each of them; so a
spelling that only some resolvers understand (`0`, `0x7f.1`, `017700000001`) is refused, and an address that hides
another (`::ffff:127.0.0.1`) is judged by the one it hides.

Source: WHATWG URL "ends in a number"; the IANA registries of special-purpose addresses (RFC 6890); RFC 6052.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urljoin

import attrs

from quay.config import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

URL_LIMIT: Final = 2048

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
_URL = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[^/?#:\[\]]+)(?::([0-9]{1,5}))?([/?][^#]*)?(?:#.*)?", re.I | re.ASCII)
_CHARACTERS = re.compile(r"[!-\[\]-~]*")  # the printable ones of ASCII, without space and backslash

# What is closed even to an administrator who lists a network around it: only a network inside it opens it.
_SPECIAL: Final[tuple[tuple[str, tuple[Network, ...]], ...]] = tuple(
    (kind, tuple(ipaddress.ip_network(network) for network in networks.split()))
    for kind, networks in {
        "unspecified": "0.0.0.0/8 ::/128",
        "loopback": "127.0.0.0/8 ::1/128",
        "link-local": "169.254.0.0/16 fe80::/10",
        "multicast": "224.0.0.0/4 ff00::/8",
        "reserved": "240.0.0.0/4",
        "cloud metadata": "100.100.100.200/32 168.63.129.16/32 192.0.0.192/32 fd00:ec2::254/128",
    }.items()
)
_GLOBAL: Final = ipaddress.IPv6Network("2000::/3")
_NOT_GLOBAL: Final = tuple(  # though Python 3.11 says so of some
    ipaddress.ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/32", "2002::/16")
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class EgressError(Exception):
    """A call to another server that brought no answer; the message is a sentence, and has no secret of the URL."""


class EgressRefused(EgressError):
    """A call that the registry does not make."""


class EgressFailed(EgressError):
    """A call that the other side did not answer."""


@attrs.frozen
class Target:
    """Where a call goes. `host` is in lower case, without brackets or a final dot; `path` has the query in it."""

    scheme: str
    host: str
    port: int
    path: str = attrs.field(repr=False)  # some services take a path for a password
    literal: Address | None = None

    @classmethod
    def parse(cls, url: str) -> Target:
        """What `url` names. Raises `EgressRefused`."""
        if len(url) > URL_LIMIT:
            raise EgressRefused(f"The URL has more than {URL_LIMIT} characters: use a shorter one.")
        if _CHARACTERS.fullmatch(url) is None:
            raise EgressRefused(
                "The URL has characters that no URL may have: percent-encode them, and write the host as xn--… ."
            )
        match = _URL.fullmatch(url)
        if match is None:
            raise EgressRefused("This is not the URL of a server: write http:// or https://, a host, and a path.")
        scheme, host, port, path = match.groups()
        if "@" in host:
            raise EgressRefused("The URL has a user name in it: leave out what stands before the @.")
        name, literal = _host(host.lower())
        return cls(scheme.lower(), name, _port(scheme.lower(), port), _path(path), literal)

    def follow(self, location: str) -> Target:
        """Where a redirect from here leads. Raises `EgressRefused`."""
        found = Target.parse(urljoin(self.url, location))
        if self.scheme == "https" and found.scheme != "https":
            raise EgressRefused(f"{self.host} redirects from https to http, where everybody could read along.")
        return found

    @property
    def origin(self) -> tuple[str, str, int]:
        """What two targets share if credentials for the one may be shown to the other."""
        return self.scheme, self.host, self.port

    @property
    def url(self) -> str:
        """The one spelling of it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = self.port == _DEFAULT_PORTS[self.scheme]
        return f"{self.scheme}://{host}{'' if default else f':{self.port}'}{self.path}"


_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def _host(text: str) -> tuple[str, Address | None]:
    try:
        if text.startswith("["):
            address: Address = ipaddress.IPv6Address(text[1:-1])
            return str(address), address
        if _NUMBER.fullmatch(text):
            address = ipaddress.IPv4Address(text)
            return str(address), address
    except ValueError:
        raise EgressRefused(
            f"{text[:80]!r} is no address in its usual form: write 192.0.2.1, or [2001:db8::1]."
        ) from None
    if _NAME.fullmatch(text) is None or len(text) > 254:
        raise EgressRefused(f"{text[:80]!r} is not the name of a host.")
    return text.removesuffix("."), None


def _port(scheme: str, text: str | None) -> int:
    port = _DEFAULT_PORTS[scheme] if text is None else int(text)
    if not 0 < port < 65536:
        raise EgressRefused(f"There is no port {port}: a port is a number from 1 to 65535.")
    return port


def _path(text: str | None) -> str:
    path = text or "/"
    return path if path.startswith("/") else f"/{path}"


def _names(hosts: Iterable[str]) -> frozenset[str]:
    return frozenset(host.lower().removesuffix(".") for host in hosts)


@attrs.frozen
class Policy:
    """
    What may be called. Public addresses are open, private ones if one of `networks` has them; loopback, link-local,
    multicast and the like, and the metadata services of clouds, only if one of `networks` lies within their range: so
    neither `0.0.0.0/0` nor `10.0.0.0/8` opens them by accident. Nobody gets to `refused_hosts`, or through the network
    to a port of `own_ports` on this machine.
    """

    networks: tuple[Network, ...] = ()
    refused_hosts: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    own_ports: frozenset[int] = frozenset()

    def check(self, target: Target) -> None:
        """What can be said before a name is looked up. Raises `EgressRefused`."""
        if target.host in self.refused_hosts:
            raise EgressRefused(f"The administrators of this registry have forbidden to call {target.host}.")
        if target.literal is not None:
            self.choose(target.host, [target.literal])

    def choose(self, host: str, addresses: Iterable[Address]) -> list[Address]:
        """Those of the addresses of `host` that may be called. Raises `EgressRefused` if there is none."""
        judged = [(address, self._objection(_meant(address))) for address in addresses]
        allowed = [address for address, objection in judged if objection is None]
        if allowed:
            return allowed
        if not judged:
            raise EgressFailed(f"{host} has no address: look for a mistake in its name, or in the DNS.")
        raise EgressRefused(
            f"The registry does not call {host}, because its address is {judged[0][1]}. An administrator can open the "
            "network of the address by listing it in EGRESS_NETWORKS."
        )

    def _objection(self, address: Address) -> str | None:
        """What kind of address it is, if that kind is closed."""
        for kind, ranges in _SPECIAL:
            if any(address in one and not self._opens(one, address) for one in ranges):
                return kind
        listed = any(address in network for network in self.networks)
        return None if listed or _is_public(address) else "private"

    def _opens(self, special: Network, address: Address) -> bool:
        """Whether a listed network has the address and lies within the special range."""
        return any(
            address in network and network.version == special.version and network.prefixlen >= special.prefixlen
            for network in self.networks
        )


def _meant(address: Address) -> Address:
    """The address that is reached through this one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.scope_id is not None:
            return ipaddress.IPv6Address(int(address))
    return address


def _is_public(address: Address) -> bool:
    if any(address in network for network in _NOT_GLOBAL):
        return False
    return address.is_global and (address.version == 4 or address in _GLOBAL)
