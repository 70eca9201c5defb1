"""The table of drivers, and failures as sentences."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from quay.oci.reference import Digest
from quay.storage import (
    DRIVERS,
    BlobMissing,
    DigestMismatch,
    StorageFailed,
    StorageFull,
    StorageMisconfigured,
    UploadBusy,
    UploadMissing,
    open_store,
    refusal,
)
from quay.storage.local import LocalBlobs
from quay.storage.memory import MemoryBlobs
from quay.threads import ImmediatePool

HERE = Digest.of(b"here")
THERE = Digest.of(b"there")


def test_local_storage(tmp_path: Path) -> None:
    """LocalStorage is a directory, and opening it touches nothing."""
    store = open_store("default", "LocalStorage", {"storage_path": str(tmp_path / "blobs")}, ImmediatePool())
    assert isinstance(store, LocalBlobs)
    assert (store.location, list(tmp_path.iterdir())) == ("default", [])


@pytest.mark.parametrize("driver", ["MemoryStorage", "FakeStorage"])
def test_memory_storage(driver: str) -> None:
    """MemoryStorage, which Quay's tests call FakeStorage, is a dict, with a limit if it is given one."""
    store = open_store("default", driver, {"limit": 5}, ImmediatePool())
    assert isinstance(store, MemoryBlobs)
    assert (store.location, store.limit) == ("default", 5)
    assert open_store("default", driver, {}, ImmediatePool()).limit is None


def test_unknown_driver() -> None:
    """A driver that is not in the table is refused with the names that are."""
    with pytest.raises(StorageMisconfigured, match=r"'usa'.*'Floppy'.*none of.*LocalStorage") as refused:
        open_store("usa", "Floppy", {}, ImmediatePool())
    assert refused.value.location == "usa"


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        ("LocalStorage", {}),
        ("LocalStorage", {"storage_path": "relative/path"}),
        ("LocalStorage", {"storage_path": 5}),
        ("LocalStorage", {"storage_path": "/data", "access_key": "s3cr3t"}),
        ("MemoryStorage", {"limit": "many"}),
        ("MemoryStorage", {"limit": 5, "secret_key": "s3cr3t"}),
    ],
)
def test_wrong_options(driver: str, options: dict[str, object]) -> None:
    """Options that a driver does not take are refused by name, and their values, secrets maybe, are not repeated."""
    with pytest.raises(StorageMisconfigured, match=driver) as refused:
        open_store("default", driver, options, ImmediatePool())
    assert "s3cr3t" not in str(refused.value)


def test_drivers_are_loaded_when_asked_for() -> None:
    """Importing the table imports no driver."""
    code = "import sys, quay.storage; print([name for name in sys.modules if name.startswith('quay.storage.')])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_every_driver_is_there() -> None:
    """Each name in the table stands for a class."""
    assert all(":" in place and place.startswith("quay.storage.") for place in DRIVERS.values())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full(number: int) -> None:
    """No space and no quota are the same to a client: the location is full."""
    refused = refusal("default", "write an upload", OSError(number, "whatever", "/secret/path"))
    assert isinstance(refused, StorageFull)
    assert (refused.location, refused.doing, refused.errno) == ("default", "write an upload", number)
    assert errno.errorcode[number] in str(refused)
    assert "/secret/path" not in str(refused)


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EMFILE, errno.EACCES, 9999, None])
def test_failed(number: int | None) -> None:
    """Everything else is a failure of the location, with its reason."""
    refused = refusal("default", "read a blob", OSError(number, "whatever") if number else OSError("whatever"))
    assert type(refused) is StorageFailed
    assert refused.errno == (number or errno.EIO)
    assert str(refused).startswith("The storage location 'default' could not read a blob: ")


def test_facts_are_attributes() -> None:
    """Each failure has its facts as attributes and names them in its sentence."""
    assert BlobMissing("usa", HERE).digest in str(BlobMissing("usa", HERE))
    assert UploadMissing("usa", "x" * 1000).upload_id == "x" * 1000
    assert len(str(UploadMissing("usa", "x" * 1000))) < 400
    assert (DigestMismatch(HERE, THERE).expected, DigestMismatch(HERE, THERE).actual) == (HERE, THERE)
    assert (UploadBusy("usa", "one").upload_id, UploadBusy("usa", "one").errno) == ("one", errno.EWOULDBLOCK)
