"""What lies in files that somebody brought: archives that mean harm, that are broken, and in any order."""

from __future__ import annotations

import gzip
import io
import tarfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from quay.bundles.extents import FileUnreadable, NoRoom, check_room
from quay.bundles.shelf import Shelf
from quay.bundles.volumes import piece
from quay.bundles.waybill import BundleInvalid
from quay.oci.reference import Digest
from quay.oci.tar import ArchiveInvalid
from quay.threads import ImmediatePool
from tests.http.application import done

POOL = ImmediatePool()
BLOB = b"the bytes of a blob" * 100
DIGEST = Digest.of(BLOB)
PLACE = f"blobs/sha256/{DIGEST.hex}"


def member(name: str, data: bytes = b"", **facts: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, data


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as made:
        for info, data in members:
            made.addfile(info, io.BytesIO(data))
    return path


def shelf_of(scratch: Path, *paths: Path) -> Shelf:
    found: Shelf = done(Shelf.of(paths, POOL, POOL, scratch))
    return found


def test_order_does_not_matter(tmp_path: Path) -> None:
    """Pieces are put together by where they begin, in whatever order the files come."""
    cuts = [0, 600, 601, len(BLOB)]
    files = [
        tar(tmp_path / str(number), member(piece(DIGEST, start), BLOB[start:end]))
        for number, (start, end) in enumerate(pairwise(cuts))
    ]
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        assert done(shelf_of(tmp_path, *(files[n] for n in order)).blob(DIGEST, 10_000)) == BLOB
    assert shelf_of(tmp_path, files[0], files[2]).size(DIGEST) == len(BLOB) - 1
    with pytest.raises(BundleInvalid, match="damaged"):
        done(shelf_of(tmp_path, files[0], files[2]).blob(DIGEST, 10_000))


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_compressed(tmp_path: Path, pack: Any) -> None:
    """A compressed archive is unpacked beside, and that is gone again afterwards."""
    path = tar(tmp_path / "a.tar", member(PLACE, BLOB))
    path.write_bytes(pack(path.read_bytes()))
    shelf = shelf_of(tmp_path / "scratch", path)
    assert done(shelf.blob(DIGEST, 10_000)) == BLOB
    done(shelf.close())
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_bomb(tmp_path: Path) -> None:
    """A few bytes that stand for very many are refused, and leave nothing."""
    bomb = tmp_path / "bomb"
    bomb.write_bytes(gzip.compress(bytes(80 * 1024 * 1024), 9))
    with pytest.raises(ArchiveInvalid):
        shelf_of(tmp_path / "scratch", bomb)
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    "bad",
    [
        member("../../etc/passwd", b"x"),
        member("/etc/passwd", b"x"),
        member("blobs/../../x", b"x"),
        member("layer.tar", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("layer.tar", type=tarfile.SYMTYPE, linkname="../../etc/passwd"),
        member("layer.tar", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        member("device", type=tarfile.CHRTYPE),
        member("pipe", type=tarfile.FIFOTYPE),
        member("x" * 2000, b"x"),
        member("twice", b"x"),
    ],
    ids=lambda one: f"{one[0].type!r} {one[0].name[:20]}",
)
def test_members_that_mean_harm(tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes]) -> None:
    """A member that leads out of the archive, or is no file, ends it: what stood before is used, the rest never is."""
    shelf = shelf_of(tmp_path, tar(tmp_path / "bad", member("twice", b"first"), bad, member(PLACE, BLOB)))
    assert list(shelf.members) == ["twice"]
    assert "bad is damaged" in shelf.remarks[0]
    with pytest.raises(ArchiveInvalid):
        shelf_of(
            tmp_path,
            tar(
                tmp_path / "alone",
                member("dir", type=tarfile.DIRTYPE),
                bad if bad[0].name != "twice" else member("..", b"x"),
            ),
        )


def test_links_in_circles(tmp_path: Path) -> None:
    """Links are names in the archive, and lead nowhere in the end if they lead in a circle."""
    path = tar(
        tmp_path / "links",
        member("a", type=tarfile.SYMTYPE, linkname="b"),
        member("b", type=tarfile.SYMTYPE, linkname="a"),
        member("c", type=tarfile.SYMTYPE, linkname="d"),
        member("d", b"found"),
    )
    shelf = shelf_of(tmp_path, path)
    assert shelf.extent("a") is None
    assert done(shelf.document("c", 100)) == b"found"


@pytest.mark.parametrize("left", [100, 512, 700, 1024 + 512 + 3, 3000])
def test_cut_off(tmp_path: Path, left: int) -> None:
    """Of a volume that ends too early, what came whole is used, and it is told that the rest is missing."""
    path = tar(tmp_path / "cut", member("first", b"whole"), member(PLACE, BLOB), member("last", b"x" * 9000))
    path.write_bytes(path.read_bytes()[:left])
    try:
        shelf = shelf_of(tmp_path, path)
    except ArchiveInvalid:
        assert left < 1024
        return
    assert shelf.remarks
    assert "last" not in shelf.members
    assert "ends in the middle" in shelf.remarks[0]


def test_other_bytes(tmp_path: Path) -> None:
    """A blob with other bytes than its name says is refused, with its file; a larger one than asked is not read."""
    shelf = shelf_of(tmp_path, tar(tmp_path / "wrong", member(PLACE, BLOB[:-1] + b"?")))
    with pytest.raises(BundleInvalid, match="wrong is damaged"):
        done(shelf.blob(DIGEST, 10_000))
    with pytest.raises(BundleInvalid, match="at most 10 "):
        done(shelf.blob(DIGEST, 10))


def test_names_that_are_none(tmp_path: Path) -> None:
    """What lies in the place of a blob or a piece under another name is remarked, and left out."""
    path = tar(tmp_path / "odd", member("blobs/sha256/zz", b"x"), member("pieces/x/y", b"x"), member(PLACE, BLOB))
    shelf = shelf_of(tmp_path, path)
    assert len(shelf.remarks) == 2
    assert list(shelf.members) == [PLACE]


def test_directories(tmp_path: Path) -> None:
    """Of a directory, only its own files are read: no link, whatever it points to."""
    layout = tmp_path / "layout"
    (layout / "blobs" / "sha256").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(BLOB)
    (layout / "index.json").write_text("{}")
    (layout / PLACE).symlink_to(tmp_path / "secret")
    assert list(shelf_of(tmp_path, layout).members) == ["index.json"]
    (layout / "blobs").rename(tmp_path / "outside")
    (layout / "blobs").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "sha256" / DIGEST.hex).unlink()
    (tmp_path / "outside" / "sha256" / DIGEST.hex).write_bytes(BLOB)
    assert list(shelf_of(tmp_path, layout).members) == ["index.json"]


def test_a_file_that_is_swapped(tmp_path: Path) -> None:
    """A file that became a link since it was looked at is not followed."""
    path = tar(tmp_path / "a", member(PLACE, BLOB))
    shelf = shelf_of(tmp_path, path)
    path.rename(tmp_path / "b")
    path.symlink_to(tmp_path / "b")
    with pytest.raises(FileUnreadable):
        done(shelf.blob(DIGEST, 10_000))


def test_nothing(tmp_path: Path) -> None:
    """What is not there, or no archive, or an empty directory, is told by its name."""
    (tmp_path / "text").write_text("no tar file" * 1000)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileUnreadable, match="missing"):
        shelf_of(tmp_path, tmp_path / "missing")
    with pytest.raises(ArchiveInvalid, match="text"):
        shelf_of(tmp_path, tmp_path / "text")
    with pytest.raises(BundleInvalid, match="empty"):
        shelf_of(tmp_path, tmp_path / "empty")


def test_room(tmp_path: Path) -> None:
    """What would not fit on the disk is refused before the first byte."""
    check_room(tmp_path / "not" / "yet", 1)
    with pytest.raises(NoRoom, match="are needed"):
        check_room(tmp_path, 2**60)
