"""
Cargo into the registry, tag by tag: a tag appears when all that belongs to it is here, and not before.

What has arrived is not read again: a blob that the repository or any other one has, from an earlier attempt or from
whoever else pushed it, is linked. What cannot be loaded is told at the end, each with its reason, and keeps nothing
else from being loaded. What is pushed here is pushed as by a client, and the audit log says by whom.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Self

import attrs

from quay.bundles.cargo import Cargo, Docked
from quay.bundles.closure import Closure, ManifestMissing
from quay.bundles.waybill import BundleInvalid, Referrer, Shipment
from quay.interfaces import IPool
from quay.model import blob as rows
from quay.model.repository import Repository
from quay.oci import archive
from quay.oci.archive import Part
from quay.oci.errors import BlobUnknown, DigestInvalid, InvalidRequest, ManifestUnknown, RegistryError, TagExpired
from quay.oci.reference import Digest, RepositoryName
from quay.oci.tar import CLOSING, filled, head
from quay.registry import Registry
from quay.registry.archives.stream import Outlet, Upload
from quay.registry.caller import Caller
from quay.storage import StorageError, StorageFull

OWNER: Final = "$bundle"
"""Whose uploads these are: no principal is called so, so nobody else can go on with them."""
NAMED_AS_MISSING: Final = 3


@attrs.frozen
class Into:
    """Into which organizations the repositories go: those of a namespace into another one, or all of them into one."""

    mapped: Mapping[str, str] = attrs.field(factory=dict)

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """`ORG` for all, `FROM=ORG` for those of one namespace. Raises `InvalidRequest`."""
        mapped: dict[str, str] = {}
        for text in texts:
            source, equals, target = text.rpartition("=")
            try:
                RepositoryName.parse(f"{target}/x")
            except RegistryError:
                target = ""
            if not target or "/" in target or source in mapped or (equals and not source):
                raise InvalidRequest(f"{text[:80]!r} says not into what.", advice="Write ORG, or FROM=ORG.")
            mapped[source] = target
        return cls(mapped)

    def __call__(self, name: RepositoryName) -> RepositoryName:
        target = self.mapped.get(name.namespace, self.mapped.get("", name.namespace))
        return attrs.evolve(name, namespace=target)


@attrs.define
class Progress:
    """How far it is, in bytes of what there is; `say` takes a line for whoever waits."""

    say: Callable[[str], object] = attrs.field(default=lambda line: None, repr=False)
    done: int = 0
    total: int = 0


@attrs.define
class Outcome:
    """Which tags came, which were there already, and what could not be loaded, and why. `read` is in bytes."""

    loaded: list[str] = attrs.field(factory=list)
    present: list[str] = attrs.field(factory=list)
    failed: list[tuple[str, str]] = attrs.field(factory=list)
    read: int = 0

    def __str__(self) -> str:
        loaded = f"{len(self.loaded)} tag{'s' if len(self.loaded) != 1 else ''} loaded"
        said = [loaded, *([f"{len(self.present)} already there"] if self.present else [])]
        return ", ".join([*said, *([f"{len(self.failed)} failed"] if self.failed else [])]) + "."


class Loading:
    """Loads `cargo` for `caller`, who is a superuser."""

    def __init__(
        self, registry: Registry, cpu: IPool, caller: Caller, cargo: Cargo, into: Into, progress: Progress
    ) -> None:
        self._registry = registry
        self._cpu = cpu
        self._caller = caller
        self._cargo = cargo
        self._into = into
        self._progress = progress
        self._counted: set[Digest] = set()
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        """Load all of it. What fails is in the outcome; only what keeps everything from going on is raised."""
        self._progress.total = sum(self._cargo.blobs.values()) + self._cargo.loose
        claimed: dict[str, Digest] = {}
        for shipment in self._cargo.shipments:
            target = attrs.evolve(shipment, repository=self._into(shipment.repository))
            if claimed.setdefault(target.name, shipment.digest) != shipment.digest:
                self._refuse(shipment.name, f"Another image is to be {target.name}, too: load it into another place.")
            else:
                await self._attempt(target.name, self._shipment(target))
        for docked in self._cargo.docked:
            await self._attempt(f"{self._into(docked.repository)}", self._docked(docked))
        self._progress.done = self._progress.total
        return self.outcome

    async def _attempt(self, name: str, work: Awaitable[None]) -> None:
        try:
            await work
        except StorageFull:
            raise  # so would all that follows
        except (RegistryError, StorageError) as error:
            advice = getattr(error, "advice", "")
            self._refuse(name, f"{error} {advice}" if isinstance(error, RegistryError) else str(error))

    def _refuse(self, name: str, why: str) -> None:
        self.outcome.failed.append((name, why.strip()))
        self._progress.say(f"{name}: {why.strip()}")

    # --- a tag with its manifest

    async def _shipment(self, shipment: Shipment) -> None:
        roots = [Referrer(shipment.digest, shipment.media_type), *shipment.referrers]
        try:
            closure = await self._cargo.gatherer(self._cpu).gather(roots)
        except ManifestMissing as error:
            raise self._incomplete([error.digest]) from error
        repository = await self._registry.access.for_superuser(self._caller, shipment.repository)
        if await self._is_there(repository, shipment, closure):
            for digest in closure.blobs:
                self._count(digest)
            self.outcome.present.append(shipment.name)
            return
        missing = [
            digest for digest, size in closure.blobs.items() if not await self._carried(repository, digest, size)
        ]
        if missing:
            raise self._incomplete(missing)
        await self._publish(repository, shipment, closure)
        self.outcome.loaded.append(shipment.name)
        self._progress.say(f"{shipment.name} is loaded.")

    async def _is_there(self, repository: Repository, shipment: Shipment, closure: Closure) -> bool:
        """Whether the tag names this already, with all that is to come with it."""
        try:
            found = await self._registry.manifests.find(repository, shipment.tag)
            for digest in closure.manifests if found.digest == shipment.digest else ():
                await self._registry.manifests.find(repository, digest)
        except (ManifestUnknown, TagExpired):
            return False
        return found.digest == shipment.digest

    async def _carried(self, repository: Repository, digest: Digest, size: int) -> bool:
        """Whether the repository has the blob now: it had it, or another one has, or it was read."""
        try:
            await self._registry.blobs.stat(repository, digest)
        except BlobUnknown:
            lease_s = self._registry.policy.upload_s
            if await self._registry.database.write(rows.adopt_blob, repository.id, digest, lease_s=lease_s) is None:
                return await self._read(repository, digest, size)
        self._count(digest)
        return True

    async def _read(self, repository: Repository, digest: Digest, size: int) -> bool:
        shelf = self._cargo.shelf
        if digest not in shelf.blobs or shelf.size(digest) != size:
            return False

        async def receive(outlet: Outlet) -> object:
            return await self._registry.uploads.receive_whole(repository, OWNER, digest, outlet)

        before = self._progress.done
        try:
            await _poured(Upload(receive, size), self._watched(shelf.pieces(shelf.blobs[digest])))
        except DigestInvalid as error:
            names = ", ".join(dict.fromkeys(extent.path.name for extent in shelf.blobs[digest]))
            raise BundleInvalid(
                f"The blob {digest} is damaged in {names}.", advice="Copy that again, and load once more."
            ) from error
        finally:
            self._progress.done = before
        self._count(digest)
        return True

    async def _watched(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in pieces:
            yield piece
            self._progress.done += len(piece)
            self.outcome.read += len(piece)

    def _count(self, digest: Digest) -> None:
        """It is done with: each blob once, however many tags need it."""
        if digest not in self._counted:
            self._counted.add(digest)
            self._progress.done += self._cargo.blobs.get(digest, 0)

    def _incomplete(self, missing: Sequence[Digest]) -> BundleInvalid:
        named = ", ".join(missing[:NAMED_AS_MISSING]) + (" and others" if len(missing) > NAMED_AS_MISSING else "")
        if self._cargo.missing:
            volumes = ", ".join(map(str, self._cargo.missing))
            return BundleInvalid(f"It needs {named}.", advice=f"What is missing here: volume {volumes}. Load it, too.")
        if all(digest in self._cargo.held for digest in missing):
            return BundleInvalid(
                f"It needs {named}, which this registry has not got, though its receipt said so.",
                advice="Have a bundle made without a receipt, or with a new one.",
            )
        return BundleInvalid(f"It needs {named}, which is not among these files.", advice="Copy them again.")

    async def _publish(self, repository: Repository, shipment: Shipment, closure: Closure) -> None:
        """Its manifests, as an archive of their own: what publishes those publishes these."""
        names = {archive.REF_NAME: str(shipment.tag)}
        images = [_described(closure, shipment.digest, names)]
        images += [_described(closure, one.digest, {}) for one in shipment.referrers]
        parts = archive.layout(images, {digest: one.raw for digest, one in closure.manifests.items()})

        async def receive(outlet: Outlet) -> object:
            return await self._registry.archives.take(self._caller, repository, outlet)

        await _poured(Upload(receive, None), _packed(parts))

    # --- what docker saved

    async def _docked(self, docked: Docked) -> None:
        repository = await self._registry.access.for_superuser(self._caller, self._into(docked.repository))

        async def receive(outlet: Outlet) -> Any:
            return await self._registry.archives.take(self._caller, repository, outlet)

        taken = await _poured(Upload(receive, None), self._watched(self._resaved(docked)))
        self.outcome.loaded += [f"{repository.name}:{tag}" for tag in taken.tags]
        self._progress.say(f"{repository.name}: {', '.join(taken.tags)} loaded.")

    async def _resaved(self, docked: Docked) -> AsyncIterator[bytes]:
        """The archive with this image only, under the tags that it is to have here."""
        shelf, saved = self._cargo.shelf, docked.saved
        names = [f"{docked.repository}:{tag}" for tag in docked.tags]
        document = archive.saved_by_name(saved.config, names, saved.layers)
        yield _member(archive.MANIFEST_JSON, document)
        for name in dict.fromkeys((saved.config, *saved.layers)):
            extent = shelf.extent(name)
            if extent is None:
                raise BundleInvalid(f"The archive names {name[:160]!r}, which is not in it.", advice="Save it again.")
            yield head(name, extent.size)
            async for piece in shelf.pieces((extent,)):
                yield piece
            yield bytes(filled(extent.size) - extent.size)
        yield CLOSING


def _described(closure: Closure, digest: Digest, names: dict[str, str]) -> dict[str, Any]:
    manifest = closure.manifests[digest]
    return archive.described(digest, manifest.media_type, len(manifest.raw), names)


async def _packed(parts: Iterable[Part]) -> AsyncIterator[bytes]:
    """The archive of these parts, which are all in memory."""
    for part in parts:
        if part.content is None:
            yield head(part.name, 0, directory=True)
        elif not isinstance(part.content, Digest):
            yield _member(part.name, part.content)
    yield CLOSING


def _member(name: str, content: bytes) -> bytes:
    return head(name, len(content)) + content + bytes(filled(len(content)) - len(content))


async def _poured(upload: Upload[Any], pieces: AsyncIterator[bytes]) -> Any:
    """What the receiver makes of these bytes."""
    try:
        async for piece in pieces:
            await upload.write(piece)
    except BaseException:
        upload.abandon()
        raise
    return await upload.finish()
