"""
`quay import`: what another registry has, comes into this one.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from quay.cli.common import Failure, explained, pass_surroundings, settled
from quay.cli.meter import Meter, size
from quay.config.surroundings import Surroundings

if TYPE_CHECKING:
    from quay.importing import Tally
    from quay.registry.client import Credentials
    from quay.service.core import Core
    from quay.service.importing import Order

F = TypeVar("F", bound=Callable[..., Any])

WIDE: Final = 120
"""Columns of a terminal that has room for a bar beside what is under way."""
SECRET_LIMIT: Final = 64 * 1024
PASSWORD: Final = "SOURCE_PASSWORD"  # noqa: S105  the name of a variable
TOKEN: Final = "SOURCE_TOKEN"  # noqa: S105  as above
AUTH_FILE: Final = "REGISTRY_AUTH_FILE"


@click.group(name="import")
def import_() -> None:
    """Take over what another registry has.

    A tag comes when all that belongs to it is here. What is here already is not fetched again, so an import that was
    interrupted goes on when it is begun again, and a later one brings what is new. What did not come is told at the
    end, and makes the exit status 1.
    """


_COMMON: Final = (
    click.option("--tag", "tags", multiple=True, metavar="GLOB", help="Only these tags; may be given again."),
    click.option("--into", "below", metavar="ORG", help="Put all repositories below this organization or user."),
    click.option("--user", metavar="NAME", help="The superuser in whose name it is done; needed if there are several."),
    click.option("--public", is_flag=True, help="Let everybody pull from the repositories that are made."),
    click.option("--keep", is_flag=True, help="Leave tags alone that name something else here; else they move."),
    click.option("--dry-run", "dry", is_flag=True, help="Only say what would come, and what cannot."),
)


def _common(command: F) -> F:
    for option in reversed(_COMMON):
        command = option(command)
    return command


@import_.command()
@click.argument("url", metavar="REGISTRY")
@click.option("--repository", "repositories", multiple=True, metavar="GLOB", help="Only these; may be given again.")
@click.option("--all", "everything", is_flag=True, help="All repositories that the registry lists in its catalog.")
@_common
@click.option("--no-referrers", is_flag=True, help="Leave signatures and others that refer to images behind.")
@click.option("--username", help="Who logs in there.")
@click.option("--password-stdin", is_flag=True, help=f"Read the password from standard input; else from ${PASSWORD}.")
@click.option(
    "--auth-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"Log in as in this file of docker or podman; else ${AUTH_FILE}.",
)
@click.option("--quay-api", is_flag=True, help=f"List repositories through Quay's API, with the token in ${TOKEN}.")
@click.option("--ca", type=click.Path(path_type=Path, dir_okay=False), help="Believe the CAs in this PEM file.")
@pass_surroundings
def registry(
    surroundings: Surroundings,
    /,
    url: str,
    repositories: tuple[str, ...],
    everything: bool,
    no_referrers: bool,
    username: str | None,
    password_stdin: bool,
    auth_file: Path | None,
    quay_api: bool,
    ca: Path | None,
    **wanted: Any,
) -> None:
    """Pull everything, or what is chosen, from another registry.

    REGISTRY is a host, which is asked over https; or a URL, http://… on a private site.
    """
    from quay.service import importing as service

    if everything == bool(repositories):
        raise click.UsageError("Say what to import: --all, or --repository GLOB.")
    credentials = _credentials(surroundings, url, username, password_stdin, auth_file)
    token = surroundings.environ.get(TOKEN) if quay_api else None
    if quay_api and not token:
        raise click.UsageError(f"There is no OAuth token of the Quay in ${TOKEN}.")

    async def work(reactor: Any, core: Core, order: Order) -> Tally:
        return await service.from_registry(reactor, core, url, credentials, order, ca=ca, quay_token=token)

    _run(surroundings, work, repositories=repositories, referrers=not no_referrers, **wanted)


@import_.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--repository", "repositories", multiple=True, metavar="GLOB", help="Only these; may be given again.")
@click.option("--untagged", is_flag=True, help="Also manifests that no tag names; they are soon garbage here.")
@_common
@pass_surroundings
def distribution(surroundings: Surroundings, /, directory: Path, **wanted: Any) -> None:
    """Take over the DIRECTORY of a CNCF distribution registry.

    It is its rootdirectory, such as /var/lib/registry. The registry need not run; nothing is written there. On one
    disk, blobs are not copied: they get a second name.
    """
    from quay.service import importing as service

    async def work(reactor: Any, core: Core, order: Order) -> Tally:
        return await service.from_distribution(reactor, core, directory, order)

    _run(surroundings, work, **wanted)


@import_.command(name="quay")
@click.option(
    "--config", "file", type=click.Path(path_type=Path, dir_okay=False), help="The config.yaml of the other Quay."
)
@click.option("--database", metavar="URL", help="Where its database is now; a password goes into $PGPASSWORD.")
@click.option(
    "--storage",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where its blobs lie now: the directory with sha256 in it; may be given again.",
)
@click.option("--repository", "repositories", multiple=True, metavar="GLOB", help="Only these; may be given again.")
@click.option("--tag", "tags", multiple=True, metavar="GLOB", help="Only these tags; may be given again.")
@click.option("--user", metavar="NAME", help="The superuser in whose name it is done; needed if there are several.")
@click.option("--dry-run", "dry", is_flag=True, help="Only say what would come, and what cannot.")
@pass_surroundings
def from_quay(
    surroundings: Surroundings,
    /,
    file: Path | None,
    database: str | None,
    storage: tuple[Path, ...],
    **wanted: Any,
) -> None:
    """Take over another Quay, from its database and its storage.

    Users come with their passwords, robots and programs with their tokens; organizations, teams, rights, repositories,
    images, and the history of tags. Its config.yaml says where all this is, and has the key to the tokens. Of OMR, it
    names places within a container: say with --database and --storage where they are on this machine.
    """
    from quay.service import importing as service

    if database is not None and _has_password(database):
        raise click.UsageError("Every user of this machine could read the password: put it into $PGPASSWORD.")

    async def work(reactor: Any, core: Core, order: Order) -> Tally:
        return await service.from_quay(reactor, core, file, database, storage, order)

    _run(surroundings, work, below=None, public=False, keep=False, **wanted)


def _has_password(url: str) -> bool:
    place = url.partition("://")[2].partition("/")[0]
    return ":" in place.rpartition("@")[0] or "password=" in url


# --- what they share ----------------------------------------------------------------------------------------------


def _run(
    surroundings: Surroundings,
    work: Callable[[Any, Core, Order], Awaitable[Tally]],
    *,
    below: str | None,
    user: str | None,
    public: bool,
    keep: bool,
    dry: bool,
    **chosen: Any,
) -> None:
    from quay.egress import EgressError
    from quay.importing import Choice, NoRoom
    from quay.importing.source import TROUBLE
    from quay.oci.errors import RegistryError
    from quay.service import importing as service
    from quay.storage import StorageError

    shown: list[_Shown] = []

    def begun(what: str, tally: Tally) -> Callable[[], object]:
        shown[:] = [_Shown(what, tally)]
        return shown[0].tick

    order = service.Order(
        choice=Choice(replace=not keep, **chosen), below=below, user=user, public=public, dry=dry, begun=begun
    )
    found = settled(surroundings)
    with explained():
        try:
            tally = service.run(found, lambda reactor, core: work(reactor, core, order))
        except (NoRoom, EgressError, StorageError, RegistryError, *TROUBLE) as why:
            for one in shown:
                one.end(dry=dry)
            raise Failure(str(why)) from None
    for one in shown:
        one.end(dry=dry)
    if tally.troubles:
        raise SystemExit(1)


class _Shown(Meter):
    """How far it is, with what is under way; of `looking`, nobody knows how far that is."""

    def __init__(self, looking: str, tally: Tally) -> None:
        super().__init__("Importing", tally)
        self._looking = looking
        self._tally = tally

    def line(self, *, bar: bool = False) -> str:
        if self._looking:
            return f"{self._looking} {self._tally.doing or 'the source'} …"
        wide = shutil.get_terminal_size().columns >= WIDE
        return f"{super().line(bar=bar and wide)}  {self._tally.doing}"

    def end(self, *, dry: bool) -> None:
        """What came, before it ended badly."""
        self.clear()
        for line in _report(self._tally, dry=dry):
            click.echo(line)


def _report(tally: Tally, *, dry: bool) -> Iterator[str]:
    from quay.importing.report import summary

    yield from summary(tally, size, dry=dry)
    if tally.troubles:
        yield f"What {'cannot' if dry else 'did not'} come ({tally.troubles}):"
        yield from (f"  {problem.what}: {problem.why}" for problem in tally.problems)
        if tally.troubles > len(tally.problems):
            yield f"  and {tally.troubles - len(tally.problems)} more."


def _credentials(
    surroundings: Surroundings, url: str, username: str | None, password_stdin: bool, auth_file: Path | None
) -> Credentials | None:
    """As whom to log in; never by an argument, which every user of the machine could see."""
    from quay.registry.client import Credentials

    if username is None:
        if password_stdin:
            raise click.UsageError("Say with --username whose password it is.")
        file = auth_file or surroundings.environ.get(AUTH_FILE)
        return None if file is None else _from_file(Path(file), url)
    password = sys.stdin.read(SECRET_LIMIT).rstrip("\r\n") if password_stdin else surroundings.environ.get(PASSWORD, "")
    if not password:
        raise click.UsageError(f"There is no password: use --password-stdin, or set ${PASSWORD}.")
    return Credentials(username, password)


def _from_file(file: Path, url: str) -> Credentials | None:
    """What docker or podman has written down for this registry; None if it has nothing."""
    from quay.registry.client import Credentials

    host = url.partition("://")[2] or url
    names = {host.partition("/")[0], url, "https://index.docker.io/v1/" if "docker.io" in host else url}
    try:
        with file.open("rb") as opened:
            known = json.loads(opened.read(1024 * 1024))["auths"]
        entry = next((known[name] for name in names if name in known), None)
        if entry is None:
            return None
        username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}.") from None
    except (ValueError, LookupError, TypeError):
        raise Failure(
            f"{file} has no password for {host} that could be used: log in with podman, or use --username."
        ) from None
    return Credentials(username, password)
