"""Notifications through the API, and what becomes of them: from a push over HTTP to a delivery, with every failure."""

import base64
import hashlib
import hmac
import json
from collections import deque

import attrs
import pytest
import sqlalchemy as sa
from twisted.internet.defer import CancelledError, Deferred, succeed

from quay.database.schema import delivery, work
from quay.database.schema import notification as table
from quay.notifications.methods import Webhook
from quay.notifications.postman import enqueue
from quay.testdata.images import image
from quay.worker import Budget
from tests.http.api.client import Client, audited
from tests.http.application import Repository, done

PATH = "/repository/devtable/simple/notification/"
URL = "http://hooks.example/s3cr3t"
WEBHOOK = {"event": "repo_push", "method": "webhook", "config": {"url": URL}, "eventConfig": {}}


@attrs.define
class Receiver:
    """In place of the outbound client: remembers what was sent, and answers with a status, or fails."""

    inner: object
    statuses: deque = attrs.Factory(lambda: deque([200]))
    sent: list = attrs.Factory(list)

    def check(self, url):
        return self.inner.check(url)

    async def request(self, method, url, *, headers, body, limit):
        self.sent.append((method, url, headers, body))
        status = self.statuses.popleft() if len(self.statuses) > 1 else self.statuses[0]
        if isinstance(status, Exception):
            raise status
        return attrs.make_class("Answer", ["status", "succeeded"])(status, 200 <= status < 300)


@pytest.fixture
def application(make_application):
    made = make_application()
    made.receiver = Receiver(made.core.egress)
    made.core.notifications._methods["webhook"]._egress = made.receiver
    return made


@pytest.fixture
def client(application):
    return Client(application, "devtable")


def run(application, seconds=0):
    """Let this time pass, and the worker work."""
    application.clock.advance(seconds)
    done(application.core.notifications.deliver(Budget(application.clock, 60)))


def push(application, *tags, repository="devtable/simple"):
    pushing = Repository(application, repository, ("devtable", "password"))
    for tag in tags:
        pushing.push(image(tag), tag)
    application.clock.advance(1)


def log_of(client, uuid):
    return client.get(f"{PATH}{uuid}/deliveries").json["deliveries"]


def create(client, **changes):
    answer = client.post(PATH, WEBHOOK | changes)
    assert answer.status == 201, answer
    return answer.json


