"""
Imports by the real command from real registries: the directory of one, one that runs, another of ours. What came is
pulled and compared; what could not come is told; and a kill in the middle loses nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.servers import Debian, PeerMissing, Setting
from tests.conftest import missing
from tests.distribution import MANIFEST, Client, Image, digest_of
from tests.server import PATIENCE, REPOSITORY, RunningQuay

INDEX = "application/vnd.oci.image.index.v1+json"
REPOSITORIES = ("team/app", "team/deep/er/tool", "other/one")
TAGS = ("1.0", "2.0", "latest")


class Anonymous(Client):
    """A client of a registry that lets everybody in."""

    def login(self, repository: str, actions: str = "pull,push,delete") -> str:
        return self.tokens.setdefault(repository, "none")

    def push(self, repository: str, tag: str, image: Image) -> None:
        """In the ways that distribution knows."""
        for data in (*image.layers, image.config):
            self.finish(repository, self.begin(repository, data))
        self.tag(repository, tag, image.moved)


class Origin(Debian):
    """Debian's registry, with images in it."""

    def __init__(self, data: Path) -> None:
        super().__init__(data, Setting())
        self.images: dict[tuple[str, str], Image] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Origin:
        self.launch()
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert time.monotonic() < deadline, (self.data / "log").read_text()
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def fill(self) -> None:
        client = Anonymous(f"127.0.0.1:{self.port}", "nobody")
        for repository in REPOSITORIES:
            for tag in TAGS:
                image = Image.made(f"{repository}:{tag}")
                client.push(repository, tag, image)
                self.images[repository, tag] = image
        client.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    """A registry with images that does not run now, and that nobody changes."""
    try:
        Origin.program()
    except PeerMissing as reason:
        missing("docker-registry", reason)
    with Origin(tmp_path_factory.mktemp("filled")) as made:
        made.fill()
    return made


@pytest.fixture
def origin(filled: Origin, tmp_path: Path) -> Origin:
    """A registry with images that does not run now, for this test alone."""
    made = Origin(tmp_path)
    shutil.copytree(filled.data / "files", made.data / "files")
    made.images = filled.images
    return made


@pytest.fixture
def target(tmp_path: Path) -> Iterator[RunningQuay]:
    """A server of ours with a superuser, which runs."""
    with RunningQuay(tmp_path / "target") as server:
        server.add_user("boss", superuser=True)
        yield server


