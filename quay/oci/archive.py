"""
Archives of images: what `docker save` writes, and the OCI layout, as tar files.

Both can be one file: an OCI layout with a `manifest.json` beside its `index.json`, as `docker save` makes them since
version 25. This is what we make for docker: `docker load`, `podman load` and skopeo's `docker-archive:` find the image
by `manifest.json`, containerd by `index.json`. Its layers stay as they were pushed: all of these unpack them. There is
no file `repositories`: engines that need it are older than 1.10, and would look for layers where there are none.

Source: Docker Image Specification 1.2 and 1.3, "Combined Image JSON + Filesystem Changeset Format"; OCI Image
Specification 1.1, "Image Layout"; containerd's annotations of exported images.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from hashlib import sha256
from typing import Any, Final

import attrs

from quay.oci import media_types
from quay.oci.descriptor import Descriptor
from quay.oci.document import JsonObject, load
from quay.oci.errors import DigestInvalid, ManifestInvalid, TagInvalid
from quay.oci.reference import Digest, Tag
from quay.oci.tar import ArchiveInvalid

MANIFEST_JSON: Final = "manifest.json"
INDEX_JSON: Final = "index.json"
LAYOUT: Final = "oci-layout"
BLOBS: Final = "blobs"
REF_NAME: Final = "org.opencontainers.image.ref.name"
IMAGE_NAME: Final = "io.containerd.image.name"

IMAGE_LIMIT: Final = 1_000
"""How many images an archive may name."""
LAYER_LIMIT: Final = 1_000
LEVEL: Final = 3
"""Of gzip, for layers that come unpacked: twice as fast as the level that most use, for a twentieth more bytes."""


def place(digest: Digest) -> str:
    """Where the blob `digest` is in an archive."""
    return f"{BLOBS}/{digest.algorithm}/{digest.hex}"


def digest_at(name: str) -> Digest | None:
    """The digest of what is at `name`, if that is the place of a blob. Raises `ArchiveInvalid`."""
    first, _, rest = name.partition("/")
    if first != BLOBS:
        return None
    try:
        return Digest.parse(rest.replace("/", ":"))
    except DigestInvalid as error:
        raise ArchiveInvalid(
            f"The member {name[:160]!r} is in the place of a blob, but is not named by a digest that is known here."
        ) from error


# --- out ----------------------------------------------------------------------------------------------------------


@attrs.frozen
class Part:
    """
    A member of an archive that is made: its bytes, or the digest of the blob that has them, from the byte `start` of
    it on; None: a directory.
    """

    name: str
    content: bytes | Digest | None = attrs.field(repr=False)
    size: int
    start: int = 0


def described(digest: Digest, media_type: str, size: int, names: Mapping[str, str]) -> dict[str, Any]:
    """How the index of an archive describes an image; `names` are its annotations."""
    made: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": size}
    return made | ({"annotations": dict(names)} if names else {})


def layout(
    images: Sequence[Mapping[str, Any]], contents: Mapping[Digest, bytes | int], saved: bytes | None = None
) -> list[Part]:
    """
    The members of an OCI layout of these images: `contents` has the bytes of manifests, and the sizes of blobs; `saved`
    is the `manifest.json` of docker. What says what there is comes first.
    """
    index = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": list(images)}
    parts = [_whole(LAYOUT, b'{"imageLayoutVersion":"1.0.0"}'), _whole(INDEX_JSON, _json(index))]
    if saved is not None:
        parts.append(_whole(MANIFEST_JSON, saved))
    parts.append(Part(BLOBS, None, 0))
    parts += [Part(f"{BLOBS}/{one}", None, 0) for one in sorted({digest.algorithm for digest in contents})]
    for digest, content in contents.items():
        parts.append(
            Part(place(digest), digest, content) if isinstance(content, int) else _whole(place(digest), content)
        )
    return parts


def listed_in(index: bytes) -> list[Digest]:
    """The digests of the manifests that an index of ours lists."""
    return [Digest(one["digest"]) for one in json.loads(index)["manifests"]]


def saved_as(config: Digest, names: Iterable[str], layers: Iterable[Digest]) -> bytes:
    """The `manifest.json` of an archive with one image."""
    return saved_by_name(place(config), names, map(place, layers))


def saved_by_name(config: str, names: Iterable[str], layers: Iterable[str]) -> bytes:
    """As `saved_as`, of members that may be called otherwise."""
    return _json([{"Config": config, "RepoTags": list(names) or None, "Layers": list(layers)}])


def _whole(name: str, content: bytes) -> Part:
    return Part(name, content, len(content))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# --- in: what an archive says of itself ---------------------------------------------------------------------------


@attrs.frozen
class Listed:
    """An image that `index.json` lists, and the tags that it is to have."""

    descriptor: Descriptor
    tags: tuple[Tag, ...]


@attrs.frozen
class Saved:
    """An image in `manifest.json`: the names of members, and the tags that it is to have; `names` has them in full."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[Tag, ...]
    names: tuple[str, ...] = ()


def read_index(raw: bytes) -> list[Listed]:
    """What an `index.json` lists. Raises `ManifestInvalid` with the path of the fault, `ArchiveInvalid`."""
    descriptors = [Descriptor.read(node) for node in load(raw, INDEX_JSON).children("manifests", IMAGE_LIMIT)]
    return [Listed(one, tuple(_tags(_names(one.annotations)))) for one in descriptors]


def _names(annotations: Mapping[str, str]) -> Iterable[str]:
    name = annotations.get(REF_NAME) or annotations.get(IMAGE_NAME)
    return [] if name is None else [name if ":" in name or "/" in name else f":{name}"]


