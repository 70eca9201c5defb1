"""Tar files as streams: what Python's tarfile and GNU tar make of them, and what is refused."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tracemalloc
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.oci.tar import (
    BLOCK,
    CLOSING,
    END,
    ArchiveInvalid,
    Kind,
    Member,
    TarReader,
    filled,
    head,
    inside,
)

NAMES = st.from_regex(r"[a-zé]{1,60}(/[a-zé]{1,90}){0,3}", fullmatch=True)
FILES = st.dictionaries(NAMES, st.binary(max_size=1500), max_size=6)
FORMATS = st.sampled_from((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))


def packed(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar file as Python makes it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def file(name: str, data: bytes = b"", **facts: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for fact, value in facts.items():
        setattr(info, fact, value)
    return info, data


def read(pieces: Iterable[bytes], limit: int = 1000) -> list[tuple[Member, bytes]]:
    """Every member with its bytes."""
    reader, found = TarReader(limit), []
    for piece in pieces:
        for event in reader.feed(piece):
            if isinstance(event, Member):
                member, parts, ended = event, [], False
            elif event is END:
                assert not ended
                ended = True
                found.append((member, b"".join(parts)))
            else:
                parts.append(event)
                if member.kind is Kind.FILE:
                    assert len(b"".join(parts)) <= member.size
    reader.close()
    return found


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def _fits(name: str) -> bool:
    return len(name.encode()) < 100  # what ustar takes whole


@given(FILES, FORMATS, st.integers(1, 3000))
def test_what_python_packs_is_read(files: dict[str, bytes], form: int, size: int) -> None:
    """Every name and every byte comes back, whatever the format, however the stream is cut."""
    if form == tarfile.USTAR_FORMAT:
        files = {name: data for name, data in files.items() if _fits(name)}
    archive = packed(*(file(name, data) for name, data in files.items()), form=form)
    assert [(member.name, data) for member, data in read(cut(archive, size))] == list(files.items())


@given(FILES)
def test_what_we_pack_is_read(files: dict[str, bytes]) -> None:
    """Heads, contents and filling make an archive that Python reads, and so do we."""
    archive = b"".join(head(name, len(data)) + data.ljust(filled(len(data)), b"\0") for name, data in files.items())
    with tarfile.open(fileobj=io.BytesIO(archive + CLOSING)) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert found == files == {member.name: data for member, data in read([archive + CLOSING])}


def test_large_sizes() -> None:
    """Beyond 8 GiB, where octal digits end, sizes are told in base 256 or in a pax head."""
    size = 100 * 2**30
    info = tarfile.TarInfo("large")
    info.size = size
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        [member] = TarReader().feed(info.tobuf(form))
        assert member == Member("large", Kind.FILE, size)
    [member] = TarReader().feed(head("large", size))
    assert member == Member("large", Kind.FILE, size)


def test_gnu_tar(tmp_path: Path) -> None:
    """A directory that GNU tar packed has the names that it has without `./`; links lead to where they lead there."""
    (tmp_path / "in" / "one").mkdir(parents=True)
    (tmp_path / "in" / "one" / "file").write_bytes(b"hello")
    (tmp_path / "in" / "soft").symlink_to("one/file")
    (tmp_path / "in" / "one" / "up").symlink_to("../soft")
    (tmp_path / "in" / "one" / "hard").hardlink_to(tmp_path / "in" / "one" / "file")
    made = subprocess.run(["tar", "-c", "-C", tmp_path / "in", "--sort=name", "."], check=True, capture_output=True)
    found = {member.name: member for member, _ in read([made.stdout])}
    assert {name: member.kind for name, member in found.items()} == {
        "": Kind.DIRECTORY,
        "one": Kind.DIRECTORY,
        "one/file": Kind.FILE,
        "one/hard": Kind.LINK,
        "one/up": Kind.LINK,
        "soft": Kind.LINK,
    }
    assert (found["one/hard"].target, found["one/up"].target, found["soft"].target) == ("one/file", "soft", "one/file")


def test_what_stands_behind_the_end_does_not_count() -> None:
    """An archive ends where it says so, as for every program."""
    one = packed(file("one", b"1"))
    assert read([one + packed(file("two", b"2"))]) == read([one])


BAD = {
    "parent": (lambda: packed(file("../out", b"x")), "leads out of the archive"),
    "parent inside": (lambda: packed(file("a/../../out", b"x")), "leads out of the archive"),
    "absolute": (lambda: packed(file("/etc/passwd", b"x")), "leads out of the archive"),
    "no name": (lambda: packed(file(".", b"x")), "the name of no file"),
    "symlink out": (lambda: packed(file("a", type=tarfile.SYMTYPE, linkname="../out")), "leads out of the archive"),
    "symlink root": (lambda: packed(file("a", type=tarfile.SYMTYPE, linkname="/etc")), "leads out of the archive"),
    "hard link out": (lambda: packed(file("a/b", type=tarfile.LNKTYPE, linkname="../c")), "leads out of the archive"),
    "directory out": (lambda: packed(file("../a", type=tarfile.DIRTYPE)), "leads out of the archive"),
    "character device": (lambda: packed(file("null", type=tarfile.CHRTYPE)), "is a character device"),
    "block device": (lambda: packed(file("sda", type=tarfile.BLKTYPE)), "is a block device"),
    "pipe": (lambda: packed(file("pipe", type=tarfile.FIFOTYPE)), "is a named pipe"),
    "sparse": (lambda: packed(file("hole", type=tarfile.GNUTYPE_SPARSE)), "is a sparse file"),
    "sparse in pax": (lambda: packed(file("hole", pax_headers={"GNU.sparse.major": "1"})), "has a sparse file"),
    "pax bomb": (lambda: packed(file("a", pax_headers={"comment": "x" * 70_000})), "at most 65536 are read"),
    "long name": (lambda: packed(file("a" * 2000)), "at most 1024 are taken"),
    "a name for all": (
        lambda: io.BytesIO(tarfile.TarInfo.create_pax_global_header({"path": "x"})).getvalue() + packed(file("a")),
        "gives all its members one path",
    ),
    "not UTF-8": (lambda: packed(file("caf\udce9", b"x"), form=tarfile.GNU_FORMAT), "not UTF-8"),
    "truncated in a member": (lambda: packed(file("a", b"x" * 2000))[:1000], "ends in the middle"),
    "truncated between members": (lambda: packed(file("a", b"x"))[: 2 * BLOCK], "ends in the middle"),
    "truncated in the first head": (lambda: packed(file("a", b"x"))[:100], "no tar file"),
    "nothing": (lambda: b"", "no tar file"),
    "no tar file": (lambda: b"PNG" * 1000, "no tar file"),
    "a damaged head": (lambda: packed(file("a", b"x")).replace(b"ustar", b"vstar"), "no tar file"),
    "a negative size": (lambda: _summed(b"\xff" * 12), "no size that could be read"),
    "a huge size": (lambda: _summed(b"\x80" + b"\xff" * 11), "no size that could be read"),
    "no number": (lambda: _summed(b"0000000x000\0"), "no size that could be read"),
    "a size of letters in pax": (lambda: packed(file("a", pax_headers={"size": "1e9"})), "no size that could be read"),
    "a broken pax head": (
        lambda: packed(file("a", pax_headers={"path": "é"})).replace(b" path=", b" path?"),
        "cannot be read",
    ),
}


def _summed(size: bytes) -> bytes:
    """A head with this field for the size, and the right checksum."""
    block = bytearray(head("a", 0))
    block[124:136] = size
    block[148:156] = b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:])
    return bytes(block)


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    """What leads out of an archive, what is no file, and what is broken is refused in a sentence."""
    make, why = BAD[name]
    with pytest.raises(ArchiveInvalid) as refused:
        read([make()])
    assert why in refused.value.message


def test_too_many_members() -> None:
    """The members are counted as they come."""
    archive = packed(*(file(str(number)) for number in range(11)))
    assert len(read([archive], limit=11)) == 11
    with pytest.raises(ArchiveInvalid, match="more than 10 members"):
        read([archive], limit=10)


def test_heads_count_as_members() -> None:
    """A stream of nothing but heads, of which none is a member's, ends too."""
    pax = packed(file("a", pax_headers={"comment": "x"}))[: 2 * BLOCK]
    with pytest.raises(ArchiveInvalid, match="more than 50 members"):
        read([pax] * 51, limit=50)


@given(st.binary(max_size=4000))
def test_any_bytes(data: bytes) -> None:
    """Whatever comes is read or refused."""
    with suppress(ArchiveInvalid):
        read([data])


@given(st.binary(min_size=BLOCK, max_size=BLOCK), st.sampled_from(b"01234567LKxgS"))
def test_any_head(block: bytes, kind: int) -> None:
    """So is every head that has the right checksum."""
    made = bytearray(block)
    made[156] = kind
    made[148:156] = b"%06o\0 " % sum(made[:148] + b" " * 8 + made[156:])
    with suppress(ArchiveInvalid):
        read([bytes(made)])


@given(NAMES)
def test_plain_names_stay(name: str) -> None:
    """A plain name is its own plain spelling, and so is what says the same in a longer way."""
    assert inside(name, "") == inside(f"./{name}", "") == inside(f"a/../{name}", "") == name


def test_a_large_member_takes_no_memory() -> None:
    """A gigabyte in a mebibyte's pieces is never held."""
    reader, piece = TarReader(), bytes(2**20)
    for _ in reader.feed(head("large", 2**30)):
        pass
    tracemalloc.start()
    try:
        for _ in range(2**6):
            for _ in reader.feed(piece):
                pass
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()
