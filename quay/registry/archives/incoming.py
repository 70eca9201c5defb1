"""
Archives on their way in: read once, as they come, and never laid out as files.

What has the name of a digest is an upload like any other, under that digest. What `docker save` calls otherwise gets
its digest on arrival. The few documents that say what belongs together are kept in memory, within bounds, because they
may come before or after what they name. What an archive leaves behind that is refused are blobs that no manifest names:
they go when their lease runs out, as those of any push that was given up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Protocol

import attrs

from quay.interfaces import IPool
from quay.model.blob import Blob
from quay.model.repository import Repository
from quay.oci import archive
from quay.oci.archive import Coding, Layer, LayerPacker
from quay.oci.errors import BlobTooLarge, DigestInvalid
from quay.oci.reference import Digest
from quay.oci.tar import BLOCK, END, ArchiveInvalid, Kind, Member, TarReader
from quay.registry.archives.stream import Outlet, Upload
from quay.registry.policy import Policy
from quay.registry.uploads import Uploads
from quay.tasks import Tasks

DOCUMENT_LIMIT: Final = 4 * 1024 * 1024
DOCUMENTS_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of all the documents of one archive."""
LINKS_LIMIT: Final = 8
"""How many links may lead from one to the next."""

OWNER: Final = "$archive"
"""Whose uploads these are: no principal is called so, so nobody else can go on with them."""

_DOCUMENTS: Final = frozenset({archive.MANIFEST_JSON, archive.INDEX_JSON, archive.LAYOUT})
_LEGACY: Final = ("/json", "/VERSION")
"""What `docker save` adds for engines before 1.10."""


class Sink(Protocol):
    """Where the bytes of a member go."""

    async def write(self, data: bytes) -> None: ...
    async def end(self) -> None: ...
    def abandon(self) -> None: ...


@attrs.define
class Contents:
    """
    What came with an archive: documents and layers by the names of their members, blobs by digest, and where links
    lead. `bytes` is how much of it the registry has taken in.
    """

    documents: dict[str, bytes] = attrs.field(factory=dict, repr=False)
    layers: dict[str, Layer] = attrs.field(factory=dict, repr=False)
    blobs: dict[Digest, Layer] = attrs.field(factory=dict, repr=False)
    links: dict[str, str] = attrs.field(factory=dict, repr=False)

    @property
    def count(self) -> int:
        return len(self.blobs) + len(self.layers)

    @property
    def bytes(self) -> int:
        return sum(one.size for one in (*self.blobs.values(), *self.layers.values()))

    def resolved(self, name: str) -> str:
        """The name of the member that `name` means, perhaps by links."""
        for _ in range(LINKS_LIMIT):
            if name not in self.links:
                return name
            name = self.links[name]
        raise ArchiveInvalid(f"The link {name[:80]!r} leads nowhere: it leads to a link, and so on.")


class Intake:
    """Takes one archive into `repository`: its blobs only, no manifest and no tag."""

    def __init__(self, uploads: Uploads, policy: Policy, pool: IPool, tasks: Tasks, repository: Repository) -> None:
        self._uploads = uploads
        self._policy = policy
        self._pool = pool
        self._tasks = tasks
        self._repository = repository
        self._contents = Contents()
        self._names: set[str] = set()
        self._room = DOCUMENTS_LIMIT

    async def read(self, pieces: AsyncIterator[bytes]) -> Contents:
        """
        Everything that the tar file in `pieces` has. Raises `ArchiveInvalid`, `BlobTooLarge`, `DigestInvalid`, and what
        stores raise.
        """
        reader = TarReader()
        sink: Sink = _NOWHERE
        try:
            async for piece in pieces:
                for event in reader.feed(piece):
                    if isinstance(event, Member):
                        sink = self._sink(event)
                    elif event is END:
                        await sink.end()
                    else:
                        await sink.write(event)
            reader.close()
        except BaseException:
            sink.abandon()
            raise
        return self._contents

    def _sink(self, member: Member) -> Sink:
        name = member.name
        if member.kind is Kind.DIRECTORY:
            return _NOWHERE
        if name in self._names:
            raise ArchiveInvalid(f"The archive has two members called {name[:160]!r}.", advice="Make it anew.")
        self._names.add(name)
        if member.kind is Kind.LINK:
            self._contents.links[name] = member.target
            return _NOWHERE
        digest = archive.digest_at(name)
        if digest is not None:
            return _OfDigest(self, digest, self._checked(member.size))
        if name in _DOCUMENTS:
            return _Document(self, name, member.size)
        if name.endswith(_LEGACY) or name == "repositories":
            return _NOWHERE
        return _Unnamed(self, name, self._checked(member.size))

    def _checked(self, size: int) -> int:
        if size > self._policy.blob_limit:
            raise BlobTooLarge(
                f"The archive has a layer of {size} bytes, and this registry takes {self._policy.blob_limit}.",
                advice="Make the layer smaller, or have MAXIMUM_LAYER_SIZE raised.",
                limit=self._policy.blob_limit,
                repository=self._repository.name,
            )
        return size

    def reserve(self, name: str, size: int) -> None:
        """See that there is room for a document."""
        self._room -= size
        if size > DOCUMENT_LIMIT or self._room < 0:
            raise ArchiveInvalid(
                f"The archive has a document {name[:160]!r} of {size} bytes, or too many of them: one may have "
                f"{DOCUMENT_LIMIT}, and all together {DOCUMENTS_LIMIT}."
            )

    def keep(self, name: str, content: bytes) -> None:
        """Remember a document."""
        self._contents.documents[name] = content

    def upload(self, digest: Digest, size: int) -> Upload[Blob]:
        """A blob whose digest is known."""

        async def receive(outlet: Outlet) -> Blob:
            return await self._uploads.receive_whole(self._repository, OWNER, digest, outlet)

        return Upload(receive, size)

    def upload_packed(self, packer: LayerPacker) -> Upload[Blob]:
        """A blob that has the digest that `packer` knows when all of it has been written."""

        async def receive(outlet: Outlet) -> Blob:
            name = await self._uploads.begin(self._repository, OWNER)
            try:
                await self._uploads.append(self._repository, OWNER, name, outlet, None)
                nothing = Outlet(0)
                return await self._uploads.finish(self._repository, OWNER, name, packer.digest, nothing, None)
            except BaseException:
                self._tasks.spawn(self._uploads.cancel(self._repository, OWNER, name)).addErrback(lambda _: None)
                raise

        return Upload(receive, None)

    async def pack(self, packer: LayerPacker, data: bytes | None) -> bytes:
        """What `packer` makes of `data`; None is the end of it."""
        packed: bytes = await (self._pool.run(packer.close) if data is None else self._pool.run(packer.feed, data))
        return packed

    def arrived(self, name: str | Digest, layer: Layer) -> None:
        """Remember a blob that is in place."""
        if isinstance(name, Digest):
            self._contents.blobs[name] = layer
        else:
            self._contents.layers[name] = layer


