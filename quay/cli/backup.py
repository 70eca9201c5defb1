"""
`quay backup` and `quay restore`: everything of an installation as it was at one moment, in a directory; and back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from quay.cli.common import Failure, explained, pass_surroundings, settled
from quay.cli.meter import Meter, size
from quay.config import ConfigError
from quay.config.surroundings import Surroundings

_DIRECTORY = click.Path(path_type=Path, file_okay=False)


class Making(click.Group):
    """What is no command of this group is meant for `make`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["make", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Making)
def backup() -> None:
    """Make a backup, or look at those there are.

    `quay backup DIRECTORY` is short for `quay backup make DIRECTORY`.
    """


@backup.command()
@click.option("--no-blobs", is_flag=True, help="The database and the secrets only: somebody else copies the storage.")
@click.argument("directory", type=_DIRECTORY, required=False)
@pass_surroundings
def make(surroundings: Surroundings, no_blobs: bool, directory: Path | None) -> None:
    """Copy everything, as it is at one moment, into DIRECTORY.

    It goes into a new directory there, which is called after its time; without DIRECTORY, into BACKUP_DIRECTORY. The
    server may run, and be pushed to, meanwhile. What an earlier backup there has already is not copied again. Exits
    with 1 if there were blobs that could not be had.
    """
    from quay.service import backing_up

    found = settled(surroundings)
    with explained():
        target = directory.absolute() if directory is not None else None
        made = backing_up.make(found, surroundings.found, target, Meter, blobs=not no_blobs)
    click.echo(str(made))
    record = made.record
    if record.uploads:
        click.echo(f"{record.uploads} uploads were under way; these are not in it.")
    if record.lost:
        raise Failure(f"{record.lost} blobs are missing or have rotted: `quay scrub` finds them, a push heals them.")


@backup.command()
@click.argument("path", metavar="BACKUP", type=_DIRECTORY)
def verify(path: Path) -> None:
    """Read a backup again, all of it.

    The bytes of every file and blob are compared with their digests, and the blobs with what the database names. That
    it was verified is noted beside it. Exits with 1 if something is wrong.
    """
    from quay.service import backing_up

    with explained():
        found = backing_up.verify(path.absolute(), Meter)
    if found.problems:
        raise Failure(found.verdict)
    click.echo(found.verdict)


@backup.command(name="list")
@click.argument("directory", type=_DIRECTORY, required=False)
@pass_surroundings
def show(surroundings: Surroundings, directory: Path | None) -> None:
    """Say which backups there are in DIRECTORY, else in BACKUP_DIRECTORY: the oldest first."""
    from quay.backups import Folder, Verified

    target = directory or settled(surroundings).backup_directory
    if target is None:
        raise Failure("No BACKUP_DIRECTORY is configured: name a directory.")
    with explained():
        records = Folder(target).records()
    for path, record in records:
        blobs = f"{record.blobs} blobs, {size(record.size)}" if record.holds_blobs else "no blobs"
        click.echo(f"{path}  {blobs}, {record.held['tags']} tags, {_verified(Verified.read(path))}")
    if not records:
        click.echo(f"There is no backup in {target}.")


@click.command()
@click.option("--data", type=_DIRECTORY, help="The data directory to restore into; else the one that is configured.")
@click.option("--force", is_flag=True, help="If there is something, move it aside.")
@click.option("--skip-damaged", is_flag=True, help="Go on without blobs that are damaged in the backup.")
@click.argument("path", metavar="BACKUP", type=_DIRECTORY)
@pass_surroundings
def restore(surroundings: Surroundings, data: Path | None, force: bool, skip_damaged: bool, path: Path) -> None:
    """Put a backup where a server can serve it.

    The data directory has to be empty, and no server may run on it. Where the database and the blobs go says the
    configuration of the backup, or the one that is given with --config: so they may be others than before. A PostgreSQL
    database has to be there, and be empty. All is restored, or nothing; if this is cut short, the same command goes on.
    """
    from quay.service import backing_up

    target = (data or surroundings.data).absolute()
    try:
        with explained():
            found = backing_up.restore(
                surroundings, path.absolute(), target, Meter, force=force, skip_damaged=skip_damaged
            )
    except ConfigError as error:
        raise Failure(f"{error}\nName a configuration for the restored registry with --config.") from None
    click.echo(f"Restored into {target}. Serve it with: QUAY_DATA={target} quay serve")
    if found.missing:
        raise Failure(f"{len(found.missing)} blobs are missing until they are pushed again: see `quay fsck`.")


def _verified(found: Any) -> str:
    if found is None:
        return "never verified"
    day = f"{datetime.fromtimestamp(found.ms / 1000, UTC):%Y-%m-%d}"
    return f"{found.problems} problems on {day}" if found.problems else f"verified on {day}"