class TestRecords:
    def test_create(self, client, application):
        """A notification is created with Quay's members, and its secret is shown this once."""
        made = create(client, title="Tell them")
        secret = made.pop("secret")
        assert secret.startswith("whsec_")
        assert made == {
            "uuid": made["uuid"],
            "title": "Tell them",
            "event": "repo_push",
            "method": "webhook",
            "config": {"url": URL},
            "event_config": {},
            "number_of_failures": 0,
        }
        assert client.get(f"{PATH}{made['uuid']}").json == made
        assert client.get(PATH).json == {"notifications": [made]}
        ((performer, details),) = audited(application, "add_repo_notification")
        assert performer == "devtable"
        assert details["notification_id"] == made["uuid"]
        assert (details["event"], details["method"], details["repo"]) == ("repo_push", "webhook", "simple")
        assert "s3cr3t" not in json.dumps(details)

    def test_delete(self, client, application):
        """What is deleted is gone, and that is on record; to delete it again is a bad request, as in Quay."""
        uuid = create(client)["uuid"]
        assert client.delete(f"{PATH}{uuid}").status == 204
        assert client.delete(f"{PATH}{uuid}").status == 400
        assert client.get(f"{PATH}{uuid}").status == 404
        assert len(audited(application, "delete_repo_notification")) == 1

    def test_unknown(self, client):
        """What is not there is 404, or 400 where Quay says so."""
        for suffix in ("nothing", "%00", "a" * 300):
            assert client.get(f"{PATH}{suffix}").status == 404
            assert client.post(f"{PATH}{suffix}/test").status == 404
            assert client.get(f"{PATH}{suffix}/deliveries").status == 404
        assert client.post(f"{PATH}nothing").status == 400
        assert client.delete(f"{PATH}nothing").status == 400

    def test_foreign_parent(self, client):
        """A notification is reached through its own repository only."""
        uuid = create(client)["uuid"]
        other = PATH.replace("simple", "complex")
        for call, suffix in ((client.get, ""), (client.get, "/deliveries"), (client.post, "/test")):
            assert call(f"{other}{uuid}{suffix}").status == 404
        assert client.post(f"{other}{uuid}").status == 400
        assert client.delete(f"{other}{uuid}").status == 400
        assert client.get(f"{PATH}{uuid}").status == 200

    def test_rights(self, application):
        """Only who administers the repository sees or changes anything, before anything is looked at."""
        for auth, status in ((None, 401), ("freshuser", 403), ("reader", 403)):
            other = Client(application, auth)
            path = PATH.replace("simple", "shared")
            for call, suffix in (
                (other.get, ""),
                (other.post, ""),
                (other.get, "x"),
                (other.post, "x"),
                (other.delete, "x"),
                (other.post, "x/test"),
                (other.get, "x/deliveries"),
            ):
                assert call(f"{path}{suffix}").status == status, (auth, suffix)

    @pytest.mark.parametrize(
        "changes",
        [
            {"event": "nothing"},
            {"event": 7},
            {"method": "pigeon"},
            {"method": "email", "config": {"email": "a@example.org"}},
            {"method": "flowdock", "config": {"flow_api_token": "x"}},
            {"method": "hipchat", "config": {}},
            {"config": {}},
            {"config": {"url": "http://127.0.0.1/"}},
            {"config": {"url": "http://169.254.169.254/latest/meta-data"}},
            {"config": {"url": "http://[::ffff:10.0.0.1]/"}},
            {"config": {"url": "file:///etc/passwd"}},
            {"config": {"url": ["http://hooks.example/"]}},
            {"config": []},
            {"config": {"url": URL, "template": "{}"}},
            {"method": "slack", "config": {"url": "https://user:password@hooks.example/"}},
            {"method": "quay_notification", "config": {"target": {"kind": "user", "name": "freshuser"}}},
            {"method": "quay_notification", "config": {"target": {"kind": "org", "name": "buynlarge"}}},
            {"title": "x" * 256},
            {"event": "repo_image_expiry"},
            {"event": "build_failure", "eventConfig": {"ref-regex": "("}},
            {"eventConfig": 7},
        ],
    )
    def test_refused(self, client, changes):
        """What nobody could be told by is refused with a sentence, and without what may be a secret."""
        answer = client.post(PATH, WEBHOOK | changes)
        assert answer.status == 400, answer
        assert answer.json["error_type"] == "invalid_request"
        assert "password" not in answer.json["detail"]
        assert client.get(PATH).json == {"notifications": []}

    @pytest.mark.parametrize("missing", ["event", "method", "config", "eventConfig"])
    def test_incomplete(self, client, missing):
        """All of Quay's required members are required."""
        assert client.post(PATH, {key: value for key, value in WEBHOOK.items() if key != missing}).status == 400

    def test_secret_is_sealed(self, client, application):
        """What signs is not readable in the database."""
        secret = base64.b64decode(create(client)["secret"].removeprefix("whsec_"))
        rows = application.read(lambda txn: txn.connection.exec_driver_sql("SELECT * FROM notification").all())
        assert len(secret) == 32
        assert secret.hex() not in repr(rows)
        assert base64.b64encode(secret).decode() not in repr(rows)


