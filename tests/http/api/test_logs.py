"""The audit log through the API: who may see which part of it, in pages, counted, and exported."""

import csv
import io
import json
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from quay.egress import Answer, EgressFailed
from quay.model import logs, namespace, repository
from quay.model.audit import Entry, append
from quay.oci.reference import RepositoryName
from quay.registry import logbook
from tests.http.api.client import Client, audited
from tests.http.application import NOW

DAY_MS = 24 * 3600 * 1000
NOW_MS = NOW * 1000
DAYS = "starttime=01/01/2020&endtime=12/31/2026"
AVATAR = {"name", "hash", "color", "kind"}


class Receiver:
    """In place of the other side of a callback: keeps what it is told."""

    def __init__(self):
        self.told = []
        self.status = 200
        self.failure = None

    async def request(self, method, url, *, headers, body, limit):
        self.told.append((method, url, headers, json.loads(body)))
        if self.failure is not None:
            raise self.failure
        return Answer(self.status, {}, b"")


@pytest.fixture
def application(make_application):
    made = make_application()
    made.clock.advance(10 * DAY_MS / 1000)
    made.receiver = Receiver()
    made.core.egress.request = made.receiver.request
    return made


@pytest.fixture
def devtable(application):
    return Client(application, "devtable")


def record(application, repo="devtable/simple", **more):
    """An entry about the repository, now; or about its namespace, or nothing."""

    def work(txn):
        found = repository.find(txn, RepositoryName.parse(repo)) if "/" in repo else None
        owner = namespace.find(txn, repo.partition("/")[0])
        by = namespace.find(txn, more.get("performer", "devtable"))
        made = {
            "kind": "pull_repo",
            "namespace_id": owner and owner.id,
            "repository_id": found and found.id,
            "performer_id": by and by.id,
            "performer": "devtable",
            "ip": "192.0.2.1",
        }
        append(txn, [Entry(**made | more)])

    application.write(work)


def numbers(answer):
    assert answer.status == 200, answer
    return [entry["metadata"]["number"] for entry in answer.json["logs"]]


def all_numbers(client, path):
    """Of all pages."""
    answer = client.get(path)
    seen = numbers(answer)
    while "next_page" in answer.json:
        joined = "&" if "?" in path else "?"
        answer = client.get(f"{path}{joined}next_page={answer.json['next_page']}")
        seen += numbers(answer)
    return seen


def test_an_entry(application, devtable):
    """An entry says what was done, by whom, whence and when, in Quay's shape."""
    record(application, details={"repo": "simple", "tag": "latest"})
    answer = devtable.get("/repository/devtable/simple/logs").json
    [entry] = answer["logs"]
    picture = entry["performer"].pop("avatar")
    assert entry == {
        "kind": "pull_repo",
        "metadata": {"repo": "simple", "tag": "latest"},
        "ip": "192.0.2.1",
        "datetime": answer["end_time"],
        "performer": {"kind": "user", "name": "devtable", "is_robot": False},
    }
    assert set(picture) == AVATAR and picture["kind"] == "user"
    now = application.clock.seconds()
    assert answer["end_time"] == format_datetime(datetime.fromtimestamp(now, UTC)).replace("+0000", "-0000")


def test_robots_and_nobody(application, devtable):
    """A robot is called one, and where nobody in particular did it there is no performer."""
    record(application, performer="devtable+dtrobot")
    record(application, performer="", performer_id=None)
    nobody, robot = devtable.get("/repository/devtable/simple/logs").json["logs"]
    assert nobody["performer"] is None
    assert (robot["performer"]["is_robot"], robot["performer"]["avatar"]["kind"]) == (True, "robot")