def command(server: RunningQuay, *arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The exit status of `quay import …` beside the server, and what it said."""
    done = begun(server, *arguments, env=env)
    said, _ = done.communicate(timeout=PATIENCE)
    return done.returncode, said


def begun(server: RunningQuay, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "QUAY_DATA": str(server.data),
        "QUAY_LISTEN": f"127.0.0.1:{server.port}",
        **(env or {}),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "quay", "import", *arguments],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def assert_pulled(server: RunningQuay, images: Mapping[tuple[str, str], Image]) -> None:
    """Every tag can be pulled, byte for byte."""
    client = Client(server.host, "boss")
    for (repository, tag), image in images.items():
        client.pull(repository, tag, image)
    client.close()


# --- a directory


def test_the_directory_of_a_registry(origin: Origin, target: RunningQuay) -> None:
    """All tags come, beside a running server, and blobs are not copied; a second import finds nothing new."""
    files = origin.data / "files"
    status, said = command(target, "distribution", str(files), "--dry-run")
    assert (status, "9 tags of 3 repositories would come" in said) == (0, True), said
    status, said = command(target, "distribution", str(files))
    assert (status, "9 tags of 3 repositories came; 0 were here already" in said) == (0, True), said
    assert_pulled(target, origin.images)
    image = origin.images["team/app", "1.0"]
    [data] = files.glob(f"**/blobs/sha256/*/{digest_of(image.layers[0])[7:]}/data")
    assert data.stat().st_nlink == 2
    status, said = command(target, "distribution", str(files))
    assert (status, "0 tags of 0 repositories came; 9 were here already" in said) == (0, True), said


def test_what_is_broken_is_told_and_the_rest_comes(origin: Origin, target: RunningQuay) -> None:
    """A link to nothing, a blob that is gone and one that has rotted: each is named, and keeps nothing else."""
    root = origin.data / "files" / "docker" / "registry" / "v2"
    (root / "repositories/team/app/_manifests/tags/1.0/current/link").write_text("sha256:nothing")
    gone, rotten = origin.images["team/app", "2.0"], origin.images["other/one", "latest"]
    blob = {
        layer: root / f"blobs/sha256/{digest_of(layer)[7:9]}/{digest_of(layer)[7:]}/data"
        for layer in (gone.layers[0], rotten.layers[1])
    }
    blob[gone.layers[0]].unlink()
    blob[rotten.layers[1]].write_bytes(b"x" * len(rotten.layers[1]))
    status, said = command(target, "distribution", str(origin.data / "files"))
    assert status == 1
    assert "6 tags" in said and "did not come (3)" in said, said
    for name in ("team/app:1.0", "team/app:2.0", "other/one:latest"):
        assert re.search(rf"(?m)^  {name}: ", said), said
    broken = {("team/app", "1.0"), ("team/app", "2.0"), ("other/one", "latest")}
    assert_pulled(target, {name: image for name, image in origin.images.items() if name not in broken})
    client = Client(target.host, "boss")
    assert all(client.manifest(repository, tag) is None for repository, tag in broken)
    client.close()


# --- a registry that runs


class Gate:
    """
    Stands before a registry, and hands on what is read. The blob request after `most` is held, until this ends; `asked`
    has the blobs that were asked for.
    """

    def __init__(self, port: int, most: int) -> None:
        self.asked: list[str] = []
        self.held = threading.Event()
        self._open = threading.Event()
        self.most = most
        self._counting = threading.Lock()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if "/blobs/" in self.path and not gate.lets(self.path):
                    return
                origin = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
                origin.request(self.command, self.path, headers={"Accept": self.headers.get("Accept", "*/*")})
                answer = origin.getresponse()
                body = answer.read()
                self.send_response(answer.status)
                for name in ("Content-Type", "Docker-Content-Digest", "Content-Length", "Link"):
                    if answer.headers[name]:
                        self.send_header(name, answer.headers[name])
                self.end_headers()
                self.wfile.write(body)
                origin.close()

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                """Tests have enough to say."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def lets(self, path: str) -> bool:
        with self._counting:
            self.asked.append(path.rpartition("/")[2])
            free = len(self.asked) <= self.most
        if not free:
            self.held.set()
            self._open.wait(PATIENCE)
        return free

    def close(self) -> None:
        self._open.set()
        self._server.shutdown()
        self._server.server_close()


def test_a_kill_in_the_middle(origin: Origin, target: RunningQuay) -> None:
    """An import that is killed goes on where it was: what came is not fetched again, and every tag is whole."""
    with origin:
        gate = Gate(origin.port, 15)
        try:
            importing = begun(target, "registry", gate.url, "--all")
            assert gate.held.wait(PATIENCE)
            importing.send_signal(signal.SIGKILL)
            importing.communicate(timeout=PATIENCE)
        finally:
            gate.close()
        first = gate.asked[:15]
        gate = Gate(origin.port, 10**6)
        try:
            status, said = command(target, "registry", gate.url, "--all")
        finally:
            gate.close()
    assert status == 0, said
    again = set(first) & set(gate.asked)
    assert len(again) <= 4, "more came twice than were under way"
    assert len(set(gate.asked)) + len(first) - len(again) == 9 * 4
    assert_pulled(target, origin.images)


def test_some_of_another_server_of_ours(target: RunningQuay, tmp_path: Path) -> None:
    """Behind its tokens, some repositories come under another name, with indexes, their children and signatures."""
    with RunningQuay(tmp_path / "source") as source:
        source.add_user("team")
        client = Client(source.host, "team")
        image = Image.made("app")
        for repository in ("team/app", "team/other"):
            client.push(repository, "1.0", image)
        index = _push_index(client, "team/app", image)
        signature = _push_signature(client, "team/app", image)
        client.close()
        arguments = ("registry", source.url, "--repository", "team/a*", "--into", "mirror", "--username", "team")
        status, said = command(target, *arguments, env={"SOURCE_PASSWORD": "wrong"})
        assert (status, "credentials" in said) == (1, True), said
        status, said = command(target, *arguments, env={"SOURCE_PASSWORD": "password123"})
        assert (status, "2 tags of 1 repositories came" in said) == (0, True), said
        token = source.command("token", "create", "team", "--scope", "repo:read").strip()
        listing = ("registry", source.url, "--all", "--quay-api", "--dry-run", "--username", "team")
        status, said = command(target, *listing, env={"SOURCE_PASSWORD": "password123", "SOURCE_TOKEN": token})
        assert (status, "3 tags of 2 repositories would come" in said) == (0, True), said
    client = Client(target.host, "boss")
    client.pull("mirror/team/app", "1.0", image)
    assert client.manifest("mirror/team/app", "all") is None  # an image is all that was accepted, not an index
    answer = client.call("GET", "mirror/team/app", "manifests/all", headers={"Accept": INDEX}).expect(200)
    assert answer.body == index
    listed = client.call("GET", "mirror/team/app", f"referrers/{digest_of(image.moved)}").expect(200)
    assert digest_of(signature).encode() in listed.body
    client.close()


def test_a_job_of_the_server(origin: Origin, tmp_path: Path) -> None:
    """Asked for through the API, the server itself imports, under its own rules, and says how far it is."""
    with origin, RunningQuay(tmp_path / "target", {"QUAY_EGRESS_NETWORKS": '["127.0.0.1/32"]'}) as server:
        server.add_user("boss", superuser=True)
        token = server.command("token", "create", "boss", "--scope", "super:user").strip()
        wanted = {"registry": origin.url, "repositories": "team/*", "tags": "1.0 2.0"}
        uuid = ask(server, token, "POST", "/superuser/imports/", wanted)["job"]
        deadline = time.monotonic() + PATIENCE
        while (job := ask(server, token, "GET", f"/superuser/jobs/{uuid}"))["state"] in ("waiting", "running"):
            assert time.monotonic() < deadline, job
            time.sleep(0.1)
        assert job["state"] == "done", job
        assert "4 tags of 2 repositories came" in job["log"] and job["done"] == job["total"] > 0, job
        chosen = {(repository, tag) for repository in REPOSITORIES[:2] for tag in ("1.0", "2.0")}
        assert_pulled(server, {name: origin.images[name] for name in chosen})
        [kept] = sqlite3.connect(server.data / "quay.db").execute("SELECT cursor FROM job").fetchone()
        assert json.loads(kept) == {}


def ask(server: RunningQuay, token: str, method: str, path: str, body: object = None) -> Any:
    """What the API says to whoever has the token."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    assert answer.status in (200, 201), (answer.status, said)
    return json.loads(said)


def _push_index(client: Client, repository: str, image: Image) -> bytes:
    child = f'{{"mediaType":"{MANIFEST}","digest":"{digest_of(image.moved)}","size":{len(image.moved)}}}'
    index = f'{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{child}]}}'.encode()
    client.call("PUT", repository, "manifests/all", index, {"Content-Type": INDEX}).expect(201)
    return index


def _push_signature(client: Client, repository: str, image: Image) -> bytes:
    client.push_blob(repository, b"{}")
    subject = f'{{"mediaType":"{MANIFEST}","digest":"{digest_of(image.moved)}","size":{len(image.moved)}}}'
    empty = f'{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{digest_of(b"{}")}","size":2}}'
    signature = (
        f'{{"schemaVersion":2,"mediaType":"{MANIFEST}","artifactType":"application/vnd.example.signature",'
        f'"config":{empty},"layers":[{empty}],"subject":{subject}}}'
    ).encode()
    where = f"manifests/{digest_of(signature)}"
    client.call("PUT", repository, where, signature, {"Content-Type": MANIFEST}).expect(201)
    return signature
