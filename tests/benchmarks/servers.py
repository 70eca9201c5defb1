"""
The registries that are measured, each as its own process on its own port with its own data: ours with its tokens and
its fsync as shipped, and CNCF distribution as Debian packages it (2.8) and as its project releases it (v3), without any
authentication, which is lighter than ours.
"""

from __future__ import annotations

import abc
import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import urlencode

import attrs

from tests.benchmarks import dataset, process
from tests.benchmarks.wire import Connection, Refused
from tests.postgres import free_port
from tests.server import REPOSITORY, RunningQuay

CACHE: Final = REPOSITORY / ".cache" / "benchmarks"
PATIENCE: Final = 60.0
VERSION: Final = "v3.1.1"
MODULE: Final = "github.com/distribution/distribution/v3/cmd/registry"
PASSWORD: Final = "password123"
_STALLS: Final = re.compile(r'^quay_reactor_stall_seconds_bucket{le="([^"]+)"} (\S+)$', re.MULTILINE)


class PeerMissing(Exception):
    """A peer cannot be run here, and this says why."""


@attrs.frozen
class Setting:
    """How a registry is set up: with TLS or without, with how much of the dataset in it or with nothing."""

    tls: bool = False
    sizes: dataset.Sizes | None = None


class Server(abc.ABC):
    """One registry with its data below `data`, which it makes."""

    name: ClassVar[str]

    def __init__(self, data: Path, setting: Setting) -> None:
        self.data = data / self.name
        self.data.mkdir(parents=True)
        self.setting = setting
        self.port = free_port()
        if setting.tls:
            self.certificate, self.key = _certificate(self.data)

    @property
    @abc.abstractmethod
    def pid(self) -> int: ...

    @abc.abstractmethod
    def prepare(self) -> None:
        """Put the dataset, if any, and the user into its data."""

    @abc.abstractmethod
    def launch(self) -> None:
        """Start the process."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Stop it as an operator does."""

    def rights(self, repository: str, actions: str = "pull,push,delete") -> dict[str, str]:
        """The headers with which a client may do this."""
        return {}

    def catalog_rights(self) -> dict[str, str]:
        return {}

    def stalls(self) -> dict[float, int]:
        """How often its reactor stood still for up to so many seconds; empty if it has none."""
        return {}

    def connect(self) -> Connection:
        return Connection(self.port, tls=self.setting.tls)

    def start(self) -> float:
        """Start it on its core; the seconds until its first answer."""
        began = time.monotonic()
        with process.pinned(process.SERVER_CORE):
            self.launch()
        while not self._answers():
            if time.monotonic() - began > PATIENCE:
                raise Refused(f"{self.name} gave no answer within {PATIENCE:.0f} s of its start; see {self.data}.")
            time.sleep(0.002)
        return time.monotonic() - began

    def _answers(self) -> bool:
        try:
            with self.connect() as connection:
                return connection.ask("GET", "/v2/", {}).status in (200, 401)
        except (OSError, Refused):
            return False


class Ours(Server):
    """This registry, with the user of the dataset, who gets bearer tokens."""

    name = "ours"

    def __init__(self, data: Path, setting: Setting) -> None:
        super().__init__(data, setting)
        tls = {"QUAY_TLS_CERTIFICATE": str(self.certificate), "QUAY_TLS_KEY": str(self.key)} if setting.tls else {}
        self._quay = RunningQuay(self.data, {**tls, "QUAY_LISTEN": f"127.0.0.1:{self.port}"})

    @property
    def pid(self) -> int:
        return self._quay.pid

    def prepare(self) -> None:
        if self.setting.sizes is None:
            self._quay.add_user(dataset.OWNER, PASSWORD)
        else:
            shutil.copy(cached_dataset(self.setting.sizes), self.data / "quay.db")

    def launch(self) -> None:
        self._quay.start(await_health=False)

    def stop(self) -> None:
        self._quay.stop()

    def rights(self, repository: str, actions: str = "pull,push,delete") -> dict[str, str]:
        return self._token(f"repository:{repository}:{actions}")

    def catalog_rights(self) -> dict[str, str]:
        return self._token("registry:catalog:*")

    def stalls(self) -> dict[float, int]:
        with self.connect() as connection:
            metrics = connection.ask("GET", "/metrics", {}).expect(200).body.decode()
        return {float(bound): int(float(count)) for bound, count in _STALLS.findall(metrics)}

    def _token(self, scope: str) -> dict[str, str]:
        credentials = base64.b64encode(f"{dataset.OWNER}:{PASSWORD}".encode()).decode()
        with self.connect() as connection:
            path = f"/v2/auth?{urlencode({'scope': scope})}"
            answer = connection.ask("GET", path, {"Authorization": f"Basic {credentials}"}).expect(200)
        return {"Authorization": f"Bearer {json.loads(answer.body)['token']}"}


