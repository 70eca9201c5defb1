"""
The commands for the machine that a server stands on: `quay install`, `uninstall`, `status`, `logs`; and `serve`, which
begins a registry where there is none.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from appliance.layout import UNIT, Layout
from quay import __version__
from quay.cli import serve as serve_what_is_there
from quay.cli.common import Failure, pass_surroundings
from quay.config import Config, ConfigError, Endpoint, settle
from quay.config.document import overrides
from quay.config.surroundings import FILENAME, Surroundings
from quay.config.values import Hostname

_ROOT = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True, resolve_path=True),
    default=Path("/"),
    help="Where the file system of the machine is, if it is an image.",
)
_PATH = click.Path(path_type=Path, file_okay=False)


def _endpoint(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    if text is None or text == "none":
        return None if text is None else ()
    try:
        return (Endpoint.parse(text),)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _hostname(context: click.Context, parameter: click.Parameter, text: str | None) -> Hostname | None:
    try:
        return None if text is None else Hostname.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option("--data", type=_PATH, help="The data directory.  [default: /var/lib/quay]")
@click.option("--listen", metavar="ADDRESS:PORT", callback=_endpoint, help="Where it listens.  [default: 0.0.0.0:443]")
@click.option(
    "--plain",
    metavar="ADDRESS:PORT",
    callback=_endpoint,
    help="Where plain HTTP hands out the authority's certificate, or none.  [default: port 80]",
)
@click.option("--hostname", metavar="NAME", callback=_hostname, help="What clients call it; else, what each calls it.")
@click.option("--writable", multiple=True, type=_PATH, help="Another directory for blobs or backups; repeatable.")
@click.option("--no-start", is_flag=True, help="Do not start it now; its first start makes its configuration.")
@_ROOT
def install(
    data: Path | None,
    listen: tuple[Endpoint, ...] | None,
    plain: tuple[Endpoint, ...] | None,
    hostname: Hostname | None,
    writable: tuple[Path, ...],
    no_start: bool,
    root: Path,
) -> None:
    """Install the server on this machine, as a service of systemd.

    It gets a user, a data directory, a configuration, a certificate authority of its own, and this program. Done again,
    with this version or a newer one, it is an upgrade: the data and the configuration stay, and no option is needed.
    """
    from appliance.installing import InstallFailed, Refused, install
    from appliance.planning import Wish
    from appliance.programs import running

    if os.geteuid() != 0:
        raise Failure(
            "Only root can install a service: `sudo quay install`. Without root, `quay serve` runs a registry in any "
            "directory, on port 8443."
        )
    wish = Wish(data=data, listen=listen or (), plain=plain, hostname=hostname, writable=writable, start=not no_start)
    layout = Layout(root)
    try:
        installed = install(layout, running(), wish, _tell)
    except (Refused, InstallFailed) as error:
        raise Failure(str(error)) from None
    was = f", and was {installed.before}" if installed.before not in (None, __version__) else ""
    if no_start or root != Path("/"):
        click.echo(f"Quay {__version__} is installed{was}. It begins with {installed.data} when it is first started.")
        return
    click.echo(f"Quay {__version__} is installed{was}. It runs, and starts with this machine.\n")
    for name, value in _places(installed):
        click.echo(f"  {name:<12} {value}")


def _tell(line: str) -> None:
    if line:
        click.echo(line, err=True)


def _places(installed: Any) -> Iterator[tuple[str, str]]:
    """What somebody who has just installed it wants to know."""
    from quay import authority
    from quay.config import load
    from quay.setup import CertificateFiles
    from quay.setup.answers import host_of

    config = load(installed.data / FILENAME, {})
    asked = installed.run("setup", "url")
    path = asked.stdout.strip().partition("/setup/")[2] if asked.returncode == 0 else ""
    first, *others = _hosts(config)
    for host in (first, *others):
        label = ("Set it up at" if path else "Address") if host == first else ""
        yield label, f"{config.scheme}://{host}/{f'setup/{path}' if path else ''}"
    yield "Data", str(installed.data)
    yield "Log", "quay logs"
    own = CertificateFiles(installed.data).authority()
    if own is not None and config.tls_certificate is not None:
        for endpoint in config.plain_listen[:1]:
            yield "To trust it", f"http://{host_of(first)}{'' if endpoint.port == 80 else f':{endpoint.port}'}/ca"
        yield "Authority", f"SHA-256 {authority.fingerprint(own)}"


def _hosts(config: Config) -> list[str]:
    """As what clients reach it, with the port where that is none they would guess: its name, or the machine's."""
    from quay.setup import machine

    if config.hostname is not None:
        return [config.hostname]
    endpoint = config.listen[0]
    called = [endpoint.host] if not ip_address(endpoint.host).is_unspecified else [machine.addresses()[0]]
    called += [name for name in machine.names()[:1] if not machine.is_loopback(name)]
    usual = 443 if config.scheme == "https" else 80
    hosts = [f"[{host}]" if ":" in host else host for host in called]
    return [host if endpoint.port == usual else f"{host}:{endpoint.port}" for host in hosts]


