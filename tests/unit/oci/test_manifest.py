"""Manifests: every kind from the bytes that clients send, and one meaning for each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.oci import media_types as types
from quay.oci.errors import (
    DigestInvalid,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestTypeUnsupported,
    ManifestUnverified,
    NameInvalid,
    RegistryError,
    TagInvalid,
)
from quay.oci.manifest import MANIFEST_LIMIT, Descriptor, Manifest, check_address, parse, referrers_index
from quay.oci.reference import Digest, RepositoryName
from quay.oci.schema1 import EMPTY_LAYER_DIGEST

Json = dict[str, Any]
Make = Callable[..., Json]


def read(document: Json, content_type: str | None = None, **options: Any) -> Manifest:
    return parse(json.dumps(document).encode(), content_type, **options)


def test_image(image: Json, config: bytes) -> None:
    """Config and layers in order, the raw bytes, and their digest."""
    raw = json.dumps(image, indent=3).encode()
    manifest = parse(raw, types.OCI_MANIFEST)
    assert (manifest.raw, manifest.digest, manifest.media_type) == (raw, Digest.of(raw), types.OCI_MANIFEST)
    assert not manifest.is_index
    assert manifest.config and manifest.config.digest == Digest.of(config)
    assert [layer.digest for layer in manifest.layers] == [Digest.of(b"base"), Digest.of(b"app")]


def test_docker_image(image: Json) -> None:
    """Docker's schema 2 has the same shape under its own name."""
    image["mediaType"] = types.DOCKER_MANIFEST
    assert read(image, types.DOCKER_MANIFEST).media_type == types.DOCKER_MANIFEST


@pytest.mark.parametrize("media_type", [types.OCI_INDEX, types.DOCKER_LIST])
def test_index_mixes_children(index: Json, media_type: str) -> None:
    """Children of OCI and of Docker stand in one index or list, in order."""
    index["mediaType"] = media_type
    manifest = read(index, media_type)
    assert manifest.is_index
    assert [child.media_type for child in manifest.manifests] == [types.OCI_MANIFEST, types.DOCKER_MANIFEST]
    assert manifest.blobs() == ()


def test_nested_and_empty_indexes(index: Json, descriptor: Make) -> None:
    """An index may hold indexes, or nothing, also as Go writes nothing."""
    index["manifests"] = [descriptor(b"inner", types.OCI_INDEX)]
    assert read(index).manifests[0].media_type == types.OCI_INDEX
    assert read({**index, "manifests": []}).manifests == read({**index, "manifests": None}).manifests == ()


@pytest.mark.parametrize("layers", [[], None])
def test_image_without_layers(image: Json, layers: object) -> None:
    """An image may have no layers."""
    assert read({**image, "layers": layers}).layers == ()


def test_any_media_types_inside(image: Json, descriptor: Make) -> None:
    """Configs and layers may be anything."""
    image["config"] = descriptor(b"{}", types.OCI_EMPTY, data="e30=")
    image["layers"] = [descriptor(b"x", "application/vnd.example.thing"), descriptor(b"y", "text/plain; charset=utf-8")]
    manifest = read(image, types.OCI_MANIFEST)
    assert [layer.media_type for layer in manifest.layers] == [
        "application/vnd.example.thing",
        "text/plain; charset=utf-8",
    ]
    assert manifest.config and manifest.config.data == b"{}"


def test_old_artifact(descriptor: Make) -> None:
    """The blobs of a withdrawn artifact manifest are its layers."""
    document = {
        "mediaType": types.OCI_ARTIFACT,
        "artifactType": "application/vnd.example.sbom",
        "blobs": [descriptor(b"sbom")],
        "subject": descriptor(b"image", types.OCI_MANIFEST),
    }
    manifest = read(document, types.OCI_ARTIFACT)
    assert [blob.digest for blob in manifest.blobs()] == [Digest.of(b"sbom")]
    assert manifest.artifact_type == "application/vnd.example.sbom"
    assert manifest.subject and manifest.subject.digest == Digest.of(b"image")


def test_artifact_type_is_that_of_the_config_by_default(image: Json, index: Json) -> None:
    """An image manifest that names no artifact type has that of its config; an index has none."""
    assert read(image).artifact_type == types.OCI_CONFIG
    assert read({**image, "artifactType": ""}).artifact_type == types.OCI_CONFIG
    assert read({**image, "artifactType": "a/b"}).artifact_type == "a/b"
    assert read(index).artifact_type is None
    assert read({**index, "artifactType": "a/b"}).artifact_type == "a/b"


