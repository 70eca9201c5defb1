"""
The setup of a server as its composition root sees it: the steps, and the address that a start prints.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from quay.auth.passwords import Passwords, check_new
from quay.auth.seals import Seals
from quay.config import Config, Endpoint
from quay.config.secrets import Vault
from quay.config.surroundings import FILENAME, Surroundings
from quay.database import Transaction, once
from quay.model import founding
from quay.model.namespace import Namespace
from quay.oci.errors import InvalidRequest
from quay.service.core import Core
from quay.service.secrets import secret_of
from quay.setup import Administrator, AnswersWrong, Steps, machine, proposals, read_answers
from quay.setup.steps import KEEPING, NAMES, Founder, found, super_users
from quay.threads import ImmediatePool

ADMINISTRATOR: Final = "administrator"


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
    host = str(Endpoint(machine.addresses()[0] if anywhere else listening.host, listening.port))
    host = host.removesuffix(":443" if scheme == "https" else ":80")
    if config.hostname is not None:
        scheme, host = config.scheme, config.hostname
    return f"{scheme}://{host}/setup/?token={token}"


# --- without a browser ----------------------------------------------------------------------------------------------


def set_up(
    config: Config, surroundings: Surroundings, answers: Mapping[str, Any], say: Callable[[str], object], *, dry: bool
) -> None:
    """
    Do what the console does, with the answers of a file: names, storage, administrator. With `dry`, only try them.
    Raises `AnswersWrong` and `Refused` with all that is wrong, and what `once` raises.
    """
    vault = Seals(secret_of(config.database_secret_key, config.data / "database_secret_key"), time.time)
    steps = steps_of(config, surroundings, vault, time.time)
    names = {**proposals.names(config), **_part(answers, NAMES)}
    keeping = _part(answers, KEEPING)
    founder = _founder(answers, config, surroundings)
    steps.try_names(names)
    for remark in steps.try_keeping(keeping):
        say(remark)
    made = steps.planned(names, keeping)
    in_use = _is_in_use(config)
    steps.check_stays(made, in_use=in_use)
    for key, value in made.changes.items():
        say(f"{key}: {value}")
    for key in made.overridden:
        say(f"QUAY_{key} in the environment decides {key}, whatever {steps.file} says.")
    if dry:
        say("Nothing was changed.")
        return
    steps.name_it(names)
    if founder is not None:
        say(_founded(once(made.config.database_url, found, founder, made.config), founder))
    steps.keep_it(keeping)
    steps.finish(None, in_use=in_use)
    say(f"Wrote {steps.file}. Start the server; if it runs, start it again.")


def _is_in_use(config: Config) -> bool:
    """Whether there are repositories; a database that is not there yet is not made for asking."""
    uri = config.database_uri
    if uri.is_sqlite and not Path(uri.place).exists():
        return False
    return once(config.database_url, founding.is_in_use)


def _part(answers: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    strangers = sorted(set(answers) - {ADMINISTRATOR, NAMES, KEEPING})
    if strangers:
        raise AnswersWrong(f"{strangers[0]}: there is no such part; there are {ADMINISTRATOR}, {NAMES} and {KEEPING}.")
    part = answers.get(name) or {}
    if not isinstance(part, dict):
        raise AnswersWrong(f"{name}: is not a mapping of answers.")
    return part


def _founder(answers: Mapping[str, Any], config: Config, surroundings: Surroundings) -> Founder | None:
    plain = _part(answers, ADMINISTRATOR)
    if not plain:
        return None
    read = read_answers(Administrator, plain, Vault(surroundings.environ, config.data), ADMINISTRATOR)
    try:
        check_new(read.password.reveal())
    except InvalidRequest as unfit:
        raise AnswersWrong(f"{ADMINISTRATOR}.password: {unfit.message}") from None
    done: Deferred[str] = Passwords(ImmediatePool()).hash(read.password.reveal())
    return Founder(read.name, read.email, str(done.result))


def _founded(made: Namespace | None, founder: Founder) -> str:
    if made is None:
        return f"This registry has an administrator already: {founder.name} was not made."
    return f"{made.name} administers the registry."