class TestDelivery:
    def test_push(self, client, application):
        """A push is told in a signed request, and the log of deliveries says so."""
        made = create(client)
        push(application, "latest")
        run(application)
        ((method, url, headers, body),) = application.receiver.sent
        assert (method, url) == ("POST", URL)
        assert json.loads(body) == {
            "repository": "devtable/simple",
            "namespace": "devtable",
            "name": "simple",
            "docker_url": "registry.test:5000/devtable/simple",
            "homepage": "http://registry.test:5000/repository/devtable/simple",
            "visibility": "private",
            "updated_tags": ["latest"],
        }
        key = base64.b64decode(made["secret"].removeprefix("whsec_"))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert int(headers["webhook-timestamp"]) == int(application.clock.seconds())
        (logged,) = log_of(client, made["uuid"])
        assert logged.pop("datetime").endswith("-0000")
        assert logged == {
            "event_uuid": headers["webhook-id"],
            "attempt": 1,
            "delivered": True,
            "outcome": "The receiver answered 200.",
            "took_ms": 0,
        }

    def test_several_tags(self, client, application):
        """Tags that are pushed one after the other are separate events; what is pushed by digest is none."""
        create(client)
        push(application, "one", "two", "three")
        run(application)
        told = [json.loads(body)["updated_tags"] for *_, body in application.receiver.sent]
        assert sorted(told) == [["one"], ["three"], ["two"]]
        assert len({headers["webhook-id"] for _, _, headers, _ in application.receiver.sent}) == 3

    def test_nobody_to_tell(self, client, application):
        """A push to a repository without notifications, or with some for other events, puts nothing into the queue."""
        create(client, event="build_failure")
        push(application, "latest")
        push(application, "latest", repository="devtable/complex")
        assert application.read(lambda txn: txn.execute(work.select()).all()) == []

    def test_failing_receiver(self, client, application):
        """A failing receiver is tried again, later and later, after three failures no more; the log says it."""
        uuid = create(client)["uuid"]
        application.receiver.statuses = deque([500])
        push(application, "latest")
        for seconds, sent in ((0, 1), (9, 1), (1, 2), (299, 2), (1, 3), (10_000, 3)):
            run(application, seconds)
            assert len(application.receiver.sent) == sent
        assert client.get(f"{PATH}{uuid}").json["number_of_failures"] == 3
        logged = log_of(client, uuid)
        assert [each["attempt"] for each in logged] == [3, 2, 1]
        assert {each["outcome"] for each in logged} == {"The receiver answered 500, and not 200."}
        assert len({each["event_uuid"] for each in logged}) == 1
        push(application, "more")
        run(application)
        assert len(application.receiver.sent) == 3

    def test_reset(self, client, application):
        """A notification that has ended goes on when it is reset, and that is on record."""
        uuid = create(client)["uuid"]
        application.receiver.statuses = deque([500, 500, 500, 200])
        push(application, "latest")
        for seconds in (0, 10, 300):
            run(application, seconds)
        assert client.post(f"{PATH}{uuid}").status == 204
        assert client.get(f"{PATH}{uuid}").json["number_of_failures"] == 0
        push(application, "more")
        run(application)
        assert log_of(client, uuid)[0]["delivered"]
        ((_, details),) = audited(application, "reset_repo_notification")
        assert details["notification_id"] == uuid

    def test_recovers(self, client, application):
        """A receiver that comes back is told what it missed, and its failures are forgotten."""
        uuid = create(client)["uuid"]
        application.receiver.statuses = deque([503, 200])
        push(application, "latest")
        run(application)
        run(application, 10)
        assert client.get(f"{PATH}{uuid}").json["number_of_failures"] == 0
        assert [each["delivered"] for each in log_of(client, uuid)] == [True, False]

    def test_test(self, client, application):
        """A test is sent at once and once, also when the notification has ended, with a payload that is made up."""
        uuid = create(client)["uuid"]
        application.receiver.statuses = deque([500])
        for _ in range(4):
            assert client.post(f"{PATH}{uuid}/test").json == {}
            run(application)
        assert client.get(f"{PATH}{uuid}").json["number_of_failures"] == 4
        assert [each["attempt"] for each in log_of(client, uuid)] == [1, 1, 1, 1]
        application.receiver.statuses = deque([200])
        client.post(f"{PATH}{uuid}/test")
        run(application)
        assert client.get(f"{PATH}{uuid}").json["number_of_failures"] == 0
        assert json.loads(application.receiver.sent[-1][3])["updated_tags"] == ["latest", "foobar"]

    def test_unforeseen(self, client, application):
        """A method that fails in a way nobody foresaw counts as a failure, and what it said is not shown."""
        uuid = create(client)["uuid"]
        application.receiver.statuses = deque([ValueError("s3cr3t")])
        push(application, "latest")
        run(application)
        (logged,) = log_of(client, uuid)
        assert (logged["delivered"], logged["outcome"]) == (False, "The registry failed; its log says why.")

    def test_deleted_meanwhile(self, client, application):
        """What was deleted before it was told is not told."""
        uuid = create(client)["uuid"]
        push(application, "latest")
        client.delete(f"{PATH}{uuid}")
        run(application)
        assert application.receiver.sent == []
        assert application.read(lambda txn: txn.execute(work.select()).all()) == []

    def test_gone_repository(self, client, application):
        """With its repository, everything goes."""
        create(client)
        push(application, "latest")
        assert client.delete("/repository/devtable/simple").status == 204
        run(application)
        assert application.receiver.sent == []

    def test_wakes(self, client, application):
        """Whoever delivers is woken as soon as there is something, for a push and for a test."""
        woken = []
        application.core.notifications.wake = lambda: woken.append(True)
        uuid = create(client)["uuid"]
        push(application, "latest")
        assert len(woken) == 1
        client.post(f"{PATH}{uuid}/test")
        assert len(woken) == 2

    def test_stopping(self, client, application):
        """What happened in the moment before a clean stop is in the queue."""
        create(client)
        Repository(application, "devtable/simple", ("devtable", "password")).push(image("x"), "latest")
        done(application.core.notifications.stopService())
        assert len(application.read(lambda txn: txn.execute(work.select()).all())) == 1

    def test_pages(self, client, application):
        """The log comes in pages, however long it is."""
        uuid = create(client)["uuid"]
        for _ in range(5):
            client.post(f"{PATH}{uuid}/test")
        run(application)
        first = client.get(f"{PATH}{uuid}/deliveries?limit=3").json
        rest = client.get(f"{PATH}{uuid}/deliveries?limit=3&next_page={first['next_page']}").json
        assert (len(first["deliveries"]), len(rest["deliveries"])) == (3, 2)
        assert "next_page" not in rest
        other = create(client)["uuid"]
        assert client.get(f"{PATH}{other}/deliveries?next_page={first['next_page']}").status == 400
        assert client.get(f"{PATH}{uuid}/deliveries?limit=101").status == 400

    def test_forgets(self, client, application):
        """Old attempts are forgotten after a month."""
        uuid = create(client)["uuid"]
        client.post(f"{PATH}{uuid}/test")
        run(application)
        for days, left in ((29, 1), (2, 0)):
            application.clock.advance(days * 86400)
            done(application.core.notifications.forget(Budget(application.clock, 60)))
            assert len(application.read(lambda txn: txn.execute(delivery.select()).all())) == left


