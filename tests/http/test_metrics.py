"""/metrics and /health over the whole web tree."""

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from quay.database import DatabaseUnavailable
from quay.database.schema import setting
from quay.service.metrics import Metrics, ServerMetrics
from quay.watchdog import Watchdog
from quay.web.connections import Connections
from quay.web.health import REMEMBERED_S
from quay.web.metrics import kind_of
from quay.worker import Worker
from tests.http.application import NOW, Connection, done

LOOPBACK = IPv4Address("TCP", "127.0.0.1", 1)


def read(answer):
    """The samples of an answer: name and labels to value."""
    assert answer.status == 200, answer
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.body.decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def metrics_of(application):
    return read(ask_from(application, LOOPBACK))


def ask_from(application, address, **headers):
    """Ask for the metrics from another address."""
    connection = Connection.__new__(Connection)
    connection.transport = StringTransport(peerAddress=address)
    connection.channel = application.site.buildProtocol(None)
    connection.channel.makeConnection(connection.transport)
    connection.request("GET", "/metrics", {name.replace("_", "-"): value for name, value in headers.items()})
    return connection.answer()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"/v2/a/manifests/latest", "manifest"),
        (b"/v2/a/b/manifests/sha256:0", "manifest"),
        (b"/v2/a/manifests/blobs/sha256:0", "blob"),
        (b"/v2/a/blobs/uploads", "upload"),
        (b"/v2/a/blobs/uploads/", "upload"),
        (b"/v2/a/blobs/uploads/0-0", "upload"),
        (b"/v2/a/tags/list", "tags"),
        (b"/v2/auth", "token"),
        (b"/v2/", "other"),
        (b"/", "other"),
        (b"*", "other"),
        (b"/elsewhere/manifests/latest", "other"),
    ],
)
def test_kinds(path, kind):
    """An address is counted as what its route is, read from its end."""
    assert kind_of(path) == kind


def test_requests_are_counted(application, repository):
    """Each request counts under its method, kind and class, with its bytes both ways and its time."""
    before = metrics_of(application)
    digest = repository.upload(b"x" * 5000)
    repository.get(f"blobs/{digest}")
    repository.get("manifests/absent")
    after = metrics_of(application)

    def grown(*name):
        return after[name] - before.get(name, 0)

    assert grown("quay_http_requests_total", "2xx", "POST", "upload") == 1
    assert grown("quay_http_requests_total", "2xx", "GET", "blob") == 1
    assert grown("quay_http_requests_total", "4xx", "GET", "manifest") == 1
    assert grown("quay_http_received_bytes_total", "upload") == 5000
    assert grown("quay_http_sent_bytes_total", "blob") == 5000
    assert grown("quay_http_request_seconds_count", "blob") == 1
    assert grown("quay_http_request_seconds_bucket", "+Inf", "blob") == 1


def test_clients_invent_no_labels(application):
    """A method or an address that nobody knows adds no label of its own."""
    application.request("BREW", "/v2/coffee/pot")
    application.request("GET", "/" + "x" * 500)
    names = {label for name in metrics_of(application) for label in name}
    assert "BREW" not in names
    assert not any("x" * 10 in name for name in names)


def test_pushes_pulls_uploads_and_the_cache(application, repository):
    """Traffic, live uploads and the cache show in the metrics."""
    before = metrics_of(application)
    repository.begin()
    after = metrics_of(application)
    assert after["quay_uploads_live",] == before["quay_uploads_live",] + 1
    for name in ("quay_pushes_total", "quay_pulls_total", "quay_cache_hits_total", "quay_cache_misses_total"):
        assert after[name,] >= before[name,]
    assert after["quay_cache_entries",] == application.core.cache.entries
    assert after["quay_cache_bytes",] == application.core.cache.weight


def test_an_aborted_request_is_counted_as_such(application, repository):
    """A client that hangs up in the middle of its body counts as aborted, not as answered."""
    connection = application.connect()
    connection.send(
        f"POST /v2/{repository.name}/blobs/uploads/?digest=sha256:{'0' * 64} HTTP/1.1\r\nHost: registry.test:5000\r\n"
        f"Authorization: Bearer {repository.token}\r\nContent-Length: 1000\r\n\r\nhalf".encode()
    )
    connection.lose()
    assert metrics_of(application)["quay_http_requests_total", "POST", "aborted", "upload"] >= 1


@pytest.mark.parametrize(
    "address",
    [IPv4Address("TCP", "127.0.0.9", 1), IPv6Address("TCP", "::1", 1), IPv6Address("TCP", "::ffff:127.0.0.1", 1)],
)
def test_loopback_may_read(application, address):
    """This machine itself may read the metrics, however it spells its address."""
    assert ask_from(application, address).status == 200


