"""
Bundles: images as files, from one registry to another that it cannot reach, and the receipts that come back.

`Bundles` is what may be done: plan, make, verify, load, and give a receipt. Whoever calls it administers the registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs
from twisted.internet.interfaces import IReactorTime

from quay.bundles.cargo import Cargo, Named
from quay.bundles.choice import Choices
from quay.bundles.depot import Depot
from quay.bundles.extents import FileUnreadable
from quay.bundles.gathering import Gathering, Plan, planned
from quay.bundles.loading import Into, Loading, Outcome, Progress
from quay.bundles.opening import cargo_of
from quay.bundles.receipts import receipt_of
from quay.bundles.shelf import Shelf
from quay.bundles.signing import SIGNED_LIMIT, PublicKey, Signer, TrustedKeys, opened
from quay.bundles.verifying import Verification
from quay.bundles.waybill import Receipt
from quay.bundles.writing import Writing
from quay.interfaces import IPool
from quay.registry import Registry
from quay.registry.blobs import Stores
from quay.registry.caller import Caller

__all__ = ["Bundles", "Cargo", "Choices", "Into", "Named", "Order", "Outcome", "Plan", "Progress"]


@attrs.frozen(kw_only=True)
class Order:
    """A bundle that somebody wants, for whoever gave the `receipt`, with images for these platforms; none: for all."""

    choices: Choices
    receipt: Receipt | None = None
    platforms: frozenset[str] = frozenset()
    limit: int | None = None
    """Bytes of a volume, at most."""


class Bundles:
    """What may be done with bundles. `called` is the name of this registry, `pool` waits for the disk."""

    def __init__(
        self,
        registry: Registry,
        stores: Stores,
        signer: Signer,
        depot: Depot,
        called: str,
        clock: IReactorTime,
        pool: IPool,
        cpu: IPool,
    ) -> None:
        self._registry = registry
        self._stores = stores
        self._signer = signer
        self._called = called
        self._clock = clock
        self._pool = pool
        self._cpu = cpu
        self.depot = depot

    @property
    def key(self) -> PublicKey:
        """The public key by which others know what was made here."""
        return self._signer.public

    @property
    def keys(self) -> TrustedKeys:
        """Whom this registry trusts. They wait for the disk."""
        return self.depot.keys(self.key)

    async def plan(self, order: Order) -> Plan:
        """What a bundle would have, and how large it would be. Raises `ChoiceInvalid`, `InvalidRequest`."""
        gathering = Gathering(self._registry, order.choices, receipt=order.receipt, platforms=order.platforms)
        gathered = await gathering.gather(self._called, self._now_ms())
        return await planned(gathered, self._signer, self._cpu, order.limit)

    async def make(self, plan: Plan, target: Path, progress: Progress, *, replace: bool = False) -> list[Path]:
        """The files of the bundle, at `target` and beside. Raises what `Writing.write` raises."""
        return await Writing(self._registry, self._pool, progress).write(plan, target, replace=replace)

    async def open(
        self,
        paths: Iterable[Path],
        *,
        unsigned: bool = False,
        named: Named | None = None,
        also: Mapping[str, PublicKey] | None = None,
    ) -> Cargo:
        """
        What these files have, for the caller to close its shelf; `also` are keys to trust this once. Raises
        `Untrusted`, `BundleInvalid`, `ArchiveInvalid`, `FileUnreadable`, `NoRoom`.
        """
        shelf = await Shelf.of(paths, self._pool, self._cpu, self.depot.scratch)
        try:
            trusted = {**await self._pool.run(self.keys.all), **(also or {})}
            return await cargo_of(shelf, trusted, self._cpu, unsigned=unsigned, named=named)
        except BaseException:
            await shelf.close()
            raise

    async def verify(self, cargo: Cargo, progress: Progress) -> Sequence[str]:
        """All that is wrong with it, in sentences."""
        return await Verification(cargo, self._pool, self._cpu, progress).run()

    async def new_bytes(self, cargo: Cargo) -> int:
        """How many bytes of it the storage has not got."""
        store = self._stores.target
        return cargo.loose + sum([size for digest, size in cargo.blobs.items() if await store.stat(digest) is None])

    async def load(self, caller: Caller, cargo: Cargo, into: Into, progress: Progress) -> Outcome:
        """Push all of it. Raises only what keeps everything from going on."""
        for remark in cargo.shelf.remarks:
            progress.say(remark)
        if cargo.waybill is not None and cargo.waybill.previous not in ("", *await self._pool.run(self.depot.loaded)):
            progress.say(f"It was made to follow the bundle {cargo.waybill.previous}, which was not loaded here.")
        outcome = await Loading(self._registry, self._cpu, caller, cargo, into, progress).run()
        if cargo.waybill is not None and not outcome.failed:
            await self._pool.run(self.depot.note_loaded, cargo.waybill.id)
        return outcome

    async def receipt(self, choices: Choices | None = None) -> bytes:
        """What this registry has, signed. Raises `BundleInvalid` for more than a receipt can hold."""
        loaded = await self._pool.run(self.depot.loaded)
        made = await receipt_of(self._registry.database, self._called, self._now_ms(), loaded, choices)
        return await self._cpu.run(lambda: self._signer.sign("receipt", made.as_json()))

    async def read_receipt(self, path: Path, *, unsigned: bool = False) -> Receipt:
        """The receipt in a file. Raises `Untrusted`, `BundleInvalid`, `FileUnreadable`."""
        raw = await self._pool.run(_read, path)
        trusted = await self._pool.run(self.keys.all)
        signed = await self._cpu.run(opened, "receipt", raw, trusted, unsigned=unsigned)
        receipt: Receipt = await self._cpu.run(Receipt.parse, signed.payload)
        return receipt

    def _now_ms(self) -> int:
        return int(self._clock.seconds() * 1000)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(SIGNED_LIMIT + 1)
    except OSError as error:
        raise FileUnreadable(path, error) from error
