"""
One registry for all the clients, with users that the command made, and every client as a fixture.

A client that is not installed skips its tests, with the reason; QUAY_TEST_REQUIRE=clients makes that a failure.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.clients import programs
from tests.clients.distribution import Distribution
from tests.clients.programs import Program
from tests.conftest import missing
from tests.server import RunningQuay, User

LIMITS = '["nofile=1024:1024", "nproc=1024:1024"]'
"""What a container may have: less than the defaults, which not every machine may set."""


@pytest.fixture(scope="session")
def workshop() -> Iterator[Path]:
    """A directory for all that the clients keep, which is left empty of files and mounts."""
    with programs.workshop() as directory:
        yield directory


@pytest.fixture(scope="session")
def quay(workshop: Path) -> Iterator[RunningQuay]:
    """A running registry in which a push makes a private repository; nothing that the clients do makes it stumble."""
    with RunningQuay(workshop / "quay") as server:
        yield server
        status = server.stop()
        assert (status, "Traceback" in server.log) == (0, False), server.log[-3000:]


@pytest.fixture(scope="session")
def open_quay(workshop: Path) -> Iterator[RunningQuay]:
    """A running registry in which a push makes a public repository."""
    with RunningQuay(workshop / "open", {"QUAY_CREATE_PRIVATE_REPO_ON_PUSH": "false"}) as server:
        server.add_user("dev")
        yield server


@pytest.fixture(scope="session")
def dev(quay: RunningQuay) -> User:
    """The user whose clients these are."""
    return quay.add_user("dev")


@pytest.fixture(scope="session")
def outsider(quay: RunningQuay) -> User:
    """A user who has no right in the namespace of `dev`."""
    return quay.add_user("outsider")


@pytest.fixture(scope="session")
def registry(quay: RunningQuay, dev: User) -> Distribution:
    """The registry over plain HTTP, as `dev` sees it."""
    return Distribution(quay.host, dev)


@pytest.fixture
def path(request: pytest.FixtureRequest) -> str:
    """A repository of this test's own, as the protocol calls it."""
    return f"dev/{re.sub('[^a-z0-9]+', '-', request.node.name.lower()).strip('-')}"


@pytest.fixture
def repository(quay: RunningQuay, path: str) -> str:
    """A repository of this test's own, as clients call it."""
    return f"{quay.host}/{path}"


@pytest.fixture(scope="session")
def home(workshop: Path, quay: RunningQuay, open_quay: RunningQuay, dev: User) -> Mapping[str, str]:
    """The environment of somebody whose clients know both registries, and his password for them."""
    directory = workshop / "home"
    settings = directory / ".config" / "containers"
    settings.mkdir(parents=True)
    (settings / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    (settings / "registries.conf").write_text('[[registry]]\nlocation = "127.0.0.1"\ninsecure = true\n')
    (settings / "containers.conf").write_text(
        f'[containers]\ndefault_ulimits = {LIMITS}\n[engine]\nlock_type = "file"\ntmp_dir = "{directory}/engine"\n'
    )
    (directory / "auth.json").write_text(logins(dev, quay.host, open_quay.host))
    return {
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "XDG_RUNTIME_DIR": str(directory),
        "CONTAINERS_CONF": str(settings / "containers.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(settings / "registries.conf"),
        "REGISTRY_AUTH_FILE": str(directory / "auth.json"),
    }


def logins(user: User, *hosts: str) -> str:
    """What a client remembers of logging in to `hosts`."""
    auth = base64.b64encode(f"{user.name}:{user.password}".encode()).decode()
    return json.dumps({"auths": {host: {"auth": auth} for host in hosts}})


def installed(name: str, env: Mapping[str, str], *arguments: object) -> Program:
    """The program `name`; without it, the test is skipped, or fails if clients are required."""
    if shutil.which(name, path=env["PATH"]) is None:
        missing("clients", f"{name} is not installed")
    return optional(name, env, *arguments)


def optional(name: str, env: Mapping[str, str], *arguments: object) -> Program:
    """The program `name`, which no distribution must have: without it, the test is always skipped."""
    if shutil.which(name, path=env["PATH"]) is None:
        pytest.skip(f"{name} is not installed")
    return Program((name, *map(str, arguments)), env)


@pytest.fixture(scope="session")
def skopeo(home: Mapping[str, str]) -> Program:
    return installed("skopeo", home)


@pytest.fixture(scope="session")
def podman(home: Mapping[str, str], workshop: Path) -> Program:
    """podman with containers and images of its own."""
    directory = workshop / "podman"
    places = ("--root", directory / "root", "--runroot", directory / "run", "--storage-driver", "vfs")
    runtime = ("--runtime", "runc") if shutil.which("runc", path=home["PATH"]) else ()
    return installed("podman", home, *places, "--cgroup-manager", "cgroupfs", "--events-backend", "file", *runtime)


@pytest.fixture(scope="session")
def buildah(home: Mapping[str, str], workshop: Path) -> Program:
    """buildah with containers and images of its own."""
    directory = workshop / "buildah"
    places = ("--root", directory / "root", "--runroot", directory / "run", "--storage-driver", "vfs")
    return installed("buildah", home, *places)
