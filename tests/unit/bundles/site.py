"""Two registries in memory for tests of bundles, and what is pushed to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from quay.auth.principal import Principal
from quay.bundles import Bundles, Cargo, Choices, Into, Order, Outcome, Plan, Progress
from quay.model import namespace, repository
from quay.oci import media_types
from quay.oci.reference import Digest, RepositoryName, Tag
from quay.registry.caller import Caller
from quay.service.bundles import bundles_of
from quay.testdata import images
from quay.testdata.images import Content
from tests.http.application import Application, done


class Site:
    """A registry with an administrator, who pushes, makes bundles and loads them."""

    def __init__(self, directory: Path, template: Path, **settings: object) -> None:
        self.application = Application(directory, template, **settings).start()
        self.core = self.application.core
        made = self.application.write(
            namespace.create_user, "root", email="root@example.org", superuser=True, time_machine_s=0
        )
        self.caller = Caller(Principal("user", "root", made.id, superuser=True))
        self.bundles: Bundles = bundles_of(self.application.clock, self.core)
        self.directory = directory

    def push(self, name: str, content: Content, *tags: str) -> None:
        """Push it, under these tags, or by its digest alone."""
        found = done(self.core.registry.access.for_superuser(self.caller, RepositoryName.parse(name)))
        for child in content.children:
            self.push(name, child)
        for blob in content.blobs:
            done(self.core.registry.blobs.hold(found, blob))
        for reference in [Tag(tag) for tag in tags] or [content.digest]:
            done(self.core.registry.manifests.put(self.caller, found, reference, content.media_type, content.raw))

    def plan(self, *lines: str, **wanted: Any) -> Plan:
        order = Order(choices=Choices.parse(lines), **wanted)
        plan: Plan = done(self.bundles.plan(order))
        return plan

    def make(self, *lines: str, target: str = "bundle", **wanted: Any) -> list[Path]:
        files: list[Path] = done(self.bundles.make(self.plan(*lines, **wanted), self.directory / target, Progress()))
        return files

    def trust(self, other: Site) -> None:
        self.bundles.keys.add("other", other.bundles.key)

    def open(self, files: Iterable[Path], **how: Any) -> Cargo:
        cargo: Cargo = done(self.bundles.open(files, **how))
        return cargo

    def problems(self, files: Iterable[Path], **how: Any) -> Sequence[str]:
        found: Sequence[str] = done(self.bundles.verify(self.open(files, **how), Progress()))
        return found

    def load(
        self, files: Iterable[Path], into: Sequence[str] = (), say: Callable[[str], object] = str, **how: Any
    ) -> Outcome:
        cargo, progress = self.open(files, **how), Progress(say)
        outcome: Outcome = done(self.bundles.load(self.caller, cargo, Into.parse(into), progress))
        assert progress.done == progress.total
        done(cargo.shelf.close())
        return outcome

    def digest(self, name: str, tag: str) -> Digest | None:
        """What the tag names; None if there is none."""
        from quay.model import tag as tags

        found = self.application.read(repository.find, RepositoryName.parse(name))
        row = None if found is None else self.application.read(tags.resolve_tag, found.id, tag)
        return None if row is None else row.digest

    def has(self, name: str, content: Content) -> bool:
        """Whether every byte of it can be pulled from the repository."""
        found = self.application.read(repository.find, RepositoryName.parse(name))
        registry = self.core.registry
        whole = done(registry.manifests.find(found, content.digest)).content == content.raw
        whole &= all(done(registry.blobs.read(found, Digest.of(blob), 10**9)) == blob for blob in content.blobs)
        return whole and all(self.has(name, child) for child in content.children)


def signature(subject: Content, said: str = "signed") -> Content:
    """A manifest that refers to `subject`."""
    payload = said.encode()
    body = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "artifactType": "application/vnd.example.signature",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest.of(b"{}"), "size": 2},
        "layers": [{"mediaType": "text/plain", "digest": Digest.of(payload), "size": len(payload)}],
        "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": len(subject.raw)},
    }
    return Content(media_types.OCI_MANIFEST, json.dumps(body).encode(), (b"{}", payload))


def layered(layer: bytes) -> Content:
    """An image with this one layer."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "of": Digest.of(layer)}).encode()
    body = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": {"mediaType": media_types.OCI_CONFIG, "digest": Digest.of(config), "size": len(config)},
        "layers": [{"mediaType": media_types.OCI_LAYER, "digest": Digest.of(layer), "size": len(layer)}],
    }
    return Content(media_types.OCI_MANIFEST, json.dumps(body).encode(), (config, layer))


def both() -> Content:
    """An index of two images."""
    return images.index(images.image("amd"), images.image("arm", architecture="arm64"))
