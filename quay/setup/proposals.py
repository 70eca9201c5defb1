"""
What is suggested to whoever sets a registry up: what the machine says of itself, and what is configured already.
"""

from __future__ import annotations

from typing import Any

from quay.config import Config
from quay.setup import machine


def names(config: Config, called: str = "") -> dict[str, Any]:
    """
    The answers about names that are most probably right, for a machine that somebody has just `called` so: that name,
    unless it is a loopback's, and everything else that the machine is called.
    """
    port = machine.usual_port()
    others = [*machine.names(), *machine.addresses()]
    host = called if called and not machine.is_loopback(called) else others[0]
    return {
        "hostname": config.hostname or (host if port == 443 else f"{_bracketed(host)}:{port}"),
        "others": list(dict.fromkeys(name for name in [called, *others] if name and name != host)),
        "listen": [str(each) for each in config.listen if not each.is_loopback] or [f"0.0.0.0:{port}"],
        "plain": list(map(str, config.plain_listen)) or [f"0.0.0.0:{80 if port == 443 else 8080}"],
        "tls": "proxy" if config.external_tls_termination else "own",
        "proxies": list(map(str, config.trusted_proxies)),
    }


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
