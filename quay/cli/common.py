"""
What the commands have in common: the configuration, passwords, and failures that are sentences.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from quay.config import Config, ConfigError, settle
from quay.config.surroundings import Surroundings


class Failure(click.ClickException):
    """A command that could not do what it was asked, and the sentence that says why."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=file is None)


def settled(surroundings: Surroundings) -> Config:
    """The configuration that every command works with; warnings go to standard error. Raises `Failure`."""
    try:
        config = settle(surroundings)
    except ConfigError as error:
        _warn(error.warnings)
        raise Failure(str(error)) from None
    _warn(config.warnings)
    return config


def _warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


pass_surroundings = click.make_pass_decorator(Surroundings)


@contextmanager
def explained() -> Iterator[None]:
    """What the model refuses, or keeps the parts from starting, is a failure of the command, in the same sentence."""
    try:
        yield
    except Exception as error:
        if isinstance(error, _sentences()):
            raise Failure(_told(error)) from None
        raise


def _told(error: Exception) -> str:
    """The sentence, and what to do, where that stands beside it."""
    from quay.oci.errors import RegistryError

    return f"{error.message} {error.advice}".strip() if isinstance(error, RegistryError) else str(error)


def _sentences() -> tuple[type[Exception], ...]:
    """What is raised with a sentence for the administrator; these are imported when one is needed, and not before."""
    from quay.backups import BackupFailed
    from quay.database.snapshot import SnapshotFailed
    from quay.model.namespace import NamespaceInvalid, NamespaceTaken
    from quay.service.appliance import EXPECTED

    return (NamespaceInvalid, NamespaceTaken, BackupFailed, SnapshotFailed, *EXPECTED)


def new_password(from_stdin: bool) -> str:
    """What somebody types twice, or standard input says. Raises `Failure` for what may not be a password."""
    from quay.auth.passwords import check_new
    from quay.oci.errors import InvalidRequest

    if from_stdin:
        password = _decoded(sys.stdin.buffer.read()).rstrip("\r\n")
    elif sys.stdin.isatty():
        password = str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    else:
        raise click.UsageError("There is no terminal to ask for the password: use --password-stdin.")
    try:
        check_new(password)
    except InvalidRequest as unfit:
        raise Failure(unfit.message) from None
    return password


def _decoded(password: bytes) -> str:
    try:
        return password.decode()
    except UnicodeDecodeError:
        raise Failure("The password is not UTF-8 text: nobody could log in with it.") from None
