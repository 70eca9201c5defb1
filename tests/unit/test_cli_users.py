"""`quay user` and `quay token`: what they do to accounts, what they print, and how they exit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from quay.cli import quay
from quay.config import parse
from quay.database import Transaction, once
from quay.database.schema import audit
from quay.model import credential, garbage, namespace, second_factor, session
from quay.service import hashed
from quay.service.upkeep import FORGET, Upkeep

PASSWORD = "correct-horse"
HEARS = "A running server hears of it within its GARBAGE_COLLECTION_FREQUENCY."


class Installation:
    """A data directory with the user ada, and the command."""

    def __init__(self, directory: Path, template: Path) -> None:
        shutil.copy(template, directory / "quay.db")
        self.url = f"sqlite:///{directory / 'quay.db'}"
        self.environ = {"QUAY_DATA": str(directory)}
        self.user("create", "ada", "--email", "ada@example.org", "--password-stdin", input=PASSWORD)
        self.ada = self.find("ada").id

    def run(self, *arguments: str, input: str = "", status: int = 0) -> Result:  # as click calls it
        result = CliRunner().invoke(quay, arguments, obj=self.environ, input=input)
        assert result.exit_code == status, result.output
        return result

    def user(self, *arguments: str, **more: Any) -> str:
        """Everything that `quay user` says."""
        return self.run("user", *arguments, **more).output

    def token(self, *arguments: str, **more: Any) -> str:
        """Everything that `quay token` says."""
        return self.run("token", *arguments, **more).output

    def do(self, work: Any) -> Any:
        return once(self.url, work)

    def find(self, name: str) -> Any:
        return self.do(lambda txn: namespace.find(txn, name))

    def recorded(self, kind: str) -> list[Any]:
        found: list[Any] = self.do(lambda txn: txn.execute(sa.select(audit).where(audit.c.kind == kind)).all())
        return found


@pytest.fixture
def installation(tmp_path: Path, sqlite_template: Path) -> Installation:
    return Installation(tmp_path, sqlite_template)


def test_list(installation: Installation) -> None:
    """All users are listed in order of name, with what is special about them; no organization is."""
    installation.user("create", "bob", "--email", "bob@example.org", "--superuser", "--password-stdin", input=PASSWORD)
    installation.do(lambda txn: namespace.create_organization(txn, "company", owner_id=1, time_machine_s=0))
    installation.user("disable", "bob")
    assert installation.user("list") == "ada\tada@example.org\t\nbob\tbob@example.org\tsuperuser, disabled\n"


def test_a_long_list(installation: Installation) -> None:
    """However many there are, each is listed once."""

    def many(txn: Transaction) -> None:
        for number in range(1100):
            namespace.create_user(txn, f"u{number:04}", time_machine_s=0)

    installation.do(many)
    lines = installation.user("list").splitlines()
    assert len(set(lines)) == len(lines) == 1101


def test_created(installation: Installation) -> None:
    """A user who is made here is on record, without a password."""
    (entry,) = installation.recorded("user_create")
    assert (entry.namespace_id, entry.performer, entry.details["auth"]) == (installation.ada, "", "quay command")
    assert PASSWORD not in str(entry)


@pytest.mark.parametrize("password", ["short", "white space"])
def test_weak(installation: Installation, password: str) -> None:
    """A weak password makes no user, and changes none."""
    said = installation.user("password", "ada", "--password-stdin", input=password, status=1)
    assert "at least 8 characters, and no whitespace" in said
    installation.user("create", "bob", "--email", "b@example.org", "--password-stdin", input=password, status=1)
    assert installation.find("bob") is None


def test_password(installation: Installation) -> None:
    """Another password ends all sessions, and is on record."""
    before = installation.do(lambda txn: namespace.password_hash(txn, installation.ada))
    _, secret = installation.do(
        lambda txn: session.begin(txn, installation.ada, ip="", user_agent="", lifetime_s=9_000)
    )
    said = installation.user("password", "ada", "--password-stdin", input="another-horse\n")
    assert said == f"ada has another password. {HEARS}\n"
    assert installation.do(lambda txn: namespace.password_hash(txn, installation.ada)) != before
    assert installation.do(lambda txn: session.find(txn, secret)) is None
    assert len(installation.recorded("user_change_password")) == 1


def test_disable_and_enable(installation: Installation) -> None:
    """A user is kept out, and let in again."""
    assert installation.user("disable", "ada") == f"ada is disabled. {HEARS}\n"
    assert not installation.find("ada").enabled
    assert installation.user("enable", "ada") == f"ada is enabled. {HEARS}\n"
    assert installation.find("ada").enabled
    assert [len(installation.recorded(kind)) for kind in ("user_disable", "user_enable")] == [1, 1]


def test_reset_second_factor(installation: Installation) -> None:
    """A second factor is removed; where there is none, that is said."""
    assert installation.user("reset-second-factor", "ada", status=1) == "ada has no second factor.\n"

    def protect(txn: Transaction) -> None:
        second_factor.begin(txn, installation.ada, "sealed")
        found = second_factor.find(txn, installation.ada)
        assert found is not None and second_factor.confirm(txn, found, 1)

    installation.do(protect)
    assert installation.user("list") == "ada\tada@example.org\tsecond factor\n"
    installation.user("reset-second-factor", "ada")
    assert not installation.do(lambda txn: second_factor.is_confirmed(txn, installation.ada))
    assert len(installation.recorded("user_change_second_factor")) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["user", "disable"],
        ["user", "enable"],
        ["user", "password", "--password-stdin"],
        ["user", "reset-second-factor"],
        ["token", "list"],
        ["token", "create", "--app"],
    ],
)
@pytest.mark.parametrize("name", ["nobody", "company", "company+bot", "", "A\x1b[2J"])
def test_nobody(installation: Installation, arguments: list[str], name: str) -> None:
    """Whoever is no user is not changed, and that is a failure in a sentence."""

    def others(txn: Transaction) -> None:
        company = namespace.create_organization(txn, "company", owner_id=installation.ada, time_machine_s=0)
        namespace.create_robot(txn, company.id, "bot")

    installation.do(others)
    said = installation.run(*arguments, name, input=PASSWORD, status=1).output
    assert said.startswith("There is no user '") and "\x1b" not in said


def test_api_token(installation: Installation) -> None:
    """A token of the API has the scopes that were asked for, and is printed alone, once."""
    secret = installation.token("create", "ada", "--scope", "repo:write", "--scope", "repo:read,user:read").strip()
    found = installation.do(lambda txn: credential.find(txn, "oauth", secret))
    assert (found.namespace.name, found.scope, found.expires_ms) == ("ada", "repo:read repo:write user:read", None)
    listed = installation.token("list", "ada")
    assert listed.split("\t")[:4] == [found.uuid, "oauth", "made by the quay command", found.scope]
    assert secret not in listed and listed.endswith("never\tnever\n")
    assert secret not in str(installation.recorded("create_oauth_api_token"))


def test_app_token(installation: Installation) -> None:
    """An app-specific token ends when it was said to."""
    secret = installation.token("create", "ada", "--app", "--expires", "30d", "--title", "a\nb").strip()
    found = installation.do(lambda txn: credential.find(txn, "app", secret))
    assert found.scope is None
    (created,) = installation.recorded("create_app_specific_token")
    assert found.expires_ms - created.performed_ms == 30 * 86_400_000
    assert "\ta b\t" in installation.token("list", "ada")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Say with --scope"),
        (["--scope", "everything"], "There is no scope 'everything'"),
        (["--app", "--scope", "repo:read"], "has no scopes"),
        (["--app", "--expires", "soon"], "is not a duration"),
    ],
)
def test_called_wrongly(installation: Installation, options: list[str], said: str) -> None:
    """A token of which nobody knows what it is for is not made."""
    assert said in installation.token("create", "ada", *options, status=2)
    assert installation.token("list", "ada") == ""


def test_revoke(installation: Installation) -> None:
    """A token is revoked by its uuid, if it is this user's."""
    installation.user("create", "bob", "--email", "bob@example.org", "--password-stdin", input=PASSWORD)
    secret = installation.token("create", "ada", "--app").strip()
    (uuid,) = (line.split("\t")[0] for line in installation.token("list", "ada").splitlines())
    installation.token("revoke", "bob", uuid, status=1)
    assert installation.do(lambda txn: credential.find(txn, "app", secret)) is not None
    assert installation.token("revoke", "ada", uuid) == f"The token is worthless now. {HEARS}\n"
    assert installation.do(lambda txn: credential.find(txn, "app", secret)) is None
    assert len(installation.recorded("revoke_app_specific_token")) == 1
    installation.token("revoke", "ada", uuid, status=1)


class Server:
    """As much of a core as its upkeep needs."""

    def __init__(self, installation: Installation, directory: Path) -> None:
        self.config = parse("FEATURE_GARBAGE_COLLECTION: false", {}, directory, data=str(directory))
        self.database = self
        self.stores = self.policy = None
        self.forgotten = 0
        self._installation = installation

    def read(self, work: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        done.callback(self._installation.do(work))
        return done

    def forget_all(self) -> None:
        self.forgotten += 1


def test_a_server_hears_of_it(installation: Installation, tmp_path: Path) -> None:
    """A server beside which somebody was disabled drops its caches, once."""
    core = Server(installation, tmp_path)
    upkeep = Upkeep(Clock(), core)  # type: ignore[arg-type]

    def collect() -> int:
        Deferred.fromCoroutine(upkeep.collect(None))  # type: ignore[arg-type]
        return core.forgotten

    assert collect() == 0
    installation.user("disable", "ada")
    assert FORGET in installation.do(garbage.positions)
    assert [collect(), collect()] == [1, 1]


def test_hash_is_of_now() -> None:
    """Passwords that are set by a command are hashed as those that are set by a server."""
    assert hashed(PASSWORD).startswith("$argon2id$")
