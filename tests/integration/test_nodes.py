"""
Two servers on one PostgreSQL, one Redis and one blob directory are one registry: what one of them has answered, the
other knows, and either goes on when Redis or PostgreSQL goes away and comes back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import attrs
import psycopg
import pytest

from tests.conftest import missing
from tests.distribution import LOST, MANIFEST, Client, Image, digest_of
from tests.integration.test_crash import CALM
from tests.postgres import PostgresMissing, PostgresServer
from tests.redis_server import RedisServer
from tests.server import PATIENCE, POLL, RunningQuay
from tests.server import REPOSITORY as ROOT

REPOSITORY = "dev/app"

CHANGE = """
import os
from quay import service
from quay.config import settle
from quay.config.surroundings import Surroundings
from quay.model import namespace, repository
from quay.oci.reference import RepositoryName

def change(txn):
    {change}

async def work(core):
    await core.database.write(change)

service.run(settle(Surroundings.of(None, os.environ)), work)
"""
"""A third node, which lives just long enough to change something."""


@attrs.frozen
class Cluster:
    """Two nodes, what they share, and the environment of a third one."""

    a: RunningQuay
    b: RunningQuay
    postgres: PostgresServer
    redis: RedisServer
    environment: dict[str, str]
    directory: Path

    def change(self, statement: str) -> None:
        """Let a third node change the rows, as a command of an administrator would."""
        environment = {"PATH": os.environ["PATH"], "QUAY_DATA": str(self.directory / "c"), **self.environment}
        command = [sys.executable, "-c", CHANGE.format(change=statement)]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=PATIENCE)

    def tagged(self, tag: str) -> str:
        """The digest that a tag points to, in the rows."""
        with psycopg.connect(self.postgres.url("quay")) as connection:
            row = connection.execute(
                "SELECT m.digest FROM tag t JOIN manifest m ON m.id = t.manifest_id"
                " JOIN repository r ON r.id = t.repository_id WHERE r.name = %s AND t.name = %s AND t.end_ms IS NULL",
                (REPOSITORY, tag),
            ).fetchone()
        assert row is not None
        return str(row[0])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two running nodes, and one user."""
    directory = tmp_path_factory.mktemp("nodes")
    try:
        postgres = PostgresServer()
    except (PostgresMissing, OSError) as reason:
        missing("postgres", reason)
    redis = RedisServer()
    try:
        postgres.start()
        postgres.create("quay")
        redis.start()
        environment = {
            "QUAY_DB_URI": postgres.tcp_url("quay"),
            "QUAY_USER_EVENTS_REDIS": f"{{host: 127.0.0.1, port: {redis.port}, password: {redis.password}}}",
            "QUAY_DISTRIBUTED_STORAGE_CONFIG": f"{{default: [LocalStorage, {{storage_path: {directory / 'blobs'}}}]}}",
        }
        with RunningQuay(directory / "a", environment) as a, RunningQuay(directory / "b", environment) as b:
            a.add_user("dev")
            yield Cluster(a, b, postgres, redis, environment, directory)
            for node in (a, b):
                assert "Unhandled" not in node.log
    finally:
        redis.close()
        postgres.destroy()


@pytest.fixture
def a(cluster: Cluster) -> Iterator[Client]:
    """A client of the first node."""
    client = Client(cluster.a.host, "dev")
    yield client
    client.close()


@pytest.fixture
def b(cluster: Cluster, a: Client) -> Iterator[Client]:
    """A client of the second node, with the tokens that the first one gave."""
    client = Client(cluster.b.host, "dev")
    client.tokens = a.tokens
    yield client
    client.close()


def pushed(client: Client, seed: str) -> Image:
    """An image of this seed, under the tag `latest`."""
    image = Image.made(seed)
    client.push(REPOSITORY, "latest", image)
    return image


