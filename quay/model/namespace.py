"""
Namespaces: users, organizations and robots, who share one space of names.

A robot is named `owner+short` and found through its owner by number, never by the look of its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, Literal, cast
from uuid import uuid4

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from quay.database import Transaction
from quay.database.engines import insert_or_ignore
from quay.database.prepared import Prepared
from quay.database.schema import namespace as table
from quay.model import team
from quay.model.reachability import batches
from quay.model.removal import GONE

Kind = Literal["user", "organization", "robot"]

_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_SHORT = re.compile(r"[a-z0-9][a-z0-9._-]*")
_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f\ud800-\udfff]+@[^\s@\x00-\x1f\x7f\ud800-\udfff]+")
LIMIT: Final = 255


class NamespaceInvalid(Exception):
    """A name, address or owner with which there can be no such namespace."""


class NamespaceTaken(Exception):
    """Somebody else has the name or the e-mail address."""


@attrs.frozen
class Namespace:
    """A user, organization or robot. Its password hash is never part of it."""

    id: int
    uuid: str
    name: str
    kind: Kind
    email: str | None
    enabled: bool
    superuser: bool
    owner_id: int | None
    time_machine_s: int


COLUMNS: Final = tuple(table.c[field.name] for field in attrs.fields(Namespace))
"""What a `Namespace` is made of, in order."""

_NAMED: Final = Prepared(sa.select(*COLUMNS).where(table.c.name == sa.bindparam("called")))
_REACHED: Final = Prepared(sa.select(*COLUMNS).where(table.c.email == sa.bindparam("by_email")))
_BY_NUMBER: Final = sa.select(*COLUMNS).where(table.c.id == sa.bindparam("number"))
_NUMBERED: Final = Prepared(_BY_NUMBER)
_HELD: Final = Prepared(_BY_NUMBER.with_for_update(read=True, key_share=True))
_LOCKED: Final = Prepared(_BY_NUMBER.with_for_update())


def find(txn: Transaction, name: str) -> Namespace | None:
    """The namespace of exactly this name, robots included."""
    return _one(txn, _NAMED, {"called": name}) if _is_name(name) else None


def find_by_email(txn: Transaction, email: str) -> Namespace | None:
    """The user or organization with this e-mail address, in whatever case it is written."""
    return _one(txn, _REACHED, {"by_email": email.lower()}) if _is_email(email) else None


def by_id(txn: Transaction, namespace_id: int) -> Namespace | None:
    """The namespace with this number."""
    return _one(txn, _NUMBERED, {"number": namespace_id})


def hold(txn: Transaction, namespace_id: int) -> Namespace | None:
    """
    As `by_id`, and until the transaction ends it keeps its name and its kind: for whoever makes something that is named
    after it, or that only a namespace of its kind may have.
    """
    return _one(txn, _HELD, {"number": namespace_id})


def lock(txn: Transaction, namespace_id: int) -> Namespace:
    """
    As `by_id`, to give it another name or kind, when nobody holds it any more. Raises `NamespaceInvalid` if it is gone.
    """
    found = _one(txn, _LOCKED, {"number": namespace_id})
    if found is None or found.name.startswith(GONE):
        raise NamespaceInvalid("This account has been removed meanwhile: look for the one that you mean.")
    return found


def any_superuser(txn: Transaction) -> bool:
    """Whether anybody could administer this installation: False means that it was not set up yet."""
    return txn.execute(sa.select(table.c.id).where(table.c.superuser, table.c.enabled).limit(1)).first() is not None


def any_user(txn: Transaction) -> bool:
    """Whether there is anybody at all."""
    return txn.execute(sa.select(table.c.id).where(table.c.kind == "user").limit(1)).first() is not None


def create_user(
    txn: Transaction,
    name: str,
    *,
    email: str | None = None,
    password_hash: str | None = None,
    superuser: bool = False,
    time_machine_s: int,
    verified: bool = True,
) -> Namespace:
    """A new user. Raises `NamespaceInvalid`, `NamespaceTaken`."""
    check_name(name)
    return _create(
        txn,
        name=name,
        kind="user",
        email=_checked_email(email),
        password_hash=password_hash,
        superuser=superuser,
        verified=verified,
        time_machine_s=time_machine_s,
    )


def create_organization(
    txn: Transaction, name: str, *, owner_id: int, email: str | None = None, time_machine_s: int
) -> Namespace:
    """A new organization, whose team `owners` administers it and has `owner_id` in it. Raises as `create_user`."""
    check_name(name)
    made = _create(txn, name=name, kind="organization", email=_checked_email(email), time_machine_s=time_machine_s)
    owners = team.create(txn, made.id, "owners", "admin")
    team.add_member(txn, owners, owner_id)
    return made


def create_robot(txn: Transaction, owner_id: int, short: str, *, description: str = "") -> Namespace:
    """A new robot `owner+short` of a user or organization. It has no credential yet. Raises as `create_user`."""
    owner = hold(txn, owner_id)
    if owner is None or owner.kind == "robot":
        raise NamespaceInvalid(f"The robot {short[:LIMIT]!r} needs a user or an organization to own it.")
    name = f"{owner.name}+{short}"
    if _SHORT.fullmatch(short) is None or len(short) < 2 or len(name) > LIMIT:
        raise NamespaceInvalid(
            f"A robot cannot be called {short[:LIMIT]!r}: use 2 or more of a-z, 0-9, '.', '_' and '-', beginning with "
            f"a letter or digit, and with the owner's name {LIMIT} at most."
        )
    return _create(
        txn, name=name, kind="robot", owner_id=owner_id, time_machine_s=owner.time_machine_s, description=description
    )


def set_enabled(txn: Transaction, namespace_id: int, enabled: bool) -> None:
    """Let this namespace in, or keep it out; its robots with it."""
    _update(txn, namespace_id, enabled=enabled)


def set_email(txn: Transaction, namespace_id: int, email: str | None) -> None:
    """Where mail to this namespace goes. Raises `NamespaceInvalid`, `NamespaceTaken`."""
    try:
        with txn.savepoint():
            _update(txn, namespace_id, email=_checked_email(email))
    except IntegrityError:
        raise NamespaceTaken(f"The e-mail address {email!r} belongs to another account already.") from None


def set_time_machine(txn: Transaction, namespace_id: int, seconds: int) -> None:
    """How long a tag that was deleted or moved in this namespace can be restored from now on."""
    _update(txn, namespace_id, time_machine_s=seconds)


def set_password(
    txn: Transaction, namespace_id: int, password_hash: str | None, *, instead_of: str | None = None
) -> bool:
    """
    Remember a hash that was made outside; None: no password opens this account. With `instead_of`, only if that is
    the hash until now, and False if it is not.
    """
    unchanged = sa.true() if instead_of is None else table.c.password_hash == instead_of
    return _update(txn, namespace_id, unchanged, password_hash=password_hash)


def password_hash(txn: Transaction, namespace_id: int) -> str | None:
    """What `set_password` was given last: the only way out of the database for it."""
    found = txn.execute(sa.select(table.c.password_hash).where(table.c.id == namespace_id)).scalar()
    return cast("str | None", found)


def touch(txn: Transaction, ids: Iterable[int], now_ms: int) -> None:
    """Remember that these were here at `now_ms`. Nothing that a cache holds depends on it: no change is announced."""
    for some in batches(sorted(ids)):
        txn.execute(sa.update(table).where(table.c.id.in_(some)).values(last_accessed_ms=now_ms))


def _one(txn: Transaction, statement: Prepared, parameters: dict[str, Any]) -> Namespace | None:
    row = txn.execute(statement, parameters).first()
    return Namespace(*row) if row else None


def _create(txn: Transaction, **values: Any) -> Namespace:
    statement = insert_or_ignore(txn.dialect, table).values(uuid=str(uuid4()), created_ms=txn.now_ms, **values)
    row = txn.execute(statement.returning(*COLUMNS)).first()
    if row is None:
        raise _taken(txn, values["name"], values.get("email"))
    made = Namespace(**row._asdict())
    txn.changed("namespace", made.id)
    return made


def _taken(txn: Transaction, name: str, email: str | None) -> NamespaceTaken:
    if find(txn, name) is not None:
        return NamespaceTaken(f"The name {name!r} is taken: choose another one.")
    return NamespaceTaken(f"The e-mail address {email!r} belongs to another account already.")


def _update(txn: Transaction, namespace_id: int, *conditions: sa.ColumnElement[bool], **values: Any) -> bool:
    found = txn.execute(sa.update(table).where(table.c.id == namespace_id, *conditions).values(**values)).rowcount
    if found:
        txn.changed("namespace", namespace_id)
    return bool(found)


def _is_name(name: str) -> bool:
    owner, plus, short = name.partition("+")
    if len(name) > LIMIT or _NAME.fullmatch(owner) is None:
        return False
    return not plus or _SHORT.fullmatch(short) is not None


def check_name(name: str) -> None:
    """Raises `NamespaceInvalid` unless a user or an organization may be called so."""
    if not 2 <= len(name) <= LIMIT or _NAME.fullmatch(name) is None:
        raise NamespaceInvalid(
            f"{name[:LIMIT]!r} cannot be the name of a user or organization: use 2 to {LIMIT} of a-z and 0-9, in "
            "groups that one '.', '_' or '-' separates."
        )


def _is_email(email: str) -> bool:
    return len(email) <= LIMIT and _EMAIL.fullmatch(email) is not None


def _checked_email(email: str | None) -> str | None:
    if email is None:
        return None
    if not _is_email(email):
        raise NamespaceInvalid(f"{email[:LIMIT]!r} is not an e-mail address.")
    return email.lower()
