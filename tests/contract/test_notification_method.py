"""What every method of notification does: one contract, with a real receiver for those that call one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from quay.database import Database, Transaction
from quay.database.engines import sqlite
from quay.egress import Egress, Policy
from quay.egress.mail import Mail, Server
from quay.interfaces import INotice, INotificationMethod
from quay.model import bell, namespace, permission, repository
from quay.model.notification import NotificationInvalid
from quay.notifications.methods import TAGS, Bell, Email, Memory, NotDelivered, Slack, Webhook
from quay.notifications.notice import EVENTS, Notice, Place, notice, sample
from quay.oci.reference import RepositoryName
from quay.threads import ImmediatePool
from tests.mailserver import PASSWORD, USERNAME, MailServer
from tests.receiver import Receiver
from tests.unit.egress.test_egress import certificate

SECRET = b"s3cr3t-key"
PLACE = Place("registry.example", "https://registry.example")
LOOPBACK = Policy(networks=(ipaddress.ip_network("127.0.0.0/8"),))


class MethodContract:
    """Mixed into a TestCase that makes `self.method`, and says what a good configuration is and what is none."""

    method: Any
    good: dict[str, Any]
    bad: tuple[dict[str, Any], ...]
    repository_id = 1

    def told(self) -> int:
        """How often somebody has been told."""
        raise NotImplementedError

    def break_down(self) -> None:
        """From now on, nobody can be told."""
        raise NotImplementedError

    def notice(self, event: str = "repo_push") -> Notice:
        place = repository.Repository(
            id=self.repository_id,
            namespace_id=1,
            name=RepositoryName("devtable", "simple"),
            kind="image",
            state="normal",
            public=False,
            trust_enabled=False,
            mirror_robot_id=None,
            namespace_enabled=True,
            time_machine_s=0,
        )
        return notice("uuid-1", event, place, PLACE, sample(event))

    async def test_interface(self) -> None:
        """It provides `INotificationMethod`, and what it is given provides `INotice`."""
        verifyObject(INotificationMethod, self.method)
        verifyObject(INotice, self.notice())

    async def test_check(self) -> None:
        """A good configuration is kept, without what means nothing to the method."""
        assert await self.method.check(self.repository_id, self.good | {"extra": "x" * 1000}) == self.good

    async def test_bad_configurations(self) -> None:
        """A configuration with which nobody could be told is refused with a sentence."""
        for config in ({}, *self.bad):
            try:
                await self.method.check(self.repository_id, config)
            except NotificationInvalid as refused:
                assert str(refused).endswith("."), refused
            else:
                raise AssertionError(f"{config} was taken")

    async def test_deliver(self) -> None:
        """Each event is told once, and the outcome shows no secret."""
        for number, event in enumerate(EVENTS, 1):
            outcome = await self.method.deliver(self.notice(event), self.good, SECRET)
            assert self.told() == number
            assert outcome.endswith(".")
            assert "s3cr3t" not in outcome

    async def test_not_delivered(self) -> None:
        """What cannot be told fails with a sentence that shows no secret."""
        self.break_down()
        try:
            await self.method.deliver(self.notice(), self.good, SECRET)
        except NotDelivered as failed:
            assert str(failed).endswith(".")
            assert "s3cr3t" not in str(failed)
        else:
            raise AssertionError("this was delivered")


class MemoryTests(MethodContract, TestCase):
    good = {"to": "whom"}
    bad = ()

    def setUp(self) -> None:
        self.method = Memory()

    def told(self) -> int:
        return len(self.method.delivered)

    def break_down(self) -> None:
        self.method.fails = "Nobody is there."


class ReceiverCase(TestCase):
    """Somebody who listens."""

    timeout = 20

    def setUp(self) -> None:
        self.receiver = Receiver()
        self.receiver.__enter__()
        self.addCleanup(self.receiver.__exit__, None, None, None)
        self.egress = Egress(reactor, LOOPBACK)
        self.good = {"url": f"{self.receiver.url}/s3cr3t"}

    def told(self) -> int:
        return len(self.receiver.received)

    def break_down(self) -> None:
        self.receiver.statuses = [500]


URLS = tuple(
    {"url": url}
    for url in ("", "hooks.example", "ftp://x/", "http://10.0.0.1/", "http://[::1]/", "http://0/", "http://u:p@x/", 7)
)


class WebhookTests(ReceiverCase, MethodContract):
    bad = (*URLS, {"url": "http://hooks.example/", "template": "{}"})

    def setUp(self) -> None:
        super().setUp()
        self.method = Webhook(self.egress, lambda: 1_700_000_000.9)

    async def test_payload(self) -> None:
        """The payload has Quay's members, those of every event and those of this one."""
        await self.method.deliver(self.notice(), self.good, SECRET)
        sent = self.receiver.received[0]
        assert sent.path == "/s3cr3t"
        assert sent.headers["content-type"] == "application/json"
        assert sent.headers["x-quay-event"] == "repo_push"
        assert sent.json == {
            "repository": "devtable/simple",
            "namespace": "devtable",
            "name": "simple",
            "docker_url": "registry.example/devtable/simple",
            "homepage": "https://registry.example/repository/devtable/simple",
            "visibility": "private",
            "updated_tags": ["latest", "foobar"],
        }

    async def test_signature(self) -> None:
        """A receiver that knows the secret can verify who sent it, and when, as Standard Webhooks says."""
        await self.method.deliver(self.notice(), self.good, SECRET)
        sent = self.receiver.received[0]
        assert sent.headers["webhook-id"] == "uuid-1"
        assert sent.headers["webhook-timestamp"] == "1700000000"
        signed = b"uuid-1.1700000000." + sent.body
        expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
        assert sent.headers["webhook-signature"] == f"v1,{expected}"

    async def test_statuses(self) -> None:
        """Anything but a success is a failure, a redirect too, which is not followed."""
        for status in (204, 201):
            self.receiver.statuses = [status]
            assert str(status) in await self.method.deliver(self.notice(), self.good, SECRET)
        for status in (301, 302, 307, 400, 410, 503):
            self.receiver.statuses = [status]
            with self.assertRaises(NotDelivered):
                await self.method.deliver(self.notice(), self.good, SECRET)
        assert self.told() == 8

    async def test_nobody_there(self) -> None:
        """A receiver that is not there is a failure."""
        with self.assertRaises(NotDelivered):
            await self.method.deliver(self.notice(), {"url": "http://127.0.0.1:1/"}, SECRET)

    async def test_closed_meanwhile(self) -> None:
        """A network that has been closed since the creation is not called."""
        closed = Webhook(Egress(reactor, Policy()), lambda: 0.0)
        with self.assertRaises(NotDelivered):
            await closed.deliver(self.notice(), self.good, SECRET)
        assert self.told() == 0


