"""
What is in the repositories of the test data: tags with a history, images for several platforms, labels, referrers, and
more tags than a page has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from quay.testdata.images import DOCKER, Content, artifact, image, index

SIGNATURE: Final = "application/vnd.dev.cosign.artifact.sig.v1+json"
BILL_OF_MATERIALS: Final = "application/spdx+json"
LABELS: Final = {"org.opencontainers.image.title": "Simple", "maintainer": "devtable", "notes": '{"reviewed":true}'}
GARGANTUAN: Final = 120


@attrs.frozen
class Push:
    """Push `content` under `tag`; by its digest if that is None."""

    content: Content
    tag: str | None


@attrs.frozen
class Delete:
    """Delete `tag`."""

    tag: str


Step = Push | Delete


def contents() -> Mapping[str, tuple[Step, ...]]:
    """What is done to each repository, in order. The last step is a push with a tag, which tells that all was done."""
    return {
        "devtable/simple": _history(),
        "devtable/shared": _tagged(image("shared", "with readers"), "latest", "prod"),
        "devtable/complex": _platforms(),
        "devtable/gargantuan": _many(),
        "devtable/building": _tagged(image("building"), "latest"),
        "devtable/readonly": _tagged(image("nobody writes here"), "latest"),
        "devtable/mirrored": _tagged(image("from upstream"), "latest", "prod"),
        "devtable/trusted": _tagged(image("signed"), "latest"),
        "public/publicrepo": _tagged(image("for everybody", dialect=DOCKER), "latest", "prod"),
        "buynlarge/orgrepo": _tagged(image("of an organization"), "latest", "prod"),
        "buynlarge/anotherorgrepo": _tagged(image("not for readers"), "latest"),
    }


def _tagged(content: Content, *tags: str) -> tuple[Step, ...]:
    return tuple(Push(content, tag) for tag in tags)


def _history() -> tuple[Step, ...]:
    """A tag that was overwritten, one that was deleted, and an image with labels."""
    first, second = image("simple", "first"), image("simple", "second", labels=LABELS)
    return (Push(first, "latest"), Push(first, "old"), Delete("old"), Push(second, "latest"), Push(second, "prod"))


def _platforms() -> tuple[Step, ...]:
    """An index, a manifest list, and artifacts that refer to the index."""
    platforms = [image("complex", name, architecture=name) for name in ("amd64", "arm64")]
    docker = [image("complex", name, architecture=name, dialect=DOCKER) for name in ("amd64", "arm64")]
    whole = index(*platforms)
    signature = artifact(SIGNATURE, b'{"signature":"of nobody"}', subject=whole)
    bill = artifact(BILL_OF_MATERIALS, b'{"spdxVersion":"SPDX-2.3"}', subject=whole)
    helm = artifact("application/vnd.cncf.helm.config.v1+json", b"a chart")
    return (
        Push(whole, "latest"),
        Push(signature, None),
        Push(bill, None),
        Push(index(*docker, dialect=DOCKER), "docker"),
        Push(helm, "chart"),
        Push(platforms[0], "amd64"),
    )


def _many() -> tuple[Step, ...]:
    content = image("gargantuan")
    return tuple(Push(content, f"v{number:03}") for number in range(GARGANTUAN))
