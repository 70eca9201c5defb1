"""
The setup of a server as its composition root sees it: the steps, and the address that a start prints.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import attrs

from quay.auth.seals import Seals
from quay.config import Config, Endpoint
from quay.config.surroundings import FILENAME, Surroundings
from quay.database import Transaction
from quay.model import founding
from quay.service.core import Core
from quay.setup import Steps, machine
from quay.setup.steps import super_users


@attrs.frozen
class Restarts:
    """What a server knows of its own start: where its configuration came from, and how to start anew, if it can."""

    surroundings: Surroundings = attrs.field(factory=lambda: Surroundings(None, {}))
    again: Callable[[], object] | None = None


def steps_of(config: Config, surroundings: Surroundings, vault: Seals, seconds: Callable[[], float]) -> Steps:
    """The setup of the installation with this configuration."""
    file = surroundings.found or config.data / FILENAME
    return Steps(config, file, surroundings.environ, vault, lambda: datetime.fromtimestamp(seconds(), UTC))


async def invitation(core: Core, listening: Endpoint) -> list[str]:
    """What is said to who started a server that nobody can administer yet: nothing, if somebody can."""
    if not await core.database.read(founding.is_open, super_users(core.config)):
        return []
    if not core.config.setup_console:
        return ["No superuser yet. Make the first user with: quay user create NAME --email ADDRESS --superuser"]
    token = await core.database.write(new_token, core.config)
    if token is None:  # somebody was faster
        return []
    return [
        f"Nobody administers this registry yet. Set it up, within a day, at {url_of(core.config, listening, token)}"
    ]


def new_token(txn: Transaction, config: Config) -> str | None:
    """A token for the first administrator; None if there is one already."""
    return founding.issue_token(txn) if founding.is_open(txn, super_users(config)) else None


def url_of(config: Config, listening: Endpoint, token: str) -> str:
    """Where this machine's administrator opens the setup: by the registry's name, or by an address of the machine."""
    scheme = "https" if config.tls_key is not None else "http"
    anywhere = ip_address(listening.host).is_unspecified
    host: Any = Endpoint(machine.addresses()[0] if anywhere else listening.host, listening.port)
    if config.hostname is not None:
        scheme, host = config.scheme, config.hostname
    return f"{scheme}://{host}/setup/?token={token}"