@click.command()
@click.option("--keep-data", is_flag=True, help="Leave the data directory, and the user whose it is.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_ROOT
def uninstall(keep_data: bool, yes: bool, root: Path) -> None:
    """Take the server off this machine: stop it, and remove what `quay install` made.

    Without --keep-data, everything that was pushed is gone, too.
    """
    from appliance.removing import Removal, RemovalFailed

    layout = Layout(root)
    data = layout.data
    if data is None:
        raise Failure("Nothing is installed here: there is no /etc/quay/data, which `quay install` makes.")
    if layout.is_packaged:
        raise Failure("A package has installed Quay here, and removes it: `apt remove quay`, or, with all data, purge.")
    if os.geteuid() != 0:
        raise Failure("Only root can uninstall a service: `sudo quay uninstall`.")
    if not yes:
        _confirm(data, keep_data)
    try:
        for sentence in Removal(layout, data, keep_data).carry_out():
            click.echo(sentence)
    except RemovalFailed as error:
        raise Failure(str(error)) from None


def _confirm(data: Path, keep_data: bool) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask for a confirmation: use --yes.")
    what = f"keeps {data}" if keep_data else f"removes {data} and every image in it, for good"
    click.echo(f"This stops the server, removes its program and its service, and {what}.")
    if str(click.prompt("To do it, type quay", default="", show_default=False)) != "quay":
        raise Failure("Nothing was done.")


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_surroundings
def status(surroundings: Surroundings, output: str) -> None:
    """Say how the server of this machine does.

    Exits with 0 if it is healthy, with 1 if it is not, and with 3 if it does not run.
    """
    from appliance.status import look

    layout = Layout()
    named = surroundings.file is not None or bool(surroundings.environ.get("QUAY_DATA"))
    config = _known(surroundings) if named or layout.data is None else None  # else, this user may not read it
    found = look(layout, config.data if config is not None else layout.data or surroundings.data, config)
    click.echo(json.dumps(found.plain, indent=2) if output == "json" else "\n".join(found.lines(datetime.now(UTC))))
    raise SystemExit(found.health.value)


def _known(surroundings: Surroundings) -> Config | None:
    """The configuration, if it can be used."""
    with suppress(ConfigError, OSError):
        return settle(surroundings)
    return None


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what is said from now on.")
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(0), help="So many of the last lines.")
def logs(follow: bool, lines: int) -> None:
    """Show what the server of this machine has said."""
    program = shutil.which("journalctl")
    if program is None or Layout().data is None:
        raise Failure(
            "No server is installed as a service here: one that was started with `quay serve` says everything where "
            "it was started."
        )
    wanted = ["--unit", UNIT, "--lines", str(lines), "--output", "short-iso", *(["--follow"] if follow else [])]
    os.execv(program, [program, *wanted])  # noqa: S606  # no shell is wanted: each word is one of ours


@click.command(short_help=serve_what_is_there.get_short_help_str())
@click.option("--listen", metavar="ADDRESS:PORT", callback=_endpoint, help="Where a registry that begins now listens.")
@pass_surroundings
@click.pass_context
def serve(context: click.Context, surroundings: Surroundings, listen: tuple[Endpoint, ...] | None) -> None:
    """Run the registry in the foreground.

    Where there is none yet, and nothing is configured, it begins one in the data directory: on TLS, with an authority
    of its own, on port 8443 of all addresses, or 443 if it may. Any setting in the environment or a file decides
    otherwise: see `quay init`.
    """
    from quay.authority import Unfit
    from quay.setup.beginning import begin, is_new, usual

    decided = surroundings.file is not None or any(key != "DATA" for key, _ in overrides(surroundings.environ))
    try:
        if not decided and is_new(surroundings.data):
            begin(surroundings.data.absolute(), usual(*listen or ()), datetime.now(UTC))
    except (OSError, Unfit) as error:
        raise Failure(f"No registry can begin in {surroundings.data.absolute()}: {error}") from None
    context.invoke(serve_what_is_there)