class Slow:
    """A method that is still telling when the test looks."""

    signs = False

    def __init__(self):
        self.telling = []

    def check(self, repository_id, config):
        return succeed({})

    def deliver(self, notice, config, secret):
        self.telling.append(Deferred())
        return self.telling[-1]


class TestAtOnce:
    @pytest.fixture
    def slow(self, application, client):
        made = application.core.notifications._methods["slow"] = Slow()
        create(client, method="slow", config={})

        def queue_ten(txn):
            (target_id,) = txn.execute(sa.select(table.c.id)).scalars()
            for number in range(10):
                enqueue(txn, target_id, {"updated_tags": [str(number)]})

        application.write(queue_ten)
        return made

    def test_lanes(self, application, client, slow):
        """Several are told at once, and one that is slow holds up no other."""
        working = Deferred.fromCoroutine(application.core.notifications.deliver(Budget(application.clock, 60)))
        assert len(slow.telling) == 4
        for _ in range(6):
            slow.telling[-1].callback("Told.")
        assert len(slow.telling) == 10
        for each in (*slow.telling[:3], slow.telling[-1]):
            each.callback("Told.")
        done(working)
        assert application.read(lambda txn: txn.execute(work.select()).all()) == []

    def test_budget(self, application, client, slow):
        """When its time is over, it ends what it has begun and begins nothing more."""
        budget = Budget(application.clock, 60)
        working = Deferred.fromCoroutine(application.core.notifications.deliver(budget))
        budget.end()
        for each in list(slow.telling):
            each.callback("Told.")
        done(working)
        assert len(slow.telling) == 4

    def test_interrupted(self, application, client, slow):
        """What is interrupted by a stop counts as no attempt, and is there at once after the start."""
        working = Deferred.fromCoroutine(application.core.notifications.deliver(Budget(application.clock, 60)))
        working.cancel()
        with pytest.raises(CancelledError):
            done(working)
        rows = application.read(lambda txn: txn.execute(work.select()).all())
        assert [(row.attempts_left, row.claim) for row in rows] == [(3, None)] * 10
        assert all(row.available_ms <= application.clock.seconds() * 1000 for row in rows)
        assert application.read(lambda txn: txn.execute(delivery.select()).all()) == []

    def test_crash(self, application, client, slow):
        """What a server had begun when it died is told by the next one, a minute later."""
        working = Deferred.fromCoroutine(application.core.notifications.deliver(Budget(application.clock, 60)))
        working.addErrback(lambda _: None)
        for _ in range(6):
            slow.telling[-1].callback("Told.")
        application.core.notifications._methods["slow"] = other = Slow()
        for seconds, count in ((59, 0), (1, 4)):
            application.clock.advance(seconds)
            again = Deferred.fromCoroutine(application.core.notifications.deliver(Budget(application.clock, 60)))
            assert len(other.telling) == count
        for each in other.telling:
            each.callback("Told.")
        done(again)
        assert application.read(lambda txn: txn.execute(work.select()).all()) == []
        attempts = application.read(lambda txn: txn.execute(sa.select(delivery.c.attempt)).scalars().all())
        assert sorted(attempts) == [1] * 6 + [2] * 4
        working.cancel()


