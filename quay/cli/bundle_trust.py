"""
What the two sides of a bundle give each other: receipts, and the keys by which they believe each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from quay.cli.common import Failure, explained, pass_surroundings, settled
from quay.cli.meter import size
from quay.config.surroundings import Surroundings

if TYPE_CHECKING:
    from quay.bundles import Bundles
    from quay.service.core import Core

READ_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of a key, or of a list of choices."""

choices_argument = click.argument("choices", nargs=-1, metavar="[CHOICE]...")


def read_file(file: Path) -> bytes:
    """The beginning of a file, which is all of it if it is a small one. Raises `Failure`."""
    try:
        with file.open("rb") as opened:
            return opened.read(READ_LIMIT)
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}.") from None


def _write(file: Path, content: bytes, mode: int = 0o600) -> None:
    from quay.files import write_whole

    try:
        write_whole(file, content, mode=mode)
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror}.") from None


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@choices_argument
@pass_surroundings
def receipt(surroundings: Surroundings, file: Path, choices: tuple[str, ...]) -> None:
    """Write what this registry has to FILE, for who makes the next bundle for it.

    With a CHOICE, only what is in these repositories.
    """
    from quay.bundles import Choices
    from quay.service import bundles as service

    async def work(core: Core, bundles: Bundles, reactor: Any) -> bytes:
        return await bundles.receipt(Choices.parse(choices) if choices else None)

    found = settled(surroundings)
    with explained():
        made = service.run(found, work)
    _write(file, made)
    click.echo(f"Wrote {file}, {size(len(made))}. Give it to who makes the next bundle.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@pass_surroundings
def key(surroundings: Surroundings, file: Path | None) -> None:
    """Print the public key of this installation, or write it to FILE: the far side trusts it.

    Its fingerprint goes to standard error, to be compared.
    """
    from quay.service import bundles as service

    async def work(core: Core, bundles: Bundles, reactor: Any) -> Any:
        return bundles.key

    with explained():
        public = service.run(settled(surroundings), work)
    if file is None:
        click.echo(public.pem, nl=False)
    else:
        _write(file, public.pem.encode(), 0o644)
    click.echo(public.fingerprint, err=True)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--name", help="Whose key it is; else the name of the file.")
@click.option("--remove", metavar="NAME", help="Trust the key of this name no more.")
@pass_surroundings
def trust(surroundings: Surroundings, file: Path | None, name: str | None, remove: str | None) -> None:
    """Trust the key in FILE: bundles that are signed with it are taken.

    Without FILE, list the keys that are trusted.
    """
    from quay.bundles.signing import PublicKey
    from quay.service import bundles as service

    async def work(core: Core, bundles: Bundles, reactor: Any) -> list[str]:
        keys, wait = bundles.keys, core.threads.blobs.run
        if remove is not None:
            if not await wait(keys.remove, remove):
                raise Failure(f"There is no key of the name {remove!r}.")
        elif file is not None:
            await wait(keys.add, name or file.stem, PublicKey.parse(await wait(read_file, file)))
        return [f"{owner}\t{one.fingerprint}" for owner, one in (await wait(keys.all)).items()]

    with explained():
        for line in service.run(settled(surroundings), work):
            click.echo(line)