def test_parts(application, devtable):
    """A repository, an account and an organization have what was done there, and superusers see all, with its place."""
    record(application, details={"number": 1})
    record(application, "devtable", details={"number": 2})
    record(application, "buynlarge/orgrepo", details={"number": 3})
    record(application, "buynlarge", details={"number": 4})
    record(application, "public/publicrepo", details={"number": 5})
    assert numbers(devtable.get("/repository/devtable/simple/logs")) == [1]
    assert numbers(devtable.get("/user/logs")) == [2, 1]
    assert numbers(devtable.get("/organization/buynlarge/logs")) == [4, 3]
    everything = devtable.get("/superuser/logs")
    assert numbers(everything) == [5, 4, 3, 2, 1]
    places = [(entry["namespace"]["kind"], entry["namespace"]["name"]) for entry in everything.json["logs"]]
    assert places == [("user", "public"), ("org", "buynlarge"), ("org", "buynlarge"), *[("user", "devtable")] * 2]


@pytest.mark.parametrize("what", ["logs", "aggregatelogs"])
def test_who_may(application, what):
    """Only who administers a repository or an organization sees its log; his own, everybody; all of it, superusers."""
    for path, expected in {
        f"/repository/devtable/shared/{what}": (401, 403, 403, 200),
        f"/repository/buynlarge/orgrepo/{what}": (401, 403, 403, 200),
        f"/repository/public/publicrepo/{what}": (401, 403, 403, 403),
        f"/organization/buynlarge/{what}": (401, 403, 403, 200),
        f"/user/{what}": (401, 200, 200, 200),
        f"/superuser/{what}": (401, 403, 403, 200),
    }.items():
        callers = (None, "freshuser", "reader", "devtable")
        assert tuple(Client(application, caller).get(path).status for caller in callers) == expected, path


def test_pages(application, devtable):
    """The pages of a list put together are all of it; a token is good for its own list only."""
    for number in range(50):
        record(application, details={"number": number})
    path = "/repository/devtable/simple/logs"
    assert all_numbers(devtable, path) == list(range(49, -1, -1))
    token = devtable.get(path).json["next_page"]
    for other in ("/repository/devtable/complex/logs?", "/user/logs?", "/superuser/logs?"):
        assert devtable.get(f"{other}next_page={token}").status == 400, other
    assert devtable.get(f"{path}?next_page=x").status == 400


def test_a_page_keeps_its_range(application, devtable):
    """The range of the first page is that of all pages, however long somebody reads, and whatever he asks for."""
    for number in range(30):
        record(application, details={"number": number})
    first = devtable.get("/user/logs").json
    application.clock.advance(20 * 3600)
    second = devtable.get(f"/user/logs?{DAYS}&next_page={first['next_page']}").json
    assert (second["start_time"], second["end_time"], len(second["logs"])) == (
        first["start_time"],
        first["end_time"],
        10,
    )


def test_days(application, devtable):
    """By default the last day is shown; a range of days has its last day."""
    now = application.clock.seconds() * 1000
    for days in range(4):
        record(application, details={"number": days}, performed_ms=int(now) - days * DAY_MS)

    def day(ago):
        return f"{datetime.fromtimestamp(now / 1000 - ago * 86400, UTC):%m/%d/%Y}"

    path = "/repository/devtable/simple/logs"
    application.clock.advance(1)
    assert numbers(devtable.get(path)) == [0]
    assert numbers(devtable.get(f"{path}?starttime={day(2)}")) == [0, 1, 2]
    assert numbers(devtable.get(f"{path}?starttime={day(2)}&endtime={day(1)}")) == [1, 2]
    assert numbers(devtable.get(f"{path}?endtime={day(3)}")) == [3]
    assert numbers(devtable.get(f"{path}?starttime={day(0)}&endtime={day(3)}")) == []
    assert numbers(devtable.get(f"{path}?starttime=01/01/0001&endtime=12/30/9999")) == [0, 1, 2, 3]
    for wrong in ("2020-01-01", "13/01/2020", "1", "01/01/10000", "0x/01/2020", "12/31/9999"):
        answer = devtable.get(f"{path}?starttime={wrong}")
        assert answer.status == 400 and "starttime" in answer.json["detail"]


