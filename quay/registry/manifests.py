"""
Manifests and tags: what a push means, and what a pull gets.

What is served is what was pushed, byte for byte, unless the client accepts nothing that the tag holds: then an index
gives its linux/amd64 manifest, and an image becomes signed schema 1, as in Quay.

Source: OCI Distribution Specification 1.1, "Pulling manifests", "Pushing Manifests", "Deleting manifests", "Listing
referrers"; Docker Image Manifest V2, Schema 1 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import attrs
from cryptography.hazmat.primitives.asymmetric import ec

from quay import faults
from quay.database import Database, Transaction
from quay.events import Bus, Deleted, Pulled, Pushed
from quay.interfaces import IPool
from quay.model import content, referrer, time_machine
from quay.model import tag as tags
from quay.model.content import StoredManifest
from quay.model.repository import Repository
from quay.oci import media_types
from quay.oci.conversion import to_schema1
from quay.oci.errors import BlobUnknown, InvalidRequest, ManifestUnknown, RegistryError, TagExpired, Unsupported
from quay.oci.history import Layer, layers_of
from quay.oci.jws import sign
from quay.oci.labels import EXPIRES_AFTER, labels_of
from quay.oci.manifest import Manifest, check_address, parse, referrers_index
from quay.oci.reference import Digest, Tag
from quay.oci.schema1 import EMPTY_LAYER_DIGEST
from quay.registry.blobs import Blobs
from quay.registry.cache import Cache, Recent
from quay.registry.caller import Caller
from quay.registry.policy import Policy
from quay.tasks import Tasks

CONFIG_LIMIT: Final = 4 * 1024 * 1024
"""The largest config blob that is read for labels or for a conversion, in bytes."""

TAG_LIMIT: Final = 100
"""How many tags one push may name besides its reference."""

INLINE_LIMIT: Final = 64 * 1024
"""Up to this size JSON is parsed in the reactor: it takes less than the hop to a thread and back."""

NESTING_LIMIT: Final = 8
"""How many indexes within each other are looked into for an image that the client takes."""

IMAGE_CONFIGS: Final = frozenset({media_types.OCI_CONFIG, media_types.DOCKER_CONFIG})


@attrs.frozen
class Served:
    """What a client gets."""

    content: bytes
    media_type: str
    digest: Digest


@attrs.frozen
class Accepted:
    """What a push came to. `subject` is set where the client must learn that we know of referrers."""

    digest: Digest
    subject: Digest | None


@attrs.frozen
class Referrers:
    """A page of referrers: the `index` that lists them, and the mark `after` which the next page begins, if any."""

    index: bytes
    after: int | None


class ReferrersOff(Unsupported):
    """Referrers are not listed here; at 404, clients keep to the referrers tag schema of the specification."""

    status = 404


class Manifests:
    """What may be done with the manifests and tags of a repository, once access has been granted."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        cache: Cache,
        recent: Recent,
        policy: Policy,
        bus: Bus,
        cpu: IPool,
        tasks: Tasks,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._cache = cache
        self._recent = recent
        self._policy = policy
        self._bus = bus
        self._cpu = cpu
        self._tasks = tasks
        self._schema1_key = ec.generate_private_key(ec.SECP256R1())

    # --- pull

    def cached(self, repository: Repository, reference: Digest | Tag) -> StoredManifest | None:
        """What `find` would give, if that takes no waiting."""
        digest = reference if isinstance(reference, Digest) else self._cache.get(("tag", repository.id, reference))
        found: StoredManifest | None = self._cache.get(("manifest", repository.id, digest)) if digest else None
        return found

    async def find(self, repository: Repository, reference: Digest | Tag) -> StoredManifest:
        """The manifest as it was pushed. Raises `ManifestUnknown`; `TagExpired` where the time machine still has it."""
        if isinstance(reference, Tag):
            digest = await self._resolve(repository, reference)
        else:
            digest = reference

        async def read() -> StoredManifest | None:
            return await self._database.read(content.manifest, repository.id, digest)

        found: StoredManifest | None = await self._cache.load(
            ("manifest", repository.id, digest), read, weigh=lambda manifest: len(manifest.content)
        )
        if found is None:
            raise unknown(repository, reference)
        return found

    async def _resolve(self, repository: Repository, tag: Tag) -> Digest:
        expires: dict[Digest, float | None] = {}

        async def read() -> Digest | None:
            row = await self._database.read(tags.resolve_tag, repository.id, tag)
            if row is None:
                return None
            expires[row.digest] = None if row.expires_ms is None else row.expires_ms / 1000
            return row.digest

        digest: Digest | None = await self._cache.load(("tag", repository.id, tag), read, expires=expires.get)
        if digest is None:
            raise await self._missing(repository, tag)
        return digest

    async def _missing(self, repository: Repository, tag: Tag) -> RegistryError:
        ended = await self._database.read(time_machine.expired_tag, repository.id, tag)
        if ended is None:
            return unknown(repository, tag)
        return TagExpired(
            f"The tag {tag} of {repository.name} was deleted or has expired; it was {ended.digest}.",
            advice="An administrator of the repository can restore it from the tag history.",
            tag=tag,
            digest=ended.digest,
        )

    async def serve(self, repository: Repository, tag: Tag, found: StoredManifest, accept: Sequence[str]) -> Served:
        """
        What a client that sent these `Accept` headers gets for a tag; none at all accept anything. Raises
        `ManifestUnknown` when it accepts nothing that this tag could be turned into.
        """
        for _ in range(NESTING_LIMIT):
            if is_acceptable(accept, found.media_type):
                return Served(found.content, found.media_type, found.digest)
            manifest = await self._parsed(found.content, found.media_type, found.digest)
            if not manifest.is_index:
                return await self._older(repository, tag, found, manifest, accept)
            child = manifest.child_for("linux", "amd64")
            if child is None:
                break
            found = await self.find(repository, child.digest)
        raise unacceptable(repository, tag, found, accept)

    async def _older(
        self, repository: Repository, tag: Tag, found: StoredManifest, manifest: Manifest, accept: Sequence[str]
    ) -> Served:
        if media_types.accepts(accept, media_types.SCHEMA1_SIGNED) or wants_schema1(accept):
            return await self._schema1(repository, tag, manifest, signed=True)
        if media_types.accepts(accept, media_types.SCHEMA1):
            return await self._schema1(repository, tag, manifest, signed=False)
        raise unacceptable(repository, tag, found, accept)

    async def _schema1(self, repository: Repository, tag: Tag, manifest: Manifest, *, signed: bool) -> Served:
        if manifest.schema1 is not None:
            payload = manifest.schema1.payload
        else:
            payload = await self._converted(repository, tag, manifest)
        digest = await self._cpu.run(Digest.of, payload)
        if not signed:
            return Served(payload, media_types.SCHEMA1, digest)
        return Served(await self._cpu.run(sign, payload, self._schema1_key), media_types.SCHEMA1_SIGNED, digest)

    async def _converted(self, repository: Repository, tag: Tag, manifest: Manifest) -> bytes:
        config = b""
        if manifest.config is not None and manifest.config.size <= CONFIG_LIMIT:
            config = await self._blobs.read(repository, manifest.config.digest, CONFIG_LIMIT) or b""
        payload = await self._cpu.run(to_schema1, manifest, config, str(repository.name), tag)
        await self._blobs.stat(repository, EMPTY_LAYER_DIGEST)
        return payload

    def pulled(self, caller: Caller, repository: Repository, reference: Digest | Tag, digest: Digest) -> None:
        """Tell whoever listens that a manifest was pulled."""
        tag = reference if isinstance(reference, Tag) else None
        self._bus.publish(Pulled.by(caller, repository, tag=tag, digest=digest))

    async def layers(self, repository: Repository, manifest: Manifest) -> list[Layer]:
        """The layers of an image with what its config says of them, if that can be read."""
        config: bytes | None = b""
        named = manifest.config
        if named is not None and named.media_type in IMAGE_CONFIGS and named.size <= CONFIG_LIMIT:
            with suppress(RegistryError):  # there may be none, or none now: the layers are there all the same
                config = await self._blobs.read(repository, named.digest, CONFIG_LIMIT)
        return await self._cpu.run(layers_of, manifest, config or b"")

    async def parsed(self, stored: StoredManifest) -> Manifest:
        """What a stored manifest says."""
        return await self._parsed(stored.content, stored.media_type, stored.digest)

    # --- push

    async def put(
        self,
        caller: Caller,
        repository: Repository,
        reference: Digest | Tag,
        content_type: str | None,
        raw: bytes,
        more_tags: Sequence[Tag] = (),
    ) -> Accepted:
        """
        Store a manifest, under a tag or by its digest; and under `more_tags`, all of them or none. When this returns,
        it can be pulled, and so can all that it names. Raises `ManifestInvalid` and its kin, `ManifestBlobUnknown`,
        `DigestInvalid`, `InvalidRequest` for too many tags.
        """
        if len(more_tags) > TAG_LIMIT:
            raise InvalidRequest(
                f"One push names {len(more_tags)} tags; the limit is {TAG_LIMIT}.", advice="Push it several times."
            )
        manifest = await self._parsed(raw, content_type, reference)
        tags = tuple(dict.fromkeys(([reference] if isinstance(reference, Tag) else []) + [*more_tags]))
        if manifest.schema1 is not None:
            for tag in tags or (None,):
                check_address(manifest, repository.name, tag, self._policy.library_namespace)
        if any(blob.digest == EMPTY_LAYER_DIGEST for blob in manifest.blobs()):
            await self._blobs.stat(repository, EMPTY_LAYER_DIGEST)
        labels = await self._labels(repository, manifest)
        faults.point("manifest.received")
        await self._tasks.spawn(self._store(repository, manifest, tags, labels))
        faults.point("manifest.stored")
        for tag in tags or (None,):
            self._bus.publish(Pushed.by(caller, repository, tag=tag, digest=manifest.digest))
        subject = manifest.subject.digest if manifest.subject is not None and self._policy.referrers else None
        return Accepted(manifest.digest, subject)

    async def _parsed(self, raw: bytes, content_type: str | None, reference: Digest | Tag) -> Manifest:
        digest = reference if isinstance(reference, Digest) else None
        if len(raw) <= INLINE_LIMIT and b'"signatures"' not in raw:
            return parse(raw, content_type, digest=digest)
        return await self._cpu.run(parse, raw, content_type, digest=digest)

    async def _labels(self, repository: Repository, manifest: Manifest) -> dict[str, str]:
        if manifest.schema1 is not None:
            return manifest.schema1.labels
        config = manifest.config
        if config is None or config.media_type not in IMAGE_CONFIGS or config.size > CONFIG_LIMIT:
            return {}
        data = self._recent.get(config.digest)  # whether this repository has it, the model says
        try:
            data = data or await self._blobs.read(repository, config.digest, CONFIG_LIMIT)
        except BlobUnknown:
            return {}  # the model says so, in one sentence with all else that is missing
        if data is None:
            return {}
        return labels_of(data) if len(data) <= INLINE_LIMIT else await self._cpu.run(labels_of, data)

    async def _store(
        self, repository: Repository, manifest: Manifest, tags: Sequence[Tag], labels: dict[str, str]
    ) -> None:
        def put(txn: Transaction) -> None:
            for tag in tags or (None,):
                content.put_manifest(
                    txn,
                    repository,
                    manifest,
                    tag=tag,
                    labels=labels,
                    expires_after_s=self._policy.life(labels.get(EXPIRES_AFTER, "")),
                    temp_tag_s=self._policy.untagged_s,
                    sparse=self._policy.sparse_index,
                )

        await self._database.write(put)

    # --- delete

    async def delete(self, caller: Caller, repository: Repository, reference: Digest | Tag) -> None:
        """
        Delete a tag, or a manifest and every tag that points to it; tags stay restorable until the time machine of
        the namespace ends. Raises `ManifestUnknown`.
        """
        gone: Sequence[str | None] | None
        if isinstance(reference, Tag):
            digest = await self._resolve(repository, reference)
            gone = [reference] if await self._database.write(tags.delete_tag, repository.id, reference) else None
        else:
            digest = reference
            gone = await self._database.write(content.delete_manifest, repository.id, digest)
        if gone is None:
            raise unknown(repository, reference)
        faults.point("manifest.deleted")
        for tag in gone or (None,):
            self._bus.publish(Deleted.by(caller, repository, digest=digest, tag=None if tag is None else Tag(tag)))

    # --- lists

    async def tags(self, repository: Repository, *, after: str | None, limit: int) -> list[str]:
        """The next `limit` tags after the name `after`, in byte order."""
        return await self._database.read(tags.tags, repository.id, after=after, limit=limit)

    async def referrers(
        self, repository: Repository, digest: Digest, *, artifact_type: str | None, after: int, limit: int
    ) -> Referrers:
        """A page of the manifests whose subject is `digest`, oldest first. Raises `ReferrersOff`."""
        if not self._policy.referrers:
            raise ReferrersOff("This registry does not list referrers.", advice="Set FEATURE_REFERRERS_API to true.")
        found, more = await self._database.read(
            referrer.page, repository.id, digest, artifact_type=artifact_type, after_id=after, limit=limit
        )
        index = await self._cpu.run(referrers_index, [one.descriptor for one in found])
        return Referrers(index, found[-1].id if more else None)


def wants_schema1(accept: Sequence[str]) -> bool:
    """Clients from before schema 2 say `application/json` or less."""
    return bool(accept) and all(media_types.normalise(one) == "application/json" for one in accept)


def is_acceptable(accept: Sequence[str], media_type: str) -> bool:
    return not accept or media_types.accepts(accept, media_type)


def unknown(repository: Repository, reference: Digest | Tag) -> ManifestUnknown:
    what = "manifest" if isinstance(reference, Digest) else "tag"
    return ManifestUnknown(
        f"The repository {repository.name} has no {what} {reference}.",
        advice="Check the spelling, or list the tags; a push may not have finished.",
        reference=reference,
    )


def unacceptable(repository: Repository, tag: Tag, found: StoredManifest, accept: Sequence[str]) -> ManifestUnknown:
    return ManifestUnknown(
        f"The tag {tag} of {repository.name} is a {found.media_type}, and the client accepts only {', '.join(accept)}.",
        advice="Use a newer client, or one that sends the media type in its Accept header.",
        media_type=found.media_type,
    )
