"""
What is to go into a bundle, found out from the registry: the chosen tags, all that belongs to them, and all that refers
to that; without what a receipt says that the far side has. Nothing is written here, so a plan is made in the same way.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Final

import attrs

from quay.bundles.choice import Choice, ChoiceInvalid, Choices
from quay.bundles.signing import Signer
from quay.bundles.volumes import WAYBILL, Volume, cut
from quay.bundles.waybill import Receipt, Referrer, Shipment, Waybill
from quay.interfaces import IPool
from quay.model import repository as repositories
from quay.model.repository import Repository
from quay.oci import archive
from quay.oci.archive import Part
from quay.oci.errors import NameUnknown, RegistryError, TagExpired
from quay.oci.reference import Digest, RepositoryName, Tag
from quay.registry import Registry
from quay.registry.archives import Wanted
from quay.registry.archives.outgoing import Packing

PAGE: Final = 500
_COSIGN = re.compile(r"sha256-([0-9a-f]{64})(?:\.[A-Za-z0-9_.-]+)?")
"""Tags by which clients attach something to a manifest: cosign's, and the referrers tag of the specification."""


@attrs.frozen
class Gathered:
    """
    A bundle to be: its waybill, where each blob of it lies (`manifests` are those that lie in rows), which tags could
    not be taken, and why.
    """

    waybill: Waybill
    sources: Mapping[Digest, Repository] = attrs.field(repr=False)
    manifests: Collection[Digest] = attrs.field(repr=False)
    failed: Sequence[tuple[str, str]] = ()


@attrs.frozen
class Plan:
    """A bundle to be, cut into volumes."""

    gathered: Gathered
    volumes: tuple[Volume, ...]

    @property
    def size(self) -> int:
        """Bytes of all volumes."""
        return sum(volume.size for volume in self.volumes)


