"""Jobs: asked for in the console or through the API, run by the worker, followed live, cancelled, taken up again."""

import json

import pytest
from twisted.internet.defer import Deferred

from quay.backups import Folder
from quay.model import job
from quay.service.backups import Backups
from quay.service.jobs import Jobs
from quay.storage import StorageFailed
from quay.web.console.jobs import MEANT
from quay.web.live import STREAMS
from quay.worker import Budget
from tests.http.api.client import Client, audited
from tests.http.console.visitor import Visitor


@pytest.fixture
def application(make_application):
    return make_application(SUPER_USERS=["devtable"])


@pytest.fixture
def admin(application):
    return Visitor(application, "devtable")


@pytest.fixture
def client(application):
    return Client(application, "devtable")


class Node:
    """A server that runs the jobs of a lane, until it is stopped or dies."""

    def __init__(self, application, lane="jobs"):
        self.application = application
        self.time = Budget(application.clock, 1e9)
        backups = Backups(application.clock, application.core, None)
        jobs = Jobs(application.clock, application.core, backups, lane)
        self.running = Deferred.fromCoroutine(jobs.run(self.time))
        self.running.addErrback(lambda failure: None)

    @property
    def idle(self):
        return self.running.called

    def until_idle(self):
        for _ in range(200):
            if self.idle:
                return
            self.application.clock.advance(0.5)
        raise AssertionError("the jobs go on and on")

    def stop(self):
        """As a worker does: no more time, and after a while it is cancelled."""
        self.time.end()
        self.until_idle()

    def die(self):
        """As a lease that is lost."""
        self.running.cancel()


def ask(client, kind):
    answer = client.post("/superuser/jobs/", {"kind": kind})
    assert answer.status == 201, answer
    return answer.json["uuid"]


def seen(client, uuid):
    return client.get(f"/superuser/jobs/{uuid}").json


# --- the API


def test_asked_for(application, client):
    """A job waits until the worker takes it up; that somebody asked for it is on record."""
    uuid = ask(client, "gc")
    assert seen(client, uuid)["state"] == "waiting"
    assert [one["uuid"] for one in client.get("/superuser/jobs/").json["jobs"]] == [uuid]
    Node(application).until_idle()
    found = seen(client, uuid)
    assert found["state"] == "done"
    assert found["log"].startswith("Garbage collection: begun for devtable.\n")
    assert "Removed: " in found["log"]
    assert found["finished"] is not None
    assert audited(application, "job_create") == [("devtable", {"job": uuid, "job_kind": "gc"})]


def test_refused(application, client):
    """Kinds that there are not, jobs that there are not, the same twice, and whoever may not."""
    assert client.post("/superuser/jobs/", {"kind": "import"}).status == 400
    assert client.get("/superuser/jobs/unknown").status == 404
    assert client.delete("/superuser/jobs/unknown").status == 404
    uuid = ask(client, "fsck")
    again = client.post("/superuser/jobs/", {"kind": "fsck"})
    assert (again.status, again.json["error_type"]) == (409, "conflict")
    for auth, status in ((None, 401), ("reader", 403)):
        other = Client(application, auth)
        assert other.post("/superuser/jobs/", {}).status == status
        assert other.get(f"/superuser/jobs/{uuid}").status == status
        assert other.delete(f"/superuser/jobs/{uuid}").status == status


def test_every_kind(make_application, tmp_path):
    """Each kind runs to its end, and says what it came to."""
    application = make_application(SUPER_USERS=["devtable"], BACKUP_DIRECTORY=str(tmp_path))
    client = Client(application, "devtable")
    application.repository().upload(b"x" * 1000)
    ends = {}
    for kind in MEANT:
        uuid = ask(client, kind)
        Node(application, job.lane_of(kind)).until_idle()
        found = seen(client, uuid)
        assert found["state"] == "done", found
        ends[kind] = (found["log"].splitlines()[-1], found["done"], found["total"])
    [backup] = Folder(tmp_path).complete()
    made, verified = ends.pop("backup"), ends.pop("verify")
    assert made[0].startswith(f"{backup}: ") and "1 blobs of 1000 bytes, of which 1000 were copied" in made[0]
    assert verified[0].startswith(f"{backup} is good: 1000 bytes")
    assert made[1:] == verified[1:] == (1000, 1000)
    assert ends == {
        "gc": ("Removed: 0 old tags, 0 manifests, 0 links, 0 blobs, 0 bytes.", 0, None),
        "fsck": ("0 problems, of which 0 were mended; 0 remain.", 2, 2),
        "repair": ("0 problems, of which 0 were mended; 0 remain.", 2, 2),
        "scrub": ("No blob has rotted.", 1000, 1000),
    }


