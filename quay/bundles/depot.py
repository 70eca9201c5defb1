"""
Where bundles are kept on this machine, below the data directory: the keys that are trusted, the bundles that were
loaded, those that are made here for somebody to fetch, and those that somebody brings.

    bundles/trusted/NAME.pem       the public key of another registry
    bundles/loaded.json            the bundles that were loaded here, the last one last
    bundles/receipts/NAME          receipts that others sent
    bundles/scratch/               what has to be unpacked while it is read
"""

from __future__ import annotations

import json
from pathlib import Path

from quay.bundles.signing import PublicKey, TrustedKeys
from quay.bundles.waybill import BUNDLES_LIMIT
from quay.files import write_whole


class Depot:
    """The directory `bundles` of the data directory. All methods wait for the disk."""

    def __init__(self, data: Path) -> None:
        self.root = data / "bundles"

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    def keys(self, own: PublicKey) -> TrustedKeys:
        """Whom this registry trusts."""
        return TrustedKeys(self.root / "trusted", own)

    def loaded(self) -> list[str]:
        """The ids of the bundles that were loaded, the last one last."""
        file = self.root / "loaded.json"
        return list(json.loads(file.read_bytes())) if file.exists() else []

    def note_loaded(self, bundle: str) -> None:
        """Remember that it was loaded."""
        kept = [one for one in self.loaded() if one != bundle]
        write_whole(self.root / "loaded.json", json.dumps([*kept, bundle][-BUNDLES_LIMIT:]).encode())