def cached_dataset(sizes: dataset.Sizes, echo: Callable[[str], object] = print) -> Path:
    """The database with the dataset in it, made once for each of its sizes and each schema."""
    from quay import service
    from quay.database.schema import SCHEMA

    numbers = "-".join(str(size) for size in attrs.astuple(sizes))
    made = CACHE / f"dataset-{SCHEMA}-{numbers}.db"
    if not made.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = made.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        dataset.make(f"sqlite:///{fresh}", sizes, password_hash=service.hashed(PASSWORD), echo=echo)
        fresh.rename(made)
    return made


class Peer(Server):
    """CNCF distribution, with its cache of blob descriptors on, as its example configurations have it."""

    def __init__(self, data: Path, setting: Setting) -> None:
        super().__init__(data, setting)
        self._process: subprocess.Popen[bytes] | None = None
        self._config = self.data / "config.json"  # YAML, too
        self._config.write_text(json.dumps(self._configuration()))

    @classmethod
    @abc.abstractmethod
    def program(cls) -> str:
        """Where it is. Raises `PeerMissing`."""

    def _configuration(self) -> dict[str, object]:
        http: dict[str, object] = {"addr": f"127.0.0.1:{self.port}", "secret": "of the benchmark"}
        if self.setting.tls:
            http["tls"] = {"certificate": str(self.certificate), "key": str(self.key)}
        storage = {
            "filesystem": {"rootdirectory": str(self.data / "files")},
            "cache": {"blobdescriptor": "inmemory"},
            "delete": {"enabled": True},
        }
        log = {"level": "error", "accesslog": {"disabled": True}}
        return {"version": "0.1", "log": log, "storage": storage, "http": http}

    @property
    def pid(self) -> int:
        assert self._process is not None, "it has not been started"
        return self._process.pid

    def prepare(self) -> None:
        if self.setting.sizes is not None:
            _lay_out(self.data / "files", self.setting.sizes)

    def launch(self) -> None:
        with (self.data / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.program(), "serve", str(self._config)],
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "OTEL_TRACES_EXPORTER": "none"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        assert self._process is not None, "it has not been started"
        self._process.terminate()
        self._process.wait(PATIENCE)


class Debian(Peer):
    name = "2.8"

    @classmethod
    def program(cls) -> str:
        found = shutil.which("docker-registry")
        if found is None:
            raise PeerMissing("Debian's docker-registry is not installed: apt-get install docker-registry.")
        return found


class Distribution(Peer):
    name = "v3"

    @classmethod
    def program(cls) -> str:
        built = REPOSITORY / ".cache" / "bin" / "registry"
        if not built.exists():
            _build(built.parent)
        return str(built)


SERVERS: Final[Mapping[str, type[Server]]] = {server.name: server for server in (Ours, Distribution, Debian)}


def _build(directory: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise PeerMissing(f"distribution {VERSION} is built with Go, which is not installed.")
    directory.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [go, "install", f"{MODULE}@{VERSION}"],
        cwd=directory,
        env={**os.environ, "GOBIN": str(directory), "GOTOOLCHAIN": "local", "GOWORK": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PeerMissing(f"distribution {VERSION} could not be built: {done.stderr.strip()[-500:]}")


def _certificate(directory: Path) -> tuple[Path, Path]:
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    return certificate, key


def _lay_out(root: Path, sizes: dataset.Sizes) -> None:
    """The same repositories and tags in the layout of distribution's file system driver, as its pushes leave them."""
    repositories = root / "docker" / "registry" / "v2" / "repositories"
    for number in range(sizes.repositories):
        (repositories / str(dataset.repository_name(number)) / "_manifests" / "tags").mkdir(parents=True)
    manifests = repositories / str(dataset.TAGGED) / "_manifests"
    for digest, tag in _tags(sizes.tags):
        hexadecimal = digest.partition(":")[2]
        for where in (
            f"revisions/sha256/{hexadecimal}",
            f"tags/{tag}/current",
            f"tags/{tag}/index/sha256/{hexadecimal}",
        ):
            (manifests / where).mkdir(parents=True)
            (manifests / where / "link").write_text(digest)


def _tags(count: int) -> Iterable[tuple[str, str]]:
    return ((dataset.image(f"image {number}").digest, dataset.tag_name(number)) for number in range(count))
