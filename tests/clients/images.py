"""
Small real images, made without a network and always of the same bytes: what the clients push and pull.

Source: OCI Image Specification 1.1 (layouts, indexes, manifests, layers with whiteouts); Docker Image Manifest
Version 2, Schema 2.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
MANIFESTS = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)

EPOCH = 1_700_000_000
CREATED = "2023-11-14T22:13:20Z"
HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""The architecture of this machine, as images spell it."""
RUNNABLE = HERE == "amd64"
"""Whether this machine can run `/say`, which prints the file `/word`."""

SAY = bytes.fromhex(
    "7f454c4602010100000000000000000002003e000100000078004000000000004000000000000000000000000000000000000000"
    "4000380001000000000000000100000005000000000000000000000000004000000000000000400000000000b800000000000000"
    "b8000000000000000010000000000000bfb200400031f6b8020000000f0589c7488d7424c0ba4000000031c00f0589c2bf010000"
    "00b801000000488d7424c00f0531ffb83c0000000f05"
)
"""
A whole ELF program for Linux on amd64: open, read 64 bytes, write them to standard output, exit. It opens the path that
stands behind it, five characters and a zero byte.
"""


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def spelled(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode()


@attrs.frozen
class Content:
    """A blob, or a manifest with what it lists; `facts` stand in the descriptor that lists it."""

    media_type: str
    data: bytes = attrs.field(repr=False)
    children: tuple[Content, ...] = attrs.field(default=(), repr=False)
    facts: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    @property
    def is_manifest(self) -> bool:
        return self.media_type in MANIFESTS

    @property
    def config(self) -> Content:
        """The configuration of an image; its digest is what engines call the id of the image."""
        return self.children[0]

    @property
    def layers(self) -> tuple[Content, ...]:
        """The layers of an image, the base first."""
        return self.children[1:]

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data), **self.facts}

    def walk(self) -> Iterator[Content]:
        """Everything below it and then itself: the order in which it may be pushed."""
        for child in self.children:
            yield from child.walk()
        yield self

    def everything(self) -> dict[str, bytes]:
        """All the bytes of it, by digest."""
        return {content.digest: content.data for content in self.walk()}


