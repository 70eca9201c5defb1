"""
Backups of a real server at work, and what becomes of them: every tag of a restored registry is pulled, whatever was
pushed, deleted and collected while the backup was made.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.distribution import Client, digest_of
from tests.faults import estate
from tests.faults.estate import Content
from tests.postgres import PostgresServer, programs
from tests.server import PATIENCE, RunningQuay, ServerFailed, rows

RUSH = {
    "QUAY_GARBAGE_COLLECTION_FREQUENCY": "1",
    "QUAY_DEFAULT_TAG_EXPIRATION": "0s",
    "QUAY_FEATURE_USER_LAST_ACCESSED": "false",
}
"""What is garbage is collected within a second."""
CALM = {"QUAY_FEATURE_GARBAGE_COLLECTION": "false"}
WRITERS = 3
APP = "dev/app"
IMAGE = Content.image("an image", b"its layer" * 5000, b"and another" * 300)
GARBAGE = b"nobody names this" * 100

Tags = dict[str, dict[str, str]]
LATEST: Tags = {APP: {"latest": IMAGE.digest}}


class Writer(Thread):
    """Pushes images under ever new tags, deletes others, and blobs that nobody names, until it is to stop."""

    def __init__(self, host: str, number: int) -> None:
        super().__init__()
        self.repository = f"dev/app{number}"
        self.tags: dict[str, str] = {}
        """The digest of every tag that is there for certain."""
        self.enough = Event()
        self.failure: BaseException | None = None
        self._client = Client(host, "dev")

    def run(self) -> None:
        try:
            turn = 0
            while not self.enough.is_set():
                self._turn(turn)
                turn += 1
        except BaseException as failure:  # the test raises it
            self.failure = failure
        finally:
            self._client.close()

    def _turn(self, turn: int) -> None:
        name = f"{self.repository}:{turn}"
        image = Content.image(name, f"{name} own".encode() * 3000, f"{self.repository} {turn // 5}".encode() * 500)
        nobodys = f"{name} nobody's".encode() * 2000
        for blob in (nobodys, *image.blobs):
            self._client.push_blob(self.repository, blob)
        self._client.call("DELETE", self.repository, f"blobs/{digest_of(nobodys)}").expect(202)
        self._client.tag(self.repository, f"v{turn}", image.raw)
        self.tags[f"v{turn}"] = image.digest
        if turn % 3 == 2:
            doomed = f"v{turn - 1}"
            del self.tags[doomed]
            self._client.call("DELETE", self.repository, f"manifests/{doomed}").expect(202)

    def stop(self) -> None:
        self.enough.set()
        self.join(60)
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory on another file system, to which nothing can be linked."""
    path = Path(tempfile.mkdtemp(prefix="quay-backup-", dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with an image in it, of two layers, and with a blob that nobody names."""
    data = tmp_path_factory.mktemp("template")
    with RunningQuay(data, CALM) as server:
        server.add_user("dev")
        client = Client(server.host, "dev")
        for blob in (*IMAGE.blobs, GARBAGE):
            client.push_blob(APP, blob)
        client.tag(APP, "latest", IMAGE.raw)
        client.close()
        server.stop()
    return data


@pytest.fixture
def server(template: Path, tmp_path: Path) -> RunningQuay:
    """A server that does not run, with the data of the template."""
    return RunningQuay(estate.copied(template, tmp_path / "data"), CALM)


# --- under load


def test_under_load(tmp_path: Path, elsewhere: Path) -> None:
    """
    While three clients push and delete, and the collector removes what they do not name, backups are made: linked, and
    copied, one upon another. Each verifies, and its restoration serves every tag that it has to.
    """
    backups: list[tuple[Path, Tags]] = []
    with RunningQuay(tmp_path / "data", RUSH) as server:
        server.add_user("dev")
        writers = [Writer(server.host, number) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        while any(len(writer.tags) < 5 for writer in writers) or not collected(server):
            assert all(writer.is_alive() for writer in writers)
            time.sleep(0.05)
        for directory in (tmp_path / "backups", elsewhere, elsewhere):
            before = {writer.repository: dict(writer.tags) for writer in writers}
            server.command("backup", str(directory))
            lasting = {one.repository: dict(before[one.repository].items() & one.tags.items()) for one in writers}
            assert all(lasting.values())
            backups.append((newest(directory), lasting))
        for writer in writers:
            writer.stop()
        server.stop()
    for number, (backup, lasting) in enumerate((backups[0], backups[2])):
        assert "is good" in server.command("backup", "verify", str(backup))
        check(restored(backup, tmp_path / f"restored{number}"), lasting)


def test_postgresql(tmp_path: Path, postgres: PostgresServer) -> None:
    """The same with PostgreSQL: dumped as it is at the moment of the list of blobs, and restored into an empty one."""
    postgres.create("backed_up")
    postgres.create("restored")
    tools = {"PATH": f"{programs()}:/usr/bin:/bin"}
    with RunningQuay(tmp_path / "data", RUSH | tools | {"QUAY_DB_URI": postgres.url("backed_up")}) as server:
        server.add_user("dev")
        writer = Writer(server.host, 0)
        writer.start()
        while len(writer.tags) < 3:
            assert writer.is_alive()
            time.sleep(0.05)
        before = dict(writer.tags)
        server.command("backup", str(tmp_path / "backups"))
        lasting = dict(before.items() & writer.tags.items())
        writer.stop()
        backup = newest(tmp_path / "backups")
        with pytest.raises(ServerFailed, match="not empty: create a new one"):
            restored(backup, tmp_path / "occupied", tools | {"QUAY_DB_URI": postgres.url("backed_up")})
        server.stop()
    assert not any((tmp_path / "occupied" / "blobs").glob("blobs/*/*/*"))  # what was begun is undone
    assert "is good" in server.command("backup", "verify", str(backup))
    env = tools | {"QUAY_DB_URI": postgres.url("restored")}
    check(restored(backup, tmp_path / "restored", env), {writer.repository: lasting})
    with pytest.raises(ServerFailed, match="names sqlite"):
        restored(backup, tmp_path / "sqlite", tools)


# --- cut short


def test_a_backup_that_is_killed(server: RunningQuay, elsewhere: Path) -> None:
    """
    It leaves no directory that looks complete; its fence lapses; the next one takes over what it copied, and clears up.
    """
    with pytest.raises(ServerFailed):
        crashing(server, "backup.copied").command("backup", str(elsewhere))
    assert "There is no backup in" in server.command("backup", "list", str(elsewhere))
    collect(server)
    assert is_there(server, GARBAGE)  # the fence stands
    rows(server.data, "UPDATE setting SET value = '1' WHERE key LIKE 'fence:%'")
    collect(server)
    assert not is_there(server, GARBAGE)
    said = server.command("backup", str(elsewhere))
    assert "of which 0 were copied" in said
    assert len([path for path in elsewhere.iterdir() if path.is_dir()]) == 1
    assert "is good" in server.command("backup", "verify", str(newest(elsewhere)))


def test_a_restoration_that_is_killed(server: RunningQuay, tmp_path: Path) -> None:
    """Nobody can serve what it leaves; the same command again finishes it; and what was there before is kept aside."""
    server.command("backup", str(tmp_path / "backups"))
    backup = str(newest(tmp_path / "backups"))
    data = tmp_path / "old"
    old = RunningQuay(data, CALM)
    old.add_user("somebody")
    with pytest.raises(ServerFailed, match=r"not empty: it has .*quay\.db"):
        old.command("restore", backup)
    with pytest.raises(ServerFailed):
        crashing(old, "restore.settled").command("restore", backup, "--force")
    for command in (["fsck"], ["backup", str(tmp_path / "other")]):
        with pytest.raises(ServerFailed, match="Run the same 'quay restore' again"):
            old.command(*command)
    old.command("restore", backup)
    check(old, LATEST)
    [aside] = data.glob("replaced-*")
    assert (aside / "quay.db").exists()


# --- damaged


def test_a_flipped_byte(server: RunningQuay, tmp_path: Path) -> None:
    """
    It is found by verifying, and by restoring, which leaves everything as it was; all else can still be restored; and
    the next backup does not take it over.
    """
    server.command("backup", str(tmp_path / "backups"))
    backup = newest(tmp_path / "backups")
    layer = digest_of(IMAGE.blobs[1])
    rot(backup / "blobs" / "sha256" / layer[7:9] / layer[7:])
    with pytest.raises(ServerFailed, match=rf"The blob {layer} is damaged(.|\n)*has 1 problems"):
        server.command("backup", "verify", str(backup))
    target = RunningQuay(tmp_path / "target", CALM)
    target.add_user("somebody")
    with pytest.raises(ServerFailed, match=f"{layer} is damaged.*--skip-damaged"):
        target.command("restore", str(backup), "--force")
    assert sorted(path.name for path in target.data.iterdir()) == ["quay.db", "server.lock"]
    assert "somebody" in target.command("user", "list")
    with pytest.raises(ServerFailed, match="1 blobs are missing"):
        target.command("restore", str(backup), "--force", "--skip-damaged")
    with pytest.raises(ServerFailed, match="1 problems remain"):
        target.command("fsck")
    assert "of which" in server.command("backup", str(tmp_path / "backups"))
    assert "is good" in server.command("backup", "verify", str(newest(tmp_path / "backups")))


# --- a server by itself


def test_by_itself(server: RunningQuay, tmp_path: Path) -> None:
    """A server makes the backup that is due when it starts, says so in its metrics, and keeps to what is to be kept."""
    keeping = {f"QUAY_BACKUP_KEEP_{name}": "0" for name in ("DAILY", "WEEKLY", "MONTHLY")}
    schedule = {"QUAY_BACKUP_SCHEDULE": f"{datetime.now(UTC) - timedelta(hours=1):%H:%M}", "TZ": "UTC"}  # once a day
    env = CALM | keeping | schedule | {"QUAY_BACKUP_DIRECTORY": str(tmp_path / "backups")}
    server.command("backup", str(tmp_path / "backups"))
    first = newest(tmp_path / "backups")
    scheduled = RunningQuay(server.data, env)
    with scheduled:
        await_that(lambda: metric(scheduled, "quay_backup_last_success_timestamp_seconds") > 0)
        await_that(lambda: not first.exists())
        scheduled.stop()
    [made] = [path for path in (tmp_path / "backups").iterdir() if path.is_dir()]
    assert rows(server.data, "SELECT requester, state FROM job") == [("the schedule", "done")]
    assert "is good" in server.command("backup", "verify", str(made))


def test_the_second_server_names_the_first(server: RunningQuay) -> None:
    """Of two servers on a data directory the second does not start, and says who the first is."""
    with server:
        second = RunningQuay(server.data)
        second.start(await_health=False)
        assert second.wait() == 1
        assert f"Another server is using {server.data}: process {server.pid} on " in server.log


# --- what the tests say


def newest(directory: Path) -> Path:
    return max(path for path in directory.iterdir() if path.is_dir())


def restored(backup: Path, data: Path, env: dict[str, str] | None = None) -> RunningQuay:
    server = RunningQuay(data, CALM | (env or {}))
    server.command("restore", str(backup))
    return server


def check(server: RunningQuay, expected: Tags) -> None:
    """Every tag there is can be pulled, all of it; and those that had to be there are what they were."""
    assert "0 problems" in server.command("fsck")
    with server:
        client = Client(server.host, "dev")
        for repository, tags in expected.items():
            listed = json.loads(client.call("GET", repository, "tags/list?n=1000").expect(200).body)
            found = {tag: pull(client, repository, tag) for tag in listed["tags"]}
            assert {tag: found.get(tag) for tag in tags} == tags
        client.close()
        server.stop()


def pull(client: Client, repository: str, tag: str) -> str:
    """The digest of a tag, every byte of which was pulled and compared."""
    raw = client.manifest(repository, tag)
    assert raw is not None, f"{repository}:{tag}"
    body = json.loads(raw)
    for one in (body["config"], *body["layers"]):
        answer = client.call("GET", repository, f"blobs/{one['digest']}").expect(200)
        assert digest_of(answer.body) == one["digest"]
    return digest_of(raw)


def crashing(server: RunningQuay, point: str) -> RunningQuay:
    """For commands that die at this point."""
    return RunningQuay(server.data, CALM | {"QUAY_CRASH_AT": point})


def collected(server: RunningQuay) -> bool:
    """Whether there was something that is gone."""
    return rows(server.data, "SELECT count(*) FROM condemned WHERE gone") != [(0,)]


def collect(server: RunningQuay) -> None:
    """Collect what nobody names, however new it is."""
    rows(server.data, "UPDATE repository_blob SET leased_until_ms = 1")
    server.command("gc")


def is_there(server: RunningQuay, blob: bytes) -> bool:
    digest = digest_of(blob)
    return (server.data / "blobs" / "blobs" / "sha256" / digest[7:9] / digest[7:]).exists()


def rot(path: Path) -> None:
    """Change a byte of a file, which may be one of several names of the same."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


def metric(server: RunningQuay, name: str) -> float:
    client = Client(server.host, "nobody")
    text = client.request("GET", "/metrics").expect(200).body.decode()
    client.close()
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")))


def await_that(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
