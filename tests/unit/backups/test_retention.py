"""Which backups stay, for any history of them; and when the next one is due."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from hypothesis import given
from hypothesis import strategies as st

from quay.backups import Keeping, due_since, outdated

MOMENTS = st.lists(
    st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2029, 12, 31), timezones=st.just(UTC)),
    max_size=60,
)
KEEPING = st.builds(Keeping, daily=st.integers(0, 10), weekly=st.integers(0, 6), monthly=st.integers(0, 14))


def kept(made: list[datetime], keeping: Keeping) -> set[datetime]:
    return set(made) - outdated(made, keeping)


@given(MOMENTS, KEEPING)
def test_what_stays(made: list[datetime], keeping: Keeping) -> None:
    """The latest always; no more than was asked for; and of each of the latest days with one, the last."""
    found = kept(made, keeping)
    assert outdated(made, keeping) <= set(made)
    assert bool(found) == bool(made)
    if made:
        assert max(made) in found
    assert len(found) <= max(1, keeping.daily + keeping.weekly + keeping.monthly + 1)
    days = sorted({moment.date() for moment in made}, reverse=True)[: keeping.daily]
    assert all(max(moment for moment in made if moment.date() == day) in found for day in days)
    months = sorted({(moment.year, moment.month) for moment in made}, reverse=True)[: keeping.monthly]
    assert all(max(one for one in made if (one.year, one.month) == month) in found for month in months)


@given(MOMENTS, KEEPING)
def test_it_is_settled(made: list[datetime], keeping: Keeping) -> None:
    """Looking again at what stayed removes nothing more, and what was made does not depend on any order."""
    found = kept(made, keeping)
    assert outdated(found, keeping) == set()
    assert outdated(list(reversed(made)), keeping) == outdated(made, keeping)


@given(st.integers(1, 400))
def test_day_after_day(days: int) -> None:
    """One a day, each time with what may go removed, keeps seven days, four weeks and six months, and no more."""
    keeping, have = Keeping(7, 4, 6), set[datetime]()
    for day in range(days):
        have.add(datetime(2026, 1, 1, 2, tzinfo=UTC) + timedelta(days=day))
        have -= outdated(have, keeping)
    last = max(have)
    assert {last - timedelta(days=ago) for ago in range(min(7, days))} <= have
    assert len(have) <= 7 + 4 + 6
    if days > 200:
        assert len({(moment.year, moment.month) for moment in have}) >= 6


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1)))
def test_when_it_is_due(now: datetime) -> None:
    """It has been due since the latest time of the schedule: of today, or of yesterday."""
    schedule = [time(2, 0), time(14, 30)]
    due = due_since(schedule, now)
    assert due is not None and due <= now < due + timedelta(hours=15)  # one more on a day of two midnights
    assert due_since([], now) is None
