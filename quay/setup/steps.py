"""
The steps of a setup: each takes answers, tries them, does what can be done at once, and keeps them for the last one,
which writes the configuration. Everything here waits for disks and for other servers: call it in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import attrs

from quay import authority
from quay.auth.seals import Seals
from quay.authority import Unfit
from quay.config import Config
from quay.config.secrets import Vault
from quay.database import DatabaseUnavailable, Transaction, once
from quay.database.migrations import SchemaUnfit
from quay.files import write_whole
from quay.model import audit, founding, namespace
from quay.model.namespace import Namespace, NamespaceInvalid, NamespaceTaken
from quay.setup import checks
from quay.setup.answers import AnswersWrong, Keeping, Names, read_answers
from quay.setup.certificates import CertificateFiles
from quay.setup.checks import CheckFailed
from quay.setup.kept import Kept, Plain
from quay.setup.plan import Plan, plan

NAMES: Final = "names"
KEEPING: Final = "storage"
TESTED: Final = "tested"
SECRETS_OF_NAMES: Final = ("certificate", "key")


class Refused(Exception):
    """The answers of a step will not do; `problems` has a sentence for each reason. Nothing was changed."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@attrs.frozen
class Founder:
    """Who is to be the first administrator."""

    name: str
    email: str | None
    password_hash: str = attrs.field(repr=False)


def found(
    txn: Transaction, founder: Founder, config: Config, token: str | None = None, ip: str = ""
) -> Namespace | None:
    """
    Make the first administrator; None if there is one, or if `token` is not the right one: see `founding.claim`. Raises
    `NamespaceInvalid`, `NamespaceTaken`.
    """
    if not founding.claim(txn, super_users(config), token):
        return None
    made = namespace.create_user(
        txn,
        founder.name,
        email=founder.email,
        password_hash=founder.password_hash,
        superuser=True,
        time_machine_s=config.default_tag_expiration,
    )
    details = {"username": made.name, "email": made.email, "superuser": True, "auth": "setup"}
    audit.append(txn, [audit.Entry(kind="user_create", namespace_id=made.id, ip=ip, details=details)])
    return made


def super_users(config: Config) -> tuple[str, ...]:
    """Those whom the configuration calls administrators."""
    return config.super_users if config.super_users_allowed else ()