class SlackTests(ReceiverCase, MethodContract):
    bad = URLS

    def setUp(self) -> None:
        super().setUp()
        self.method = Slack(self.egress)

    async def test_message(self) -> None:
        """The message links to the repository and has the form of Slack's incoming webhooks."""
        await self.method.deliver(self.notice(), self.good, b"")
        sent = self.receiver.received[0]
        (attachment,) = sent.json["attachments"]
        assert sent.json["text"] == ""
        assert attachment == {
            "fallback": "Repository devtable/simple was pushed to (latest, foobar)",
            "text": "Repository <https://registry.example/repository/devtable/simple|devtable/simple> was pushed to "
            "(latest, foobar)",
            "color": "#4C99D5",
            "mrkdwn_in": ["text"],
        }
        assert "webhook-signature" not in sent.headers


class PeopleCase(TestCase):
    """A private repository, those who may pull from it, and others."""

    timeout = 20

    @pytest.fixture(autouse=True)
    def _template(self, sqlite_template: Path) -> None:
        self.template = sqlite_template

    def setUp(self) -> None:
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        path = shutil.copy(self.template, directory / "quay.sqlite")
        self.database = Database(reactor, sqlite(str(path)), ImmediatePool(), ImmediatePool())
        self.addCleanup(self.database.stop)
        self.repository_id, self.reader_id = self.successResultOf(self.database.write(self.populate))

    @staticmethod
    def populate(txn: Transaction) -> tuple[int, int]:
        """Of those who may pull, `reader` has an address that is known to be his, `careless` one that is not."""

        def user(name: str, verified: bool = True) -> int:
            made = namespace.create_user(txn, name, email=f"{name}@x.example", time_machine_s=0, verified=verified)
            return made.id

        devtable, reader, careless, _ = (
            user("devtable"),
            user("reader"),
            user("careless", verified=False),
            user("stranger"),
        )
        namespace.create_organization(txn, "elsewhere", owner_id=reader, email="elsewhere@x.example", time_machine_s=0)
        name = RepositoryName("devtable", "simple")
        made = repository.create(txn, name, namespace_id=devtable, creator_id=None, public=False)
        for one in (reader, careless):
            permission.grant(txn, made.id, grantee_id=one, role=permission.Role.READ)
        return made.id, reader

    def break_down(self) -> None:
        """Its right to pull is taken away: he is not told of a private repository any more."""
        self.successResultOf(self.database.write(permission.revoke, self.repository_id, grantee_id=self.reader_id))