def read_saved(raw: bytes) -> list[Saved]:
    """What a `manifest.json` lists. Raises `ManifestInvalid` with the path of the fault, `ArchiveInvalid`."""
    # A list, where all else that is read here is an object: so it becomes one.
    images = load(b'{"images":%s}' % raw, MANIFEST_JSON).children("images", IMAGE_LIMIT)
    found = [_saved(one) for one in images]
    if any(len(one.layers) > LAYER_LIMIT for one in found):
        raise ArchiveInvalid(f"An image of this archive has more than {LAYER_LIMIT} layers.")
    return found


def _saved(image: JsonObject) -> Saved:
    names = image.texts("RepoTags")
    return Saved(image.text("Config"), image.texts("Layers"), tuple(_tags(names)), names)


def _tags(names: Iterable[str]) -> Iterable[Tag]:
    """Of names such as `registry:5000/team/app:v1`, the tags; a name without one means `latest`, as everywhere."""
    for name in names:
        _, colon, tag = name.rpartition("/")[2].rpartition(":")
        try:
            yield Tag.parse(tag if colon else "latest")
        except TagInvalid as error:
            raise ArchiveInvalid(
                f"The archive calls an image {name[:160]!r}, which has no tag that a registry could keep.",
                advice="Say with the parameter `tag` how it is to be called.",
            ) from error


def diff_ids(config: bytes) -> tuple[str, ...]:
    """The digests of the unpacked layers of an image. Raises `ManifestInvalid`."""
    rootfs = load(config, "config").child("rootfs")
    return () if rootfs is None else rootfs.texts("diff_ids")


# --- in: layers ---------------------------------------------------------------------------------------------------


class Coding(Enum):
    """How a layer is packed."""

    PLAIN = "plain"
    GZIP = "gzip"
    ZSTD = "zstd"

    @classmethod
    def of(cls, start: bytes) -> Coding:
        """By the first bytes."""
        if start.startswith(b"\x1f\x8b\x08"):
            return cls.GZIP
        return cls.ZSTD if start.startswith(b"\x28\xb5\x2f\xfd") else cls.PLAIN


@attrs.frozen
class Layer:
    """A blob that came with an archive; `diff_id` is the digest of its unpacked bytes, if it was seen unpacked."""

    digest: Digest
    size: int
    coding: Coding
    diff_id: Digest | None = None


class LayerPacker:
    """
    A layer on its way from an archive, where it has no digest, to a registry: what is packed stays as it is, what is
    not is packed by gzip, into the same bytes each time. Takes a while: not in the reactor.
    """

    def __init__(self, start: bytes) -> None:
        """`start`: its first bytes, four if there are so many; they are still to be fed."""
        self._coding = Coding.of(start)
        self._plain = sha256() if self._coding is Coding.PLAIN else None
        self._gzip = zlib.compressobj(LEVEL, wbits=31) if self._coding is Coding.PLAIN else None
        self._hash = sha256()
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """The next bytes of the blob, perhaps none, for the next ones of the layer."""
        if self._plain is not None and self._gzip is not None:
            self._plain.update(data)
            data = self._gzip.compress(data)
        return self._kept(data)

    def close(self) -> bytes:
        """The last bytes of the blob."""
        return b"" if self._gzip is None else self._kept(self._gzip.flush())

    def _kept(self, data: bytes) -> bytes:
        self._hash.update(data)
        self._size += len(data)
        return data

    @property
    def digest(self) -> Digest:
        return Digest(f"sha256:{self._hash.hexdigest()}")

    @property
    def layer(self) -> Layer:
        """What came of it."""
        diff_id = None if self._plain is None else Digest(f"sha256:{self._plain.hexdigest()}")
        return Layer(self.digest, self._size, Coding.GZIP if self._gzip else self._coding, diff_id)


# --- in: an image of docker's becomes a manifest ------------------------------------------------------------------

_OCI_LAYERS: Final = {
    Coding.PLAIN: media_types.OCI_LAYER,
    Coding.GZIP: media_types.OCI_LAYER_GZIP,
    Coding.ZSTD: media_types.OCI_LAYER_ZSTD,
}


def manifest_of(config: bytes, layers: Sequence[Layer]) -> tuple[str, bytes]:
    """
    The media type and the bytes of the manifest for an image that came without one: docker's, where that can say how
    the layers are packed, else OCI's. Raises `ArchiveInvalid` where the layers are not those that the config means.
    """
    _check_layers(config, layers)
    docker = all(layer.coding is Coding.GZIP for layer in layers)
    media_type = media_types.DOCKER_MANIFEST if docker else media_types.OCI_MANIFEST
    config_type = media_types.DOCKER_CONFIG if docker else media_types.OCI_CONFIG
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": config_type, "size": len(config), "digest": Digest.of(config)},
        "layers": [
            {
                "mediaType": media_types.DOCKER_LAYER_GZIP if docker else _OCI_LAYERS[layer.coding],
                "size": layer.size,
                "digest": layer.digest,
            }
            for layer in layers
        ],
    }
    return media_type, _json(document)


def _check_layers(config: bytes, layers: Sequence[Layer]) -> None:
    try:
        wanted = diff_ids(config)
    except ManifestInvalid as error:
        raise ArchiveInvalid(f"The config of an image in this archive cannot be read: {error.message}") from error
    if len(wanted) != len(layers):
        raise ArchiveInvalid(
            f"An image of this archive lists {len(layers)} layers, and its config {len(wanted)}.",
            advice="The archive is damaged: save the image again.",
        )
    for number, (diff_id, layer) in enumerate(zip(wanted, layers, strict=True)):
        if layer.diff_id not in (None, diff_id):
            raise ArchiveInvalid(
                f"Layer {number} of an image has the digest {layer.diff_id}, where its config says {diff_id[:80]!r}.",
                advice="The archive is damaged: save the image again.",
            )