def layer(files: Mapping[str, bytes | None], media_type: str = OCI_LAYER) -> Content:
    """A layer of these files; None in place of the bytes is a whiteout of that path, as is a path that ends in `/`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, data in files.items():
            _add(tar, path, data)
    return Content(media_type, gzip.compress(packed.getvalue(), mtime=0))


def _add(tar: tarfile.TarFile, path: str, data: bytes | None) -> None:
    name = path if data is not None else _whiteout(path)
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(data or b""), EPOCH, 0o755
    tar.addfile(entry, io.BytesIO(data or b""))


def _whiteout(path: str) -> str:
    """The file that says `path` is gone, or, for a directory (`path/`), all that lower layers have in it."""
    parent, _, name = path.rpartition("/")
    return f"{parent}/.wh.{name or '.wh..opq'}"


def image(
    word: str,
    *,
    architecture: str = HERE,
    labels: Mapping[str, str] | None = None,
    docker: bool = False,
) -> Content:
    """
    An image of three layers that says `word`, and shares none with an image that says another. The upper ones replace
    /word, whiten out /data/dropped and make /data/sub opaque; `FILES` are what remains. If `docker`, it is of schema 2.
    """
    kind = DOCKER_LAYER if docker else OCI_LAYER
    said = f"{word}\n".encode()
    dropped = {"data/dropped": said, "data/sub/hidden": said}
    layers = (
        layer({"say": SAY + b"/word\0", "word": b"nothing\n", "data/kept": said, **dropped}, kind),
        layer({"word": said, "data/dropped": None}, kind),
        layer({"data/sub/": None, "data/sub/shown": said}, kind),
    )
    config = Content(DOCKER_CONFIG if docker else OCI_CONFIG, _config(architecture, layers, labels or {}))
    return _manifest(DOCKER_MANIFEST if docker else OCI_MANIFEST, config, layers, architecture)


FILES = frozenset({"say", "word", "data/kept", "data/sub/shown"})
"""The files that a container of `image` has; it has none of `GONE`."""
GONE = frozenset({"data/dropped", "data/sub/hidden"})


def exported(container: Path) -> frozenset[str]:
    """Which of `FILES` and `GONE` are in the tar file that an engine made of a container."""
    with tarfile.open(container) as tar:
        return (FILES | GONE) & {entry.name.removeprefix("./") for entry in tar}


def _config(architecture: str, layers: tuple[Content, ...], labels: Mapping[str, str]) -> bytes:
    steps = [{"created": CREATED, "created_by": f"layer {number}"} for number, _ in enumerate(layers)]
    label = {"created": CREATED, "created_by": "label", "empty_layer": True}
    return spelled(
        {
            "created": CREATED,
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/say"], "Labels": dict(labels)},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(gzip.decompress(one.data)) for one in layers]},
            "history": [*steps, label],
        }
    )


def _manifest(media_type: str, config: Content, layers: tuple[Content, ...], architecture: str) -> Content:
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.descriptor,
        "layers": [one.descriptor for one in layers],
    }
    facts = {"platform": {"architecture": architecture, "os": "linux"}}
    return Content(media_type, spelled(document), (config, *layers), facts)


def index(*manifests: Content, docker: bool = False) -> Content:
    """An index of these manifests, or a manifest list."""
    media_type = DOCKER_LIST if docker else OCI_INDEX
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [manifest.descriptor for manifest in manifests],
    }
    return Content(media_type, spelled(document), manifests)


def multi_arch(word: str, *, docker: bool = False) -> Content:
    """One image for each of three architectures, that of this machine among them."""
    architectures = list(dict.fromkeys((HERE, "amd64", "arm64", "s390x")))[:3]
    return index(*(image(f"{word} {one}", architecture=one, docker=docker) for one in architectures), docker=docker)


def artifact(
    artifact_type: str,
    *payloads: Content,
    config: Content | None = None,
    subject: Content | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Content:
    """An artifact with these payloads; without a `config` of its own it has the empty one and an artifactType."""
    empty = Content(OCI_EMPTY, b"{}")
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
    if config is None:
        document["artifactType"] = artifact_type
    document["config"] = (config or empty).descriptor
    document["layers"] = [payload.descriptor for payload in payloads or (empty,)]
    if subject is not None:
        document["subject"] = {key: subject.descriptor[key] for key in ("mediaType", "digest", "size")}
    document |= {"annotations": dict(annotations)} if annotations else {}
    return Content(OCI_MANIFEST, spelled(document), (config or empty, *payloads))


def write_layout(content: Content, path: Path) -> Path:
    """`content` as the OCI layout `path`, tagged `latest`."""
    path.joinpath("blobs", "sha256").mkdir(parents=True)
    for digest, data in content.everything().items():
        (path / _place(digest)).write_bytes(data)
    tagged = content.descriptor | {"annotations": {"org.opencontainers.image.ref.name": "latest"}}
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (path / "index.json").write_bytes(spelled({"schemaVersion": 2, "manifests": [tagged]}))
    return path


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def write_archive(content: Content, path: Path) -> Path:
    """The tar file `path` with the OCI layout of `content`; of an image, it is a docker archive as well."""
    layout = write_layout(content, path.with_suffix(".layout"))
    if content.layers and not content.layers[0].is_manifest:
        places = [_place(part.digest) for part in content.children]
        listed = [{"Config": places[0], "RepoTags": None, "Layers": places[1:]}]
        (layout / "manifest.json").write_text(json.dumps(listed))
    with tarfile.open(path, "w") as tar:
        tar.add(layout, arcname="")
    return path


def write_directory(content: Content, path: Path) -> Path:
    """`content` as skopeo's `dir:` has it, which takes manifests of every kind."""
    path.mkdir()
    *below, top = content.walk()
    for part in below:
        (path / (part.digest.removeprefix("sha256:") + ".manifest.json" * part.is_manifest)).write_bytes(part.data)
    (path / "manifest.json").write_bytes(top.data)
    (path / "version").write_text("Directory Transport Version: 1.1\n")
    return path


def held(directory: Path) -> dict[str, bytes]:
    """The bytes of every file below `directory`, by digest."""
    files = (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    return {digest_of(data): data for data in (path.read_bytes() for path in files)}
