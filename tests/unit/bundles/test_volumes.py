"""Bundles cut into volumes: every byte of every blob once, in order, and none too large."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.bundles.volumes import VOLUME, Volume, cut, piece, piece_at
from quay.bundles.waybill import BundleInvalid
from quay.oci.archive import Part, digest_at
from quay.oci.errors import InvalidRequest, RegistryError
from quay.oci.reference import Digest

ID = "00000000-0000-4000-8000-000000000000"
COMMON = [Part("oci-layout", b"{}", 2), Part("index.json", b"{}" * 400, 800)]
LEAST = 1024
SIZES = st.lists(st.integers(0, 40_000), max_size=25)


def blobs_of(sizes: list[int]) -> list[tuple[Digest, int]]:
    algorithms = ("sha256", "sha512")
    return [(Digest.of(str(n).encode(), algorithms[n % 5 == 0]), size) for n, size in enumerate(sizes)]


def covered(volumes: list[Volume]) -> dict[Digest, list[tuple[int, int]]]:
    """Which bytes of each blob there are, in the order of the volumes."""
    found: dict[Digest, list[tuple[int, int]]] = {}
    for volume in volumes:
        for part in volume.parts:
            if isinstance(part.content, Digest):
                place = piece_at(part.name)
                assert (
                    (digest_at(part.name), 0) == (part.content, part.start)
                    if place is None
                    else place
                    == (
                        part.content,
                        part.start,
                    )
                )
                found.setdefault(part.content, []).append((part.start, part.start + part.size))
    return found


@given(SIZES, st.integers(12_000, 120_000))
def test_every_byte_once(sizes: list[int], limit: int) -> None:
    """Each blob is there from its first byte to its last, and no volume is too large, whatever the sizes are."""
    blobs = blobs_of(sizes)
    volumes = cut(ID, COMMON, blobs, limit, least=LEAST)
    found = covered(volumes)
    assert list(found) == [digest for digest, _ in blobs]
    for digest, size in blobs:
        ends = [0, *(end for _, end in found[digest])]
        assert [start for start, _ in found[digest]] == ends[:-1]
        assert ends[-1] == size
    assert all(volume.size <= limit and volume.size % 512 == 0 for volume in volumes)


@given(SIZES, st.integers(12_000, 120_000))
def test_no_more_than_needed(sizes: list[int], limit: int) -> None:
    """A volume but the last is full, save for less than the least piece and what heads and checksums take."""
    volumes = cut(ID, COMMON, blobs_of(sizes), limit, least=LEAST)
    assert all(limit - volume.size < LEAST + 5 * 512 for volume in volumes[:-1])


@given(SIZES)
def test_one_volume(sizes: list[int]) -> None:
    """Without a limit there is one volume, which is an OCI layout: no blob is cut."""
    [volume] = cut(ID, COMMON, blobs_of(sizes))
    assert not any(part.name.startswith("pieces/") for part in volume.parts)


def test_each_says_what_it_is() -> None:
    """Every volume has what all have in common, and its number among how many."""
    volumes = cut(ID, COMMON, blobs_of([30_000] * 4), 40_000, least=LEAST)
    labels = [json.loads(part.content) for one in volumes for part in one.parts if part.name == VOLUME]  # type: ignore[arg-type]
    assert labels == [
        {"bundle": ID, "number": f"{n:03d}", "of": f"{len(volumes):03d}"} for n in range(1, len(volumes) + 1)
    ]
    assert all([part.name for part in volume.parts[:2]] == ["oci-layout", "index.json"] for volume in volumes)


def test_too_small() -> None:
    """A limit that has no room for the lists is refused with the least that would do; so are too many volumes."""
    with pytest.raises(InvalidRequest, match="too small") as refused:
        cut(ID, COMMON, blobs_of([5]), 3000, least=LEAST)
    enough = int(refused.value.advice.split()[2])
    assert cut(ID, COMMON, blobs_of([5]), enough, least=LEAST)
    with pytest.raises(InvalidRequest, match="999"):
        cut(ID, COMMON, blobs_of([60_000_000]), 20_000, least=LEAST)


def test_names_of_pieces() -> None:
    """A piece is found again by its name, and what only looks like one is refused."""
    digest = Digest.of(b"x", "sha512")
    assert piece_at(piece(digest, 5)) == (digest, 5)
    assert piece_at("blobs/sha256/x") is None
    for name in ("pieces/x", f"pieces/sha256/{digest.hex}/1", f"pieces/sha256/../{'0' * 20}", "pieces/"):
        with pytest.raises((BundleInvalid, RegistryError)):
            piece_at(name)
