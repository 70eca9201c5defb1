"""Notifications of repositories: who is told of what happens, and the log of every attempt to tell him."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from quay.database import Transaction
from quay.model import notification as notifications
from quay.model.notification import Delivery, Notification
from quay.model.permission import Role
from quay.web.api import needs, pages
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest, NotFound
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.views import http_date

routes = Routes("repositorynotification", "List, create and manage repository notifications.")

_ALL = "/repository/<repository:repository>/notification/"
_ONE = f"{_ALL}<uuid>"
_NEED = needs.repository(Role.ADMIN)


class NotificationCreate(TypedDict):
    """A new notification. What `config` has is up to the method: a `url`, a `target` with kind and name, an `email`."""

    event: Annotated[str, Schema(description="What to tell of: repo_push, build_failure, …", maxLength=64)]
    method: Annotated[str, Schema(description="How: webhook, slack, quay_notification or email", maxLength=64)]
    config: Annotated[dict[str, Any], Schema(description="What the method needs to know", maxProperties=32)]
    eventConfig: Annotated[dict[str, Any], Schema(description="What narrows the event", maxProperties=32)]
    title: NotRequired[Annotated[str | None, Schema(description="What to call it", maxLength=255)]]


class NotificationView(TypedDict):
    """A notification. `secret` is in the answer to its creation only: by it a receiver checks signatures."""

    uuid: str
    title: str | None
    event: str
    method: str
    config: dict[str, Any]
    event_config: dict[str, Any]
    number_of_failures: Annotated[int, Schema(description="In a row; after three it is not told any more")]
    secret: NotRequired[str]


class NotificationList(TypedDict):
    """All notifications of a repository."""

    notifications: list[NotificationView]


class DeliveryView(TypedDict):
    """One attempt. `event_uuid` is the same in each attempt to tell of one event: the receiver got it as webhook-id."""

    event_uuid: str
    attempt: int
    delivered: bool
    outcome: Annotated[str, Schema(description="What came back, or why nothing did")]
    took_ms: int
    datetime: str


class DeliveryList(TypedDict):
    """Attempts, the latest first."""

    deliveries: list[DeliveryView]
    next_page: NotRequired[str]


class DeliveryQuery(TypedDict):
    """Which page of the log."""

    next_page: NotRequired[str]
    limit: NotRequired[Annotated[int, Schema(minimum=1, maximum=100)]]


def _view(made: Notification) -> NotificationView:
    return {
        "uuid": made.uuid,
        "title": made.title,
        "event": made.event,
        "method": made.method,
        "config": dict(made.config),
        "event_config": dict(made.event_config),
        "number_of_failures": made.failures,
    }


def _found(txn: Transaction, repository_id: int, uuid: str) -> Notification:
    found = notifications.find(txn, repository_id, uuid)
    if found is None:
        raise NotFound("The repository has no such notification.")
    return found


def _changed(changed: Notification | None) -> Notification:
    """What was changed; that there is nothing to change is a bad request to Quay."""
    if changed is None:
        raise BadRequest("The repository has no such notification.")
    return changed


def _record(call: Call, txn: Transaction, kind: str, made: Notification) -> None:
    call.record(txn, kind, notification_id=made.uuid, event=made.event, method=made.method)


@routes.post(_ALL, "createRepoNotification", _NEED, status=201)
async def create(call: Call, body: NotificationCreate) -> NotificationView:
    """Create a new notification for the specified repository."""
    repository_id = call.repository.id
    draft = await call.means.notifications.draft(
        repository_id,
        event=body["event"],
        method=body["method"],
        config=body["config"],
        event_config=body["eventConfig"],
        title=body.get("title"),
    )

    def make(txn: Transaction) -> Notification:
        made = draft.create(txn, repository_id)
        _record(call, txn, "add_repo_notification", made)
        return made

    view = _view(await call.write(make))
    return view if draft.secret is None else {**view, "secret": draft.secret}


@routes.get(_ALL, "listRepoNotifications", _NEED)
async def list_all(call: Call) -> NotificationList:
    """List the notifications for the specified repository."""
    found = await call.read(notifications.of_repository, call.repository.id)
    return {"notifications": [_view(each) for each in found]}


@routes.get(_ONE, "getRepoNotification", _NEED)
async def get(call: Call, uuid: str) -> NotificationView:
    """Get information for the specified notification."""
    return _view(await call.read(_found, call.repository.id, uuid))


@routes.delete(_ONE, "deleteRepoNotification", _NEED)
async def delete(call: Call, uuid: str) -> None:
    """Deletes the specified notification."""
    repository_id = call.repository.id

    def remove(txn: Transaction) -> None:
        _record(call, txn, "delete_repo_notification", _changed(notifications.delete(txn, repository_id, uuid)))

    await call.write(remove)


@routes.post(_ONE, "resetRepositoryNotificationFailures", _NEED, status=204)
async def reset(call: Call, uuid: str) -> None:
    """Resets repository notification to 0 failures."""
    repository_id = call.repository.id

    def forget(txn: Transaction) -> None:
        _record(call, txn, "reset_repo_notification", _changed(notifications.reset(txn, repository_id, uuid)))

    await call.write(forget)


class Queued(TypedDict):
    """It will be tried at once: the log of deliveries tells how it went."""


@routes.post(f"{_ONE}/test", "testRepoNotification", _NEED)
async def test(call: Call, uuid: str) -> Queued:
    """Queues a test notification for this repository."""
    repository_id, service = call.repository.id, call.means.notifications

    def queue(txn: Transaction) -> None:
        service.test(txn, _found(txn, repository_id, uuid))

    await call.write(queue)
    return {}


@routes.get(f"{_ONE}/deliveries", "listRepoNotificationDeliveries", _NEED)
async def deliveries(call: Call, uuid: str, query: DeliveryQuery) -> DeliveryList:
    """List the attempts to deliver the specified notification, the latest first."""
    repository_id, limit, about = call.repository.id, query.get("limit", 20), f"deliveries {uuid}"
    before = pages.position(call.means.seals, query.get("next_page"), about)

    def look(txn: Transaction) -> list[Delivery]:
        found = _found(txn, repository_id, uuid)
        return notifications.deliveries(txn, found.id, before_id=before, limit=limit + 1)

    made, more = pages.page(call.means.seals, about, await call.read(look), limit, lambda each: each.id)
    answer: DeliveryList = {"deliveries": [_delivery(each) for each in made]}
    if more:
        answer["next_page"] = more["next_page"]
    return answer


def _delivery(logged: Delivery) -> DeliveryView:
    made = logged.made
    return {
        "event_uuid": made.event_uuid,
        "attempt": made.attempt,
        "delivered": made.delivered,
        "outcome": made.outcome,
        "took_ms": made.took_ms,
        "datetime": http_date(logged.at_ms),
    }
