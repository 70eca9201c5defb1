"""What a page shows of the audit log: of a repository, an organization or an account; `console/logs.html` draws it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from quay.web.api.errors import BadRequest
from quay.web.console.chart import Chart, chart
from quay.web.console.logtext import kind_text, text_of
from quay.web.console.page import Context, View
from quay.web.pages import moment

DAYS: Final = 7
"""So many days are shown, today among them, unless others are asked for."""

CHARTED: Final = 366
"""Days that a chart has room for, at most: the latest ones."""


async def gather(view: View, listing: str, counts: str, export: str = "", **path: Any) -> Context:
    """
    What `console/logs.html` needs, from the API's routes `listing` and `counts`, with `path` as their parameters;
    `export` is the one that exports the same, if there is one. The page's own query has `from`, `to` (days like
    2026-12-31), `performer` and `next_page`.
    """
    today = datetime.fromtimestamp(view.now, UTC).date()
    last = _day(view, "to", today)
    first = _day(view, "from", min(today, last) - timedelta(days=DAYS - 1))
    asked = {"starttime": f"{first:%m/%d/}{first.year:04}", "endtime": f"{last:%m/%d/}{last.year:04}"}
    if view.query.get("performer"):
        asked["performer"] = view.query["performer"]
    page = {"next_page": view.query["next_page"]} if view.query.get("next_page") else {}
    found = await view.ask(listing, query=asked | page, **path)
    return {
        "entries": [entry | {"text": text_of(entry), "at": moment(entry["datetime"])} for entry in found["logs"]],
        "next_page": found.get("next_page"),
        "is_first": not page,
        "first": first.isoformat(),
        "last": last.isoformat(),
        "performer": asked.get("performer", ""),
        "export": export if view.config.log_export else "",
        "path": {name: str(value) for name, value in path.items()},
        "range": {name: asked[name] for name in ("starttime", "endtime")},
        **await _counted(view, counts, asked, (first, last), path),
    }


async def _counted(view: View, nickname: str, asked: dict[str, str], days: tuple[date, date], path: Any) -> Context:
    """The counts of each day, and of each kind; none where this registry does not count, or the range is no range."""
    if not view.config.aggregated_log_counts or days[0] > days[1]:
        return {"chart": None, "kinds": []}
    counted: Sequence[Any] = (await view.ask(nickname, query=asked, **path))["aggregated"]
    kinds: Counter[str] = Counter()
    for one in counted:
        kinds[one["kind"]] += one["count"]
    return {
        "chart": _chart(counted, *days),
        "kinds": [(kind_text(kind), count) for kind, count in kinds.most_common()],
    }


def _chart(counted: Sequence[Any], first: date, last: date) -> Chart:
    by_day: Counter[str] = Counter()
    for one in counted:
        by_day[parsedate_to_datetime(one["datetime"]).date().isoformat()] += one["count"]
    return chart((day, by_day[day]) for day in _days(max(first, last - timedelta(days=CHARTED - 1)), last))


def _days(first: date, last: date) -> Iterator[str]:
    for number in range((last - first).days + 1):
        yield (first + timedelta(days=number)).isoformat()


def _day(view: View, name: str, otherwise: date) -> date:
    text = view.query.get(name)
    if not text:
        return otherwise
    try:
        day = date.fromisoformat(text)
        _ = day + timedelta(days=1), day - timedelta(days=CHARTED)
    except (ValueError, OverflowError):
        raise BadRequest(f"{name!r} must be a day like 2026-12-31.") from None
    return day