def test_backups_need_a_directory(make_application, application, admin, client, tmp_path):
    """Where no directory for them is configured, backups are neither offered nor made."""
    assert client.post("/superuser/jobs/", {"kind": "backup"}).status == 409
    offered = [form.first("field.kind") for form in admin.open("/superuser/jobs/").forms]
    assert "gc" in offered and "backup" not in offered
    with_directory = make_application(SUPER_USERS=["devtable"], BACKUP_DIRECTORY=str(tmp_path))
    forms = Visitor(with_directory, "devtable").open("/superuser/jobs/").forms
    assert {"backup", "verify"} <= {form.first("field.kind") for form in forms}


def test_backups_have_a_lane_of_their_own(make_application, tmp_path):
    """A backup does not wait for a scrub that takes days."""
    application = make_application(SUPER_USERS=["devtable"], BACKUP_DIRECTORY=str(tmp_path))
    client = Client(application, "devtable")
    slow_blobs(application, 100)
    scrub, backup = ask(client, "scrub"), ask(client, "backup")
    scrubbing = Node(application)
    Node(application, "backups").until_idle()
    assert (seen(client, scrub)["state"], seen(client, backup)["state"]) == ("running", "done")
    scrubbing.until_idle()


def test_what_is_found(application, client):
    """What is wrong is in the log, and a repair mends it."""
    digest = application.repository().upload(b"gone")
    del application.blobs.blobs[digest]
    uuid = ask(client, "fsck")
    Node(application).until_idle()
    assert f"{digest} at default are missing" in seen(client, uuid)["log"]
    assert "1 remain" in seen(client, uuid)["log"]
    uuid = ask(client, "repair")
    Node(application).until_idle()
    assert "1 were mended; 0 remain" in seen(client, uuid)["log"]


def test_failed(application, client):
    """A job that fails says why, and the next one begins."""
    application.repository().upload(b"bytes")

    async def fails(digest):
        raise StorageFailed("default", "stat a blob", 5)

    application.blobs.stat = fails
    failing, following = ask(client, "fsck"), ask(client, "gc")
    Node(application).until_idle()
    found = seen(client, failing)
    assert found["state"] == "failed"
    assert "Failed: The storage location 'default' could not stat a blob" in found["log"]
    assert seen(client, following)["state"] == "done"


# --- cancelled, interrupted


def slow_blobs(application, count):
    """So many blobs of a megabyte each: a scrub reads fifty of them a second."""
    client = application.repository()
    for number in range(count):
        client.upload(bytes([number]) * 1_000_000)


def test_how_far(application, client):
    """While a job runs it is told how far it is, and how long it may still take."""
    slow_blobs(application, 200)
    uuid = ask(client, "scrub")
    node = Node(application)
    for _ in range(100):
        application.clock.advance(0.02)
    found = seen(client, uuid)
    assert found["state"] == "running"
    assert 0 < found["done"] < found["total"] == 200_000_000
    assert 1 < found["remaining_s"] < 6
    node.until_idle()
    assert seen(client, uuid)["done"] == 200_000_000


def test_cancelled_while_it_waits(application, client):
    """What waits does not begin; that it was cancelled is on record, once."""
    uuid = ask(client, "scrub")
    assert client.delete(f"/superuser/jobs/{uuid}").status == 204
    assert client.delete(f"/superuser/jobs/{uuid}").status == 204
    Node(application).until_idle()
    found = seen(client, uuid)
    assert (found["state"], found["started"]) == ("cancelled", None)
    assert audited(application, "job_cancel") == [("devtable", {"job": uuid, "job_kind": "scrub"})]


def test_cancelled_while_it_runs(application, client):
    """What runs stops soon, and says that it was cancelled."""
    slow_blobs(application, 100)
    uuid = ask(client, "scrub")
    node = Node(application)
    application.clock.advance(0.1)
    client.delete(f"/superuser/jobs/{uuid}")
    assert seen(client, uuid)["stopping"]
    node.until_idle()
    found = seen(client, uuid)
    assert found["state"] == "cancelled"
    assert found["log"].splitlines()[-1] == "Cancelled. What was done stays done."
    assert found["done"] < found["total"]


@pytest.mark.parametrize("end", [Node.stop, Node.die])
def test_taken_up_again(application, client, end):
    """A scrub goes on where it was when its server stopped, or lost its lease: no blob is read twice, none is left."""
    slow_blobs(application, 200)
    uuid = ask(client, "scrub")
    node = Node(application)
    for _ in range(100):
        application.clock.advance(0.02)
    end(node)
    found = seen(client, uuid)
    assert found["state"] == "running"
    read, opened = found["done"], application.blobs.open
    assert 0 < read < 200_000_000
    again = []
    application.blobs.open = lambda digest: again.append(digest) or opened(digest)
    Node(application).until_idle()
    found = seen(client, uuid)
    assert (found["state"], found["done"]) == ("done", 200_000_000)
    assert "it goes on from where it was" in found["log"]
    assert 0 < len(again) < 200
    assert abs(len(again) - (200 - read / 1_000_000)) <= 1


