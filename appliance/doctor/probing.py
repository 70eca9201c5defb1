"""`quay probe`: the command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from quay.cli.common import Failure, pass_surroundings
from quay.config.surroundings import Surroundings

if TYPE_CHECKING:
    from appliance.doctor.probe import Step
    from quay.registry.client import Credentials

VARIABLE: Final = "QUAY_PROBE_PASSWORD"


@click.command()
@click.argument("url")
@click.option("--repository", metavar="NAME", help="Where to push; else NAMESPACE/probe of the user or robot.")
@click.option("--username", metavar="NAME", help="A user, a robot, or $app for an app token.")
@click.option("--password-stdin", is_flag=True, help=f"Read the password from standard input, else from ${VARIABLE}.")
@click.option(
    "--ca",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file of CAs to be believed instead of the machine's.",
)
@pass_surroundings
def probe(
    surroundings: Surroundings,
    url: str,
    repository: str | None,
    username: str | None,
    password_stdin: bool,
    ca: Path | None,
) -> None:
    """Push an image of 1 MB through exactly this URL, pull it, compare, and delete it.

    Each step is told with the milliseconds that it took, and the first one that fails with its reason: so it is seen
    whether a certificate, a proxy or a firewall is in the way of clients.
    """
    credentials = _credentials(surroundings, username, password_stdin)
    where = repository or _repository(username)
    _reach(url, ca)
    _run(url, where, credentials, ca)


def _credentials(surroundings: Surroundings, username: str | None, from_stdin: bool) -> Credentials | None:
    from quay.registry.client import Credentials

    password = sys.stdin.read().rstrip("\r\n") if from_stdin else surroundings.environ.get(VARIABLE, "")
    if username is None:
        if password:
            raise click.UsageError("There is a password, but nobody it belongs to: give --username.")
        return None
    if not password:
        raise click.UsageError(f"There is no password for {username}: use --password-stdin, or set {VARIABLE}.")
    return Credentials(username, password)


def _repository(username: str | None) -> str:
    """What belongs to whoever signs in."""
    if username is None or username.startswith("$"):
        raise click.UsageError("Say where to push: give --repository.")
    return f"{username.partition('+')[0]}/probe"


def _reach(url: str, ca: Path | None) -> None:
    """Whether there is a registry at all; this says more exactly than a client may what is in the way. `Failure`."""
    from appliance.doctor import reach
    from appliance.doctor.probe import Step

    if url.partition("://")[0] not in ("http", "https"):
        raise click.BadParameter("Write a URL, such as https://registry.example.org.", param_hint="URL")
    trust = reach.Trust() if ca is None else reach.Trust(ca, alone=True)
    try:
        answer = reach.ask(url, "/v2/", trust)
    except reach.Unreached as unreached:
        raise Failure(f"{url} does not answer. {unreached}") from None
    if answer.status not in (200, 401):
        raise Failure(f"{url} answers {answer.status}, and not as a registry: a proxy or another server is there.")
    _tell(Step("reached a registry", answer.seconds))


def _run(url: str, repository: str, credentials: Credentials | None, ca: Path | None) -> None:
    from appliance.doctor.probe import probe as run
    from quay.egress import EgressError
    from quay.registry.client import RemoteError
    from quay.service import react
    from quay.service.outside import AuthoritiesUnusable

    try:
        react(lambda reactor: run(reactor, url, repository, credentials, ca, _tell))
    except (RemoteError, EgressError, AuthoritiesUnusable) as error:
        raise Failure(str(error)) from None
    click.echo("A client can push and pull through this URL.")


def _tell(step: Step) -> None:
    click.echo(f"{step.seconds * 1000:8.0f} ms  {step.what}")