def test_performer(application, devtable, monkeypatch):
    """The log of an organization or account is narrowed to one performer, also to one who is gone."""
    for number, who in enumerate(("devtable", "reader", "gone", "devtable")):
        record(application, "buynlarge/orgrepo", performer=who, details={"number": number})
    path = "/organization/buynlarge/logs?performer="
    assert numbers(devtable.get(f"{path}devtable")) == [3, 0]
    assert numbers(devtable.get(f"{path}gone")) == [2]
    assert numbers(devtable.get(f"{path}nobody")) == numbers(devtable.get("/user/logs?performer=reader")) == []
    counted = devtable.get("/organization/buynlarge/aggregatelogs?performer=devtable").json["aggregated"]
    assert [one["count"] for one in counted] == [2]
    monkeypatch.setattr(logs, "LOOKED_AT", 1)
    assert all_numbers(devtable, f"{path}gone") == [2]


def test_those_who_had_the_number_before(application, devtable):
    """What was done before a repository was made is not in its log, though its number may have been another's."""
    record(application, details={"number": 1}, performed_ms=NOW_MS - 1)
    record(application, details={"number": 2}, performed_ms=NOW_MS + 1)
    assert numbers(devtable.get(f"/repository/devtable/simple/logs?{DAYS}")) == [2]
    assert numbers(devtable.get(f"/user/logs?{DAYS}")) == [2]
    [late, early] = devtable.get(f"/superuser/logs?{DAYS}").json["logs"]
    assert (late["namespace"]["name"], early["namespace"]) == ("devtable", None)


def test_counts(application, devtable, monkeypatch):
    """Entries are counted by kind and day; where there are too many, that is said."""
    now = int(application.clock.seconds() * 1000)
    for days, kind, many in ((0, "pull_repo", 3), (0, "push_repo", 1), (1, "pull_repo", 2)):
        for _ in range(many):
            record(application, kind=kind, performed_ms=now - days * DAY_MS)
    path = f"/repository/devtable/simple/aggregatelogs?{DAYS}"
    monkeypatch.setattr(logs, "COUNTED", 2)
    answer = devtable.get(path).json
    assert [(one["kind"], one["count"]) for one in answer["aggregated"]] == [
        ("pull_repo", 2),
        ("pull_repo", 3),
        ("push_repo", 1),
    ]
    assert answer["aggregated"][0]["datetime"].endswith(" 00:00:00 -0000") and "truncated" not in answer
    monkeypatch.setattr("quay.web.api.logs.COUNTED", 4)
    answer = devtable.get(path).json
    assert sum(one["count"] for one in answer["aggregated"]) == 4 and answer["truncated"]


def test_switched_off(make_application):
    """What the configuration switches off is not there."""
    application = make_application(FEATURE_LOG_EXPORT=False, FEATURE_AGGREGATED_LOG_COUNT_RETRIEVAL=False)
    client = Client(application, "devtable")
    assert client.get("/user/aggregatelogs").status == client.post("/user/exportlogs", {}).status == 404
    assert client.get("/user/logs").status == 200
    assert Client(make_application(FEATURE_SUPER_USERS=False), "devtable").get("/superuser/logs").status == 404


# --- exports


def export(client, path="/repository/devtable/simple/exportlogs", **body):
    return client.post(f"{path}?{DAYS}", body or {"callback_url": "https://hooks.example.org/s3cr3t"})


def fetch(application, url, method="GET"):
    """The document under the link, whose chunks are put together."""
    connection = application.connect()
    connection.request(method, url.removeprefix("http://registry.test:5000"))
    head, _, body = connection.transport.value().partition(b"\r\n\r\n")
    if b"chunked" in head:
        whole = b""
        while (size := int(body.partition(b"\r\n")[0], 16)) > 0:
            body = body.partition(b"\r\n")[2]
            whole, body = whole + body[:size], body[size + 2 :]
        body = whole
    return int(head.split()[1]), head.decode(), body