class _Nowhere:
    """For what does not count."""

    async def write(self, data: bytes) -> None:
        return None

    async def end(self) -> None:
        return None

    def abandon(self) -> None:
        return None


_NOWHERE: Final = _Nowhere()


class _Document:
    def __init__(self, intake: Intake, name: str, size: int) -> None:
        intake.reserve(name, size)
        self._intake = intake
        self._name = name
        self._pieces: list[bytes] = []

    async def write(self, data: bytes) -> None:
        self._pieces.append(data)

    async def end(self) -> None:
        self._intake.keep(self._name, b"".join(self._pieces))

    def abandon(self) -> None:
        self._pieces.clear()


class _OfDigest:
    def __init__(self, intake: Intake, digest: Digest, size: int) -> None:
        self._intake = intake
        self._digest = digest
        self._start = b""
        self._upload = intake.upload(digest, size)

    async def write(self, data: bytes) -> None:
        if len(self._start) < 4:
            self._start = (self._start + data[:4])[:4]
        await self._upload.write(data)

    async def end(self) -> None:
        try:
            blob = await self._upload.finish()
        except DigestInvalid as error:
            raise ArchiveInvalid(
                f"The archive is damaged: its member {archive.place(self._digest)} has other bytes than its name says.",
                advice="Make or send it again.",
            ) from error
        self._intake.arrived(self._digest, Layer(blob.digest, blob.size, Coding.of(self._start)))

    def abandon(self) -> None:
        self._upload.abandon()


class _Unnamed:
    """A config, if it is a JSON object; anything else may be a layer."""

    def __init__(self, intake: Intake, name: str, size: int) -> None:
        self._intake = intake
        self._name = name
        self._size = size
        self._start = b""
        self._sink: Sink | None = None

    async def write(self, data: bytes) -> None:
        if self._sink is None:
            self._start, data = b"", self._start + data
            if len(data) < min(4, self._size):
                self._start = data
                return
            self._sink = self._decided(data)
        await self._sink.write(data)

    def _decided(self, start: bytes) -> Sink:
        if start.startswith(b"{"):
            return _Document(self._intake, self._name, self._size)
        if Coding.of(start) is Coding.PLAIN and self._size < BLOCK:
            return _NOWHERE  # no tar file is so small
        return _Layer(self._intake, self._name, start)

    async def end(self) -> None:
        if self._sink is not None:
            await self._sink.end()

    def abandon(self) -> None:
        if self._sink is not None:
            self._sink.abandon()


class _Layer:
    def __init__(self, intake: Intake, name: str, start: bytes) -> None:
        self._intake = intake
        self._name = name
        self._packer = LayerPacker(start)
        self._upload = intake.upload_packed(self._packer)

    async def write(self, data: bytes) -> None:
        await self._upload.write(await self._intake.pack(self._packer, data))

    async def end(self) -> None:
        await self._upload.write(await self._intake.pack(self._packer, None))
        await self._upload.finish()
        self._intake.arrived(self._name, self._packer.layer)

    def abandon(self) -> None:
        self._upload.abandon()
