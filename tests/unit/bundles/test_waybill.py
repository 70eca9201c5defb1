"""Waybills and receipts: what is written is read again, and what means harm is refused in bounded time."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.bundles.waybill import DOCUMENT_LIMIT, BundleInvalid, Receipt, Referrer, Shipment, Waybill
from quay.oci.reference import Digest, RepositoryName, Tag

DIGESTS = st.binary(max_size=8).map(Digest.of)
SHIPMENTS = st.builds(
    Shipment,
    st.from_regex(r"[a-z]{1,5}/[a-z]{1,5}", fullmatch=True).map(RepositoryName.parse),
    st.from_regex(r"[A-Za-z0-9_]{1,8}", fullmatch=True).map(Tag),
    DIGESTS,
    st.just("application/vnd.oci.image.manifest.v1+json"),
    st.lists(st.builds(Referrer, DIGESTS, st.just("a/b")), max_size=2).map(tuple),
)
SIZES = st.dictionaries(DIGESTS, st.integers(0, 2**62), max_size=5)


@given(st.lists(SHIPMENTS, max_size=4, unique_by=lambda one: one.name), SIZES, SIZES, st.integers(0, 2**41))
def test_waybills(shipments: list[Shipment], blobs: dict[Digest, int], held: dict[Digest, int], ms: int) -> None:
    """A waybill is read as it was written."""
    absent = dict.fromkeys(held, "it is for linux/s390x")
    made = Waybill(made_ms=ms, registry="r", shipments=tuple(shipments), blobs=blobs, held=held, absent=absent)
    assert Waybill.parse(made.as_json()) == made


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9), DIGESTS),
    st.frozensets(DIGESTS),
)
def test_receipts(tags: dict[str, Digest], blobs: frozenset[Digest]) -> None:
    """A receipt is read as it was written, with the last bundles."""
    made = Receipt(made_ms=5, registry="r", tags=tags, blobs=blobs, bundles=("a", "b"))
    assert Receipt.parse(made.as_json()) == made


def spelled(**changes: object) -> bytes:
    made = json.loads(Waybill(made_ms=0, registry="r", shipments=(), blobs={}).as_json())
    return json.dumps(made | changes).encode()


TAG = {"repository": "a/b", "tag": "1", "digest": Digest.of(b""), "mediaType": "x/y"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
        spelled(schema="quay.bundle.v2"),
        spelled(schema="quay.receipt.v1"),
        spelled(tags=[TAG, TAG]),
        spelled(tags=[TAG, TAG | {"digest": Digest.of(b"other")}]),
        spelled(tags=[TAG | {"repository": "../../etc"}]),
        spelled(tags=[TAG | {"tag": "a/b"}]),
        spelled(tags=[TAG | {"digest": "sha256:x"}]),
        spelled(blobs={"sha256:../../x": 1}),
        spelled(blobs={Digest.of(b""): -1}),
        spelled(blobs={Digest.of(b""): 2**70}),
        spelled(made="yesterday"),
        spelled(tags={"a": 1}),
        b"[" + b"[]," * 600_000 + b"[]]",
        b" " * (DOCUMENT_LIMIT + 1),
    ],
    ids=[
        "empty",
        "array",
        "brackets",
        "nested",
        "newer",
        "receipt",
        "twice",
        "two-digests",
        "climbing",
        "tag",
        "digest",
        "blob",
        "negative",
        "huge",
        "made",
        "tags",
        "arrays",
        "space",
    ],
)
def test_refused(raw: bytes) -> None:
    """What is no waybill, or a hostile one, is refused."""
    with pytest.raises(BundleInvalid):
        Waybill.parse(raw)
    with pytest.raises(BundleInvalid):
        Receipt.parse(raw)
