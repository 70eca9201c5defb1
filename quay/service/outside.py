"""
What the registry has to do with other servers: whom it may call, whom it believes, and how it tells people things.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from OpenSSL import crypto
from twisted.internet import ssl

from quay.config import Config
from quay.database import Database
from quay.egress import Egress, Policy
from quay.interfaces import INotificationMethod
from quay.notifications.methods import Bell, Email, SendLetter, Slack, Webhook
from quay.notifications.notice import Place


class AuthoritiesUnusable(Exception):
    """The file with the CAs to be believed is none; the message is for the administrator."""


def egress_of(reactor: Any, config: Config) -> Egress:
    """What calls addresses that users choose, as the configuration allows it."""
    policy = Policy(
        networks=config.egress_networks,
        refused_hosts=frozenset(config.webhook_hostname_blacklist),
        own_ports=frozenset(endpoint.port for endpoint in config.listen),
    )
    return Egress(reactor, policy)


def authorities(path: Path) -> Any:
    """The CAs in the PEM file `path`, to be believed instead of the machine's. Raises `AuthoritiesUnusable`."""
    end = b"-----END CERTIFICATE-----"
    try:
        pems = [part + end for part in path.read_bytes().split(end)[:-1]]
        found = [ssl.Certificate.loadPEM(pem) for pem in pems]
    except (OSError, ValueError, crypto.Error) as error:
        raise AuthoritiesUnusable(f"EGRESS_CA {path} cannot be used: {error}. It must be a PEM file.") from error
    if not found:
        raise AuthoritiesUnusable(f"EGRESS_CA {path} has no certificate in it. It must be a PEM file with one or more.")
    return ssl.trustRootFromCertificates(found)


def letters_of(reactor: Any, config: Config, egress: Egress) -> SendLetter | None:
    """What sends letters as the configuration says; None if none are sent."""
    if not config.mailing or config.mail_server is None or config.mail_default_sender is None:
        return None
    from quay.egress.mail import Mail, Server  # looks this machine's name up: only where that is wanted

    server = Server(
        host=config.mail_server.strip("[]"),
        port=config.mail_port,
        tls=config.mail_use_tls,
        username=config.mail_username,
        password=None if config.mail_password is None else config.mail_password.reveal(),
        sender=config.mail_default_sender,
    )
    return Mail(reactor, server, lambda: egress.trust).send


def methods_of(
    reactor: Any, database: Database, egress: Egress, letters: SendLetter | None
) -> dict[str, INotificationMethod]:
    """The methods of notification by the names that the API has for them."""
    methods: dict[str, INotificationMethod] = {
        "webhook": Webhook(egress, reactor.seconds),
        "slack": Slack(egress),
        "quay_notification": Bell(database),
    }
    return methods if letters is None else {**methods, "email": Email(database, letters)}


def place_of(config: Config) -> Place:
    """Where clients reach this registry, for whoever is told of it without asking."""
    host = str(config.hostname or config.listen[0])
    return Place(host, f"{config.scheme}://{host}")
