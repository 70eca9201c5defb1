"""
`quay bundle`: images as files, for a registry that this one cannot reach.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from quay.cli import bundle_trust
from quay.cli.accounts import HEARS
from quay.cli.bundle_trust import choices_argument, read_file
from quay.cli.common import Failure, explained, pass_surroundings, settled
from quay.cli.meter import Meter, size
from quay.config.surroundings import Surroundings

if TYPE_CHECKING:
    from quay.bundles import Bundles, Cargo, Order, Plan
    from quay.service.core import Core

FAT32: Final = 2**32 - 1
UNITS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30}

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?I?)B?")


def _bytes(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip().upper())
    if found is None or found[2] not in UNITS:
        raise click.BadParameter("Give a size such as 650M, 4G or 4GiB.")
    return int(float(found[1]) * UNITS[found[2]])


files_argument = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
list_option = click.option(
    "--list", "listed", type=click.Path(path_type=Path, dir_okay=False), help="A file with a choice on each line."
)
receipt_option = click.option(
    "--receipt",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What the far side has, as `quay bundle receipt` wrote it there: that is left out.",
)
platform_option = click.option(
    "--platform", "platforms", multiple=True, help="Of indexes, only the images for this platform: linux/amd64."
)
max_size_option = click.option(
    "--max-size",
    "limit",
    callback=_bytes,
    help="Cut it into volumes of this size at most: 650M, 4G (fits FAT32), 4GiB.",
)
unsigned_option = click.option(
    "--accept-unsigned", "unsigned", is_flag=True, help="Take what is not signed, or by somebody who is not known."
)
key_option = click.option(
    "--key", type=click.Path(path_type=Path, dir_okay=False), help="Trust this key, too, this once."
)


@click.group()
def bundle() -> None:
    """Carry images to a registry that this one cannot reach.

    A CHOICE is a repository (acme/web), some of its tags (acme/web:1.*) or many repositories (acme/*). What refers to
    what is chosen (signatures, SBOMs) comes along.
    """


@bundle.command()
@choices_argument
@list_option
@receipt_option
@platform_option
@max_size_option
@unsigned_option
@pass_surroundings
def plan(surroundings: Surroundings, /, choices: tuple[str, ...], listed: Path | None, **wanted: Any) -> None:
    """Say what a bundle would have, and how large it would be.

    Nothing is written.
    """
    from quay.service import bundles as service

    async def work(core: Core, bundles: Bundles, reactor: Any) -> Plan:
        return await bundles.plan(await _order(bundles, _lines(choices, listed), **wanted))

    found = settled(surroundings)
    with explained():
        made = service.run(found, work)
    for line in _described(made):
        click.echo(line)
    _fail_if(made.gathered.failed, "could not be taken")


@bundle.command()
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@choices_argument
@list_option
@receipt_option
@platform_option
@max_size_option
@unsigned_option
@click.option("--replace", is_flag=True, help="Replace a bundle of this name.")
@pass_surroundings
def make(
    surroundings: Surroundings,
    /,
    target: Path,
    choices: tuple[str, ...],
    listed: Path | None,
    replace: bool,
    **wanted: Any,
) -> None:
    """Write the bundle TARGET; with --max-size, TARGET.001 and so on.

    It is signed with the key of this installation: see `quay bundle key`. What could not be taken is told at the end,
    and makes the exit status 1.
    """
    from quay.bundles import Progress
    from quay.service import beside
    from quay.service import bundles as service

    async def work(core: Core, bundles: Bundles, reactor: Any) -> tuple[Plan, list[Path]]:
        planned = await bundles.plan(await _order(bundles, _lines(choices, listed), **wanted))
        for line in _summed_up(planned):
            click.echo(line, err=True)
        progress = Progress()
        with _metered("Writing", progress) as meter, beside.watched(reactor, meter.tick):
            return planned, await bundles.make(planned, target, progress, replace=replace)

    found = settled(surroundings)
    with explained():
        made, files = service.run(found, work)
    for file in files:
        click.echo(file)
    _fail_if(made.gathered.failed, "could not be taken")


@bundle.command()
@files_argument
@unsigned_option
@key_option
@click.option("--as", "named", metavar="REPOSITORY[:TAG]", help="What an archive without a name is called.")
@pass_surroundings
def verify(surroundings: Surroundings, /, files: tuple[Path, ...], **given: Any) -> None:
    """Say whether a bundle is whole, and whose it is.

    FILES are its volumes, or directories with them, in any order. Every byte is read.
    """
    from quay.bundles import Progress
    from quay.service import beside
    from quay.service import bundles as service

    async def work(core: Core, bundles: Bundles, reactor: Any) -> tuple[list[str], Sequence[str]]:
        cargo = await _opened(bundles, files, **given)
        try:
            progress = Progress()
            with _metered("Verifying", progress) as meter, beside.watched(reactor, meter.tick):
                return _introduced(cargo), await bundles.verify(cargo, progress)
        finally:
            await cargo.shelf.close()

    found = settled(surroundings)
    with explained():
        lines, problems = service.run(found, work)
    for line in lines:
        click.echo(line)
    if problems:
        raise Failure(f"It is not whole: {_counted(len(problems), 'problem')}.")
    click.echo("It is whole.")


@bundle.command()
@files_argument
@unsigned_option
@key_option
@click.option("--as", "named", metavar="REPOSITORY[:TAG]", help="What an archive without a name is called.")
@click.option(
    "--into",
    multiple=True,
    metavar="[FROM=]ORG",
    help="Put all repositories into ORG, or those of FROM; may be given again.",
)
@click.option(
    "--user", "user", metavar="NAME", help="The superuser in whose name it is pushed; needed if there are several."
)
@pass_surroundings
def load(
    surroundings: Surroundings, /, files: tuple[Path, ...], into: tuple[str, ...], user: str | None, **given: Any
) -> None:
    """Load a bundle into this registry, beside its server or without it.

    FILES are its volumes, or directories with them, in any order; or an OCI layout, an image that skopeo wrote to a
    directory, what docker save made. A tag appears when all that it needs is here. What is here already is not read
    again, so a load that was interrupted goes on when it is begun again. Organizations and repositories are made as
    needed. What could not be loaded is told at the end, and makes the exit status 1.
    """
    from quay.bundles import Into, Outcome, Progress
    from quay.service import beside
    from quay.service import bundles as service

    async def work(core: Core, bundles: Bundles, reactor: Any) -> Outcome:
        mapping = Into.parse(into)
        caller = await core.database.read(beside.superuser, user, core.policy)
        cargo = await _opened(bundles, files, **given)
        try:
            await service.check_space(core, bundles, cargo)
            progress = Progress()
            with _metered("Loading", progress) as meter, beside.watched(reactor, meter.tick):
                return await bundles.load(caller, cargo, mapping, progress)
        finally:
            await cargo.shelf.close()
            if await beside.forget_beside(core):
                click.echo(HEARS, err=True)

    found = settled(surroundings)
    with explained():
        outcome = service.run(found, work)
    click.echo(f"{outcome} Read: {size(outcome.read)}.")
    _fail_if(outcome.failed, "could not be loaded")


bundle.add_command(bundle_trust.receipt)
bundle.add_command(bundle_trust.key)
bundle.add_command(bundle_trust.trust)


# --- what the commands have in common -------------------------------------------------------------------------------


def _lines(choices: Sequence[str], listed: Path | None) -> list[str]:
    return [*choices, *(read_file(listed).decode("utf-8", "replace").splitlines() if listed is not None else ())]


async def _order(
    bundles: Bundles,
    lines: list[str],
    *,
    receipt: Path | None,
    platforms: tuple[str, ...],
    limit: int | None,
    unsigned: bool,
) -> Order:
    from quay.bundles import Choices, Order

    found = None if receipt is None else await bundles.read_receipt(receipt, unsigned=unsigned)
    return Order(choices=Choices.parse(lines), receipt=found, platforms=frozenset(platforms), limit=limit)


async def _opened(
    bundles: Bundles, files: Sequence[Path], *, unsigned: bool, key: Path | None, named: str | None
) -> Cargo:
    from quay.bundles import Named
    from quay.bundles.signing import PublicKey

    keys = {} if key is None else {str(key): PublicKey.parse(read_file(key))}
    name = None if named is None else Named.parse(named)
    return await bundles.open(files, unsigned=unsigned, named=name, also=keys)


@contextmanager
def _metered(doing: str, progress: Any) -> Iterator[Meter]:
    meter = Meter(doing, progress)
    progress.say = meter.say
    try:
        yield meter
    finally:
        meter.clear()


def _described(made: Plan) -> Iterator[str]:
    """What a bundle has, tag by tag."""
    for one in made.gathered.waybill.shipments:
        more = f", with {len(one.referrers)} that refer to it" if one.referrers else ""
        yield f"{one.name} {one.digest}{more}"
    yield from _summed_up(made)


def _summed_up(made: Plan) -> Iterator[str]:
    """How much it is."""
    waybill = made.gathered.waybill
    if waybill.unchanged:
        yield f"{_counted(len(waybill.unchanged), 'tag')} left out: on the far side as they are."
    if waybill.held:
        held = size(sum(waybill.held.values()))
        yield f"{_counted(len(waybill.held), 'blob')} of {held} left out: the far side has them."
    if waybill.absent:
        absent = len(waybill.absent)
        yield f"{absent} of the images in indexes left out: they are for other platforms, or not here."
    content = size(sum(waybill.blobs.values()))
    yield f"{_counted(len(waybill.shipments), 'tag')}, {_counted(len(waybill.blobs), 'blob')} of {content}."
    yield f"{_counted(len(made.volumes), 'volume')}, {size(made.size)} in all."
    if any(volume.size > FAT32 for volume in made.volumes):
        yield "A volume is larger than FAT32 can hold: --max-size 4G cuts it for that."


def _introduced(cargo: Cargo) -> list[str]:
    """What there is, and who says so."""
    waybill = cargo.waybill
    if waybill is None:
        count = len(cargo.shipments) + len(cargo.docked)
        return [f"No bundle, but an archive with {_counted(count, 'image')}, which nobody signed."]
    signer = f"signed by {cargo.signer}" if cargo.signer else "NOT VERIFIED: signed by somebody who is not known here"
    lines = [f"Bundle {waybill.id} of {waybill.registry}, {signer}; {_counted(cargo.volumes, 'volume')}."]
    lines += [f"{one.name} {one.digest}" for one in waybill.shipments]
    if waybill.held:
        lines.append(f"It was made without {_counted(len(waybill.held), 'blob')} that the far side is said to have.")
    return lines


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _fail_if(failed: Sequence[tuple[str, str]], how: str) -> None:
    if failed:
        listed = "\n".join(f"  {name}: {why}" for name, why in failed)
        raise Failure(f"{len(failed)} {how}:\n{listed}")