def test_blobs_are_what_must_be_held(image: Json, descriptor: Make) -> None:
    """The config and the layers, each once; foreign layers may be absent; embedded data may not."""
    image["layers"] += [
        descriptor(b"base"),
        descriptor(b"foreign", types.DOCKER_FOREIGN_LAYER_GZIP),
        descriptor(b"elsewhere", urls=["https://example.com"]),
        descriptor(b"{}", types.OCI_EMPTY, data="e30="),
    ]
    blobs = [blob.digest for blob in read(image).blobs()]
    assert blobs == [image["config"]["digest"], *map(Digest.of, (b"base", b"app", b"{}"))]


def test_child_for_a_platform(index: Json, descriptor: Make) -> None:
    """The child for linux on amd64, unless another is asked for; attestations and bare children are none."""
    index["manifests"].insert(0, descriptor(b"attestation", platform={"os": "unknown", "architecture": "unknown"}))
    index["manifests"].insert(0, descriptor(b"bare"))
    manifest = read(index)
    child, other = manifest.child_for(), manifest.child_for("linux", "arm64")
    assert child and child.digest == Digest.of(b"amd")
    assert other and other.digest == Digest.of(b"arm")
    assert manifest.child_for("windows", "amd64") is None


@pytest.mark.parametrize("content_type", [None, "", "application/json", "application/json; charset=utf-8"])
def test_without_content_type_the_body_decides(image: Json, index: Json, old: Json, content_type: str | None) -> None:
    """`mediaType` first, then the shape."""
    assert read({**image, "mediaType": types.DOCKER_MANIFEST}, content_type).media_type == types.DOCKER_MANIFEST
    for document, media_type in ((image, types.OCI_MANIFEST), (index, types.OCI_INDEX), (old, types.SCHEMA1)):
        document.pop("mediaType", None)
        assert read(document, content_type).media_type == media_type


def test_content_type_may_have_parameters_and_capitals(image: Json) -> None:
    """A header's parameters do not belong to the media type."""
    assert read(image, types.OCI_MANIFEST.upper() + "; charset=utf-8").media_type == types.OCI_MANIFEST


def test_unknown_manifest_type_of_known_shape(image: Json, index: Json) -> None:
    """A media type of somebody's own is kept if its body is an image manifest or an index."""
    mine = "application/vnd.example.manifest.v7+json"
    for document, is_index in ((image, False), (index, True)):
        document["mediaType"] = mine
        manifest = read(document, mine)
        assert (manifest.media_type, manifest.is_index) == (mine, is_index)


@pytest.mark.parametrize("raw", [b"", b"hello", b"{}", b'{"schemaVersion":2,"blobs":[]}', b"[]"])
@pytest.mark.parametrize("content_type", ["text/plain", "application/vnd.example", "image/png\r\nx: y"])
def test_other_types_are_415(raw: bytes, content_type: str) -> None:
    """What is no manifest by type and by shape is unsupported."""
    with pytest.raises(ManifestTypeUnsupported) as refused:
        parse(raw, content_type)
    assert refused.value.status == 415


def test_unknown_type_that_no_header_can_carry_is_415(image: Json) -> None:
    """A media type is served again as a header, so it must be one."""
    with pytest.raises(ManifestTypeUnsupported):
        read({**image, "mediaType": "a/b\r\nx: y"})


