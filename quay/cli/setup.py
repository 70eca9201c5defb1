"""
`quay setup`: what the setup console asks, answered by a file; and the address of the console, once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from quay.cli.common import Failure, explained, pass_surroundings, settled
from quay.config.surroundings import Surroundings


@click.group(invoke_without_command=True)
@click.option(
    "--answers",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The file with the answers, in YAML or JSON.",
)
@click.option("--dry-run", is_flag=True, help="Only try the answers, and say what they come to.")
@click.pass_context
def setup(context: click.Context, answers: Path | None, dry_run: bool) -> None:
    """Set the registry up: its administrator, its names and certificates, where it keeps things.

    A first start prints the address where this is done in a browser. Without one, --answers takes what is asked there:

    \b
        administrator: {name: admin, email: admin@example.org, password: {file: /root/password}}
        names: {hostname: registry.example.org, listen: [0.0.0.0:443], tls: own}
        storage: {database: postgresql, host: db, name: quay, user: quay, password: {env: DB_PASSWORD}}

    What is left out is as the console would suggest it, or stays as it is. `tls` is own, given (with `certificate` and
    `key`), request, or proxy (with `proxies`).
    """
    if context.invoked_subcommand is not None:
        return
    if answers is None:
        click.echo(context.get_help())
        return
    surroundings: Surroundings = context.obj
    found = settled(surroundings)
    _set_up(found, surroundings, answers, dry_run)


def _set_up(found: Any, surroundings: Surroundings, answers: Path, dry_run: bool) -> None:
    from quay.lock import prepare
    from quay.service.founding import set_up
    from quay.setup import AnswersWrong, Refused

    given = _read(answers)
    with explained():
        prepare(found.data)
        try:
            set_up(found, surroundings, given, click.echo, dry=dry_run)
        except (AnswersWrong, Refused) as wrong:
            raise Failure(str(wrong)) from None


def _read(answers: Path) -> Mapping[str, Any]:
    from quay.config.document import ConfigError, read_file, read_value

    try:
        value = read_value(read_file(answers))
    except (ConfigError, ValueError) as error:
        raise Failure(f"{answers}: {error}") from None
    if not isinstance(value, dict) or not value:
        raise Failure(f"{answers}: is not a mapping of administrator, names and storage.")
    return value


@setup.command(name="url")
@pass_surroundings
def show_url(surroundings: Surroundings) -> None:
    """Print the address of the setup console, with a new token.

    It is good for a day, or until there is an administrator; the address that was printed before is worthless.
    """
    from quay import service
    from quay.service.founding import new_token, url_of

    found = settled(surroundings)
    if not found.setup_console:
        raise Failure("FEATURE_SETUP_CONSOLE is false, so there is no setup console.")
    with explained():
        token = service.transact(found, new_token, found)
    if token is None:
        raise Failure(
            f"This registry has an administrator, who finds the setup at {found.scheme}://"
            f"{found.hostname or found.listen[0]}/setup/ after signing in."
        )
    click.echo(url_of(found, found.listen[0], token))


@setup.command(name="authority")
@click.option("--replace", is_flag=True, help="Found another one, which /ca hands out beside the present one.")
@click.option("--take-over", is_flag=True, help="Let that one issue from now on: once all clients trust it.")
@pass_surroundings
def show_authority(surroundings: Surroundings, replace: bool, take_over: bool) -> None:
    """Say which authorities clients should trust, or replace the registry's own.

    When its key is lost, or somebody has it who should not, --replace founds another one. Clients that fetch /ca from
    then on trust both, and notice nothing of the change, which is made by --take-over.
    """
    from quay import authority
    from quay.authority import Unfit
    from quay.setup.certificates import CALLED, CertificateFiles

    files, now = CertificateFiles(settled(surroundings).data), datetime.now(UTC)
    try:
        known = files.authorities(now)
        if not known:
            raise Failure(
                "This registry has no authority of its own: another one has made its certificate, or a proxy."
            )
        if take_over:
            files.take_over(now)
            click.echo("The new authority has issued the server's certificate: `systemctl reload quay` shows it now.")
        elif replace:
            files.found_next(authority.called(known[0]).removeprefix(CALLED), now)
            click.echo("Let all clients fetch /ca again. When they have: quay setup authority --take-over")
        for each in files.authorities(now):
            ends = f"{each.not_valid_after_utc:%Y-%m-%d}"
            click.echo(f"{authority.called(each)}, until {ends}: SHA-256 {authority.fingerprint(each)}")
    except (Unfit, OSError) as error:
        raise Failure(str(error)) from None
