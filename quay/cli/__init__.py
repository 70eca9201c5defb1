"""
The `quay` command: what an administrator types. It explains failures in sentences and exits with 0 (done), 1 (failed)
or 2 (called wrongly).

Nothing here reads the environment of the process: `quay.__main__` hands it over as the context's object, and so does
`appliance.__main__`, whose `quay` has these commands and more.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import click

from quay import __version__
from quay.cli import accounts, backup, bundle, importing, setup
from quay.cli.common import Failure, explained, pass_surroundings, settled
from quay.config import Config, default_text, initial_text, reference
from quay.config.surroundings import FILENAME, Surroundings


@click.group(name="quay", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration file; else $QUAY_CONFIG, else quay.yaml in the data directory ($QUAY_DATA, else var).",
)
@click.version_option(__version__, message="quay %(version)s")
@click.pass_context
def quay(context: click.Context, file: Path | None) -> None:
    """A container registry with namespaces, teams, robots and a tag time machine, on one Twisted reactor."""
    context.obj = Surroundings.of(file, context.obj or {})


quay.add_command(accounts.user)
quay.add_command(accounts.token)
quay.add_command(setup.setup)
quay.add_command(backup.backup)
quay.add_command(backup.restore)
quay.add_command(bundle.bundle)
quay.add_command(importing.import_)


@quay.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The data directory to begin in.")
@click.option("--force", is_flag=True, help="Begin anew; the old configuration is kept beside the new one.")
@pass_surroundings
def init(surroundings: Surroundings, data: Path | None, force: bool) -> None:
    """Write a commented configuration with new secrets.

    It goes into the data directory, where every command finds it.
    """
    target = (data or surroundings.data) / FILENAME
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = _set_aside(target) if force and target.exists() else None
        _write_new(target, initial_text())
    except FileExistsError:
        raise Failure(f"{target} exists and holds this installation's secrets; --force writes another one.") from None
    except OSError as error:
        raise Failure(f"{target} cannot be written: {error.strerror}.") from None
    click.echo(f"Wrote {target}, readable by you only. Check it with: quay --config {target} config check")
    if kept is not None:
        click.echo(f"The old one is {kept}. What its DATABASE_SECRET_KEY encrypted can be read only with that key.")


def _set_aside(target: Path) -> Path:
    """Move `target` to the first free name beside it."""
    numbered = (target.with_name(f"{target.name}.{number}") for number in itertools.count(1))
    kept = next(path for path in numbered if not path.exists())
    return target.rename(kept)


def _write_new(target: Path, text: str) -> None:
    """A new file that only its owner may read, complete on the disk or not there. Raises `FileExistsError`."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        target.unlink()
        raise


@quay.group()
def config() -> None:
    """The configuration: check it, or read about it."""


@config.command()
@pass_surroundings
def check(surroundings: Surroundings) -> None:
    """Say all that is wrong with the configuration, or remarkable."""
    found = settled(surroundings)
    click.echo(f"{surroundings.found or 'The default configuration'} can be used.")
    click.echo(f"Data: {found.data}. Database: {found.database_uri.place}.")
    click.echo(f"Listening on {', '.join(map(str, found.listen))}, for {found.scheme} clients.")


@config.command(name="reference")
def show_reference() -> None:
    """Print the reference of every key, in Markdown."""
    click.echo(reference(), nl=False)


@config.command(name="default")
def show_default() -> None:
    """Print the commented default configuration."""
    click.echo(default_text(), nl=False)


@quay.command()
def version() -> None:
    """Print the version."""
    click.echo(f"quay {__version__}")


# What follows needs the database or the service, and imports them when it runs: `quay version` loads no reactor.


@quay.command()
@pass_surroundings
def serve(surroundings: Surroundings) -> None:
    """Run the registry in the foreground."""
    from quay import service

    raise SystemExit(service.serve(settled(surroundings), surroundings))


@quay.command()
@pass_surroundings
def migrate(surroundings: Surroundings) -> None:
    """Bring the database up to date.

    A server does so by itself when it starts.
    """
    from quay import service
    from quay.database.rollback import copies
    from quay.database.schema import SCHEMA

    found = settled(surroundings)
    before = copies(Path(found.database_uri.place))
    with explained():
        service.transact(found, lambda txn: None)
    click.echo(f"{found.database_uri.place} has schema {SCHEMA}.")
    for one in copies(Path(found.database_uri.place))[:1]:
        if one not in before:
            click.echo(f"As it was before, with schema {one.schema}, it is in {one.path}: see `quay rollback`.")


@quay.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--explain", "digest", metavar="DIGEST", help="Say why this blob is kept.")
@pass_surroundings
def gc(surroundings: Surroundings, dry_run: bool, digest: str | None) -> None:
    """Remove what nobody can reach or restore.

    A server does so by itself; this looks at everything at once, beside a server or without one.
    """
    from quay import service
    from quay.model.garbage import candidates, rehearse
    from quay.registry.garbage import Collected
    from quay.registry.policy import Policy

    found = settled(surroundings)
    with explained():
        if digest is not None:
            for sentence in _explained(found, digest):
                click.echo(sentence)
        elif dry_run:
            due = service.transact(found, candidates)
            click.echo(f"Would go now: {Collected(**service.transact(found, rehearse, due, Policy().grace_s))}.")
        else:
            click.echo(f"Removed: {_collected(found)}.")