@pytest.mark.parametrize(
    ("content_type", "change", "word"),
    [
        (types.OCI_MANIFEST, {"manifests": []}, "both 'config' and 'manifests'"),
        (types.OCI_MANIFEST, {"blobs": []}, "both"),
        (types.OCI_MANIFEST, {"fsLayers": []}, "both"),
        (types.OCI_INDEX, {}, "mediaType is"),
        (types.DOCKER_MANIFEST, {}, "mediaType is"),
        ("text/plain", {}, "mediaType is"),
        (types.OCI_INDEX, {"mediaType": None}, "config does not belong"),
        (types.OCI_MANIFEST, {"mediaType": 7}, "mediaType is not a string"),
        (types.OCI_MANIFEST, {"schemaVersion": 1}, "schemaVersion is not 2"),
        (types.OCI_MANIFEST, {"schemaVersion": None}, "schemaVersion is missing"),
        (types.OCI_MANIFEST, {"schemaVersion": "2"}, "schemaVersion is not an integer"),
        (types.OCI_MANIFEST, {"config": None}, "config is null"),
        (types.OCI_MANIFEST, {"layers": {}}, "layers is not an array"),
        (types.OCI_MANIFEST, {"layers": [[]]}, "layers[0] is not an object"),
        (types.OCI_MANIFEST, {"layers": [{}]}, "layers[0].digest is missing"),
        (
            types.OCI_MANIFEST,
            {"config": {"mediaType": "a/b", "size": -1, "digest": "sha256:" + "a" * 64}},
            "config.size",
        ),
        (
            types.OCI_MANIFEST,
            {"config": {"mediaType": "", "size": 1, "digest": "sha256:" + "a" * 64}},
            "config.mediaType",
        ),
        (types.OCI_MANIFEST, {"subject": {"digest": "sha256:../../x"}}, "subject.digest"),
        (types.OCI_MANIFEST, {"annotations": {"a": 1}}, "annotations['a']"),
        (types.OCI_MANIFEST, {"annotations": {"a": "\0"}}, "NUL"),
        (types.OCI_MANIFEST, {"artifactType": "a\nb"}, "artifactType is not a media type"),
    ],
)
def test_contradictions_and_faults_are_refused(image: Json, content_type: str, change: Json, word: str) -> None:
    """Two kinds in one body, a body against its Content-Type, and every bad member: 400 with the path and advice."""
    with pytest.raises(ManifestInvalid) as refused:
        read({**image, **change}, content_type)
    assert word in refused.value.message
    assert refused.value.advice
    assert refused.value.status == 400


@pytest.mark.parametrize("key", ["config", "layers"])
def test_image_needs_its_members(image: Json, key: str) -> None:
    """A manifest without config or layers is none."""
    del image[key]
    with pytest.raises(ManifestInvalid, match=f"{key} is missing"):
        read(image, types.OCI_MANIFEST)


@pytest.mark.parametrize("raw", [b"", b"{}", b"null", b'{"schemaVersion":2}', b'{"layers":'])
@pytest.mark.parametrize("content_type", [None, types.OCI_MANIFEST, types.OCI_INDEX, types.SCHEMA1_SIGNED])
def test_bodies_that_are_no_manifest(raw: bytes, content_type: str | None) -> None:
    """An empty, broken or aimless body is 400."""
    with pytest.raises(ManifestInvalid):
        parse(raw, content_type)


def test_size_is_checked_before_parsing() -> None:
    """One byte above the limit is refused unseen, and the limit itself is parsed."""
    with pytest.raises(ManifestTooLarge) as refused:
        parse(b"{" * (MANIFEST_LIMIT + 1), types.OCI_MANIFEST)
    assert refused.value.status == 413
    with pytest.raises(ManifestInvalid):
        parse(b"{" * MANIFEST_LIMIT, types.OCI_MANIFEST)


def test_digest_of_the_address(image: Json) -> None:
    """The bytes must have the digest they are pushed under, and then that is theirs."""
    raw = json.dumps(image).encode()
    for algorithm in ("sha256", "sha512"):
        digest = Digest.of(raw, algorithm)
        assert parse(raw, None, digest=digest).digest == digest
        with pytest.raises(DigestInvalid, match="and not"):
            parse(raw + b" ", None, digest=digest)


def test_schema1_unsigned(old: Json) -> None:
    """Layers from base to leaf, each once; the digest is of the document."""
    old["fsLayers"].insert(1, {"blobSum": EMPTY_LAYER_DIGEST})
    old["fsLayers"].insert(1, {"blobSum": EMPTY_LAYER_DIGEST})
    old["history"] += old["history"]
    raw = json.dumps(old).encode()
    manifest = parse(raw, types.SCHEMA1)
    assert (manifest.media_type, manifest.digest) == (types.SCHEMA1, Digest.of(raw))
    blobs = [(blob.digest, blob.size) for blob in manifest.blobs()]
    assert blobs == [(Digest.of(b"base"), 0), (EMPTY_LAYER_DIGEST, 32), (Digest.of(b"app"), 0)]


def test_schema1_that_claims_a_signature_has_one(old: Json) -> None:
    """The signed media type without signatures is refused."""
    with pytest.raises(ManifestInvalid, match="signatures is missing"):
        read(old, types.SCHEMA1_SIGNED)
    with pytest.raises(ManifestUnverified):
        read({**old, "signatures": []}, types.SCHEMA1_SIGNED)


