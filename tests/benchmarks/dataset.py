"""
A registry that has been used for years, as rows: made through the model, in few and large transactions, so that it is
what the registry itself would have written. The blobs are rows without bytes.

    python -m tests.benchmarks.dataset sqlite:////path/quay.db --factor 0.1
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

import attrs

from quay.database import Transaction, once
from quay.model import audit, blob, content, namespace, repository, seal
from quay.oci.manifest import Manifest, parse
from quay.oci.media_types import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from quay.oci.reference import Digest, RepositoryName, Tag

OWNER: Final = "bench"
TAGGED: Final = RepositoryName(OWNER, "tagged")
REFERRED: Final = RepositoryName(OWNER, "referred")
SUBJECT: Final = "subject"
LOCATION: Final = "default"
SEAL_KEY: Final = b"the key of the dataset"
LEASE_S: Final = 10 * 365 * 24 * 3600
BATCH: Final = 10_000
"""Rows in a transaction: enough that commits cost nothing, not so many that the log of the database grows large."""


@attrs.frozen
class Sizes:
    """How much of everything."""

    repositories: int = 10_000
    tags: int = 10_000
    referrers: int = 1_000
    blobs: int = 200_000
    audit: int = 1_000_000

    def scaled(self, factor: float) -> Sizes:
        """`factor` times as much, and at least one of each."""
        return Sizes(*(max(1, round(size * factor)) for size in attrs.astuple(self)))


def tag_name(number: int) -> str:
    return f"tag-{number:06}"


def repository_name(number: int) -> RepositoryName:
    return RepositoryName(OWNER, f"repository-{number:06}")


def image(name: str, subject: Manifest | None = None) -> Manifest:
    """A small image that no other is; with a subject, its referrer."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor(OCI_CONFIG, name.encode()),
        "layers": [_descriptor(OCI_LAYER_GZIP, b"layer")],
    }
    if subject is not None:
        document["artifactType"] = "application/vnd.example.signature"
        document["subject"] = {"mediaType": subject.media_type, "digest": subject.digest, "size": len(subject.raw)}
    return parse(json.dumps(document).encode(), OCI_MANIFEST)


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": Digest.of(data), "size": len(data)}


# --- the steps: each is one transaction ---------------------------------------------------------------------------

Step = Callable[[Transaction], None]


def make(url: str, sizes: Sizes, *, password_hash: str = "!", echo: Callable[[str], object] = print) -> None:
    """
    Fill the database at `url`, and tell `echo` how long each part took. `password_hash` is that of the user `OWNER`,
    who cannot log in with any password unless it is given.
    """
    for part, steps in _parts(sizes, password_hash).items():
        began = time.monotonic()
        for step in steps:
            once(url, step)
        echo(f"{part}: {time.monotonic() - began:.1f} s")


def _parts(sizes: Sizes, password_hash: str) -> dict[str, Iterator[Step]]:
    return {
        "user": iter([lambda txn: _owner(txn, password_hash)]),
        f"{sizes.repositories} repositories": _each(_repository, range(sizes.repositories)),
        f"{sizes.blobs} blobs": _each(_blob_of(sizes.repositories), range(sizes.blobs)),
        f"{sizes.tags} tags": _each(_tag, range(sizes.tags)),
        f"{sizes.referrers} referrers": _each(_referrer, range(sizes.referrers)),
        f"{sizes.audit} audit entries": (_entries(numbers) for numbers in _batches(range(sizes.audit))),
        "seals": (_seal for _ in _batches(range(sizes.audit))),
    }


def _batches(numbers: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(numbers)
    while batch := list(itertools.islice(rest, BATCH)):
        yield batch


def _each(row: Callable[[Transaction, int], None], numbers: Iterable[int]) -> Iterator[Step]:
    """Steps that make a row of each number."""

    def step(txn: Transaction, batch: list[int]) -> None:
        for number in batch:
            row(txn, number)

    return (partial(step, batch=batch) for batch in _batches(numbers))


def _owner(txn: Transaction, password_hash: str) -> None:
    owner = namespace.create_user(
        txn, OWNER, email=f"{OWNER}@example.org", password_hash=password_hash, superuser=False, time_machine_s=1_209_600
    )
    for name in (TAGGED, REFERRED):
        repository.create(txn, name, namespace_id=owner.id, creator_id=owner.id, public=False)
    _push(txn, REFERRED, image(SUBJECT), SUBJECT)


def _owner_id(txn: Transaction) -> int:
    owner = namespace.find(txn, OWNER)
    assert owner is not None, "the first step makes the owner"
    return owner.id


def _repository(txn: Transaction, number: int) -> None:
    owner_id = _owner_id(txn)
    repository.create(txn, repository_name(number), namespace_id=owner_id, creator_id=owner_id, public=number % 10 == 0)


def _blob_of(repositories: int) -> Callable[[Transaction, int], None]:
    """What makes a blob and links it to one repository of so many."""

    def link(txn: Transaction, number: int) -> None:
        holder = _found(txn, repository_name(number % repositories))
        digest = Digest.of(f"blob {number}".encode())
        blob.link_blob(txn, holder.id, digest, 1_000_000 + number, LOCATION, lease_s=LEASE_S)

    return link


def _tag(txn: Transaction, number: int) -> None:
    _push(txn, TAGGED, image(f"image {number}"), tag_name(number))


def _referrer(txn: Transaction, number: int) -> None:
    _push(txn, REFERRED, image(f"referrer {number}", image(SUBJECT)), None)


def _push(txn: Transaction, name: RepositoryName, pushed: Manifest, tag: str | None) -> None:
    """As a client would: the blobs, then the manifest."""
    into = _found(txn, name)
    for part in pushed.blobs():
        blob.link_blob(txn, into.id, part.digest, part.size, LOCATION, lease_s=LEASE_S)
    content.put_manifest(
        txn,
        into,
        pushed,
        tag=None if tag is None else Tag(tag),
        labels={},
        expires_after_s=None,
        temp_tag_s=LEASE_S,
        sparse=False,
    )


def _found(txn: Transaction, name: RepositoryName) -> repository.Repository:
    found = repository.find(txn, name)
    assert found is not None, f"{name} is made by an earlier step"
    return found


def _entries(numbers: list[int]) -> Step:
    """A year of pulls, the last of them now."""

    def append(txn: Transaction) -> None:
        owner_id, pulled = _owner_id(txn), _found(txn, TAGGED)
        entries = [
            audit.Entry(
                kind="pull_repo",
                namespace_id=owner_id,
                repository_id=pulled.id,
                performer_id=owner_id,
                performer=OWNER,
                ip="192.0.2.1",
                details={"repo": TAGGED.path, "tag": tag_name(number)},
                performed_ms=txn.now_ms - (numbers[-1] - number),
            )
            for number in numbers
        ]
        audit.append(txn, entries)

    return append


def _seal(txn: Transaction) -> None:
    """As a server would have done by and by; with a key that is no server's, so it cannot verify these."""
    seal.extend(txn, SEAL_KEY, BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the database to fill: sqlite:////path, or postgresql://…")
    parser.add_argument("--factor", type=float, default=1.0, help="how much of everything")
    asked = parser.parse_args()
    make(asked.url, Sizes().scaled(asked.factor))


if __name__ == "__main__":
    main()