def test_real_methods(application):
    """What the API calls a method is the class of that method."""
    assert isinstance(application.core.notifications._methods["webhook"], Webhook)


class TestBell:
    def test_flow(self, client, application):
        """A push rings the bell of whom it was meant for; he sees it, dismisses it, and may take that back."""
        config = {"target": {"kind": "user", "name": "reader"}}
        path = PATH.replace("simple", "shared")
        answer = client.post(path, WEBHOOK | {"method": "quay_notification", "config": config})
        assert answer.status == 201
        assert "secret" not in answer.json
        push(application, "latest", repository="devtable/shared")
        run(application)
        reader = Client(application, "reader")
        heard = reader.get("/user/notifications").json
        assert heard["additional"] is False
        (rung,) = heard["notifications"]
        assert (rung["kind"], rung["organization"], rung["dismissed"]) == ("repo_push", None, False)
        assert rung["metadata"]["updated_tags"] == ["latest"]
        one = f"/user/notifications/{rung['id']}"
        assert reader.get(one).json == rung
        assert reader.put(one, {"dismissed": True}).json == rung | {"dismissed": True}
        assert reader.get("/user/notifications").json == {"notifications": [], "additional": False}
        assert reader.put(one, {"dismissed": False}).json == rung
        assert Client(application, "freshuser").get(one).status == 404
        assert Client(application, "freshuser").put(one, {"dismissed": True}).status == 404

    def test_pages(self, client, application):
        """The list comes in pages, of five unless asked otherwise."""
        config = {"target": {"kind": "user", "name": "devtable"}}
        made = create(client, method="quay_notification", config=config)
        for _ in range(7):
            client.post(f"{PATH}{made['uuid']}/test")
        run(application)
        first = client.get("/user/notifications").json
        second = client.get("/user/notifications?page=2").json
        assert (len(first["notifications"]), first["additional"]) == (5, True)
        assert (len(second["notifications"]), second["additional"]) == (2, False)
        assert client.get("/user/notifications?page=2&limit=3").json["additional"] is True
        assert client.get("/user/notifications?page=9999&limit=100").json["notifications"] == []
        for query in ("limit=0", "limit=101", "page=-1", "page=99999999", "page=x"):
            assert client.get(f"/user/notifications?{query}").status == 400, query

    def test_rights(self, application):
        """The bell is for people who are logged in."""
        for suffix in ("", "/x"):
            assert Client(application).get(f"/user/notifications{suffix}").status == 401
        assert Client(application).put("/user/notifications/x", {"dismissed": True}).status == 401
        assert Client(application, "reader").get("/user/notifications/nothing").status == 404


