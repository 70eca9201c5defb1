"""Schema 2 told in schema 1, for old clients and the same every time."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from quay.oci import media_types as types
from quay.oci.conversion import RICH_LIMIT, to_schema1
from quay.oci.errors import ManifestUnknown
from quay.oci.jws import SigningKey, sign
from quay.oci.manifest import Manifest, parse
from quay.oci.reference import Digest
from quay.oci.schema1 import EMPTY_LAYER, EMPTY_LAYER_DIGEST, Schema1

Json = dict[str, Any]
Make = Callable[..., Json]


def read(document: Json) -> Manifest:
    return parse(json.dumps(document).encode(), None)


def converted(document: Json, config: bytes, tag: str = "latest") -> Schema1:
    view = parse(to_schema1(read(document), config, "team/app", tag), types.SCHEMA1).schema1
    assert view
    return view


def test_every_entry_of_the_history_is_an_image(image: Json, config: bytes) -> None:
    """Leaf first, with the empty layer where nothing changed, and each image the parent of the one above."""
    view = converted(image, config)
    assert view.fs_layers == (Digest.of(b"app"), EMPTY_LAYER_DIGEST, Digest.of(b"base"))
    leaf, middle, base = view.history
    assert (leaf["parent"], middle["parent"]) == (middle["id"], base["id"])
    assert "parent" not in base
    assert (view.name, view.tag, view.architecture) == ("team/app", "latest", "amd64")


def test_what_images_tell(image: Json, config: bytes) -> None:
    """The leaf tells the config without what is newer than schema 1; the others tell their entry of the history."""
    leaf, middle, base = converted(image, config).history
    assert leaf["config"] == {"Labels": {"maintainer": "somebody"}, "Cmd": ["/bin/app"]}
    assert not {"rootfs", "history", "throwaway"} & set(leaf)
    told = {"created": "2020-01-01T00:00:00Z", "author": "A", "comment": "first"}
    assert base == {"id": base["id"], **told, "container_config": {"Cmd": ["ADD base"]}}
    assert middle["throwaway"] is True


def test_conversion_is_deterministic(image: Json, config: bytes) -> None:
    """The same image makes the same bytes, and the ids do not depend on the tag."""
    manifest = read(image)
    assert to_schema1(manifest, config, "a/b", "t") == to_schema1(manifest, config, "a/b", "t")
    one, other = converted(image, config, "one"), converted(image, config, "other")
    assert one.v1_compatibility == other.v1_compatibility


def test_ids_roll(image: Json, config: bytes, descriptor: Make) -> None:
    """Another base makes other ids all the way up; another leaf leaves those below as they are."""
    before = [image["id"] for image in converted(image, config).history]
    image["layers"][1] = descriptor(b"another app")
    leaf = [image["id"] for image in converted(image, config).history]
    assert (leaf[0] != before[0], leaf[1:]) == (True, before[1:])
    image["layers"][0] = descriptor(b"another base")
    base = [image["id"] for image in converted(image, config).history]
    assert not set(base) & set(leaf)


def test_config_cannot_name_its_own_parent(image: Json) -> None:
    """The chain is ours: `id` and `parent` in a config are not believed."""
    config = json.dumps({"id": "x", "parent": "y", "throwaway": True}).encode()
    *_, base = converted({**image, "layers": image["layers"][:1]}, config).history
    assert "parent" not in base
    assert "throwaway" not in base
    assert base["id"] != "x"


def test_without_history_each_layer_is_an_image(image: Json) -> None:
    """The history is optional in a config."""
    assert len(converted(image, b'{"architecture":"arm64"}').history) == 2


def test_large_histories_are_stripped(image: Json) -> None:
    """Above 3 MB, the images below the leaf keep nothing but their ids; the leaf keeps all."""
    entry = {"created_by": "x" * RICH_LIMIT, "comment": "y"}
    config = json.dumps({"config": {"Cmd": ["app"]}, "history": [entry, {}]}).encode()
    leaf, base = converted(image, config).history
    assert (set(base), leaf["config"]) == ({"id"}, {"Cmd": ["app"]})


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[]",
        b"{" * 5_000,
        b'{"history":7}',
        b'{"history":[{}]}',
        b'{"history":[{},{},{}]}',
        b'{"history":[{"created_by":1},{}]}',
        b'{"architecture":1}',
        b'{"os":1e999}',
        b'{"comment":"' + b"x" * RICH_LIMIT + b'"}',
        b"{}" + b" " * 5_000_000,
    ],
)
def test_odd_configs_are_not_converted(image: Json, config: bytes) -> None:
    """What is no config of this image, or would be too large, is 404 with the reason."""
    with pytest.raises(ManifestUnknown) as refused:
        to_schema1(read(image), config, "a/b", "t")
    assert refused.value.advice


@pytest.mark.parametrize(
    "media_type", [types.OCI_FOREIGN_LAYER, types.DOCKER_FOREIGN_LAYER_GZIP, types.OCI_LAYER_ZSTD, "application/wasm"]
)
def test_layers_that_old_clients_cannot_read(image: Json, config: bytes, descriptor: Make, media_type: str) -> None:
    """Foreign layers, zstd and artifacts cannot be told in schema 1."""
    image["layers"][0] = descriptor(b"x", media_type)
    with pytest.raises(ManifestUnknown):
        to_schema1(read(image), config, "a/b", "t")


def test_images_without_layers_and_indexes(image: Json, index: Json) -> None:
    """Schema 1 has one layer at least, and no platforms."""
    for document in ({**image, "layers": []}, index):
        with pytest.raises(ManifestUnknown):
            to_schema1(read(document), b"{}", "a/b", "t")


@pytest.mark.clients
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not on the PATH")
@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)], ids=["ES256", "RS256"]
)
def test_skopeo_reads_what_we_convert_and_sign(image: Json, descriptor: Make, tmp_path: Path, key: SigningKey) -> None:
    """A real client knows the digest, lists the layers, and converts the manifest back to schema 2."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("app"), io.BytesIO())
    layer = gzip.compress(tar.getvalue())
    history = [{"created_by": "ADD app"}, {"created_by": "CMD app", "empty_layer": True}]
    config = json.dumps({"architecture": "amd64", "os": "linux", "created": "2020-01-01T00:00:00Z", "history": history})
    manifest = read({**image, "layers": [descriptor(layer)]})
    payload = to_schema1(manifest, config.encode(), "team/app", "latest")
    source = tmp_path / "source"
    source.mkdir()
    (source / "version").write_text("Directory Transport Version: 1.1\n")
    (source / "manifest.json").write_bytes(sign(payload, key))
    for blob in (layer, EMPTY_LAYER):
        (source / Digest.of(blob).hex).write_bytes(blob)

    assert skopeo("manifest-digest", str(source / "manifest.json")).strip() == Digest.of(payload)
    seen = json.loads(skopeo("inspect", f"dir:{source}"))
    assert seen["Layers"] == [Digest.of(layer), EMPTY_LAYER_DIGEST]
    assert (seen["Architecture"], seen["Digest"]) == ("amd64", Digest.of(payload))
    policy = tmp_path / "policy.json"
    policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    skopeo("--policy", str(policy), "copy", "--format", "v2s2", f"dir:{source}", f"dir:{tmp_path / 'back'}")
    back = parse((tmp_path / "back" / "manifest.json").read_bytes(), types.DOCKER_MANIFEST)
    assert [found.digest for found in back.layers] == [Digest.of(layer)]


def skopeo(*arguments: str) -> str:
    ran = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