class Steps:
    """
    The setup of the installation that runs with `config`. `file` is its configuration file, which need not be there;
    `environ` what lies over it.
    """

    def __init__(
        self, config: Config, file: Path, environ: Mapping[str, str], vault: Seals, now: Callable[[], datetime]
    ) -> None:
        self.config = config
        self.file = file
        self.certificates = CertificateFiles(config.data)
        self._environ = environ
        self._kept = Kept(config.data, vault)
        self._now = now

    def answers(self) -> dict[str, Plain]:
        """What was answered so far, by step; passwords and all."""
        return self._kept.read()

    def name_it(self, plain: Plain) -> Names:
        """
        Take the names, and make or take the certificate. Raises `Refused`. The keys and certificates themselves are
        not kept among the answers: they are where the server finds them.
        """
        names = self.try_names(plain)
        try:
            self._certify(names)
        except Unfit as unfit:
            raise Refused(str(unfit)) from unfit
        self._kept.keep(NAMES, {key: value for key, value in plain.items() if key not in SECRETS_OF_NAMES})
        return names

    def try_names(self, plain: Plain) -> Names:
        """As `name_it`, and nothing is made. Raises `Refused`."""
        names: Names = self._read(Names, plain)
        bound = {endpoint.port for endpoint in (*self.config.listen, *self.config.plain_listen)}
        problems = tuple(checks.names(names, bound))
        if problems:
            raise Refused(*problems)
        return names

    def _certify(self, names: Names) -> None:
        now = self._now()
        if names.tls in ("own", "request"):
            self.certificates.make(names.called, now)
        if names.tls == "request":
            self.certificates.ask(names.called)
        if names.tls == "given":
            if names.certificate is None:
                self._stay_with_present(names)
                return
            key = None if names.key is None else names.key.reveal().encode()
            self.certificates.take(names.certificate.reveal().encode(), key, names.host, now)

    def _stay_with_present(self, names: Names) -> None:
        """The certificate was given before: it must do for these names, too. Raises `Unfit`."""
        present = self.certificates.current()
        if present is None:
            raise Unfit("There is no certificate yet: paste it, with those above it, and its key.")
        authority.check(present, names.host, self._now())

    def keep_it(self, plain: Plain) -> tuple[str, ...]:
        """Take where rows and blobs are to be, after trying it; gives what was found. Raises `Refused`."""
        remarks = self.try_keeping(plain)
        self._kept.keep(KEEPING, plain)
        self._kept.keep(TESTED, {"remarks": list(remarks)})
        return remarks

    def try_keeping(self, plain: Plain) -> tuple[str, ...]:
        """As `keep_it`, and nothing is kept. Raises `Refused`."""
        keeping = self._read(Keeping, plain)
        try:
            return checks.keeping(keeping, self.config.data).remarks
        except CheckFailed as failed:
            raise Refused(*failed.problems) from failed

    def plan(self) -> Plan:
        """What the answers come to. Raises `Refused` if there are not enough of them."""
        answers = self.answers()
        if NAMES not in answers:
            raise Refused("The names of the registry are missing: answer that first.")
        return self.planned(answers[NAMES], answers.get(KEEPING, {}))

    def planned(self, plain_names: Plain, plain_keeping: Plain) -> Plan:
        """What these answers would come to. Raises `Refused`."""
        names = self._read(Names, plain_names)
        keeping = self._read(Keeping, plain_keeping)
        try:
            return plan(self._present_text(), names, keeping, self._environ, self.config.data)
        except AnswersWrong as wrong:
            raise Refused(*wrong.problems) from wrong

    def finish(self, founder: Founder | None, *, in_use: bool) -> Plan:
        """
        Write the configuration, with the one before it beside it. Where that names another database, it is made ready
        first, and `founder` is its administrator too, unless it has one. Raises `Refused`: also where a registry that
        is `in_use` would be left behind.
        """
        made = self.plan()
        self.check_stays(made, in_use=in_use)
        if founder is not None and made.config.database_url != self.config.database_url:
            self._move(founder, made.config)
        try:
            before = self._present_text()
            if before is not None:
                write_whole(self.file.with_name(f"{self.file.name}.previous"), before.encode())
            write_whole(self.file, made.text.encode())
        except OSError as error:
            raise Refused(
                f"{self.file} cannot be written: {error.strerror}. Let the user of this server write it, or put the "
                "text below there yourself."
            ) from error
        self._kept.keep(KEEPING, {})  # it is in the file now, and with it the passwords
        return made

    def check_stays(self, made: Plan, *, in_use: bool) -> None:
        """Raises `Refused` if a registry that is `in_use` would begin anew somewhere else."""
        moves = made.config.database_url != self.config.database_url or made.config.storage != self.config.storage
        if in_use and moves:
            raise Refused(
                "There are repositories in this registry, which would not be in the other database or directory: leave "
                "both where they are, or set the new place up as a registry of its own."
            )

    def needs_restart(self, made: Plan) -> bool:
        """Whether the server runs with another configuration than the file now has."""
        return not made.changes and attrs.evolve(made.config, warnings=()) != attrs.evolve(self.config, warnings=())

    def _move(self, founder: Founder, config: Config) -> None:
        try:
            once(config.database_url, found, founder, config)
        except (DatabaseUnavailable, SchemaUnfit, NamespaceTaken, NamespaceInvalid) as error:
            raise Refused(f"The administrator cannot be made in the new database: {error}") from error

    def _present_text(self) -> str | None:
        try:
            return self.file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{self.file} cannot be read: {error}.") from error

    def _read(self, kind: type[Any], plain: Plain) -> Any:
        try:
            return read_answers(kind, plain, Vault(self._environ, self.config.data))
        except AnswersWrong as wrong:
            raise Refused(*wrong.problems) from wrong
