"""
The audit log through the API: of a repository, an account, an organization, or all of it; in pages, counted by day, and
exported.

An export is no file: it is a link that is good for an hour, under which `quay.web.exported_logs` reads the log as it is
fetched. Source: Quay's usage logs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NotRequired, TypedDict

import attrs

from quay.config import Config
from quay.database import Transaction
from quay.egress import EgressError, EgressRefused
from quay.model import log_export, logs, namespace
from quay.model.activity import DAY_MS
from quay.model.log_export import Export
from quay.model.logs import Owner, Page, Position, Recorded, Selection
from quay.model.permission import Role
from quay.web.api import needs, pages
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.views import Avatar, AvatarKind, avatar, http_date

routes = Routes("logs", "Access usage logs for organizations or repositories.")

PAGE: Final = 20
PATIENCE: Final = 5
"""Pages that are read for one that is not empty."""

COUNTED: Final = 1_000_000
"""Entries that are counted for one answer, at most: the latest ones."""

_AVATARS: Final[Mapping[str, AvatarKind]] = {"user": "user", "robot": "robot", "organization": "org"}


class LogsQuery(TypedDict):
    """A range of days in UTC: by default the last day; `endtime` is part of it."""

    starttime: NotRequired[Annotated[str, Schema(description="Earliest day, MM/DD/YYYY", maxLength=10)]]
    endtime: NotRequired[Annotated[str, Schema(description="Latest day, MM/DD/YYYY", maxLength=10)]]
    next_page: NotRequired[Annotated[str, Schema(description="The next page, from the answer before", maxLength=2000)]]


class NamespaceLogsQuery(LogsQuery):
    """As of a repository, and by whom."""

    performer: NotRequired[Annotated[str, Schema(description="Username for which to filter logs", maxLength=255)]]


class RangeQuery(TypedDict):
    """A range of days in UTC: by default the last day; `endtime` is part of it."""

    starttime: NotRequired[Annotated[str, Schema(description="Earliest day, MM/DD/YYYY", maxLength=10)]]
    endtime: NotRequired[Annotated[str, Schema(description="Latest day, MM/DD/YYYY", maxLength=10)]]


class PerformerRangeQuery(RangeQuery):
    """As of a repository, and by whom."""

    performer: NotRequired[Annotated[str, Schema(description="Username for which to filter logs", maxLength=255)]]


class PerformerView(TypedDict):
    """Who did it."""

    kind: str
    name: str
    is_robot: bool
    avatar: Avatar


class LogNamespaceView(TypedDict):
    """Where it was done; `kind` is user or org."""

    kind: str
    name: str
    avatar: Avatar


class LogEntryView(TypedDict):
    """What somebody did; what `metadata` has is up to the kind. Nobody in particular is no performer."""

    kind: str
    metadata: dict[str, Any]
    ip: str | None
    datetime: str
    performer: PerformerView | None
    namespace: NotRequired[LogNamespaceView | None]


class LogView(TypedDict):
    """Some entries of the log, the latest first. A page may be short, or empty, and not be the last one."""

    start_time: str
    end_time: str
    logs: list[LogEntryView]
    next_page: NotRequired[str]


class Aggregate(TypedDict):
    """How often something was done on a day."""

    kind: str
    count: int
    datetime: str


class AggregateLogs(TypedDict):
    """How often each thing was done on each day. `truncated`: there was too much; only the latest was counted."""

    aggregated: list[Aggregate]
    truncated: NotRequired[bool]


class ExportLogs(TypedDict):
    """Whom to tell where the export can be fetched, by a POST; without anybody, the answer alone tells it."""

    callback_url: NotRequired[Annotated[str, Schema(description="The URL to call with a link", maxLength=2048)]]
    callback_email: NotRequired[Annotated[str, Schema(description="Not here: links are not mailed", maxLength=255)]]


class ExportedLogs(TypedDict):
    """The export, and where it can be fetched within an hour by whoever knows this URL."""

    export_id: str
    exported_data_url: str


# --- pages --------------------------------------------------------------------------------------------------------

_REPOSITORY: Final = needs.repository(Role.ADMIN)
_ACCOUNT: Final = needs.account("user:admin")
_ORGANIZATION: Final = needs.organization("admin")


@routes.get("/repository/<repository:repository>/logs", "listRepoLogs", _REPOSITORY)
async def list_repository_logs(call: Call, query: LogsQuery) -> LogView:
    """List the logs for the specified repository."""
    return await _list(call, f"repository {call.repository.id}", Selection(repository_id=call.repository.id), query)


@routes.get("/user/logs", "listUserLogs", _ACCOUNT)
async def list_user_logs(call: Call, query: NamespaceLogsQuery) -> LogView:
    """List the logs for the current user."""
    return await _list(call, f"namespace {call.user.id}", Selection(namespace_id=call.user.id), query)


@routes.get("/organization/<orgname>/logs", "listOrgLogs", _ORGANIZATION)
async def list_organization_logs(call: Call, query: NamespaceLogsQuery) -> LogView:
    """List the logs for the specified organization."""
    owner_id = call.organization.id
    return await _list(call, f"namespace {owner_id}", Selection(namespace_id=owner_id), query)


def _superusers(config: Config) -> bool:
    return config.super_users_allowed


@routes.get("/superuser/logs", "listAllLogs", needs.superuser, fresh=True, internal=True, when=_superusers)
async def list_all_logs(call: Call, query: LogsQuery) -> LogView:
    """List the usage logs for the entire system."""
    return await _list(call, "everything", Selection(), query, with_namespace=True)


async def _list(
    call: Call, about: str, whole: Selection, query: Mapping[str, Any], *, with_namespace: bool = False
) -> LogView:
    about = f"logs of {about} by {query.get('performer')}"
    begun = pages.position(call.means.seals, query.get("next_page"), about)
    if begun is None:
        start_ms, end_ms, past = *_range(call, query), None
    else:  # of a later page, the range is that of the first one, whatever days are given
        start_ms, end_ms, past = begun[0], begun[1], Position(*begun[2:])
    selection = attrs.evolve(whole, start_ms=start_ms, end_ms=end_ms)
    found, owners = await call.read(_page, selection, query.get("performer"), past)
    for _ in range(PATIENCE):
        if found.entries or found.next is None:
            break
        found, owners = await call.read(_page, selection, query.get("performer"), found.next)
    answer: LogView = {
        "start_time": http_date(start_ms),
        "end_time": http_date(end_ms),
        "logs": [
            entry_view(one) | ({"namespace": _namespace_view(owners.get(one.id))} if with_namespace else {})
            for one in found.entries
        ],
    }
    if found.next is not None:
        where = [start_ms, end_ms, found.next.performed_ms, found.next.id]
        answer["next_page"] = pages.token(call.means.seals, about, where)
    return answer


def _page(
    txn: Transaction, selection: Selection, performer: str | None, past: Position | None
) -> tuple[Page, Mapping[int, Owner]]:
    found = logs.page(txn, _asked(txn, selection, performer), past=past, limit=PAGE)
    return found, logs.owners(txn, found.entries)


def _asked(txn: Transaction, selection: Selection, performer: str | None) -> Selection:
    """What is its own of the selection, by whoever has this name; where nobody has it any more, by whoever had it."""
    mine = logs.owned(txn, selection)
    if not performer:
        return mine
    found = namespace.find(txn, performer)
    if found is None:
        return attrs.evolve(mine, performer=performer)
    return attrs.evolve(mine, performer_id=found.id)


def entry_view(one: Recorded) -> LogEntryView:
    """An entry as Quay shows it."""
    entry = one.entry
    return {
        "kind": entry.kind,
        "metadata": dict(entry.details),
        "ip": entry.ip,
        "datetime": http_date(one.performed_ms),
        "performer": _performer_view(entry.performer) if entry.performer else None,
    }


def _performer_view(name: str) -> PerformerView:
    is_robot = "+" in name
    picture = avatar(name, "robot" if is_robot else "user")
    return {"kind": "user", "name": name, "is_robot": is_robot, "avatar": picture}


def _namespace_view(owner: Owner | None) -> LogNamespaceView | None:
    if owner is None:
        return None
    kind = _AVATARS[owner.kind]
    return {"kind": "org" if kind == "org" else "user", "name": owner.name, "avatar": avatar(owner.name, kind)}


def _range(call: Call, query: Mapping[str, Any]) -> tuple[int, int]:
    """From the first day's beginning until the last day's end, or until now, in milliseconds. Raises `BadRequest`."""
    last_day = _day(query, "endtime")
    end_ms = int(call.means.clock.seconds() * 1000) + 1 if last_day is None else last_day + DAY_MS
    start_ms = _day(query, "starttime")
    return end_ms - DAY_MS if start_ms is None else start_ms, end_ms


def _day(query: Mapping[str, Any], name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    try:
        day = datetime.strptime(text, "%m/%d/%Y").replace(tzinfo=UTC)
        _ = day + timedelta(days=1)  # of the last day that there is, the end cannot be told
    except (ValueError, OverflowError):
        raise BadRequest(f"{name!r} must be a day like 12/31/2025: month, day and year.") from None
    return (day - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


# --- counts -------------------------------------------------------------------------------------------------------


def _aggregates(config: Config) -> bool:
    return config.aggregated_log_counts


@routes.get("/repository/<repository:repository>/aggregatelogs", "getAggregateRepoLogs", _REPOSITORY, when=_aggregates)
async def count_repository_logs(call: Call, query: RangeQuery) -> AggregateLogs:
    """Returns the aggregated logs for the specified repository."""
    return await _count(call, Selection(repository_id=call.repository.id), query)


@routes.get("/user/aggregatelogs", "getAggregateUserLogs", _ACCOUNT, when=_aggregates)
async def count_user_logs(call: Call, query: PerformerRangeQuery) -> AggregateLogs:
    """Returns the aggregated logs for the current user."""
    return await _count(call, Selection(namespace_id=call.user.id), query)


@routes.get("/organization/<orgname>/aggregatelogs", "getAggregateOrgLogs", _ORGANIZATION, when=_aggregates)
async def count_organization_logs(call: Call, query: PerformerRangeQuery) -> AggregateLogs:
    """Gets the aggregated logs for the specified organization."""
    return await _count(call, Selection(namespace_id=call.organization.id), query)


@routes.get(
    "/superuser/aggregatelogs", "listAllAggregateLogs", needs.superuser, fresh=True, internal=True, when=_superusers
)
async def count_all_logs(call: Call, query: RangeQuery) -> AggregateLogs:
    """Returns the aggregated logs for the current system."""
    return await _count(call, Selection(), query)


async def _count(call: Call, whole: Selection, query: Mapping[str, Any]) -> AggregateLogs:
    """Some entries at a time, so that nobody else waits for long."""
    start_ms, end_ms = _range(call, query)
    selection = attrs.evolve(whole, start_ms=start_ms, end_ms=end_ms)
    selection = await call.read(_asked, selection, query.get("performer"))
    counts: dict[tuple[int, str], int] = {}
    past: Position | None = None
    for _ in range(COUNTED // logs.COUNTED):
        some = await call.read(logs.count, selection, past=past)
        for (kind, day), count in some.counts.items():
            counts[day, kind] = counts.get((day, kind), 0) + count
        past = some.next
        if past is None:
            break
    return _aggregate(counts, truncated=past is not None)


def _aggregate(counts: Mapping[tuple[int, str], int], *, truncated: bool) -> AggregateLogs:
    aggregated: list[Aggregate] = [
        {"kind": kind, "count": counts[day, kind], "datetime": http_date(day * DAY_MS)} for day, kind in sorted(counts)
    ]
    return {"aggregated": aggregated, "truncated": True} if truncated else {"aggregated": aggregated}


# --- exports ------------------------------------------------------------------------------------------------------


def _exports(config: Config) -> bool:
    return config.log_export


@routes.post("/repository/<repository:repository>/exportlogs", "exportRepoLogs", _REPOSITORY, when=_exports)
async def export_repository_logs(call: Call, query: RangeQuery, body: ExportLogs) -> ExportedLogs:
    """Queues an export of the logs for the specified repository."""
    name = call.repository.name
    return await _export(call, Selection(repository_id=call.repository.id), query, body, (name.namespace, name.path))


@routes.post("/user/exportlogs", "exportUserLogs", _ACCOUNT, when=_exports)
async def export_user_logs(call: Call, query: RangeQuery, body: ExportLogs) -> ExportedLogs:
    """Exports the logs for the current user."""
    return await _export(call, Selection(namespace_id=call.user.id), query, body, (call.user.name, None))


@routes.post("/organization/<orgname>/exportlogs", "exportOrgLogs", _ORGANIZATION, when=_exports)
async def export_organization_logs(call: Call, query: RangeQuery, body: ExportLogs) -> ExportedLogs:
    """Exports the logs for the specified organization."""
    owner = call.organization
    return await _export(call, Selection(namespace_id=owner.id), query, body, (owner.name, None))


async def _export(
    call: Call, whole: Selection, query: Mapping[str, Any], body: ExportLogs, names: tuple[str, str | None]
) -> ExportedLogs:
    start_ms, end_ms = _range(call, query)
    try:
        callback = _callback(call, body)
    except BadRequest as refused:
        await call.write(_record_failure, call, None, refused.message)
        raise
    selection = attrs.evolve(whole, start_ms=start_ms, end_ms=end_ms)
    export, secret = await call.write(_make_export, call, selection)
    url = f"{call.base}/exportedlogs/{export.uuid}?token={secret}"
    if callback is not None:
        call.means.tasks.spawn(_tell(call, callback, export, url, names))
    return {"export_id": export.uuid, "exported_data_url": url}


def _callback(call: Call, body: ExportLogs) -> str | None:
    """The URL to call, if there is one. Raises `BadRequest`."""
    url = body.get("callback_url")
    if body.get("callback_email") and not url:
        raise BadRequest("Links to exports are not mailed: give a callback_url, or fetch what this call answers with.")
    if not url:
        return None
    try:
        call.means.egress.check(url)
    except EgressRefused as refused:
        raise BadRequest(f"callback_url cannot be called: {refused}") from None
    return url


def _make_export(txn: Transaction, call: Call, selection: Selection) -> tuple[Export, str]:
    made, secret = log_export.create(txn, selection, call.principal.name)
    start, end = http_date(made.selection.start_ms), http_date(made.selection.end_ms)
    call.record(txn, "export_logs_success", export_id=made.uuid, start_time=start, end_time=end)
    return made, secret


def _record_failure(txn: Transaction, call: Call, export_id: str | None, why: str) -> None:
    call.record(txn, "export_logs_failure", export_id=export_id, message=why)


async def _tell(call: Call, callback: str, export: Export, url: str, names: tuple[str, str | None]) -> None:
    """Tell whoever was named where the export is. That he could not be told goes into the log."""
    told = {
        "export_id": export.uuid,
        "start_time": http_date(export.selection.start_ms),
        "end_time": http_date(export.selection.end_ms),
        "namespace": names[0],
        "repository": names[1],
        "exported_data_url": url,
        "status": "success",
    }
    try:
        answer = await call.means.egress.request(
            "POST", callback, headers={"Content-Type": "application/json"}, body=json.dumps(told).encode(), limit=0
        )
        why = None if answer.succeeded else f"The callback_url answered with the status {answer.status}."
    except EgressError as error:
        why = str(error)
    if why is not None:
        await call.write(_record_failure, call, export.uuid, why)
