"""
The docker engine: pushes, mounts, pulls by digest and of other platforms, builds, and a container that runs.

An engine that cannot start on this machine (it needs much of the kernel) skips its tests with the last line of its log,
even where clients are required.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.clients.conftest import installed, logins
from tests.clients.distribution import Distribution
from tests.clients.images import FILES, RUNNABLE, exported, image, multi_arch, write_archive
from tests.clients.programs import Daemon, Program, ProgramFailed
from tests.server import RunningQuay, User

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def docker(home: Mapping[str, str], workshop: Path, quay: RunningQuay, dev: User) -> Iterator[Program]:
    """A client, logged in, of an engine that keeps everything in the workshop and makes no network."""
    directory = workshop / "docker"
    (directory / "client").mkdir(parents=True)
    (directory / "client" / "config.json").write_text(logins(dev, quay.host))
    (directory / "daemon.json").write_text("{}")  # not that of the machine
    client = installed("docker", home, "--host", f"unix://{directory}/socket").having(
        DOCKER_CONFIG=directory / "client", DOCKER_BUILDKIT=0
    )
    try:
        with Daemon(_engine(home, directory), directory / "log", lambda: client("version")):
            yield client
    except ProgramFailed as error:
        pytest.skip(str(error))


def _engine(home: Mapping[str, str], directory: Path) -> Program:
    places = {"data-root": "data", "exec-root": "exec", "pidfile": "pid", "config-file": "daemon.json"}
    return installed(
        "dockerd",
        home,
        *(f"--{option}={directory / name}" for option, name in places.items()),
        f"--host=unix://{directory}/socket",
        "--storage-driver=vfs",
        "--iptables=false",
        "--bridge=none",
        "--insecure-registry=127.0.0.0/8",
    )


def test_a_login_is_remembered(
    docker: Program, registry: Distribution, dev: User, quay: RunningQuay, repository: str, path: str, tmp_path: Path
) -> None:
    """A wrong password is refused; with the right one the client pulls, and after a logout it does not."""
    registry.push(path, image("docker login"), "1")
    anew = docker.having(DOCKER_CONFIG=tmp_path)
    login = ("login", "--username", dev.name, "--password-stdin", quay.host)
    assert "Login Succeeded" not in anew.refused(*login, stdin=f"{dev.password}-wrong")
    anew(*login, stdin=dev.password)
    anew("pull", f"{repository}:1")
    anew("logout", quay.host)
    assert "denied" in anew.refused("pull", f"{repository}:1")


def test_an_image_comes_back_with_the_same_contents(
    docker: Program, registry: Distribution, repository: str, path: str, tmp_path: Path
) -> None:
    """What the registry holds unpacks to what was pushed, and what is pulled by its digest has the same files."""
    pushed = image("docker")
    docker("load", "--input", write_archive(pushed, tmp_path / "pushed.tar"))
    docker("tag", pushed.config.digest, f"{repository}:1")
    said = docker("push", f"{repository}:1")
    digest = registry.digest(path, "1")
    assert digest in said
    assert registry.unpacked(path, digest) == [gzip.decompress(layer.data) for layer in pushed.layers]
    assert pushed.config.data in registry.everything(path, digest).values()
    docker("rmi", "--force", pushed.config.digest)
    docker("pull", f"{repository}@{digest}")
    assert _files(docker, f"{repository}@{digest}", tmp_path) == FILES


def test_what_is_there_is_not_uploaded_again(
    docker: Program, registry: Distribution, repository: str, path: str, tmp_path: Path
) -> None:
    """A second push finds every layer; a push to another repository mounts them."""
    pushed = image("docker mount")
    docker("load", "--input", write_archive(pushed, tmp_path / "pushed.tar"))
    for name in (f"{repository}:1", f"{repository}-copy:1"):
        docker("tag", pushed.config.digest, name)
    docker("push", f"{repository}:1")
    assert docker("push", f"{repository}:1").count("Layer already exists") == 3
    assert docker("push", f"{repository}-copy:1").count(f"Mounted from {path}") == 3
    assert registry.everything(f"{path}-copy", "1") == registry.everything(path, "1")


@pytest.mark.parametrize("v2s2", [False, True], ids=["index", "list"])
def test_an_image_is_pulled_from_an_index(
    docker: Program, registry: Distribution, repository: str, path: str, v2s2: bool
) -> None:
    """The engine takes the image of its own platform, or of the one it is asked for, with its configuration."""
    pushed = multi_arch(f"docker {v2s2}", docker=v2s2)
    registry.push(path, pushed, "1")
    own, other = pushed.children[0], pushed.children[-1]
    docker("pull", f"{repository}:1")
    seen = _inspected(docker, f"{repository}:1")
    assert (seen["Id"], seen["RepoDigests"]) == (own.config.digest, [f"{repository}@{pushed.digest}"])
    docker("pull", "--platform", "linux/s390x", f"{repository}:1")
    seen = _inspected(docker, f"{repository}:1")
    assert (seen["Id"], seen["Architecture"]) == (other.config.digest, "s390x")


def test_every_tag_is_pulled_and_pushed(docker: Program, registry: Distribution, repository: str, path: str) -> None:
    """`--all-tags` moves a whole repository."""
    for tag in ("1", "2"):
        registry.push(path, image(f"docker {tag}", docker=True), tag)
    docker("pull", "--all-tags", repository)
    for tag in ("1", "2"):
        docker("tag", f"{repository}:{tag}", f"{repository}-copy:{tag}")
    docker("push", "--all-tags", f"{repository}-copy")
    assert registry.ask(200, "GET", f"/v2/{path}-copy/tags/list").json["tags"] == ["1", "2"]
    for tag in ("1", "2"):
        assert image(f"docker {tag}", docker=True).config.data in registry.everything(f"{path}-copy", tag).values()


@pytest.mark.skipif(not RUNNABLE, reason="the program in the image is for amd64")
def test_a_pulled_image_runs_and_can_be_built_upon(
    docker: Program, registry: Distribution, repository: str, path: str, tmp_path: Path
) -> None:
    """A container of a pulled image says its word, and one built upon it, pushed and pulled again, another."""
    registry.push(path, image("run by docker"), "1")
    run = ("run", "--rm", "--network", "none")
    try:
        said = docker(*run, f"{repository}:1")
    except ProgramFailed as error:
        if "OCI runtime create failed" not in str(error):
            raise
        pytest.skip(f"this machine runs no containers: {str(error)[-300:]}")
    assert said == "run by docker\n"
    (tmp_path / "word").write_text("built\n")
    (tmp_path / "Dockerfile").write_text(f'FROM {repository}:1\nCOPY word /word\nRUN ["/say"]\n')
    docker("build", "--pull", "--network", "none", "--tag", f"{repository}:built", tmp_path)
    docker("push", f"{repository}:built")
    docker("rmi", "--force", f"{repository}:built")
    assert docker(*run, f"{repository}:built") == "built\n"


def _inspected(docker: Program, name: str) -> dict[str, object]:
    (seen,) = json.loads(docker("image", "inspect", name))
    return dict(seen)


def _files(docker: Program, name: str, tmp_path: Path) -> frozenset[str]:
    """The files of a container of this image, of those that it may have."""
    container = docker("create", "--network", "none", name).strip()
    docker("export", "--output", tmp_path / "files.tar", container)
    docker("rm", container)
    return exported(tmp_path / "files.tar")
