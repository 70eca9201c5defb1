"""
Backups: everything of an installation as it was at one moment, in a directory of its own, made while the registry is
at work; and back.

    <directory>/<time>/backup.json        what it is: the seal is over this file
                       SEAL               the SHA-256 of backup.json
                       database.sqlite    or database.dump, by pg_dump
                       blobs.jsonl        each blob: its digest, its size, and the locations that held it
                       blobs/…            the blobs, as they lie in a local storage
                       files/…            the configuration, secrets and certificates
                       verified.json      when somebody last read all of it again, and what he found

A backup that is being made is called `<time>.partial`. Each is complete in itself; blobs that two of them have, and
that the storage has if it is on the same file system, are one file with several names. So a backup takes the space of
what is new, and removing one frees what no other has.

What is left out: uploads under way, blobs that had rotted and were set aside, and logs.
"""

from quay.backups.folder import BackupUnderWay, Folder
from quay.backups.making import Backup, Made
from quay.backups.record import BackupDamaged, BackupFailed, Record, Verified
from quay.backups.restoring import Restoration
from quay.backups.retention import Keeping, due_since, outdated
from quay.backups.verifying import Verification

__all__ = [
    "Backup",
    "BackupDamaged",
    "BackupFailed",
    "BackupUnderWay",
    "Folder",
    "Keeping",
    "Made",
    "Record",
    "Restoration",
    "Verification",
    "Verified",
    "due_since",
    "outdated",
]
