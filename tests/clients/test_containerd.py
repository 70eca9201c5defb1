"""containerd: content goes to the registry and comes back byte for byte, and unpacks into snapshots."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.clients.conftest import installed
from tests.clients.distribution import Distribution
from tests.clients.images import FILES, GONE, Content, image, index, multi_arch, write_archive
from tests.clients.programs import Daemon, Program
from tests.server import RunningQuay, User

pytestmark = pytest.mark.clients

CONFIG = """
version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{0}/socket"
[plugins."io.containerd.internal.v1.opt"]
  path = "{0}/opt"
"""


@pytest.fixture(scope="module")
def ctr(home: Mapping[str, str], workshop: Path) -> Iterator[Program]:
    """A client of a daemon that keeps everything in the workshop."""
    directory = workshop / "containerd"
    directory.mkdir()
    (directory / "config.toml").write_text(CONFIG.format(directory))
    client = installed("ctr", home, "--address", directory / "socket")
    daemon = installed("containerd", home, "--config", directory / "config.toml")
    with Daemon(daemon, directory / "log", lambda: client("version")):
        yield client


@pytest.fixture(scope="module")
def access(quay: RunningQuay, dev: User, workshop: Path) -> tuple[object, ...]:
    """The arguments of a pull or push by `dev`, over plain HTTP."""
    return (*plain_http(quay, workshop), "--user", f"{dev.name}:{dev.password}")


def plain_http(quay: RunningQuay, workshop: Path) -> tuple[object, ...]:
    directory = workshop / "hosts" / quay.host
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "hosts.toml").write_text(f'server = "{quay.url}"\n[host."{quay.url}"]\n')
    return ("--hosts-dir", workshop / "hosts")


CONTENTS = {
    "oci": image("containerd"),
    "v2s2": image("containerd v2s2", docker=True),
    "index": multi_arch("containerd"),
    "list": multi_arch("containerd list", docker=True),
    "nested": index(multi_arch("containerd nested"), image("containerd beside", labels={"purpose": "beside"})),
}


@pytest.mark.parametrize("pushed", CONTENTS.values(), ids=CONTENTS.keys())
def test_content_comes_back_as_it_went(
    ctr: Program,
    access: tuple[object, ...],
    registry: Distribution,
    repository: str,
    path: str,
    tmp_path: Path,
    pushed: Content,
) -> None:
    """What is pushed, forgotten and pulled again has every byte, for all platforms."""
    archive = write_archive(pushed, tmp_path / "pushed.tar")
    ctr("images", "import", "--all-platforms", "--no-unpack", "--base-name", repository, archive)
    name = f"{repository}:latest"
    ctr("images", "push", *access, name)
    assert registry.everything(path, "latest") == pushed.everything()
    ctr("images", "rm", "--sync", name)
    assert not pushed.everything().keys() & _kept(ctr)
    ctr("content", "fetch", *access, "--all-platforms", name)
    assert {digest: _content(ctr, digest) for digest in pushed.everything()} == pushed.everything()
    ctr("images", "rm", "--sync", name)


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "v2s2"])
def test_a_pulled_image_is_unpacked(
    ctr: Program,
    access: tuple[object, ...],
    registry: Distribution,
    repository: str,
    path: str,
    workshop: Path,
    docker: bool,
) -> None:
    """The snapshot of an image that was pulled out of an index has the files that its layers leave."""
    registry.push(path, multi_arch("snapshot", docker=docker), "1")
    ctr("images", "pull", *access, "--snapshotter", "native", f"{repository}:1")
    target = workshop / f"snapshot-{docker}"
    target.mkdir()
    ctr("images", "mount", "--snapshotter", "native", f"{repository}:1", target)
    try:
        found = {str(file.relative_to(target)) for file in target.rglob("*")}
    finally:
        subprocess.run(["umount", target], check=True, timeout=30)
    assert (FILES | GONE) & found == FILES


def test_strangers_are_refused(
    ctr: Program,
    quay: RunningQuay,
    dev: User,
    outsider: User,
    registry: Distribution,
    repository: str,
    path: str,
    workshop: Path,
) -> None:
    """Neither a wrong password, nor none, nor another user's pulls from a private repository."""
    registry.push(path, image("private to containerd"), "1")
    plain = plain_http(quay, workshop)
    for user in (f"{dev.name}:{dev.password}-wrong", f"{outsider.name}:{outsider.password}"):
        ctr.refused("content", "fetch", *plain, "--user", user, f"{repository}:1")
    ctr.refused("content", "fetch", *plain, f"{repository}:1")


def _kept(ctr: Program) -> set[str]:
    """The digests of all that the daemon holds."""
    return set(ctr("content", "ls", "--quiet").split())


def _content(ctr: Program, digest: str) -> bytes:
    return ctr.raw("content", "get", digest)
