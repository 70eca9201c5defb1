"""`quay rollback`: the command that goes back from an upgrade; how, says `appliance.upgrade`."""

from __future__ import annotations

import click

from appliance.layout import Layout
from quay import __version__
from quay.cli.common import Failure, explained, pass_surroundings, settled
from quay.config.surroundings import Surroundings
from quay.lock import DataLock


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_surroundings
def rollback(surroundings: Surroundings, yes: bool) -> None:
    """Go back to the version before this one.

    The database becomes what it was before this version migrated it, and the program on this machine the one before, if
    `quay install` made it. The server has to be stopped. What that loses is said first; the database of now is kept.
    """
    from appliance.upgrade import NoWayBack, go, way_back

    found, layout = settled(surroundings), Layout()
    lock = DataLock(found.data)
    with explained():
        lock.acquire()
    try:
        with explained():
            way = way_back(found, layout)
            for sentence in way.sentences():
                click.echo(sentence)
            if not yes:
                click.confirm("Go back?", abort=True)
            given_up = go(way, layout)
    except NoWayBack as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"{error.filename} could not be changed: {error.strerror}.") from None
    finally:
        lock.release()
    if given_up is not None:
        click.echo(f"The database of version {__version__} is {given_up}.")
        click.echo("What was pushed since is in the storage still: `quay fsck --repair` removes it.")
    click.echo(
        "Start it: systemctl start quay"
        if way.version
        else f"Put the program of the version before in its place, then start it: {__version__} would migrate again."
    )
