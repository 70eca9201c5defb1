"""
Who is asking: the Portal turns credentials into a Principal, or says in a sentence why not.

Every kind of credentials has its own check, found in one table by type. People are left to an `IIdentityProvider`;
the secrets of machines are looked up by their hash. What was right is remembered for a minute, so that a client that
sends the same header with every request costs one check a minute; a change to the user, the robot or the token ends
it at once, and nothing is answered from memory while such a change could be missed.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.interfaces import IReactorTime

from quay.auth.credentials import (
    AccessToken,
    AppToken,
    BearerToken,
    Credentials,
    OAuthToken,
    RobotToken,
    UserPassword,
)
from quay.auth.principal import Kind, Principal
from quay.auth.remembered import Remembered, Shared
from quay.auth.throttle import Throttle, neighbourhood
from quay.database import Change, Database, Transaction
from quay.interfaces import IIdentityProvider
from quay.model import credential, namespace, second_factor
from quay.model.credential import Credential
from quay.model.namespace import Namespace
from quay.oci.errors import Unauthorized

REMEMBERED_S: Final = 60


SCOPE_SEPARATOR: Final = re.compile(r"[ ,]+")


@attrs.frozen
class _Admitted:
    """A principal, the changes that end it, and the time at which it ends anyway."""

    principal: Principal
    ended_by: frozenset[Change]
    until: float = float("inf")


@attrs.frozen
class Person:
    """A user whose password was right; with a `second_factor`, that is not all that it takes to let him in."""

    user: Namespace
    second_factor: bool


class Portal:
    """
    The one way in. `people` knows who has which password; with `passwords_allowed` false (AUTHENTICATION_TYPE
    AppToken) nobody gets in with one, and with `app_tokens_allowed` false nobody does as `$app`; `robot_allowed` says
    which robots do, by their names. `superusers` are those the configuration names, beside those in the database.
    `trusted` says whether changes are heard of now; `last_access` whether it is recorded when users and robots were
    here.
    """

    def __init__(
        self,
        database: Database,
        people: IIdentityProvider,
        clock: IReactorTime,
        *,
        superusers: Iterable[str] = (),
        passwords_allowed: bool = True,
        app_tokens_allowed: bool = True,
        robot_allowed: Callable[[str], bool] = lambda name: True,
        last_access: bool = True,
        throttle: Throttle | None = None,
        remembered: int = 4096,
    ) -> None:
        self._database = database
        self._people = people
        self._now = clock.seconds
        self._superusers = frozenset(superusers)
        self._passwords_allowed = passwords_allowed
        self._app_tokens_allowed = app_tokens_allowed
        self._robot_allowed = robot_allowed
        self._last_access = last_access
        self.trusted: Callable[[], bool] = lambda: True
        self._throttle = throttle or Throttle(clock.seconds)
        self._sprays = Throttle(clock.seconds, burst=200, per_minute=120, what="failed logins from this address")
        self._key = secrets.token_bytes(32)
        self._admitted: Remembered[bytes, _Admitted] = Remembered(clock.seconds, remembered)
        self._checking: Shared[tuple[bytes, str], _Admitted] = Shared()
        self._changes = 0
        self._used: set[int] = set()
        self._seen: set[int] = set()
        self._checks: Mapping[type[Credentials], Callable[[Credentials, str], Awaitable[_Admitted]]] = {
            UserPassword: self._user,
            RobotToken: self._robot,
            AppToken: self._app_token,
            OAuthToken: self._oauth_token,
            AccessToken: self._access_token,
            BearerToken: self._bearer_token,
        }

    async def authenticate(self, credentials: Credentials, address: str = "") -> Principal:
        """
        Who shows `credentials`, from the client address `address`. Raises `Unauthorized`; `TooManyRequests` after too
        many wrong passwords for this account from this address; `Unavailable` if it cannot be found out now.
        """
        if isinstance(credentials, UserPassword):  # before looking into the memory, which would tell a right guess
            self._throttle.check(_guess(credentials, address))
        key = self._fingerprint(credentials)
        admitted = self._admitted.get(key) if self.trusted() else None
        if admitted is None:
            admitted = await self._checking.run((key, address), lambda: self._check(key, credentials, address))
        return admitted.principal

    async def verify(self, shown: Credentials, address: str) -> Person:
        """
        The user who has this name and password. Raises as `authenticate`, also after too many wrong passwords for
        whichever accounts from this address.
        """
        if not self._passwords_allowed:
            raise Unauthorized(
                f"{shown.username} cannot log in with a password: this registry takes tokens only.",
                advice="Make an app-specific token and log in as $app with it, or use a robot account.",
            )
        with self._sprays.attempt(neighbourhood(address)), self._throttle.attempt(_guess(shown, address)):
            person = await self._person(shown)
        _check_enabled(person.user.name, person.user.enabled)
        return person

    async def _person(self, shown: Credentials) -> Person:
        user_id = await self._people.authenticate(shown.username, shown.secret)
        found = None if user_id is None else await self._database.read(_person, user_id)
        if found is None:
            raise Unauthorized(
                f"There is no user {shown.username} with this password.",
                advice="Check both. With robots, use namespace+robot and the robot's token.",
            )
        return found

    def logged_in(self, user: Namespace) -> Principal:
        """The principal that this user is in a session of his."""
        self._note(principal := Principal("user", user.name, user.id, superuser=self._is_superuser(user)))
        return principal

    def forget(self, changes: Iterable[Change]) -> None:
        """Drop whom these changes end: to be told of every commit, on every node."""
        relevant = {change for change in changes if change[0] in ("namespace", "credential")}
        if relevant:
            self._changes += 1
            self._admitted.drop(lambda admitted: not relevant.isdisjoint(admitted.ended_by))

    def forget_all(self) -> None:
        """Drop everybody: changes may have been missed."""
        self._changes += 1
        self._admitted.drop(lambda _: True)

    async def record_use(self) -> None:
        """
        Write down which machine secrets have been used since the last time, and which users and robots have been here:
        for a worker to call now and then.
        """
        used, self._used = self._used, set()
        seen, self._seen = self._seen, set()
        if used or seen:
            try:
                await self._database.write(_touch, used, seen)
            except BaseException:  # it is written down the next time
                self._used |= used
                self._seen |= seen
                raise

    def _fingerprint(self, credentials: Credentials) -> bytes:
        """What remembered credentials are found by: worthless outside this process."""
        text = "\0".join((type(credentials).__name__, credentials.username, credentials.secret))
        return hmac.digest(self._key, text.encode(), "sha256")

    async def _check(self, key: bytes, credentials: Credentials, address: str) -> _Admitted:
        changes = self._changes
        admitted = await self._checks[type(credentials)](credentials, address)
        if changes == self._changes and self.trusted():  # else what was read may be out of date
            self._admitted.keep(key, admitted, min(admitted.until, self._now() + REMEMBERED_S))
        self._note(admitted.principal)
        return admitted

    def _note(self, principal: Principal) -> None:
        if self._last_access and principal.namespace_id is not None:
            self._seen.add(principal.namespace_id)

    # --- one check for each kind of credentials

    async def _user(self, shown: Credentials, address: str) -> _Admitted:
        person = await self.verify(shown, address)
        found = person.user
        if person.second_factor:
            raise Unauthorized(
                f"{found.name} has a second factor, so the password alone does not do here.",
                advice="Make an app-specific token and log in as $app with it, or use a robot account.",
            )
        principal = Principal("user", found.name, found.id, superuser=self._is_superuser(found))
        return _Admitted(principal, _changes_of(found))

    async def _robot(self, shown: Credentials, address: str) -> _Admitted:
        found = await self._database.read(credential.find, "robot", shown.secret)
        if found is None or found.namespace.name != shown.username:
            raise Unauthorized(
                f"There is no robot account {shown.username} with this token.",
                advice="The token may have been regenerated: copy the current one from the robot's page.",
            )
        return self._admit("robot", found)

    async def _app_token(self, shown: Credentials, address: str) -> _Admitted:
        found = await self._token("app", shown, "app-specific token", "Make a new one in the user settings.")
        return self._admit_app(found)

    async def _oauth_token(self, shown: Credentials, address: str) -> _Admitted:
        return self._admit_oauth(
            await self._token("oauth", shown, "OAuth access token", "Authorize the application again.")
        )

    async def _bearer_token(self, shown: Credentials, address: str) -> _Admitted:
        found = await self._database.read(credential.find, ("oauth", "robot", "app"), shown.secret)
        if found is None:
            raise Unauthorized(
                "The bearer token is unknown, has been revoked, or has expired.",
                advice="Show an OAuth access token, a robot's token or an app-specific token.",
            )
        if found.kind == "app":
            return self._admit_app(found)
        return self._admit("robot", found) if found.kind == "robot" else self._admit_oauth(found)

    def _admit_app(self, found: Credential) -> _Admitted:
        if not self._app_tokens_allowed:
            raise Unauthorized(
                f"{found.namespace.name} cannot log in so: this registry takes no app-specific tokens.",
                advice="Log in with a user name and password, or use a robot account.",
            )
        return self._admit("app_token", found, superuser=self._is_superuser(found.namespace))

    def _admit_oauth(self, found: Credential) -> _Admitted:
        scopes = frozenset(filter(None, SCOPE_SEPARATOR.split(found.scope or "")))
        superuser = "super:user" in scopes and self._is_superuser(found.namespace)
        return self._admit("oauth_token", found, scopes=scopes, superuser=superuser)

    async def _access_token(self, shown: Credentials, address: str) -> _Admitted:
        found = await self._token("access", shown, "access token", "Ask an administrator of the repository for one.")
        return self._admit(
            "access_token", found, name="$token", namespace_id=None, repository_id=found.repository_id, role=found.role
        )

    async def _token(self, kind: credential.Kind, shown: Credentials, called: str, advice: str) -> Credential:
        found = await self._database.read(credential.find, kind, shown.secret)
        if found is None:
            raise Unauthorized(f"This {called} is unknown, has been revoked, or has expired.", advice=advice)
        return found

    def _admit(self, kind: Kind, found: Credential, **facts: Any) -> _Admitted:
        holder = found.namespace
        _check_enabled(holder.name, found.owner_enabled)
        if kind == "robot" and not self._robot_allowed(holder.name):
            raise Unauthorized(
                f"{holder.name} cannot log in: this registry takes no robots but those in its ROBOTS_WHITELIST.",
                advice="Ask an administrator of the registry, or log in as a user.",
            )
        self._used.add(found.id)
        principal = Principal(
            kind, **{"name": holder.name, "namespace_id": holder.id, "credential_uuid": found.uuid, **facts}
        )
        until = float("inf") if found.expires_ms is None else found.expires_ms / 1000
        return _Admitted(principal, _changes_of(holder) | {("credential", found.id)}, until)

    def _is_superuser(self, found: Namespace) -> bool:
        return found.superuser or found.name in self._superusers


def _guess(shown: Credentials, address: str) -> tuple[str, str]:
    return shown.username.casefold(), neighbourhood(address)


def _changes_of(found: Namespace) -> frozenset[Change]:
    """The changes after which `found`, or a robot's owner, may not be what it was."""
    owner: set[Change] = set() if found.owner_id is None else {("namespace", found.owner_id)}
    return frozenset({("namespace", found.id)} | owner)


def _check_enabled(name: str, enabled: bool) -> None:
    if not enabled:
        raise Unauthorized(f"{name} is disabled.", advice="Ask a superuser of this registry to enable the account.")


def _person(txn: Transaction, user_id: int) -> Person | None:
    found = namespace.by_id(txn, user_id)
    return None if found is None else Person(found, second_factor.is_confirmed(txn, user_id))


def _touch(txn: Transaction, used: set[int], seen: set[int]) -> None:
    credential.touch(txn, used, txn.now_ms)
    namespace.touch(txn, seen, txn.now_ms)
