"""`quay doctor`: the command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from quay.cli.common import pass_surroundings
from quay.config import ConfigError, parse, settle
from quay.config.surroundings import Surroundings

if TYPE_CHECKING:
    from appliance.doctor.examination import Progress
    from appliance.doctor.patient import Check, Patient


@click.command()
@click.option("--only", "names", multiple=True, metavar="NAME", help="Only this check; may be given several times.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-a", "--all", "details", is_flag=True, help="Show what is fine, too.")
@click.option("--list", "listed", is_flag=True, help="List the checks.")
@pass_surroundings
def doctor(surroundings: Surroundings, names: tuple[str, ...], form: str, details: bool, listed: bool) -> None:
    """Look for what keeps this installation from being well.

    Names and addresses, time, ports, disks, certificate, database, storage and more are really tried, in less than a
    minute, with the server running or not. Whatever is found is a sentence with the command that mends it. Nothing is
    changed. Exits with 1 if anything is wrong.
    """
    from appliance.doctor import report
    from appliance.doctor.examination import examine, failed

    checks = _chosen(names)
    if listed:
        for check in checks:
            click.echo(f"{check.name:<14} {check.about}")
        return
    patient = patient_of(surroundings)
    found = examine(patient, checks, teller())
    if form == "json":
        click.echo(report.as_json(found))
    else:
        for line in report.plain(found, base=_base(patient), details=details or bool(names)):
            click.echo(line)
    raise SystemExit(1 if failed(found) else 0)


def _chosen(names: Sequence[str]) -> list[Check]:
    from appliance.doctor.table import TABLE

    known = {check.name: check for check in TABLE}
    if unknown := [name for name in names if name not in known]:
        raise click.BadParameter(f"There is no check {unknown[0]!r}; there are {', '.join(known)}.")
    return [check for check in TABLE if not names or check.name in names]


def patient_of(surroundings: Surroundings) -> Patient:
    """The installation in these surroundings, also where its configuration cannot be used."""
    from appliance.doctor.patient import Host, Patient

    host = Host(environ=surroundings.environ)
    try:
        return Patient(settle(surroundings), host, surroundings.found)
    except ConfigError as error:
        config = parse("", {}, surroundings.data.absolute(), data=".")
        return Patient(config, host, surroundings.found, tuple(error.problems))


def teller() -> Callable[[Progress], object]:
    """What shows the progress of an examination, if somebody is looking."""
    return _tell if sys.stderr.isatty() else lambda progress: None


def _tell(progress: Progress) -> None:
    """One line of the terminal, written anew."""
    waiting = ", ".join(progress.remaining)
    text = f"Looking ({progress.done} of {progress.of}): {waiting}" if waiting else ""
    click.echo(f"\r\x1b[K{text[:100]}", nl=False, err=True)


def _base(patient: Patient) -> str:
    """Where the documentation is."""
    from appliance.doctor import reach

    return next(reversed(reach.urls(patient)), "")
