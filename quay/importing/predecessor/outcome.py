"""
What a unit of work of an import came to, and its entry in the audit log.
"""

from __future__ import annotations

from collections import Counter

import attrs

from quay.database import Transaction
from quay.importing.places import AGENT
from quay.model import audit
from quay.registry.caller import Caller


@attrs.define
class Outcome:
    """What a unit of work did, for the tally once it is done: things made, what is remarkable, what did not come."""

    made: Counter[str] = attrs.field(factory=Counter)
    notes: list[str] = attrs.field(factory=list)
    problems: list[tuple[str, str]] = attrs.field(factory=list)


def record(
    txn: Transaction, caller: Caller, kind: str, namespace_id: int, repository_id: int | None = None, **details: object
) -> None:
    """Write down that something was made."""
    principal = caller.principal
    entry = audit.Entry(
        kind=kind,
        namespace_id=namespace_id,
        repository_id=repository_id,
        performer_id=principal.namespace_id,
        performer=principal.name,
        details={"auth": AGENT, **details},
    )
    audit.append(txn, [entry])
