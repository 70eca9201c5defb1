"""
Who is at the other end, and what he calls us: behind proxies both are hearsay, believed only from proxies we trust.

Source: RFC 9110 section 7.2 (Host); RFC 3986 section 3.2.2 (host grammar); the X-Forwarded-* convention.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

import attrs

from quay.oci.errors import InvalidRequest
from quay.web.request import RegistryRequest

Network = IPv4Network | IPv6Network

_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(
    rf"(?:{_LABEL}(?:\.{_LABEL})*|\[(?P<ipv6>[0-9A-Fa-f:.]{{2,45}})\])(?::(?P<port>[0-9]{{1,5}}))?"
)
_HOP: Final = re.compile(
    r"\[(?P<bracketed>[^\]]+)\](?::[0-9]+)?|(?P<ipv4>[0-9.]+)(?::[0-9]+)?|(?P<bare>[0-9A-Fa-f:.]+)"
)
_LOCAL: Final = IPv4Address("127.0.0.1")
_PORT: Final = re.compile(r":[0-9]+$")
HTTPS: Final = 443


@attrs.frozen
class Addresses:
    """
    How this registry is reached. `scheme` and `hostname` (with a port, if it is not the usual one) are what
    the operator says; where they are None, the request says it. `port` is where clients are sent on to: it takes the
    place of the one in what a request says.
    """

    scheme: str | None = None
    hostname: str | None = None
    trusted_proxies: tuple[Network, ...] = ()
    port: int | None = None

    def client_address(self, request: RegistryRequest) -> str:
        """The address of the client itself, through all proxies that are trusted."""
        return client_address(request, self.trusted_proxies)

    def are_within(self, request: RegistryRequest, networks: Iterable[Network]) -> bool:
        """Whether the client is in one of `networks`; whoever stands behind a proxy that is not trusted is nowhere."""
        forwarded = any(request.requestHeaders.hasHeader(name) for name in ("X-Forwarded-For", "Forwarded"))
        if forwarded and not _trusts(self.trusted_proxies, _peer(request)):
            return False
        return _trusts(networks, ip_address(self.client_address(request)))

    def external_url(self, request: RegistryRequest) -> str:
        """
        `scheme://host[:port]`, without a slash at the end, as the client reaches us. Raises `InvalidRequest` if the
        client calls us by what cannot be a host.
        """
        forwarded = bool(self.trusted_proxies) and _trusts(self.trusted_proxies, _peer(request))
        return f"{self.scheme or _scheme(request, forwarded)}://{self.hostname or self._told(request, forwarded)}"

    def _told(self, request: RegistryRequest, forwarded: bool) -> str:
        host = _host(request, forwarded)
        if self.port is None:
            return host
        return _PORT.sub("", host) + ("" if self.port == HTTPS else f":{self.port}")

    def is_secure_context(self, request: RegistryRequest) -> bool:
        """
        Whether a browser trusts the way on which it reaches us: over TLS, or within its own machine. Source: W3C Secure
        Contexts, section 3.1.
        """
        forwarded = _trusts(self.trusted_proxies, _peer(request))
        if (self.scheme or _scheme(request, forwarded)) == "https":
            return True
        host = (_listed(request, "X-Forwarded-Host")[-1:] if forwarded else []) or _listed(request, "Host")
        name = _PORT.sub("", host[0].lower()) if host else ""
        address = _parse(name.strip("[]"))
        return f".{name}".endswith(".localhost") if address is None else address.is_loopback


def client_address(request: RegistryRequest, trusted_proxies: Iterable[Network]) -> str:
    """
    The peer of the connection, or, if that is a trusted proxy, the last address in `X-Forwarded-For` which is not.
    A peer without an IP address (a Unix socket) counts as 127.0.0.1.
    """
    trusted = tuple(trusted_proxies)
    if not trusted:
        return peer_of(request.getClientAddress())
    client = _peer(request)
    hops = _listed(request, "X-Forwarded-For") if _trusts(trusted, client) else []
    for hop in reversed(hops):
        address = _parse_hop(hop)
        if address is None:
            break
        client = address
        if not _trusts(trusted, client):
            break
    return str(client)


def is_host(text: str) -> bool:
    """Whether `text` is a host name, an IPv4 address or a bracketed IPv6 address, perhaps with a port."""
    return len(text) <= 261 and _spells_host(text)


@lru_cache(maxsize=1024)  # clients call us by few names, in every request
def _spells_host(text: str) -> bool:
    spelled = _HOST.fullmatch(text)
    if spelled is None:
        return False
    if spelled["ipv6"] is not None and (":" not in spelled["ipv6"] or _parse(spelled["ipv6"]) is None):
        return False
    return spelled["port"] is None or 0 < int(spelled["port"]) < 65536


def _scheme(request: RegistryRequest, forwarded: bool) -> str:
    said = _listed(request, "X-Forwarded-Proto")[-1:] if forwarded else []
    if said and said[0].lower() in ("http", "https"):
        return said[0].lower()
    return "https" if request.isSecure() else "http"


def _host(request: RegistryRequest, forwarded: bool) -> str:
    said = _listed(request, "X-Forwarded-Host")[-1:] if forwarded else []
    host = (said or _listed(request, "Host") or [""])[0]
    if not is_host(host):
        raise InvalidRequest(
            f"{host[:80]!r} cannot be the host of this registry.",
            advice="Send a Host header with a name or an address, and perhaps a port.",
        )
    return host.lower()


def _listed(request: RegistryRequest, name: str) -> list[str]:
    lines = request.requestHeaders.getRawHeaders(name.encode(), [])
    return [entry.strip() for entry in b",".join(lines).decode("latin-1").split(",") if entry.strip()]


def peer_of(address: object) -> str:
    """Who is at the other end of a connection, as `client_address` spells it."""
    return str(_parse(str(getattr(address, "host", ""))) or _LOCAL)


def _peer(request: RegistryRequest) -> IPv4Address | IPv6Address:
    return _parse(str(getattr(request.getClientAddress(), "host", ""))) or _LOCAL


def _parse_hop(text: str) -> IPv4Address | IPv6Address | None:
    spelled = _HOP.fullmatch(text)
    return None if spelled is None else _parse(spelled["bracketed"] or spelled["ipv4"] or spelled["bare"])


@lru_cache(maxsize=1024)  # every request asks several times, mostly for the same few
def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):  # without its zone, which is nobody else's business, and may be of any length
        return address.ipv4_mapped or IPv6Address(int(address))
    return address


def _trusts(networks: Iterable[Network], address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in networks)