def test_export(application, devtable, monkeypatch):
    """An export is told to the callback, and its link gives all entries, the oldest first, to whoever has it."""
    monkeypatch.setattr(logbook, "PAGE", 7)
    for number in range(30):
        record(application, details={"number": number})
    answer = export(devtable).json
    [(method, url, headers, told)] = application.receiver.told
    assert (method, url) == ("POST", "https://hooks.example.org/s3cr3t")
    assert headers == {"Content-Type": "application/json"}
    assert told == {
        "export_id": answer["export_id"],
        "start_time": "Wed, 01 Jan 2020 00:00:00 -0000",
        "end_time": "Fri, 01 Jan 2027 00:00:00 -0000",
        "namespace": "devtable",
        "repository": "simple",
        "exported_data_url": answer["exported_data_url"],
        "status": "success",
    }
    status, head, body = fetch(application, told["exported_data_url"])
    assert status == 200 and "Content-Type: application/json" in head and "Cache-Control: no-store" in head
    document = json.loads(body)
    assert {name: value for name, value in document.items() if name != "logs"} == {
        "start_time": told["start_time"],
        "end_time": told["end_time"],
        "namespace": "devtable",
        "repository": "simple",
    }
    assert [entry["metadata"].get("number") for entry in document["logs"]] == [*range(30), None]
    assert document["logs"][-1]["kind"] == "export_logs_success"
    assert fetch(application, told["exported_data_url"], "HEAD")[2] == b""


def test_export_of_those_who_had_the_number_before(application, devtable):
    """What was done before a repository was made is not exported either."""
    record(application, details={"number": 1}, performed_ms=NOW_MS - 1)
    document = json.loads(fetch(application, export(devtable).json["exported_data_url"])[2])
    assert [entry["kind"] for entry in document["logs"]] == ["export_logs_success"]


def test_export_that_nobody_is_told_of(application, devtable):
    """Without a callback the answer alone says where the export is."""
    url = devtable.post(f"/repository/devtable/simple/exportlogs?{DAYS}", {}).json["exported_data_url"]
    assert fetch(application, url)[0] == 200
    assert application.receiver.told == []


def test_export_as_a_table(application, devtable, monkeypatch):
    """The same link gives the entries as CSV, in which nothing is taken for a formula or the end of a line."""
    monkeypatch.setattr(logbook, "PAGE", 2)
    for number in range(5):
        record(application, details={"number": number, "user-agent": "=1+1\r\n"})
    url = export(devtable).json["exported_data_url"]
    status, head, body = fetch(application, f"{url}&format=csv")
    assert status == 200 and "Content-Type: text/csv; charset=utf-8" in head and '.csv"' in head
    heading, *rows = csv.reader(io.StringIO(body.decode()))
    assert heading[:3] == ["id", "datetime", "kind"]
    assert [json.loads(row[-1]).get("number") for row in rows] == [*range(5), None]
    assert body.count(b"\r\n") == len(rows) + 1
    assert fetch(application, f"{url}&format=xml")[0] == 400


def test_export_of_nothing(application, devtable):
    """An export without any entry is a whole document."""
    url = devtable.post(
        "/user/exportlogs?starttime=01/01/2020&endtime=01/02/2020", {"callback_url": "https://hooks.example.org/"}
    ).json["exported_data_url"]
    assert json.loads(fetch(application, url)[2])["logs"] == []


def test_export_of_an_organization(application, devtable):
    """The export of an organization has what was done there, and nothing else."""
    record(application, "buynlarge/orgrepo", details={"number": 1})
    record(application, details={"number": 2})
    url = export(devtable, "/organization/buynlarge/exportlogs").json["exported_data_url"]
    document = json.loads(fetch(application, url)[2])
    assert document["namespace"] == "buynlarge" and "repository" not in document
    assert [entry["metadata"].get("number") for entry in document["logs"]] == [1, None]


