"""Another Quay taken over: its secrets, its people with all their oddities, and what is already here."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from twisted.trial.unittest import SynchronousTestCase

from quay.database import Transaction
from quay.database.predecessor import Predecessor, PredecessorUnfit
from quay.importing import Choice, Tally
from quay.importing.bringing import Bringer
from quay.importing.carrying import Room
from quay.importing.files import Files
from quay.importing.places import Places
from quay.importing.predecessor import Succession
from quay.importing.predecessor.images import QuayImages, Reading
from quay.importing.predecessor.machines import Machines
from quay.importing.predecessor.registrar import Registrar
from quay.importing.predecessor.secrets import Opener, Sealed
from quay.importing.predecessor.settings import Settings
from quay.importing.source import SourceError
from quay.model import namespace, permission, repository, team
from quay.oci.reference import RepositoryName
from tests.distribution import Image
from tests.other_quay import KEY, OtherQuay
from tests.unit.importing.house import ImportCase, Tidy

NOW = int(time.time() * 1000)
HOUR = 3_600_000


def sealed(key: bytes, value: str) -> str:
    return "v0$$" + base64.b64encode(b"n" * 13 + AESCCM(key).encrypt(b"n" * 13, value.encode(), None)).decode()


class SecretTests(SynchronousTestCase):
    """What Quay encrypts."""

    def test_keys_as_they_are_spelled(self) -> None:
        """A key is a number, a UUID or a text, and is repeated until it is long enough."""
        spelled = {
            str(int.from_bytes(b"\x12\x34\x56", "big")): b"\x12\x34\x56",
            KEY: bytes.fromhex(KEY.replace("-", "")),
            "some text": b"some text",
        }
        for text, key in spelled.items():
            self.assertEqual("token", Opener(text).open(sealed((key * 32)[:32], "token")))

    def test_another_key(self) -> None:
        """What was encrypted with another key, or is no such thing, is not opened."""
        for value in (sealed(b"x" * 32, "token"), "v0$$", "v0$$????", "v1$$AAAA", "token"):
            with self.assertRaises(Sealed):
                Opener("some text").open(value)


class SettingsTests(Tidy, SynchronousTestCase):
    """What its configuration says."""

    def settings(self, text: str, *storage: Path, database: str | None = None) -> Settings:
        file = Path(self.mktemp())
        file.write_text(text)
        return Settings.read(file, database, storage)

    def test_a_configuration(self) -> None:
        """Its database, its key and its directories; and otherwise, where somebody says so."""
        text = json.dumps(
            {
                "DB_URI": "postgresql://q:secret@db/quay",
                "DATABASE_SECRET_KEY": 42,
                "DISTRIBUTED_STORAGE_CONFIG": {
                    "default": ["LocalStorage", {"storage_path": "/datastorage"}],
                    "cloud": ["S3Storage", {"s3_bucket": "b"}],
                },
                "SUPER_USERS": ["ada"],
            }
        )
        found = self.settings(text)
        self.assertEqual(("42", (Path("/datastorage"),), {"ada"}), (found.key, found.storage, found.superusers))
        self.assertNotIn("secret", repr(found))
        elsewhere = self.settings(text, Path("/mnt/quay"), database="sqlite:////mnt/quay.db")
        self.assertEqual(((Path("/mnt/quay"),), "sqlite:////mnt/quay.db"), (elsewhere.storage, elsewhere.database))

    def test_what_is_missing(self) -> None:
        """Who has no database or no directory is told how to say where it is."""
        with self.assertRaisesRegex(SourceError, "--database"):
            self.settings("{}", Path("/mnt"))
        with self.assertRaisesRegex(SourceError, "--storage"):
            self.settings("DB_URI: sqlite:///x")
        with self.assertRaises(SourceError):
            self.settings("{{{")


class DatabaseTests(Tidy, SynchronousTestCase):
    """What is no database of a Quay."""

    def test_it_is_refused_in_a_sentence(self) -> None:
        """No file, another kind, other tables, garbage: each has its sentence, without a password."""
        empty = Path(self.mktemp())
        empty.write_bytes(b"")
        garbage = Path(self.mktemp())
        garbage.write_bytes(b"garbage" * 1000)
        for url, said in (
            ("sqlite:////nowhere/quay.db", "no database file"),
            ("mysql+pymysql://q:secret@db/quay", "MySQL"),
            (f"sqlite:///{empty}", "no table"),
            (f"sqlite:///{garbage}", "cannot be read"),
            ("postgresql://q:secret@127.0.0.1:1/quay", "cannot be read"),
            ("nonsense", "not the URL"),
        ):
            with self.assertRaisesRegex(PredecessorUnfit, said) as raised:
                Predecessor(url)
            self.assertNotIn("secret", str(raised.exception))


class SuccessionCase(ImportCase):
    """`other` is a Quay, which tests furnish, and `taken_over` brings what it has."""

    async def setUp(self) -> None:
        await super().setUp()
        place = self.directory / "other"
        place.mkdir()
        self.other = OtherQuay(f"sqlite:///{place / 'quay.db'}", place / "storage")
        self.addCleanup(self.other.close)

    async def taken_over(self, *, dry: bool = False, key: str | None = KEY) -> Tally:
        caller = self.caller()
        core, pool = self.core, self.core.threads.blobs
        quay = Predecessor(self.other.url)
        reading = Reading(quay, pool)
        images = QuayImages(
            reading, [self.other.storage], Files(pool, core.registry.blobs, core.registry.uploads), pool
        )
        places = Places(core.database, core.policy, core.bus, caller, anywhere=True)
        bringer = Bringer(images, core.registry, core.database, places, core.threads.cpu, Room(self.room), dry=dry)
        machines = Machines(caller, None if key is None else Opener(key))
        registrar = Registrar(caller, machines, frozenset({"ada"}))
        draft = core.notifications.draft
        try:
            return await Succession(reading, images, bringer, core.database, registrar, draft, NOW).run(Choice())
        finally:
            quay.close()

    async def look(self, question: Any, *args: Any) -> Any:
        return await self.core.database.read(question, *args)


class PeopleTests(SuccessionCase):
    """Accounts with all their oddities."""

    async def test_who_administered_administers(self) -> None:
        """An organization keeps its teams, whoever they are; where nobody was left, the importer administers."""
        ada = self.other.account("ada")
        acme = self.other.account("acme", organization=True)
        self.other.team(acme, "chiefs", "admin", ada)
        orphan = self.other.account("orphan", organization=True)
        self.other.team(orphan, "devs", "member", ada)
        tally = await self.taken_over()

        def look(txn: Transaction) -> Any:
            found = {name: namespace.find(txn, name) for name in ("ada", "acme", "orphan", "boss")}
            teams = {one.name for one in team.of_organization(txn, found["acme"].id)}  # type: ignore[union-attr]
            assert found["ada"] is not None and found["ada"].superuser
            assert permission.administers(txn, found["acme"].id, found["ada"].id)  # type: ignore[union-attr]
            assert permission.administers(txn, found["orphan"].id, found["boss"].id)  # type: ignore[union-attr]
            return teams

        self.assertEqual({"chiefs"}, await self.look(look))
        self.assertTrue(any("orphan" in note for note in tally.notes))
        self.assertEqual(0, tally.troubles)

    async def test_names_that_clash(self) -> None:
        """Who is something else here does not come, with all that is his; nobody gets the e-mail of another."""
        await self.core.database.write(namespace.create_user, "acme", email="ada@example.org", time_machine_s=3600)
        acme = self.other.account("acme", organization=True)
        self.other.repository(acme, "app")
        self.other.account("ada")
        self.other.account("Capital")
        tally = await self.taken_over()
        self.assertEqual(2, tally.troubles)
        self.assertRegex(tally.problems[1].what, "acme with all repositories")
        ada = await self.look(namespace.find, "ada")
        self.assertIsNone(ada.email)
        self.assertEqual([], await self.rows("SELECT id FROM repository"))

    async def test_a_wrong_key(self) -> None:
        """With another key, robots come without their tokens, and each is told."""
        self.other.account("ada")
        self.other.robot("ada+ci", "T" * 64)
        tally = await self.taken_over(key="another")
        self.assertEqual((1, 1), (tally.made["robots"], tally.troubles))
        self.assertEqual([], await self.rows("SELECT id FROM credential"))

    async def test_what_is_disabled_comes_so(self) -> None:
        """Who was kept out there is kept out here, with all that is his; and a second time, too."""
        ada = self.other.account("ada", enabled=False)
        acme = self.other.account("acme", organization=True, enabled=False)
        self.other.team(acme, "owners", "admin", ada)
        sealed = self.other.encrypted("S" * 40)
        about = {"redirect_uri": "", "application_uri": "", "name": "shop", "description": ""}
        self.other.add("oauthapplication", client_id="C", secure_client_secret=sealed, organization_id=acme, **about)
        for made in (1, 0):
            tally = await self.taken_over()
            self.assertEqual((made, 0), (tally.made["applications"], tally.troubles), tally.problems)
        found = await self.look(namespace.find, "acme")
        self.assertFalse(found.enabled)

    async def test_a_token_that_somebody_has(self) -> None:
        """A robot whose token another one has here, after a renaming, say, comes without it."""
        self.other.account("ada")
        self.other.robot("ada+ci", "T" * 64)
        await self.taken_over()
        await self.core.database.write(
            lambda txn: txn.execute(sa.text("UPDATE namespace SET name = 'ada+old' WHERE name = 'ada+ci'"))
        )
        tally = await self.taken_over()
        self.assertEqual(["the token of ada+ci"], [problem.what for problem in tally.problems])

    async def test_a_member_who_cannot_be(self) -> None:
        """A robot of others in a team is told, and the other members come."""
        ada = self.other.account("ada")
        stranger = self.other.robot("ada+ci", "T" * 64)
        acme = self.other.account("acme", organization=True)
        self.other.team(acme, "owners", "admin", ada)
        self.other.team(acme, "devs", "member", stranger, ada)
        tally = await self.taken_over()
        self.assertEqual(["ada+ci in the team devs of acme"], [problem.what for problem in tally.problems])
        self.assertEqual(3, len(await self.rows("SELECT * FROM team_member")) + 1)

    async def test_who_is_leaving_does_not_come(self) -> None:
        """Accounts and repositories that are being deleted there are not made here."""
        gone = self.other.account("gone")
        self.other.add("deletednamespace", namespace_id=gone, original_username="x")
        await self.taken_over()
        self.assertIsNone(await self.look(namespace.find, "gone"))


class ContentTests(SuccessionCase):
    """Repositories and images."""

    async def test_a_dry_run_changes_nothing(self) -> None:
        """What would come is counted; nothing is made."""
        ada = self.other.account("ada")
        app = self.other.repository(ada, "app")
        self.other.tag(app, "1", self.other.image(app, Image.made("one")), NOW - HOUR)
        tally = await self.taken_over(dry=True)
        self.assertEqual((1, 4, 0), (tally.tags, tally.blobs, tally.troubles))
        self.assertIsNone(await self.look(namespace.find, "ada"))

    async def test_default_permissions_come_after_repositories(self) -> None:
        """What was granted is granted, and nothing more: not what new repositories would be given."""
        ada, bob = self.other.account("ada"), self.other.account("bob")
        acme = self.other.account("acme", organization=True)
        self.other.team(acme, "owners", "admin", ada)
        self.other.add("permissionprototype", org_id=acme, uuid="x", delegate_user_id=bob, role_="admin")
        self.other.repository(acme, "app")
        tally = await self.taken_over()
        self.assertEqual(1, tally.made["default permissions"])

        def roles(txn: Transaction) -> Any:
            found = repository.find(txn, RepositoryName("acme", "app"))
            user = namespace.find(txn, "bob")
            assert found is not None and user is not None
            return permission.roles(txn, found, user.id)

        self.assertEqual([], await self.look(roles))

    async def test_what_is_broken_keeps_nothing_else(self) -> None:
        """A blob that is gone, a manifest that is none: their tags do not come, and each is named."""
        ada = self.other.account("ada")
        app = self.other.repository(ada, "app")
        whole, broken = Image.made("whole"), Image.made("broken")
        self.other.tag(app, "whole", self.other.image(app, whole), NOW - HOUR)
        self.other.tag(app, "broken", self.other.image(app, broken), NOW - HOUR)
        media_type = "application/vnd.oci.image.manifest.v1+json"
        self.other.tag(app, "none", self.other.manifest(app, b"{}", media_type), NOW - HOUR)
        lost = next(path for path in self.other.storage.rglob("*") if path.is_file() and _is(path, broken.layers[0]))
        lost.unlink()
        tally = await self.taken_over()
        self.assertIsNotNone(await self.tag("ada/app", "whole"))
        self.assertIsNone(await self.tag("ada/app", "broken"))
        told = {problem.what for problem in tally.problems}
        self.assertTrue({"ada/app:broken", "ada/app:none"} <= told, told)

    async def test_a_mirror(self) -> None:
        """A mirror comes closed, for its robot alone, and it is said that it is not filled any more."""
        ada = self.other.account("ada")
        robot = self.other.robot("ada+mirror", "T" * 64)
        app = self.other.repository(ada, "app", state=2)
        self.other.add("repomirrorconfig", repository_id=app, internal_robot_id=robot, external_reference="x.example/a")
        tally = await self.taken_over()
        [row] = await self.rows("SELECT state, mirror_robot_id FROM repository")
        self.assertEqual("mirror", row.state)
        self.assertIsNotNone(row.mirror_robot_id)
        self.assertTrue(any("x.example/a" in note for note in tally.notes))


def _is(path: Path, data: bytes) -> bool:
    return path.read_bytes() == data
