"""
Pulls, summed up: when each tag, each manifest and each repository was pulled last, and how often. Who pulled, and
whence, stands in the audit log.

A manifest's pulls are those by its digest and those by the tags that named it; a tag's go on when it moves. What is
counted goes with its repository, and with the last that the repository knows of the tag or the manifest. Source: Quay's
pull statistics.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import greatest, insert
from quay.database.prepared import Prepared
from quay.database.schema import manifest, pull, repository, tag

ALL: Final = ""
"""The subject that a repository as a whole is; tags and manifests are called by their names and digests."""


@attrs.frozen
class Pulls:
    """How many there were, and when the last was, in milliseconds since the epoch; None for never."""

    count: int = 0
    last_ms: int | None = None


NONE: Final = Pulls()


def add(txn: Transaction, sums: Mapping[tuple[int, str], Pulls]) -> None:
    """
    Add what happened to the subjects of repositories, given by number. What happened to a repository that is gone,
    counts for nobody.
    """
    rows = [  # in order, so that two transactions do not wait for each other
        {"of": of, "subject": subject, "more": more.count, "at": more.last_ms}
        for (of, subject), more in sorted(sums.items())
    ]
    if rows:
        txn.execute(_ADD[txn.dialect], rows)


def _adding(dialect: str) -> Prepared:
    # the share lock makes us wait for whoever is deleting the repository, and then find no row
    living = sa.select(
        repository.c.id,
        sa.bindparam("subject", type_=pull.c.subject.type),
        sa.bindparam("more", type_=sa.BigInteger),
        sa.bindparam("at", type_=sa.BigInteger),
    )
    living = living.where(repository.c.id == sa.bindparam("of")).with_for_update(read=True, key_share=True)
    adding = insert(dialect, pull).from_select(["repository_id", "subject", "count", "last_ms"], living)
    return Prepared(
        adding.on_conflict_do_update(
            index_elements=["repository_id", "subject"],
            set_={
                "count": pull.c.count + adding.excluded.count,
                "last_ms": greatest(pull.c.last_ms, adding.excluded.last_ms),
            },
        )
    )


_ADD: Final = {dialect: _adding(dialect) for dialect in ("sqlite", "postgresql")}
_FOUND: Final = sa.select(pull.c.subject, pull.c.count, pull.c.last_ms).where(
    pull.c.repository_id == sa.bindparam("in_repository"),
    pull.c.subject.in_(sa.bindparam("subjects", expanding=True)),
)
_NAMED: Final = sa.exists().where(tag.c.repository_id == pull.c.repository_id, tag.c.name == pull.c.subject)
_HELD: Final = sa.exists().where(manifest.c.repository_id == pull.c.repository_id, manifest.c.digest == pull.c.subject)
_FORGET: Final = sa.delete(pull).where(
    pull.c.repository_id == sa.bindparam("in_repository"),
    pull.c.subject.in_(sa.bindparam("subjects", expanding=True)),
    ~_NAMED,
    ~_HELD,
)


def pulls(txn: Transaction, repository_id: int, subjects: Iterable[str]) -> dict[str, Pulls]:
    """The pulls of these subjects of a repository; `NONE` for those that were never pulled."""
    asked = set(subjects)
    rows = txn.execute(_FOUND, {"in_repository": repository_id, "subjects": list(asked)}).mappings()
    return dict.fromkeys(asked, NONE) | {row["subject"]: Pulls(row["count"], row["last_ms"]) for row in rows}


def forget(txn: Transaction, repository_id: int, subjects: Collection[str]) -> None:
    """Forget the pulls of those of these tags and manifests of which the repository keeps nothing any more."""
    if subjects:
        txn.execute(_FORGET, {"in_repository": repository_id, "subjects": list(subjects)})
