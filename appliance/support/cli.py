"""`quay support`: the command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quay.cli.common import Failure, pass_surroundings
from quay.config.surroundings import Surroundings

if TYPE_CHECKING:
    from appliance.support.gathering import Part


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--yes", is_flag=True, help="Do not ask before it is saved.")
@pass_surroundings
def support(surroundings: Surroundings, file: Path, yes: bool) -> None:
    """Write the new FILE (tar.gz) for somebody who is to help.

    It has what `quay doctor` finds, versions, the configuration with *** for every secret, the sizes of tables,
    metrics, and the end of the log. What will be in it is shown first. Names of users, hosts and repositories can be
    in it.
    """
    from appliance.doctor.cli import patient_of, teller
    from appliance.support.bundle import save
    from appliance.support.gathering import gather

    if not yes and not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask whether it may be saved: look at it with --yes.")
    if file.exists():
        raise Failure(f"{file} is there already: give another name.")
    patient = patient_of(surroundings)
    parts = gather(patient, teller())
    _show(parts)
    if not yes and not click.confirm(f"Save this to {file}?"):
        raise Failure("Nothing was saved.")
    try:
        save(file, parts, patient.host.now())
    except FileExistsError:
        raise Failure(f"{file} is there already: give another name.") from None
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror}.") from None
    click.echo(f"Wrote {file}, readable by you only.")


def _show(parts: Sequence[Part]) -> None:
    for part in parts:
        click.echo(f"{part.name:<20} {len(part.text):>9,}  {part.about}")