def seen_at_once(a: Client, b: Client, image: Image, times: int) -> float:
    """
    Move `latest` to and fro, an even number of `times`, by one node, and read it by the other; returns the seconds that
    the moves took.
    """
    spent = 0.0
    for n in range(times):
        manifest, before = (image.moved, image.manifest) if n % 2 else (image.manifest, image.moved)
        mover, reader = (a, b) if n % 4 < 2 else (b, a)
        assert reader.manifest(REPOSITORY, "latest") == before  # and remembers it
        began = time.monotonic()
        mover.tag(REPOSITORY, "latest", manifest)
        spent += time.monotonic() - began
        assert reader.manifest(REPOSITORY, "latest") == manifest, f"move {n} was not seen"
    return spent


def served_from_memory(cluster: Cluster, client: Client, image: Image) -> bool:
    """Whether a node answers for a tag it has just answered for, while there is no database."""
    assert client.manifest(REPOSITORY, "latest") == image.moved
    cluster.postgres.stop()
    try:
        answer = client.call("GET", REPOSITORY, "manifests/latest", headers={"Accept": MANIFEST}).expect(200, 503)
        return answer.status == 200
    finally:
        cluster.postgres.start()
        await_recovery(cluster)


def await_that(holds: Callable[[], bool], what: str) -> float:
    """Return when it has come true, with the seconds that took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < PATIENCE, f"{what}: not within {PATIENCE:.0f} s"
        time.sleep(POLL)
    return time.monotonic() - began


def await_recovery(cluster: Cluster) -> float:
    """Return when both nodes are healthy, with the seconds that took."""
    return await_that(lambda: cluster.a.healthy() and cluster.b.healthy(), "both nodes are healthy")


def await_memory(cluster: Cluster, a: Client, b: Client, image: Image) -> None:
    """Return when memory is used: nodes that are late with their beats do without; and at no time is it wrong."""

    def used() -> bool:
        seen_at_once(a, b, image, 20)
        return served_from_memory(cluster, b, image)

    await_that(used, "the other node answers from memory")


# --- exactness ----------------------------------------------------------------------------------------------------


def test_a_moved_tag_is_seen_by_the_other_node_at_once(a: Client, b: Client) -> None:
    """A tag that one node has moved is read as it is from the other, with the next request, 200 times in a row."""
    image = pushed(a, "moved")
    b.pull(REPOSITORY, "latest", image)
    spent = seen_at_once(a, b, image, 200)
    print(f"200 moves: {1000 * spent / 200:.1f} ms each")


def test_a_deleted_tag_is_gone_from_the_other_node_at_once(a: Client, b: Client) -> None:
    """A tag that one node has deleted is 404 on the other, and so is a manifest."""
    image = pushed(a, "deleted")
    assert b.manifest(REPOSITORY, "latest") == image.moved
    assert b.manifest(REPOSITORY, digest_of(image.manifest)) is None  # the tag has left it
    a.call("DELETE", REPOSITORY, "manifests/latest").expect(202)
    assert b.manifest(REPOSITORY, "latest") is None
    a.tag(REPOSITORY, "latest", image.moved)
    assert b.manifest(REPOSITORY, "latest") == image.moved
    a.call("DELETE", REPOSITORY, f"manifests/{digest_of(image.moved)}").expect(202)
    assert b.manifest(REPOSITORY, "latest") is None
    assert b.manifest(REPOSITORY, digest_of(image.moved)) is None


def test_a_repository_comes_and_goes_on_both_nodes(cluster: Cluster, a: Client, b: Client) -> None:
    """A repository that a node has deleted is unknown on all others, and a new one of its name is not the old one."""
    image = Image.made("repository")
    a.push("dev/other", "latest", image)
    b.pull("dev/other", "latest", image)
    cluster.change("repository.delete(txn, repository.find(txn, RepositoryName.parse('dev/other')).id)")
    for client in (a, b):
        assert client.manifest("dev/other", "latest") is None
        assert not client.has_blob("dev/other", image.layers[0])
    a.login("dev/other")
    a.push("dev/other", "second", image)
    assert b.manifest("dev/other", "latest") is None
    b.pull("dev/other", "second", image)


def test_a_disabled_user_is_out_on_both_nodes(cluster: Cluster, a: Client, b: Client) -> None:
    """A user who was disabled elsewhere is let in by no node, with the password or a token, until he is enabled."""
    image = pushed(a, "disabled")
    basic = {"Authorization": f"Basic {a.credentials}"}
    for client in (a, b):
        client.request("GET", "/v2/", headers=basic).expect(200)
        assert client.manifest(REPOSITORY, "latest") == image.moved
    set_enabled = "namespace.set_enabled(txn, namespace.find(txn, 'dev').id, {})"
    cluster.change(set_enabled.format(False))
    try:
        for client in (a, b):
            client.request("GET", "/v2/", headers=basic).expect(401)
            client.call("GET", REPOSITORY, "manifests/latest").expect(405)  # as Quay says it
    finally:
        cluster.change(set_enabled.format(True))
    for client in (a, b):
        client.request("GET", "/v2/", headers=basic).expect(200)
        assert client.manifest(REPOSITORY, "latest") == image.moved


def test_an_upload_goes_on_at_the_other_node(a: Client, b: Client) -> None:
    """An upload that began at one node goes on at the other as soon as the first one has answered, and back."""
    data = Image.made("upload").layers[0]
    upload = a.begin(REPOSITORY, data)
    a.append(REPOSITORY, upload, 100_000)
    b.append(REPOSITORY, upload, 200_000)
    assert a.held(REPOSITORY, upload) == 200_000
    a.append(REPOSITORY, upload, 250_000)
    b.finish(REPOSITORY, upload)
    assert a.has_blob(REPOSITORY, data)
    assert a.held(REPOSITORY, upload) is None


def test_a_node_that_dies_before_it_tells_is_missed(cluster: Cluster, a: Client, b: Client) -> None:
    """What a node has committed when it dies, without having told anybody, the others see as soon as they miss it."""
    image = pushed(a, "dying")
    assert b.manifest(REPOSITORY, "latest") == image.moved
    crash = {"QUAY_CRASH_AT": "commit.after:3"}  # the first publishes its key, the second shows that it is healthy
    with RunningQuay(cluster.directory / "d", {**cluster.environment, **CALM, **crash}) as dying:
        client = Client(dying.host, "dev")
        client.tokens = a.tokens
        with pytest.raises(LOST):
            client.tag(REPOSITORY, "latest", image.manifest)
        assert dying.wait() == -signal.SIGKILL
    await_that(
        lambda: digest_of(b.manifest(REPOSITORY, "latest") or b"") == cluster.tagged("latest"),
        "the other node does not serve what was before",
    )


# --- when a part is away ------------------------------------------------------------------------------------------


def test_nodes_stay_exact_without_redis(cluster: Cluster, a: Client, b: Client) -> None:
    """Without Redis both nodes work and stay exact, from the database alone; when it is back, memory is used again."""
    image = pushed(a, "redis")
    b.pull(REPOSITORY, "latest", image)
    await_memory(cluster, a, b, image)
    cluster.redis.kill()
    spent = seen_at_once(a, b, image, 20)
    print(f"20 moves without Redis: {spent:.1f} s")
    assert not served_from_memory(cluster, b, image)
    cluster.redis.start()
    await_memory(cluster, a, b, image)


def test_nodes_survive_a_restart_of_the_database(cluster: Cluster, a: Client, b: Client) -> None:
    """While PostgreSQL is away, clients are told to come back; when it is back, both nodes work, without a restart."""
    image = pushed(a, "database")
    data = Image.made("database, later").layers[0]
    cluster.postgres.stop()
    for client in (a, b):
        answer = client.call("POST", REPOSITORY, "blobs/uploads/").expect(503)
        assert int(answer.headers["Retry-After"]) > 0
    await_that(lambda: not cluster.a.healthy(), "a node without its database does not call itself healthy")
    cluster.postgres.start()
    print(f"both nodes healthy {await_recovery(cluster):.2f} s after PostgreSQL")
    for client in (a, b):
        client.finish(REPOSITORY, client.begin(REPOSITORY, data))
        client.pull(REPOSITORY, "latest", image)


def test_traffic_sees_a_restart_of_the_database_as_unavailable(cluster: Cluster, a: Client, b: Client) -> None:
    """
    Whatever a request is doing when PostgreSQL dies, it is answered, and never with more than "come back later"; what
    was acknowledged before, between and after is there, and what was deleted is not.
    """
    image = pushed(a, "traffic")
    done = Event()
    traffic = [Traffic(cluster, number, dict(a.tokens), image) for number in (0, 1)]
    threads = [Thread(target=one.flow, args=(done,)) for one in traffic]
    for thread in threads:
        thread.start()
    for _ in range(3):
        await_more(traffic, 201, "pushes go on")
        cluster.postgres.stop()
        await_more(traffic, 503, "clients are told to come back")
        cluster.postgres.start()
        await_recovery(cluster)
    done.set()
    for thread in threads:
        thread.join(30)
    for one in traffic:
        assert one.statuses.keys() <= {200, 201, 202, 404, 503}
        assert one.hasty == []
        for client in (a, b):
            assert [n for n in one.kept if not client.has_blob(REPOSITORY, one.blob(n))] == []
            assert [n for n in one.deleted if client.has_blob(REPOSITORY, one.blob(n))] == []
            assert digest_of(client.manifest(REPOSITORY, f"t{one.number}") or b"") == cluster.tagged(f"t{one.number}")


def await_more(traffic: list[Traffic], status: int, what: str) -> None:
    """Return when each has been answered so once more."""
    before = [one.statuses[status] for one in traffic]
    await_that(lambda: all(one.statuses[status] > n for one, n in zip(traffic, before, strict=True)), what)


@attrs.define
class Traffic:
    """Pushes, deletes and pulls at one node, on and on; what was answered, and how each blob ended."""

    cluster: Cluster
    number: int
    tokens: dict[str, str] = attrs.field(repr=False)
    image: Image = attrs.field(repr=False)
    statuses: Counter[int] = attrs.field(factory=Counter)
    hasty: list[str] = attrs.field(factory=list)
    """What was answered 503 without saying when to come back."""
    kept: list[int] = attrs.field(factory=list)
    deleted: list[int] = attrs.field(factory=list)

    def blob(self, n: int) -> bytes:
        return b"x%d of %d" % (n, self.number)

    def flow(self, done: Event) -> None:
        client = Client((self.cluster.a, self.cluster.b)[self.number].host, "dev")
        client.tokens = self.tokens
        n = 0
        while not done.is_set():
            n += 1
            self._turn(client, n)
        client.close()

    def _turn(self, client: Client, n: int) -> None:
        blob = digest_of(self.blob(n))
        pushed = self._ask(client, "POST", f"blobs/uploads/?digest={blob}", self.blob(n)) == 201
        if pushed and n % 3 == 0:
            status = self._ask(client, "DELETE", f"blobs/{blob}")
            self.deleted += [n] * (status == 202)  # else it may or may not have been
        elif pushed:
            self.kept.append(n)
        manifest = (self.image.manifest, self.image.moved)[n % 2]
        self._ask(client, "PUT", f"manifests/t{self.number}", manifest, {"Content-Type": MANIFEST})
        self._ask(client, "GET", "tags/list")
        self._ask(client, "GET", f"manifests/{digest_of(self.image.moved)}")

    def _ask(
        self, client: Client, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> int:
        answer = client.call(method, REPOSITORY, path, body, headers)
        self.statuses[answer.status] += 1
        if answer.status == 503 and not int(answer.headers.get("Retry-After", "0")):
            self.hasty.append(f"{method} {path}")
        return answer.status
