"""
What is on a shelf, and under which names it is to come: a bundle with its waybill, or what other tools made.

Only a bundle is signed. Whatever else there is (an OCI layout, as skopeo, hauler and others write it, an image that
skopeo wrote to a directory, what docker saved) is taken when somebody says that it may be unsigned: else whoever
changes a bundle on its way would only have to take its waybill out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from quay.bundles.cargo import Cargo, Named
from quay.bundles.foreign import directory_cargo, docker_cargo, layout_cargo
from quay.bundles.scanning import Scanned
from quay.bundles.shelf import Shelf
from quay.bundles.signing import SIGNED_LIMIT, PublicKey, Untrusted, opened
from quay.bundles.volumes import VOLUME, WAYBILL
from quay.bundles.waybill import BundleInvalid, Waybill
from quay.interfaces import IPool
from quay.oci import archive

LABEL_LIMIT: Final = 1024
INDEX_LIMIT: Final = 32 * 1024 * 1024


async def cargo_of(
    shelf: Shelf, trusted: Mapping[str, PublicKey], cpu: IPool, *, unsigned: bool = False, named: Named | None = None
) -> Cargo:
    """
    What is on the shelf. `unsigned`: somebody said that it may be; `named`: what he calls an archive without a name.
    Raises `Untrusted`, `BundleInvalid` and the like.
    """
    raw = await shelf.document(WAYBILL, SIGNED_LIMIT)
    if raw is not None:
        return await _bundle(shelf, raw, trusted, cpu, unsigned)
    if not unsigned:
        raise Untrusted(
            "This is no bundle that is signed, but an archive that anybody may have made or changed.",
            advice="If you know where it comes from, say so: --accept-unsigned.",
        )
    index = await shelf.document(archive.INDEX_JSON, INDEX_LIMIT)
    if index is not None:
        found = await layout_cargo(shelf, index, cpu, named)
        if found.shipments:
            return found
    saved = await shelf.document(archive.MANIFEST_JSON, INDEX_LIMIT)
    if saved is None:
        raise BundleInvalid(
            "There is neither a bundle nor an archive of images in these files.",
            advice="Name the volumes of a bundle, an OCI layout, or what docker save made.",
        )
    if saved.lstrip().startswith(b"["):
        return await docker_cargo(shelf, saved, cpu, named)
    return directory_cargo(shelf, saved, named)


# --- a bundle -----------------------------------------------------------------------------------------------------


async def _bundle(shelf: Shelf, raw: bytes, trusted: Mapping[str, PublicKey], cpu: IPool, unsigned: bool) -> Cargo:
    signed = await cpu.run(opened, "bundle", raw, trusted, unsigned=unsigned)
    waybill: Waybill = await cpu.run(Waybill.parse, signed.payload)
    numbers: dict[int, Scanned] = {}
    of = 1
    for file in shelf.files:
        number, of = await _label(shelf, file, waybill)
        if number in numbers:
            shelf.remarks.append(
                f"{file.path.name} and {numbers[number].path.name} are both volume {number}; the first one is used."
            )
        numbers.setdefault(number, file)
    missing = tuple(number for number in range(1, of + 1) if number not in numbers)
    return Cargo(shelf, waybill.shipments, (), waybill, signed.signer, missing, of)


async def _label(shelf: Shelf, file: Scanned, waybill: Waybill) -> tuple[int, int]:
    """Which volume this is, and of how many. Raises `BundleInvalid` for one of another bundle."""
    extent = file.members.get(VOLUME)
    if extent is None or extent.size > LABEL_LIMIT:
        raise BundleInvalid(f"{file.path.name} is no volume of a bundle.", advice="Name the volumes only.")
    try:
        told = json.loads(b"".join([piece async for piece in shelf.pieces((extent,))]))
        bundle, number, of = str(told["bundle"]), int(told["number"]), int(told["of"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BundleInvalid(f"{file.path.name} does not say which volume of a bundle it is.") from None
    if bundle != waybill.id:
        raise BundleInvalid(
            f"{file.path.name} belongs to the bundle {bundle[:80]}, and others here to {waybill.id}.",
            advice="Load one bundle at a time.",
        )
    if not 1 <= number <= of <= 999:
        raise BundleInvalid(f"{file.path.name} says that it is volume {number} of {of}: that cannot be.")
    return number, of
