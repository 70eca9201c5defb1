"""Descriptors: read, proved and written back."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.oci import media_types
from quay.oci.descriptor import Descriptor, Platform
from quay.oci.document import JsonObject
from quay.oci.errors import ManifestInvalid
from quay.oci.reference import Digest

Json = dict[str, Any]
WORD = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
DESCRIPTORS = st.builds(
    Descriptor,
    media_type=WORD,
    digest=st.binary().map(Digest.of),
    size=st.integers(0, 2**63 - 1),
    urls=st.lists(WORD, max_size=2).map(tuple),
    artifact_type=st.none() | WORD,
    platform=st.none() | st.builds(Platform, WORD, WORD, st.just("") | WORD),
    annotations=st.dictionaries(WORD, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))),
)


@given(DESCRIPTORS)
def test_written_and_read_is_the_same(descriptor: Descriptor) -> None:
    """A descriptor survives its JSON."""
    assert Descriptor.read(JsonObject(descriptor.as_json())) == descriptor


def test_absent_members_are_not_written(descriptor: Callable[..., Json]) -> None:
    """Only what is there is told."""
    assert Descriptor.read(JsonObject(descriptor(b"x"))).as_json() == descriptor(b"x")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_embedded_data_is_proved(descriptor: Callable[..., Json], algorithm: str) -> None:
    """The bytes under `data` are those that the digest and the size say."""
    node = descriptor(b"{}", digest=Digest.of(b"{}", algorithm), data="e30=")
    assert Descriptor.read(JsonObject(node)).data == b"{}"


@pytest.mark.parametrize("data", ["e30", "e3 0=", "e30=\n", "!!!!", "", "ä", base64.b64encode(b"[]").decode(), 1])
def test_other_data_is_refused(descriptor: Callable[..., Json], data: object) -> None:
    """Other bytes, and what is no base64, are refused at their path."""
    with pytest.raises(ManifestInvalid) as refused:
        Descriptor.read(JsonObject(descriptor(b"{}", data=data), "config"))
    assert "config.data" in refused.value.message


@pytest.mark.parametrize("media_type", sorted(media_types.FOREIGN_LAYERS))
def test_foreign_by_media_type(descriptor: Callable[..., Json], media_type: str) -> None:
    """What may not be distributed is with somebody else."""
    assert Descriptor.read(JsonObject(descriptor(media_type=media_type))).is_foreign


def test_foreign_by_urls(descriptor: Callable[..., Json]) -> None:
    """What can be fetched elsewhere need not be held here."""
    assert Descriptor.read(JsonObject(descriptor(urls=["https://example.com/layer"]))).is_foreign
    assert not Descriptor.read(JsonObject(descriptor(urls=[]))).is_foreign