@quay.command()
@click.option("--repair", is_flag=True, help="Mend what can be.")
@pass_surroundings
def fsck(surroundings: Surroundings, repair: bool) -> None:
    """Compare what the database says with what the storage holds.

    Exits with 1 while problems remain.
    """
    from quay import service

    found = settled(surroundings)
    with explained():
        remaining = service.check(found, click.echo, repair=repair)
    if remaining:
        raise Failure(f"{remaining} problems remain." + ("" if repair else " Try --repair."))


@quay.command()
@click.option("--rate", default=50, show_default=True, type=click.IntRange(1), help="Megabytes a second, at most.")
@pass_surroundings
def scrub(surroundings: Surroundings, rate: int) -> None:
    """Read every blob again, and set aside those that have rotted.

    Exits with 1 if there were any.
    """
    from quay import service

    found = settled(surroundings)
    with explained():
        rotten = service.scrub(found, click.echo, rate=rate * 1e6)
    if rotten:
        raise Failure(f"{rotten} blobs had rotted: push them again.")
    click.echo("No blob has rotted.")


def _collected(found: Config) -> object:
    from quay import service

    try:
        return service.collect(found, click.echo)
    except TimeoutError as error:
        raise Failure(str(error)) from None


def _explained(found: Config, text: str) -> list[str]:
    from quay import service
    from quay.model.keeping import explain
    from quay.oci.reference import Digest

    return service.transact(found, explain, Digest.parse(text))


@quay.group()
def audit() -> None:
    """The audit log: verify it, or write it to a file."""


@audit.command(name="verify")
@click.option("--head", metavar="SEAL", help="Also look for this seal, which was the head when it was noted.")
@pass_surroundings
def verify_log(surroundings: Surroundings, head: str | None) -> None:
    """Say whether anybody has changed the audit log.

    Every entry is under a seal of a chain, made with SECRET_KEY soon after it was written. Exits with 1 if something
    was changed, removed or reordered. That the end of the chain was cut off can only be seen by its head, which this
    prints at last and the server logs once a day: keep it elsewhere.
    """
    from quay import service

    found = settled(surroundings)
    with explained():
        problems = service.verify_log(found, click.echo, head)
    if problems:
        raise Failure("The audit log is not as it was sealed.")


def _moment(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """Milliseconds since the epoch: of a moment, or of the beginning of a day; of its end, if that is asked for."""
    if text is None:
        return None
    try:
        if len(text) == len("2026-01-31"):
            moment = datetime.fromisoformat(text) + timedelta(days=parameter.name == "end")
        else:
            moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise click.BadParameter("Give a day, 2026-01-31, or a moment, 2026-01-31T12:30:00; both are in UTC.") from None


@audit.command(name="export")
@click.option("--from", "start", callback=_moment, help="The first day, or moment, in UTC; else from the beginning.")
@click.option("--to", "end", callback=_moment, help="The last day, or the moment of the end, in UTC; else until now.")
@click.option("--namespace", metavar="NAME", help="Only what was done in this namespace.")
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@pass_surroundings
def export_log(
    surroundings: Surroundings,
    start: int | None,
    end: int | None,
    namespace: str | None,
    form: Any,
    file: Path,
) -> None:
    """Write the audit log, or a part of it, to the new FILE; - is standard output.

    Each entry is a line, the oldest first. Control characters are escaped.
    """
    from quay import service

    found = settled(surroundings)
    with explained(), _new_text(file) as text:
        entries = service.export_log(found, text.write, namespace, start, end, form)
    click.echo(f"Wrote {entries} entries.", err=True)


@contextmanager
def _new_text(file: Path) -> Iterator[IO[str]]:
    """A new file that only its owner may read, gone again if it could not be completed; or standard output."""
    if str(file) == "-":
        with os.fdopen(sys.stdout.fileno(), "w", encoding="utf-8", newline="", closefd=False) as text:
            yield text
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as text:
            yield text
            text.flush()
            os.fsync(descriptor)
    except BaseException as error:
        file.unlink()
        if isinstance(error, OSError):
            raise Failure(f"{file} cannot be written: {error.strerror}.") from None
        raise


@quay.command(name="reference", hidden=True)
@click.argument("part", type=click.Choice(["commands", "metrics"]))
@click.pass_context
def show_part_of_reference(context: click.Context, part: str) -> None:
    """Print a page of the documentation that follows from the code, in Markdown."""
    from quay.cli import manual

    root, surroundings = context.find_root().command, context.obj
    assert isinstance(root, click.Group)  # this one, or the one that the appliance adds its commands to
    click.echo(manual.commands(root) if part == "commands" else manual.metrics(surroundings.data), nl=False)


@quay.command()
@click.option("--test-data", is_flag=True, required=True, help="Fill it with Quay's test data.")
@pass_surroundings
def initdb(surroundings: Surroundings, test_data: bool) -> None:
    """Fill a new database with things to try out.

    These are users, organizations and repositories with images in them, and everybody knows their passwords: never do
    it for production.
    """
    from quay import testdata

    found = settled(surroundings)
    with explained():
        testdata.main(found, click.echo)
