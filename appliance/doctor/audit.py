"""The audit log: whether everything in it is under seal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from appliance.doctor.patient import Patient
from quay.condition import Finding, fine, remarkable, unseen
from quay.database import Transaction
from quay.database.examination import reading
from quay.database.migrations import status_of
from quay.database.probe import DatabaseUnfit
from quay.database.schema import SCHEMA
from quay.model import seal

UNSEALED: Final = "/docs/runbooks#the-audit-log-is-not-sealed"
LATE_MS: Final = 10 * 60_000
"""A running server seals within half a minute."""


def look(patient: Patient) -> Iterator[Finding]:
    """Whether entries lie open for longer than they should."""
    config = patient.config
    if config.database_uri.is_sqlite and not Path(config.database_uri.place).exists():
        yield unseen("There is no audit log yet.")
        return
    until_ms = int(patient.host.now().timestamp() * 1000) - LATE_MS
    try:
        late = reading(config.database_url, _late, until_ms)
    except DatabaseUnfit:
        yield unseen("The audit log cannot be read: see the database.")
        return
    if late is None:
        yield unseen("The audit log has another schema than this version knows.")
    elif late and patient.server is not None:
        yield remarkable(
            f"{late:,} entries of the audit log are older than ten minutes and not under seal, though the server runs: "
            "its worker audit-sealer fails, or has fallen behind.",
            "quay audit verify",
            UNSEALED,
        )
    elif late:
        yield fine(f"{late:,} entries of the audit log are not under seal yet: the server does that when it runs.")
    else:
        yield fine("The audit log is under seal.")


def _late(txn: Transaction, until_ms: int) -> int | None:
    if status_of(txn.connection).schema != SCHEMA:
        return None
    return seal.unsealed_before(txn, until_ms)