class BellTests(PeopleCase, MethodContract):
    good = {"target": {"kind": "user", "name": "reader"}}
    bad = tuple(
        {"target": target}
        for target in (
            None,
            "reader",
            {},
            {"kind": "user"},
            {"kind": "moon", "name": "reader"},
            {"kind": "user", "name": 7},
            {"kind": "user", "name": "stranger"},
            {"kind": "user", "name": "nobody"},
            {"kind": "org", "name": "reader"},
            {"kind": "team", "name": "owners"},
        )
    )

    def setUp(self) -> None:
        super().setUp()
        self.method = Bell(self.database)

    def rung(self) -> list[bell.Bell]:
        found: list[bell.Bell] = self.successResultOf(self.database.read(bell.page, self.reader_id, limit=100))
        return found

    def told(self) -> int:
        return len(self.rung())

    async def test_bell(self) -> None:
        """The bell is of the kind of the event, and has its payload."""
        await self.method.deliver(self.notice(), self.good, b"")
        (rung,) = self.rung()
        assert (rung.kind, rung.details) == ("repo_push", dict(self.notice().payload))


class EmailTests(PeopleCase, MethodContract):
    good = {"email": "reader@x.example"}
    bad = tuple(
        {"email": email}
        for email in (
            None,
            7,
            "",
            "reader",
            "Reader <reader@x.example>",
            "nobody@x.example",
            "stranger@x.example",
            "careless@x.example",
            "elsewhere@x.example",
            "reader@x.example,stranger@x.example",
            "reader@x.example\r\nBcc: stranger@x.example",
        )
    )

    def setUp(self) -> None:
        super().setUp()
        known = certificate("localhost")
        self.server = MailServer(reactor, context=known.options(), login=True)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.server.stop()))
        trust = ssl.trustRootFromCertificates([known])
        sender = "Quay <quay@x.example>"
        port = self.server.port
        server = Server(host="localhost", port=port, tls=True, username=USERNAME, password=PASSWORD, sender=sender)
        self.method = Email(self.database, Mail(reactor, server, lambda: trust).send)

    def told(self) -> int:
        return len(self.server.letters)

    async def test_letter(self) -> None:
        """The letter says what happened, where, and where to see it, and is the same letter whenever it comes again."""
        await self.method.deliver(self.notice(), self.good, b"")
        (letter,) = self.server.letters
        assert (letter["To"], letter["From"]) == ("reader@x.example", "Quay <quay@x.example>")
        assert letter["Subject"] == "Repository devtable/simple was pushed to"
        assert letter["Message-ID"] == "<uuid-1@x.example>"
        assert letter.get_content() == (
            "Repository devtable/simple was pushed to.\n\n"
            "Tags: latest, foobar\n"
            "Repository: registry.example/devtable/simple\n"
            "See https://registry.example/repository/devtable/simple\n\n"
            "This letter comes because somebody who administers the repository has asked for it in its settings.\n"
        )

    async def test_owner(self) -> None:
        """Whoever the repository belongs to can be told, however the address is written."""
        assert await self.method.check(self.repository_id, {"email": "DevTable@x.example"})

    async def test_public(self) -> None:
        """That everybody may read a public repository does not bring everybody its letters."""
        self.successResultOf(self.database.write(repository.set_public, self.repository_id, True))
        with self.assertRaises(NotificationInvalid):
            await self.method.check(self.repository_id, {"email": "stranger@x.example"})

    async def test_disabled(self) -> None:
        """Who is kept out gets no letters."""
        self.successResultOf(self.database.write(namespace.set_enabled, self.reader_id, False))
        with self.assertRaises(NotDelivered):
            await self.method.deliver(self.notice(), self.good, b"")
        assert self.told() == 0

    async def test_organization(self) -> None:
        """An organization hears of its own repositories."""

        def own(txn: Transaction) -> int:
            owner = namespace.find(txn, "elsewhere")
            assert owner is not None
            name = RepositoryName("elsewhere", "simple")
            return repository.create(txn, name, namespace_id=owner.id, creator_id=None, public=False).id

        self.repository_id = self.successResultOf(self.database.write(own))
        await self.method.check(self.repository_id, {"email": "elsewhere@x.example"})
        await self.method.deliver(self.notice(), {"email": "elsewhere@x.example"}, b"")
        assert self.server.envelopes == [("quay@x.example", "elsewhere@x.example")]

    async def test_many_tags(self) -> None:
        """A letter stays short, however many tags there are."""
        payload = {**self.notice().payload, "updated_tags": ["t" * 128] * 10_000}
        told = Notice("uuid-1", "repo_push", self.repository_id, payload, "many")
        await self.method.deliver(told, self.good, b"")
        assert f"and {10_000 - TAGS} more" in self.server.letters[0].get_content()

    async def test_server_away(self) -> None:
        """A mail server that is away is a failure."""
        await self.server.stop()
        with self.assertRaises(NotDelivered) as caught:
            await self.method.deliver(self.notice(), self.good, b"")
        assert str(caught.exception) == "No connection to the mail server could be made."