class TestEmail:
    EMAIL = WEBHOOK | {"method": "email", "config": {"email": "reader@example.com"}}
    SHARED = PATH.replace("simple", "shared")

    @pytest.fixture
    def letters(self):
        return []

    @pytest.fixture
    def application(self, make_application, letters):
        made = make_application(MAIL_SERVER="mail.example", MAIL_DEFAULT_SENDER="quay@example.com")

        async def send(to, subject, text, *, uuid):
            letters.append((to, subject, text, uuid))

        made.core.notifications._methods["email"]._send = send
        return made

    def test_flow(self, client, application, letters):
        """A push is told in a letter to whom it was meant for, and the log of deliveries says so."""
        answer = client.post(self.SHARED, self.EMAIL)
        assert (answer.status, answer.json["config"]) == (201, {"email": "reader@example.com"})
        assert "secret" not in answer.json
        push(application, "latest", repository="devtable/shared")
        run(application)
        ((to, subject, text, uuid),) = letters
        assert (to, subject) == ("reader@example.com", "Repository devtable/shared was pushed to")
        assert "Tags: latest\n" in text and "/repository/devtable/shared\n" in text
        (logged,) = client.get(f"{self.SHARED}{answer.json['uuid']}/deliveries").json["deliveries"]
        assert (logged["event_uuid"], logged["outcome"]) == (uuid, "The mail server took the letter.")

    @pytest.mark.parametrize("email", ["freshuser@example.com", "buynlarge@example.com", "x@example.org", "x", None])
    def test_refused(self, client, email):
        """Nobody who has nothing to do with the repository can be made to get letters."""
        answer = client.post(self.SHARED, self.EMAIL | {"config": {"email": email}})
        assert (answer.status, answer.json["error_type"]) == (400, "invalid_request")
        assert client.get(self.SHARED).json == {"notifications": []}

    def test_right_is_lost(self, client, application, letters):
        """Who has lost his right to the repository gets no letters about it any more."""
        uuid = client.post(self.SHARED, self.EMAIL).json["uuid"]
        assert client.delete("/repository/devtable/shared/permissions/user/reader").status == 204
        push(application, "latest", repository="devtable/shared")
        run(application)
        (logged,) = client.get(f"{self.SHARED}{uuid}/deliveries").json["deliveries"]
        assert not logged["delivered"] and "must be the verified address" in logged["outcome"]
        assert letters == []


def test_no_mail(client):
    """Where no letters are sent, that is said."""
    answer = client.post(PATH, TestEmail.EMAIL)
    assert (answer.status, "sends no e-mail" in answer.json["detail"]) == (400, True)