def test_schema1_address(old: Json, image: Json) -> None:
    """A schema 1 manifest is pushed where it says; others do not say."""
    manifest, name = read(old), RepositoryName("team", "app")
    check_address(manifest, name, "latest")
    check_address(manifest, name, None)
    check_address(read({**old, "name": "app"}), RepositoryName("library", "app"), "latest")
    check_address(read(image), RepositoryName("other", "app"), "v1")
    with pytest.raises(NameInvalid):
        check_address(manifest, RepositoryName("team", "other"), "latest")
    with pytest.raises(NameInvalid):
        check_address(read({**old, "name": "app"}), name, "latest")
    with pytest.raises(TagInvalid):
        check_address(manifest, name, "v2")


def test_referrers_index(image: Json, descriptor: Make) -> None:
    """Referrers are told with size, artifact type and annotations; the same entries make the same bytes."""
    image |= {"subject": descriptor(b"subject"), "artifactType": "a/b", "annotations": {"name": "ü"}}
    manifest = read(image)
    body = referrers_index([manifest.descriptor()])
    assert body == referrers_index([manifest.descriptor()])
    assert json.loads(body)["manifests"] == [
        {
            "mediaType": types.OCI_MANIFEST,
            "digest": manifest.digest,
            "size": len(manifest.raw),
            "artifactType": "a/b",
            "annotations": {"name": "ü"},
        }
    ]


def test_no_referrers_are_an_empty_index() -> None:
    """The answer without referrers is a valid index, too."""
    empty = parse(referrers_index([]), types.OCI_INDEX)
    assert (empty.is_index, empty.manifests) == (True, ())


@given(st.data())
def test_bent_manifests_are_read_or_refused(data: st.DataObject) -> None:
    """Whatever is put in place of a member, the answer is a manifest with the same bytes or a 4xx."""
    leaf = {"mediaType": "a/b", "digest": "sha256:" + "a" * 64, "size": 1}
    document: Json = {"schemaVersion": 2, "config": dict(leaf), "layers": [dict(leaf)], "annotations": {"a": "b"}}
    odd: st.SearchStrategy[object] = (
        st.none() | st.booleans() | st.integers() | st.text() | st.just([]) | st.just({}) | st.just([leaf])
    )
    target = data.draw(st.sampled_from([document, document["config"], document["layers"][0]]))
    key = data.draw(st.sampled_from([*target, "manifests", "subject", "urls", "data", "platform", "artifactType"]))
    target[key] = data.draw(odd)
    raw = json.dumps(document).encode()
    try:
        assert parse(raw, data.draw(st.sampled_from([None, types.OCI_MANIFEST, types.OCI_INDEX]))).raw == raw
    except RegistryError as refused:
        assert 400 <= refused.status < 500


def test_parsing_is_cheap(image: Json, descriptor: Make, cost: Callable[..., float]) -> None:
    """A usual manifest costs next to nothing, and the most layers that are taken little."""
    image["layers"] = [descriptor(bytes([index])) for index in range(12)]
    usual, most = (json.dumps({**image, "layers": image["layers"] * count}).encode() for count in (1, 400))
    assert cost(parse, usual, types.OCI_MANIFEST) < 0.1
    assert cost(parse, most, types.OCI_MANIFEST) < 20


@pytest.mark.parametrize(("layers", "word"), [(100_000, "too many members"), (6_000, "layers has 6000 elements")])
def test_too_many_layers_are_refused(
    image: Json, descriptor: Make, cost: Callable[..., float], layers: int, word: str
) -> None:
    """A hundred thousand layers are refused at little cost, and so are some thousand."""
    image["layers"] = [{} if layers == 100_000 else descriptor()] * layers
    raw = json.dumps(image).encode()
    with pytest.raises(ManifestInvalid, match=word):
        parse(raw, types.OCI_MANIFEST)
    assert cost(parse, raw, types.OCI_MANIFEST) < 20


def test_values_hash(image: Json, index: Json, old: Json) -> None:
    """Manifests and descriptors may be keys, annotations or not."""
    documents = ({**image, "annotations": {"a": "b"}}, index, old)
    assert len({read(document) for document in documents * 2}) == 3


def test_descriptor_is_reexported() -> None:
    """A manifest's values have one address."""
    assert Descriptor("a/b", Digest.of(b""), 0).annotations == {}
