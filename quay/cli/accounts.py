"""
`quay user` and `quay token`: accounts and their tokens, for who administers the machine. A running server hears of what
is changed here; what was done is in the audit log, by nobody in particular.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from quay.cli.common import Failure, explained, new_password, pass_surroundings, settled
from quay.config import Config
from quay.config.surroundings import Surroundings
from quay.config.values import Duration

if TYPE_CHECKING:
    from quay.database import Transaction
    from quay.model.namespace import Namespace

R = TypeVar("R")

PAGE: Final = 500
HEARS: Final = "A running server hears of it within its GARBAGE_COLLECTION_FREQUENCY."

password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input; else it is asked for."
)


@click.group()
def user() -> None:
    """The users of the registry."""


@user.command(name="create")
@click.argument("name")
@click.option("--email", required=True, help="The user's e-mail address, which also logs in.")
@click.option("--superuser", is_flag=True, help="Let the user administer the registry.")
@password_option
@pass_surroundings
def create_user(surroundings: Surroundings, name: str, email: str, superuser: bool, password_stdin: bool) -> None:
    """Make the user NAME."""
    from quay import service
    from quay.model import namespace

    found = settled(surroundings)
    password = new_password(password_stdin)
    with explained():
        hashed = service.hashed(password)

        def make(txn: Transaction) -> None:
            made = namespace.create_user(
                txn,
                name,
                email=email,
                password_hash=hashed,
                superuser=superuser,
                time_machine_s=found.default_tag_expiration,
            )
            _record(txn, made, "user_create", username=name, email=email, superuser=superuser)

        service.transact(found, make)
    click.echo(f"{name} can log in now{', and administers the registry' if superuser else ''}.")


@user.command(name="list")
@pass_surroundings
def list_users(surroundings: Surroundings) -> None:
    """List all users: name, e-mail address, and what is special about them, with tabs between them."""
    from quay import service

    found = settled(surroundings)
    with explained():
        for line in service.transact(found, _listed):
            click.echo(line)


def _listed(txn: Transaction) -> list[str]:
    from quay.model import second_factor

    return [
        "\t".join(
            (
                each.name,
                each.email or "",
                ", ".join(
                    what
                    for what, so in (
                        ("superuser", each.superuser),
                        ("disabled", not each.enabled),
                        ("second factor", second_factor.is_confirmed(txn, each.id)),
                    )
                    if so
                ),
            )
        )
        for each in _everybody(txn)
    ]


def _everybody(txn: Transaction) -> Iterator[Any]:
    from quay.model import directory

    after = ""
    while page := directory.accounts(txn, "user", after=after, limit=PAGE):
        yield from page
        after = page[-1].name


@user.command(name="password")
@click.argument("name")
@password_option
@pass_surroundings
def change_password(surroundings: Surroundings, name: str, password_stdin: bool) -> None:
    """Give the user NAME another password.

    All sessions of the user end.
    """
    from quay import service
    from quay.model import namespace, session

    found = settled(surroundings)
    password = new_password(password_stdin)
    with explained():
        hashed = service.hashed(password)

        def change(txn: Transaction, account: Namespace) -> None:
            namespace.set_password(txn, account.id, hashed)
            session.end_all(txn, account.id)
            _record(txn, account, "user_change_password", username=name)

        _change(found, name, change)
    click.echo(f"{name} has another password. {HEARS}")


@user.command()
@click.argument("name")
@pass_surroundings
def disable(surroundings: Surroundings, name: str) -> None:
    """Keep the user NAME and what is his out, until he is enabled."""
    _set_enabled(settled(surroundings), name, False)
    click.echo(f"{name} is disabled. {HEARS}")


@user.command()
@click.argument("name")
@pass_surroundings
def enable(surroundings: Surroundings, name: str) -> None:
    """Let the user NAME in again."""
    _set_enabled(settled(surroundings), name, True)
    click.echo(f"{name} is enabled. {HEARS}")


def _set_enabled(found: Config, name: str, enabled: bool) -> None:
    from quay.model import namespace, session

    def change(txn: Transaction, account: Namespace) -> None:
        namespace.set_enabled(txn, account.id, enabled)
        session.end_all(txn, account.id)
        _record(txn, account, "user_enable" if enabled else "user_disable", username=name)

    with explained():
        _change(found, name, change)


@user.command(name="reset-second-factor")
@click.argument("name")
@pass_surroundings
def reset_second_factor(surroundings: Surroundings, name: str) -> None:
    """Let the password of the user NAME do, whose second factor is lost."""
    from quay.model import second_factor

    def reset(txn: Transaction, account: Namespace) -> bool:
        removed = second_factor.remove(txn, account.id)
        if removed:
            _record(txn, account, "user_change_second_factor", username=name, enabled=False)
        return removed

    with explained():
        if not _change(settled(surroundings), name, reset):
            raise Failure(f"{name} has no second factor.")
    click.echo(f"{name} logs in with the password alone now. {HEARS}")


# --- tokens -------------------------------------------------------------------------------------------------------


@click.group()
def token() -> None:
    """The tokens with which scripts and programs act as a user."""


@token.command(name="create")
@click.argument("name", metavar="USER")
@click.option("--scope", multiple=True, help="What it may be used for, such as repo:read; can be given more than once.")
@click.option("--app", is_flag=True, help="Make an app-specific token, for docker login as $app, instead.")
@click.option("--title", default="made by the quay command", show_default=True, help="What it is listed as.")
@click.option("--expires", metavar="DURATION", help="How long it is good, such as 12h or 30d; else for good.")
@pass_surroundings
def create_token(
    surroundings: Surroundings, name: str, scope: tuple[str, ...], app: bool, title: str, expires: str | None
) -> None:
    """Make a token that acts as USER, and print it: it is not to be had again.

    It is a bearer token of the API, or an app-specific token.
    """
    from quay.model import credential

    scopes, seconds = _scopes(scope, app), _duration(expires)

    def make(txn: Transaction, account: Namespace) -> str:
        kind = "create_app_specific_token" if app else "create_oauth_api_token"
        made, secret = credential.create(
            txn,
            account.id,
            "app" if app else "oauth",
            title=title[:255],
            scope=scopes,
            expires_ms=None if seconds is None else txn.now_ms + seconds * 1000,
        )
        _record(txn, account, kind, app_specific_token_title=title[:255], token_uuid=made.uuid, scope=scopes)
        return secret

    with explained():
        click.echo(_change(settled(surroundings), name, make))


def _scopes(named: tuple[str, ...], app: bool) -> str | None:
    from quay.auth.scopes import SCOPES, ScopeInvalid, parse

    if app and named:
        raise click.UsageError("An app-specific token has no scopes.")
    if not app and not named:
        raise click.UsageError(f"Say with --scope what the token may be used for: {', '.join(SCOPES)}.")
    try:
        wanted = parse(" ".join(named))
    except ScopeInvalid as error:
        raise click.UsageError(str(error)) from None
    return " ".join(scope for scope in SCOPES if scope in wanted) or None


def _duration(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(Duration.parse(text))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


@token.command(name="list")
@click.argument("name", metavar="USER")
@pass_surroundings
def list_tokens(surroundings: Surroundings, name: str) -> None:
    """List the tokens of USER, with tabs: uuid, kind, title, scopes, and when made, last used, and ending."""
    from quay import service
    from quay.model import token as tokens

    found = settled(surroundings)
    with explained():
        for each in service.transact(found, lambda txn: tokens.of_user(txn, _account(txn, name).id)):
            whose = each.application or each.title
            times = map(_moment, (each.created_ms, each.last_used_ms, each.expires_ms))
            click.echo("\t".join((each.uuid, each.kind, _line(whose), each.scope or "", *times)))


def _moment(ms: int | None) -> str:
    return "never" if ms is None else datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _line(text: str) -> str:
    """What people called something, without what would confuse a terminal or a script."""
    return "".join(character if character.isprintable() else " " for character in text)


@token.command(name="revoke")
@click.argument("name", metavar="USER")
@click.argument("uuid")
@pass_surroundings
def revoke_token(surroundings: Surroundings, name: str, uuid: str) -> None:
    """Make the token UUID of USER worthless."""
    from quay.model import credential
    from quay.model import token as tokens

    def revoke(txn: Transaction, account: Namespace) -> bool:
        held = {each.uuid: each.kind for each in tokens.of_user(txn, account.id)}
        if uuid not in held or not credential.revoke(txn, account.id, uuid):
            return False
        kind = "revoke_app_specific_token" if held[uuid] == "app" else "revoke_oauth_api_token"
        _record(txn, account, kind, token_uuid=uuid)
        return True

    with explained():
        if not _change(settled(surroundings), name, revoke):
            raise Failure(f"{name} has no token {uuid}: `quay token list {name}` shows those that there are.")
    click.echo(f"The token is worthless now. {HEARS}")


# --- what they share ----------------------------------------------------------------------------------------------


def _change(found: Config, name: str, work: Callable[[Transaction, Namespace], R]) -> R:
    """Do `work` to the user of this name in one transaction. Raises `NamespaceInvalid` if there is none."""
    from quay import service

    return service.change(found, lambda txn: work(txn, _account(txn, name)))


def _account(txn: Transaction, name: str) -> Namespace:
    from quay.model import namespace

    found = namespace.find(txn, name)
    if found is None or found.kind != "user":
        raise Failure(f"There is no user {name[:80]!r}: `quay user list` shows those that there are.")
    return found


def _record(txn: Transaction, account: Namespace, kind: str, **details: Any) -> None:
    from quay.model import audit

    entry = audit.Entry(kind=kind, namespace_id=account.id, details={"auth": "quay command", **details})
    audit.append(txn, [entry])