def test_others_are_told_why_not(application):
    """Everybody else is refused, in a sentence that says what to set."""
    answer = ask_from(application, IPv4Address("TCP", "192.0.2.7", 1))
    assert (answer.status, answer.code) == (403, "DENIED")
    assert "192.0.2.7" in answer.json["errors"][0]["message"]
    assert "METRICS_NETWORKS" in answer.json["errors"][0]["detail"]["advice"]


@pytest.mark.parametrize("header", ["X_Forwarded_For", "Forwarded"])
def test_a_proxy_on_this_machine_opens_nothing(application, header):
    """What a proxy forwards that is not trusted is refused, though the proxy itself is near enough."""
    answer = ask_from(application, LOOPBACK, **{header: "127.0.0.1"})
    assert answer.status == 403


def test_networks_can_be_configured(make_application):
    """METRICS_NETWORKS replaces the loopback, and is asked of the client behind a trusted proxy."""
    application = make_application(METRICS_NETWORKS=["192.0.2.0/24"], TRUSTED_PROXIES=["127.0.0.1"])
    assert ask_from(application, LOOPBACK).status == 403
    assert ask_from(application, LOOPBACK, X_Forwarded_For="192.0.2.7").status == 200
    assert ask_from(application, LOOPBACK, X_Forwarded_For="198.51.100.7").status == 403
    assert ask_from(application, IPv4Address("TCP", "192.0.2.8", 1)).status == 200


def test_the_server_around_the_core():
    """Connections, workers and stalls of the reactor are metrics too, each server's in a registry of its own."""
    clock = Clock()

    async def work(budget):
        pass

    worker = Worker("sweeper", work, clock, period=10)
    worker.last_success = 1234.0
    metrics = Metrics(clock)
    metrics.show(ServerMetrics(Connections(10), [worker], Watchdog(clock)))
    value = metrics.registry.get_sample_value
    assert value("quay_connections") == 0
    assert value("quay_worker_last_success_timestamp_seconds", {"worker": "sweeper"}) == 1234
    assert value("quay_worker_last_failure_timestamp_seconds", {"worker": "sweeper"}) == 0
    assert value("quay_reactor_stall_seconds_bucket", {"le": "+Inf"}) == 0
    assert Metrics(clock).registry.get_sample_value("quay_connections") is None


# --- /health


@pytest.mark.parametrize("path", ["/health", "/health/instance", "/health/endtoend"])
def test_health(application, path):
    """All services are tried by writing, at each of Quay's addresses."""
    application.clock.advance(REMEMBERED_S)
    answer = application.request("GET", path)
    assert answer.status == 200
    assert answer.json["data"]["services"] == {"database": True, "storage:default": True}


def test_health_is_remembered_for_a_second(make_application, monkeypatch):
    """However often it is asked, one look at a second is all that the disks see."""
    application = make_application()
    looks = []
    monkeypatch.setattr(application.core.database, "check_writing", lambda: looks.append(1) or succeed(None))
    for _ in range(20):
        assert application.request("GET", "/health").status == 200
    application.clock.advance(REMEMBERED_S)
    application.request("GET", "/health")
    assert len(looks) == 2


def test_one_look_answers_all_who_wait(make_application, monkeypatch):
    """Who asks while it is being found out waits for the same answer; one who hangs up takes it from nobody."""
    application = make_application()
    looks = []

    def look():
        looks.append(Deferred())
        return looks[-1]

    monkeypatch.setattr(application.core.database, "check_writing", look)
    impatient, patient = application.connect(), application.connect()
    for connection in (impatient, patient):
        connection.request("GET", "/health")
    impatient.lose()
    looks[0].callback(None)
    assert patient.answer().status == 200
    assert len(looks) == 1


def test_a_database_that_cannot_write_is_ill(make_application, monkeypatch):
    """A database that answers, but takes no row, makes /health say 503."""
    application = make_application()
    monkeypatch.setattr(application.core.database, "check_writing", lambda: fail(DatabaseUnavailable()))
    answer = application.request("GET", "/health")
    assert (answer.status, answer.json["data"]["services"]["database"]) == (503, False)


def test_the_mark_of_a_check_is_one_row(make_application):
    """Checking that the database takes rows leaves one row behind, however often it is done."""
    application = make_application()
    for _ in range(3):
        done(application.core.database.check_writing())
    rows = application.read(lambda txn: txn.execute(sa.select(setting).where(setting.c.key == "health")).all())
    assert rows == [("health", str(NOW * 1000))]
