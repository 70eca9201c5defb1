"""What the bell in the console rings for, as the one who hears it sees it."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from quay.model import bell as bells
from quay.model.bell import Bell
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import NotFound
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.views import http_date

routes = Routes("user", "Manage the current user.")

_ONE = "/user/notifications/<uuid>"
_NEED = needs.account("user:admin")


class BellView(TypedDict):
    """Something to know; `organization` is the one whose administrators or team it is for."""

    id: str
    organization: str | None
    kind: str
    created: str
    metadata: dict[str, Any]
    dismissed: bool


class BellPage(TypedDict):
    """What the user has not dismissed, the latest first; `additional`: there are more."""

    notifications: list[BellView]
    additional: bool


class BellQuery(TypedDict):
    """Which page."""

    page: NotRequired[Annotated[int, Schema(description="The number of the page, from 1", minimum=0, maximum=10_000)]]
    limit: NotRequired[Annotated[int, Schema(description="How many a page has", minimum=1, maximum=100)]]


class BellUpdate(TypedDict):
    """Information for updating a notification."""

    dismissed: NotRequired[Annotated[bool, Schema(description="Whether the user wants to hear it no more")]]


def _view(bell: Bell) -> BellView:
    return {
        "id": bell.uuid,
        "organization": bell.organization,
        "kind": bell.kind,
        "created": http_date(bell.created_ms),
        "metadata": dict(bell.details),
        "dismissed": bell.dismissed,
    }


def _heard(found: Bell | None) -> BellView:
    if found is None:
        raise NotFound("There is no such notification for this user.")
    return _view(found)


@routes.get("/user/notifications", "listUserNotifications", _NEED, internal=True)
async def list_all(call: Call, query: BellQuery) -> BellPage:
    """List the notifications of the current user."""
    number, limit = max(query.get("page", 1), 1), query.get("limit", 5)
    found = await call.read(bells.page, call.user.id, skip=(number - 1) * limit, limit=limit + 1)
    return {"notifications": [_view(each) for each in found[:limit]], "additional": len(found) > limit}


@routes.get(_ONE, "getUserNotification", _NEED, internal=True)
async def get(call: Call, uuid: str) -> BellView:
    """Get a notification of the current user."""
    return _heard(await call.read(bells.find, call.user.id, uuid))


@routes.put(_ONE, "updateUserNotification", _NEED, internal=True)
async def update(call: Call, uuid: str, body: BellUpdate) -> BellView:
    """Dismiss a notification of the current user, or take that back."""
    return _heard(await call.write(bells.dismiss, call.user.id, uuid, body.get("dismissed", False)))
