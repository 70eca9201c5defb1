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
from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from quay.database import Database, Transaction
from quay.database.engines import sqlite
from quay.egress import Egress, Policy
from quay.interfaces import INotice, INotificationMethod
from quay.model import bell, namespace, permission, repository
from quay.model.notification import NotificationInvalid
from quay.notifications.methods import Bell, Memory, NotDelivered, Slack, Webhook
from quay.notifications.notice import EVENTS, Notice, Place, notice, sample
from quay.oci.reference import RepositoryName
from quay.threads import ImmediatePool
from tests.receiver import Receiver

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


class BellTests(MethodContract, TestCase):
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

    @pytest.fixture(autouse=True)
    def _template(self, sqlite_template: Path) -> None:
        self.template = sqlite_template

    def setUp(self) -> None:
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        path = shutil.copy(self.template, directory / "quay.sqlite")
        self.database = Database(reactor, sqlite(str(path)), ImmediatePool(), ImmediatePool())
        self.addCleanup(self.database.stop)
        self.method = Bell(self.database)
        self.repository_id, self.reader_id = self.successResultOf(self.database.write(self.populate))

    @staticmethod
    def populate(txn: Transaction) -> tuple[int, int]:
        """A private repository, somebody who may pull from it, and somebody who may not."""
        devtable, reader, _ = (
            namespace.create_user(txn, name, time_machine_s=0) for name in ("devtable", "reader", "stranger")
        )
        name = RepositoryName("devtable", "simple")
        made = repository.create(txn, name, namespace_id=devtable.id, creator_id=None, public=False)
        permission.grant(txn, made.id, grantee_id=reader.id, role=permission.Role.READ)
        return made.id, reader.id

    def rung(self) -> list[bell.Bell]:
        found: list[bell.Bell] = self.successResultOf(self.database.read(bell.page, self.reader_id, limit=100))
        return found

    def told(self) -> int:
        return len(self.rung())

    def break_down(self) -> None:
        """Its right to pull is taken away: he is not told of a private repository any more."""
        self.successResultOf(self.database.write(permission.revoke, self.repository_id, grantee_id=self.reader_id))

    async def test_bell(self) -> None:
        """The bell is of the kind of the event, and has its payload."""
        await self.method.deliver(self.notice(), self.good, b"")
        (rung,) = self.rung()
        assert (rung.kind, rung.details) == ("repo_push", dict(self.notice().payload))
