"""
Bundles between two copies of the one file, on machines that cannot reach each other: what a real client pushed to one
is pulled from the other, which has seen nothing but the volumes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.images import held, multi_arch, write_directory
from tests.conftest import missing
from tests.packaging.island import BinaryQuay, Island, IslandMissing
from tests.packaging.test_binary import ADA, skopeo
from tests.server import ServerFailed

pytestmark = pytest.mark.long

LIMIT = 3_000_000
EXACT = ("copy", "--all", "--preserve-digests", "--quiet")


@pytest.fixture
def sites(binary: Path, tmp_path: Path) -> Iterator[tuple[BinaryQuay, BinaryQuay]]:
    """Two servers, each on an island of its own, that ada administers."""
    if os.geteuid():
        missing("binary", "only root can make networks")
    try:
        with Island() as here, Island() as there:
            near, far = BinaryQuay(binary, here, tmp_path / "near"), BinaryQuay(binary, there, tmp_path / "far")
            try:
                for site in (near, far):
                    site.add_user(ADA.name, ADA.password, superuser=True)
                    site.start()
                yield near, far
            finally:
                near.kill()
                far.kill()
    except IslandMissing as reason:
        missing("binary", reason)


def test_from_island_to_island(sites: tuple[BinaryQuay, BinaryQuay], tmp_path: Path) -> None:
    """An index goes by volumes, loaded after a kill, and is pulled there by skopeo, with every byte."""
    near, far = sites
    with pytest.raises(OSError, match="refused"):
        far.island.connect(near.port)
    pushed = multi_arch("from island to island")
    source = write_directory(pushed, tmp_path / "pushed")
    client = skopeo(near.island, tmp_path, near.host, far.host)
    client(*EXACT, "--dest-tls-verify=false", f"dir:{source}", f"docker://{near.host}/ada/web:1.0")

    disk = tmp_path / "disk"
    disk.mkdir()
    near.command("bundle", "key", str(disk / "near.pem"))
    near.command("bundle", "make", str(disk / "ada.bundle"), "ada/*", "--max-size", str(LIMIT))
    far.command("bundle", "trust", str(disk / "near.pem"))
    (disk / "near.pem").unlink()
    dying = BinaryQuay(far.binary, far.island, far.data, {"QUAY_CRASH_AT": "blob.linked:4"})
    with pytest.raises(ServerFailed):
        dying.command("bundle", "load", str(disk))
    assert "1 tag loaded" in far.command("bundle", "load", str(disk))

    target = tmp_path / "pulled"
    client = skopeo(far.island, tmp_path, near.host, far.host)
    client(*EXACT, "--src-tls-verify=false", f"docker://{far.host}/ada/web:1.0", f"dir:{target}")
    assert pushed.everything().items() <= held(target).items()
