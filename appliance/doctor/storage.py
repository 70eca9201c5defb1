"""Each storage location: some bytes are put there, read again and removed, as a push, a pull and a deletion do it."""

from __future__ import annotations

import hashlib
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from appliance.doctor import lesser
from appliance.doctor.patient import Patient
from quay.condition import Finding, fine, unseen, wrong
from quay.condition.whole import local_paths
from quay.config import StorageLocation
from quay.oci.reference import Digest
from quay.storage import StorageError, StorageFull, open_store
from quay.threads import ImmediatePool

R = TypeVar("R")

FULL: Final = "/docs/runbooks#disk-full"
FAILS: Final = "/docs/runbooks#the-storage-fails"
SAMPLE: Final = 4096


def look(patient: Patient) -> Iterator[Finding]:
    """One location after the other."""
    if lesser.is_needed(patient):
        yield from lesser.asked(patient, "storage")
        return
    places = local_paths(patient.config)
    for name, location in patient.config.storage.items():
        place = places.get(name)
        if place is not None and not (place / "blobs").is_dir():
            yield unseen(f"{place} ({name}) is not there yet: the server makes it when it starts.", "quay serve")
        elif place is not None and not os.access(place / "blobs", os.W_OK):
            yield _closed(patient, name, place)
        else:
            yield _tried(name, location, place)


def _closed(patient: Patient, name: str, place: Path) -> Finding:
    owner = place.stat().st_uid
    if patient.host.uid == owner:
        return wrong(
            f"Its own user may not write to {place} ({name}).", f"chmod -R u+rwX {shlex.quote(str(place))}", FAILS
        )
    return unseen(f"This user may not write to {place} ({name}): try as root, or as the server's user.")


def _tried(name: str, location: StorageLocation, place: Path | None) -> Finding:
    data = os.urandom(SAMPLE)  # nobody has a blob like this
    digest = Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")
    began = time.perf_counter()
    try:
        _there_and_back(name, location, digest, data)
    except StorageFull as full:
        return wrong(str(full), "quay gc", FULL)
    except StorageError as error:
        return wrong(str(error), "" if place is None else f"ls -la {shlex.quote(str(place))}", FAILS)
    taken = (time.perf_counter() - began) * 1000
    return fine(f"The location {name} took some bytes, gave them back and removed them, in {taken:.0f} ms.")


def _there_and_back(name: str, location: StorageLocation, digest: Digest, data: bytes) -> None:
    store = open_store(name, location.driver, location.options, ImmediatePool())
    _now(store.check())
    _now(store.keep(digest, data))
    try:
        source = _now(store.open(digest))
        read = _now(source.read(0, SAMPLE + 1))
        source.close()
    finally:
        _now(store.delete(digest))
    if read != data:
        raise StorageError(f"The storage location {name!r} gave back other bytes than it was given.")


def _now(done: Deferred[R]) -> R:
    """What a Deferred of an immediate pool has already."""
    outcome: list[Any] = []
    done.addBoth(outcome.append)
    if not outcome:
        raise StorageError("This driver can be tried by a running server only: see /health.")
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    found: R = outcome[0]
    return found