def test_the_link(application, devtable):
    """Without its secret a link leads to nothing, and after an hour with it neither; it can only be read."""
    url = export(devtable).json["exported_data_url"]
    path, _, secret = url.partition("?token=")
    other = export(devtable).json["exported_data_url"].partition("?token=")[0]
    for wrong in (path, f"{path}?token=", f"{path}?token={secret[:-1]}", f"{other}?token={secret}", f"{path}%00"):
        assert fetch(application, wrong)[0] == 404, wrong
    assert fetch(application, "/exportedlogs/")[0] == fetch(application, f"/exportedlogs/%00?token={secret}")[0] == 404
    assert fetch(application, url, "DELETE")[0] == 400
    assert fetch(application, url)[0] == 200
    application.clock.advance(3600)
    assert fetch(application, url)[0] == 404


def test_the_secret_is_told_once(application, devtable):
    """The secret of the link is neither in the log nor in the database."""
    secret = export(devtable).json["exported_data_url"].partition("?token=")[2]
    tables = ("audit", "log_export", "work")
    for table in tables:
        rows = application.read(lambda txn, table=table: txn.connection.exec_driver_sql(f"SELECT * FROM {table}").all())
        assert secret not in repr(rows)
    assert "s3cr3t" not in repr(audited(application, "export_logs_success"))


def test_a_callback_that_fails(application, devtable):
    """That the callback could not be told is on record, with the reason; the link is good all the same."""
    application.receiver.failure = EgressFailed("hooks.example.org did not answer within 10 seconds.")
    answer = export(devtable)
    application.receiver.failure, application.receiver.status = None, 500
    export(devtable)
    reasons = [details["message"] for _, details in audited(application, "export_logs_failure")]
    assert reasons == [
        "hooks.example.org did not answer within 10 seconds.",
        "The callback_url answered with the status 500.",
    ]
    assert fetch(application, answer.json["exported_data_url"])[0] == 200


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"callback_email": "a@example.org"}, "Links to exports are not mailed"),
        ({"callback_url": "http://127.0.0.1:5000/"}, "callback_url cannot be called: "),
        ({"callback_url": "file:///etc/passwd"}, "callback_url cannot be called: "),
        ({"callback_url": 7}, "'callback_url' must be of the type string"),
    ],
)
def test_export_refused(application, devtable, body, sentence):
    """An export that nobody can be told of is refused with the reason, and that is on record."""
    answer = export(devtable, **body)
    assert answer.status == 400 and sentence in answer.json["detail"]
    assert application.receiver.told == []
    assert len(audited(application, "export_logs_failure")) == (0 if body.get("callback_url") == 7 else 1)


def test_who_may_export(application):
    """Only who administers a repository or an organization exports its log; his own, everybody."""
    for path, expected in {
        "/repository/devtable/shared/exportlogs": (401, 403, 403, 200),
        "/repository/public/publicrepo/exportlogs": (401, 403, 403, 403),
        "/organization/buynlarge/exportlogs": (401, 403, 403, 200),
        "/user/exportlogs": (401, 200, 200, 200),
    }.items():
        callers = (None, "freshuser", "reader", "devtable")
        assert tuple(export(Client(application, caller), path).status for caller in callers) == expected, path


def test_a_client_that_does_not_read(application, devtable, monkeypatch):
    """While a client takes nothing, no further page is read for it; a client that is gone ends the export."""
    monkeypatch.setattr(logbook, "PAGE", 5)
    for number in range(30):
        record(application, details={"number": number, "padding": "x" * 100})
    url = export(devtable).json["exported_data_url"]
    connection = application.connect()
    reads = []
    page = logs.page
    monkeypatch.setattr(logs, "page", lambda *args, **kwargs: reads.append(None) or page(*args, **kwargs))
    send = connection.transport.writeSequence

    def send_and_be_full(data):
        send(data)
        if any(b"padding" in part for part in data):
            connection.transport.producer.pauseProducing()

    monkeypatch.setattr(connection.transport, "writeSequence", send_and_be_full)
    connection.request("GET", url.removeprefix("http://registry.test:5000"))
    assert len(reads) == 2
    connection.transport.producer.resumeProducing()
    assert len(reads) == 3
    connection.lose()
    assert len(reads) == 3 and not connection.transport.value().endswith(b"0\r\n\r\n")