def test_begun_again(application, client):
    """What cannot go on begins again, and says so."""
    uuid = ask(client, "fsck")
    application.write(job.take_up)  # by a server that died at once
    Node(application).until_idle()
    found = seen(client, uuid)
    assert found["state"] == "done"
    assert "it begins again" in found["log"]


# --- the pages


def test_pages(application, admin):
    """A form asks for a job and leads to its page; that page cancels it; both list what it came to."""
    page = admin.send(admin.open("/superuser/jobs/").form("createJob", field__kind="scrub"))
    assert page.address.startswith("/superuser/jobs/")
    assert "Reading every blob again" in page.text
    assert "waiting" in page.text
    assert any("data-live" in known for _, known in page.elements)
    assert any(tag == "noscript" for tag, _ in page.elements)
    overview = admin.open("/superuser/jobs/")
    assert page.address in overview.links
    assert all(form.first("field.kind") != "scrub" for form in overview.forms)
    page = admin.send(page.form("cancelJob"))
    assert "cancelled" in page.text
    assert not page.has("cancelJob")
    assert all("data-live" not in known for _, known in page.elements)
    assert "cancelled" in admin.open("/superuser/jobs/").text


def test_nothing_in_a_log_is_an_element(application, admin, client):
    """Whatever a job says is text."""
    uuid = ask(client, "gc")
    said = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    application.write(job.progress, uuid, job.Progress(lines=[said]))
    page = admin.open(f"/superuser/jobs/{uuid}")
    assert said in page.text
    assert all("onerror" not in known for _, known in page.elements)


def test_no_such_job(admin):
    """There is no page of a job that there is not."""
    assert admin.open("/superuser/jobs/nosuch").status == 404


# --- live


class Stream:
    """An EventSource: what it was told, in order."""

    def __init__(self, application, visitor, uuid):
        self.connection = application.connect()
        cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
        self.connection.request("GET", f"/live/jobs/{uuid}", {"Cookie": cookie} if cookie else {})

    @property
    def raw(self):
        return self.connection.transport.value()

    @property
    def status(self):
        return int(self.raw.split()[1])

    @property
    def events(self):
        return [json.loads(line[6:]) for line in self.raw.split(b"\n") if line.startswith(b"data: ")]

    @property
    def ended(self):
        return self.raw.endswith(b"0\r\n\r\n")


def test_followed(application, admin, client):
    """A stream tells how far the job is, beats while nothing happens, and ends with it."""
    uuid = ask(client, "gc")
    stream = Stream(application, admin, uuid)
    assert stream.status == 200
    assert b"text/event-stream" in stream.raw
    for _ in range(20):
        application.clock.advance(1)
    assert b"\n:\n\n" in stream.raw
    assert [event["state"] for event in stream.events] == ["waiting"]
    Node(application).until_idle()
    application.clock.advance(1)
    assert stream.events[-1]["state"] == "done"
    assert "Removed" in stream.events[-1]["log"]
    assert stream.ended


def test_who_may_follow(application, admin, client):
    """Only the session of a superuser opens a stream, and only for a job that there is."""
    uuid = ask(client, "gc")
    assert Stream(application, Visitor(application), uuid).status == 401
    assert Stream(application, Visitor(application, "reader"), uuid).status == 403
    assert Stream(application, admin, "nosuch").status == 404
    token = application.request("GET", f"/live/jobs/{uuid}", auth=("devtable", "password"))
    assert token.status == 401
    assert application.request("GET", "/live/other/x").status == 404


def test_a_session_that_ends(application, admin, client):
    """Whoever signs out is told nothing more."""
    uuid = ask(client, "gc")
    stream = Stream(application, admin, uuid)
    admin.send(admin.open("/docs/").form("logout"))
    application.clock.advance(1)
    assert stream.ended
    assert len(stream.events) == 1


def test_there_is_an_end_to_streams(application, admin, client):
    """There are so many streams and no more; one that is left makes room."""
    uuid = ask(client, "gc")
    streams = [Stream(application, admin, uuid) for _ in range(STREAMS)]
    assert all(stream.status == 200 for stream in streams)
    assert Stream(application, admin, uuid).status == 503
    streams[0].connection.lose()
    assert Stream(application, admin, uuid).status == 200


def test_a_server_that_stops(application, admin, client):
    """A stream does not hold up the end of its server."""
    stream = Stream(application, admin, ask(client, "gc"))
    application.site.connections.retire()
    application.clock.advance(1)
    assert stream.ended
