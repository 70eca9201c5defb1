"""
The activity of repositories: how many entries the audit log got for each on each day (UTC), counted as they are
written, so that no question about it reads the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from typing import Any, Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import insert
from quay.database.prepared import Prepared
from quay.database.schema import activity, repository

DAY_MS: Final = 24 * 3600 * 1000
KEPT_DAYS: Final = 400
POPULAR_DAYS: Final = 7
"""Quay's popularity is the activity of the last week."""

_MANY: Final = 500


@attrs.frozen
class Day:
    """How much there was on a day."""

    date: date
    count: int


def add(txn: Transaction, happened: Iterable[tuple[int, int]]) -> None:
    """
    Count what happened: the number of a repository and a time in milliseconds, for each. What happened to a repository
    that is gone, counts for nobody.
    """
    counts = Counter((repository_id, performed_ms // DAY_MS) for repository_id, performed_ms in happened)
    if counts:  # in order, so that two transactions do not wait for each other
        rows = [{"of": of, "on": on, "more": more} for (of, on), more in sorted(counts.items())]
        txn.execute(_ADD[txn.dialect], rows)


def _adding(dialect: str) -> Prepared:
    # the share lock makes us wait for whoever is deleting the repository, and then find no row
    living = sa.select(repository.c.id, sa.bindparam("on", type_=sa.Integer), sa.bindparam("more", type_=sa.BigInteger))
    living = living.where(repository.c.id == sa.bindparam("of")).with_for_update(read=True, key_share=True)
    adding = insert(dialect, activity).from_select(["repository_id", "day", "count"], living)
    more = activity.c.count + adding.excluded.count
    return Prepared(adding.on_conflict_do_update(index_elements=["repository_id", "day"], set_={"count": more}))


_ADD: Final = {dialect: _adding(dialect) for dialect in ("sqlite", "postgresql")}


def stats(txn: Transaction, repository_id: int, days: int) -> list[Day]:
    """Its activity on each of the last `days` days, today's last; a day without any has the count 0."""
    today = txn.now_ms // DAY_MS
    since = today - max(days, 1) + 1
    found = dict(_rows(txn, sa.select(activity.c.day, activity.c.count).where(_of([repository_id]), _since(since))))
    return [Day(_date(day), found.get(day, 0)) for day in range(since, today + 1)]


def popularity(txn: Transaction, ids: Iterable[int], days: int = POPULAR_DAYS) -> dict[int, int]:
    """The activity of each of these repositories in the last `days` days; 0 for those without any."""
    since = txn.now_ms // DAY_MS - days + 1
    total = sa.func.sum(activity.c.count)
    asked = list(ids)
    found = dict.fromkeys(asked, 0)
    for start in range(0, len(asked), _MANY):
        query = sa.select(activity.c.repository_id, total).where(_of(asked[start : start + _MANY]), _since(since))
        found.update((of, int(count)) for of, count in _rows(txn, query.group_by(activity.c.repository_id)))
    return found


def prune(txn: Transaction, most: int) -> bool:
    """Forget at most `most` counts of days that nobody asks for any more; True if there may be others."""
    old = activity.c.day < txn.now_ms // DAY_MS - KEPT_DAYS
    keys = sa.tuple_(activity.c.repository_id, activity.c.day)
    some = sa.select(activity.c.repository_id, activity.c.day).where(old).limit(most)
    return txn.execute(sa.delete(activity).where(keys.in_(some))).rowcount == most


def _of(ids: Sequence[int]) -> sa.ColumnElement[bool]:
    return activity.c.repository_id.in_(ids)


def _since(day: int) -> sa.ColumnElement[bool]:
    return activity.c.day >= day


def _rows(txn: Transaction, query: sa.Select[Any]) -> Iterator[tuple[Any, Any]]:
    return (tuple(row) for row in txn.execute(query))


def _date(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=day)