class Gathering:
    """Gathers one bundle; `platforms` are those whose images are taken from an index, all if there are none."""

    def __init__(
        self,
        registry: Registry,
        choices: Choices,
        *,
        receipt: Receipt | None = None,
        platforms: frozenset[str] = frozenset(),
    ) -> None:
        self._registry = registry
        self._choices = choices
        self._receipt = receipt
        self._platforms = platforms
        self._met: set[Choice] = set()
        self._shipments: list[Shipment] = []
        self._unchanged: list[tuple[str, Digest]] = []
        self._failed: list[tuple[str, str]] = []
        self._sizes: dict[Digest, int] = {}
        self._sources: dict[Digest, Repository] = {}
        self._manifests: set[Digest] = set()
        self._absent: dict[Digest, str] = {}

    async def gather(self, called: str, now_ms: int) -> Gathered:
        """The bundle of a registry that is `called` so. Raises `ChoiceInvalid` if something that was chosen is not."""
        async for repository in self._repositories():
            await self._from(repository)
        unmet = [str(one) for one in self._choices.choices if one not in self._met]
        if unmet:
            raise ChoiceInvalid(
                f"This registry has nothing that is called {', '.join(unmet[:20])}.", advice="Check the spelling."
            )
        known = frozenset() if self._receipt is None else self._receipt.blobs
        held = {one: size for one, size in self._sizes.items() if one in known and one not in self._manifests}
        blobs = {one: size for one, size in self._sizes.items() if one not in held}
        waybill = Waybill(
            made_ms=now_ms,
            registry=called,
            shipments=tuple(self._shipments),
            blobs=blobs,
            held=held,
            absent=self._absent,
            unchanged=tuple(self._unchanged),
            receipt="" if self._receipt is None else self._receipt.id,
            previous=self._receipt.bundles[-1] if self._receipt is not None and self._receipt.bundles else "",
        )
        return Gathered(waybill, self._sources, self._manifests, self._failed)

    async def _repositories(self) -> AsyncIterator[Repository]:
        """All that may be meant, in order of name."""
        after: str | None = None
        while True:
            names = await self._registry.database.read(
                repositories.catalog, None, public=False, everything=True, after=after, limit=PAGE
            )
            for name in names:
                if self._choices.within(name):
                    try:
                        found = await self._registry.find(RepositoryName(*name.split("/", 1)))
                    except NameUnknown:  # it was deleted meanwhile
                        continue
                    if found.kind == "image":
                        yield found
            if len(names) < PAGE:
                return
            after = names[-1]

    async def _from(self, repository: Repository) -> None:
        choices = self._choices.within(str(repository.name))
        every = [tag async for tag in self._tags(repository)]
        taken: dict[str, None] = {}
        digests: set[str] = set()
        wanted = []
        for tag in every:
            takers = choices.takes(tag)
            self._met.update(takers)
            if takers:
                wanted.append(tag)
        if not every:
            self._met.update(one for one in choices.choices if one.tag == "*")
        while wanted:
            for tag in wanted:
                taken[tag] = None
                digests |= await self._attempt(repository, Tag(tag))
            wanted = [tag for tag in every if tag not in taken and _attached_to(tag) in digests]

    async def _tags(self, repository: Repository) -> AsyncIterator[str]:
        after: str | None = None
        while True:
            page = await self._registry.manifests.tags(repository, after=after, limit=PAGE)
            for tag in page:
                yield tag
            if len(page) < PAGE:
                return
            after = page[-1]

    async def _attempt(self, repository: Repository, tag: Tag) -> set[str]:
        """The digests of the manifests that the tag brought, in hex."""
        try:
            return await self._take(repository, tag)
        except TagExpired:
            return set()
        except RegistryError as error:
            self._failed.append((f"{repository.name}:{tag}", f"{error.message} {error.advice}".strip()))
            return set()

    async def _take(self, repository: Repository, tag: Tag) -> set[str]:
        stored = await self._registry.manifests.find(repository, tag)
        wanted = Wanted(repository, tag, str(repository.name), "oci", referrers=True, platforms=self._platforms)
        packing = Packing(self._registry.blobs, self._registry.manifests, wanted)
        parts = await packing.parts(stored)
        within = [part for part in parts if part.content is not None and part.name.startswith(f"{archive.BLOBS}/")]
        contents = {digest: part for part in within if (digest := archive.digest_at(part.name)) is not None}
        manifests = {digest for digest, part in contents.items() if isinstance(part.content, bytes)}
        if self._is_known(f"{repository.name}:{tag}", stored.digest, manifests):
            self._unchanged.append((f"{repository.name}:{tag}", stored.digest))
            return {digest.hex for digest in manifests}
        for digest, part in contents.items():
            self._sizes[digest] = part.size
            self._sources.setdefault(digest, repository)
        self._manifests |= manifests
        self._absent |= packing.absent
        referrers = tuple(_referrers(parts))
        self._shipments.append(Shipment(repository.name, tag, stored.digest, stored.media_type, referrers))
        return {digest.hex for digest in manifests}

    def _is_known(self, name: str, digest: Digest, manifests: Collection[Digest]) -> bool:
        """Whether the far side has the tag as it is, with all that refers to it."""
        receipt = self._receipt
        return receipt is not None and receipt.tags.get(name) == digest and receipt.blobs.issuperset(manifests)


async def planned(gathered: Gathered, signer: Signer, cpu: IPool, limit: int | None = None) -> Plan:
    """The volumes of the bundle, none larger than `limit` bytes. Raises `InvalidRequest` for too small a limit."""
    return Plan(gathered, tuple(await cpu.run(_cut, gathered.waybill, signer, limit)))


def _cut(waybill: Waybill, signer: Signer, limit: int | None) -> list[Volume]:
    signed = signer.sign("bundle", waybill.as_json())
    layout, index = archive.layout(_listed(waybill), {})[:2]
    return cut(waybill.id, [layout, index, Part(WAYBILL, signed, len(signed))], waybill.blobs.items(), limit)


def _listed(waybill: Waybill) -> Sequence[Mapping[str, object]]:
    """The images as the index of the layout has them, under their full names."""
    made = []
    for one in waybill.shipments:
        names = {archive.REF_NAME: one.name}
        made.append(archive.described(one.digest, one.media_type, waybill.blobs[one.digest], names))
        made += [
            archive.described(each.digest, each.media_type, waybill.blobs[each.digest], {}) for each in one.referrers
        ]
    return made


def _referrers(parts: Sequence[Part]) -> Sequence[Referrer]:
    """What the index of an archive lists after its image."""
    index = next(part.content for part in parts if part.name == archive.INDEX_JSON)
    assert isinstance(index, bytes), "an index is a document"
    return [Referrer(Digest(one["digest"]), one["mediaType"]) for one in json.loads(index)["manifests"][1:]]


def _attached_to(tag: str) -> str:
    """In hex, the digest of the manifest to which the tag attaches something; else the empty string."""
    found = _COSIGN.fullmatch(tag)
    return found[1] if found is not None else ""
