"""What everybody who uses the registry should read: global messages, shown to all and written by superusers."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypedDict

from quay.database import Transaction
from quay.model import message as messages
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema

routes = Routes("globalmessages", "Messages API.")

CONTENT_LIMIT: Final = 10_000
"""Characters of one message."""


class GlobalMessage(TypedDict):
    """A message that is shown to everybody; Markdown is for whoever shows it to render, and to sanitize."""

    uuid: str
    content: str
    severity: Literal["info", "warning", "error"]
    media_type: Literal["text/plain", "text/markdown"]


class GlobalMessages(TypedDict):
    messages: list[GlobalMessage]


class NewMessage(TypedDict):
    """A single message."""

    content: Annotated[
        str, Schema(minLength=1, maxLength=CONTENT_LIMIT, description="The actual message, not its title")
    ]
    media_type: Annotated[Literal["text/plain", "text/markdown"], Schema(description="The media type of the content")]
    severity: Annotated[Literal["info", "warning", "error"], Schema(description="How important it is")]


class CreateMessage(TypedDict):
    """Create a new message."""

    message: NewMessage


@routes.get("/messages", "getGlobalMessages", needs.anybody)
async def list_messages(call: Call) -> GlobalMessages:
    """Return a superuser's messages."""
    found = await call.read(messages.messages)
    return {"messages": [_view(message) for message in found]}


@routes.post("/messages", "createGlobalMessage", needs.superuser, status=201, fresh=True)
async def create(call: Call, body: CreateMessage) -> str:
    """Create a message."""
    message = body["message"]

    def make(txn: Transaction) -> None:
        made = messages.create(txn, message["content"], message["media_type"], message["severity"])
        call.record(txn, "create_global_message", message=made.uuid, severity=made.severity)

    try:
        await call.write(make)
    except messages.MessagesFull as full:
        raise BadRequest(str(full)) from full
    return "Created"


@routes.delete(
    "/message/<uuid>",
    "deleteGlobalMessage",
    needs.superuser,
    fresh=True,
    when=lambda config: config.super_users_allowed,
)
async def delete(call: Call, uuid: str) -> None:
    """Delete a message; it is no error if there is none."""

    def remove(txn: Transaction) -> None:
        if messages.delete(txn, uuid):
            call.record(txn, "delete_global_message", message=uuid)

    await call.write(remove)


def _view(message: messages.Message) -> GlobalMessage:
    return {
        "uuid": message.uuid,
        "content": message.content,
        "severity": message.severity,
        "media_type": message.media_type,
    }
