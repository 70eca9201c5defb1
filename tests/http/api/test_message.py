"""Global messages: everybody reads them, superusers write them."""

import pytest

from quay.model.message import MOST
from tests.http.api.client import Client, audited

NEW = {"message": {"content": "Down on *Sunday*", "media_type": "text/markdown", "severity": "warning"}}


@pytest.fixture
def application(make_application):
    return make_application(SUPER_USERS=["devtable"])


def test_a_message_and_its_end(application):
    """A superuser writes a message, everybody reads it, and it is taken away; both are on record."""
    administrator, nobody = Client(application, "devtable"), Client(application)
    assert nobody.get("/messages").json == {"messages": []}
    made = administrator.post("/messages", NEW)
    assert (made.status, made.json) == (201, "Created")
    (message,) = nobody.get("/messages").json["messages"]
    assert message == {"uuid": message["uuid"], **NEW["message"]}
    assert administrator.delete(f"/message/{message['uuid']}").status == 204
    assert nobody.get("/messages").json == {"messages": []}
    details = {"message": message["uuid"], "severity": "warning"}
    assert audited(application, "create_global_message") == [("devtable", details)]
    assert audited(application, "delete_global_message") == [("devtable", {"message": message["uuid"]})]


def test_a_message_that_is_not_there(application):
    """Deleting is done when there is nothing left, as in Quay; nothing goes on record then."""
    assert Client(application, "devtable").delete("/message/unknown").status == 204
    assert audited(application, "delete_global_message") == []


@pytest.mark.parametrize(("auth", "status"), [(None, 401), ("reader", 403)])
def test_who_may_not(application, auth, status):
    """Whoever is no superuser is told so before his message is looked at."""
    client = Client(application, auth)
    assert client.post("/messages", {}).status == status
    assert client.delete("/message/x").status == status


@pytest.mark.parametrize(
    "message",
    [
        {},
        NEW["message"] | {"media_type": "text/html"},
        NEW["message"] | {"severity": "panic"},
        NEW["message"] | {"content": ""},
        NEW["message"] | {"content": "x" * 10_001},
    ],
)
def test_messages_that_cannot_be(application, message):
    """A message has a content of bounded size, a known type and a known severity."""
    assert Client(application, "devtable").post("/messages", {"message": message}).status == 400


def test_too_many(application):
    """There are no more messages than anybody might read."""
    administrator = Client(application, "devtable")
    for _ in range(MOST):
        assert administrator.post("/messages", NEW).status == 201
    refused = administrator.post("/messages", NEW)
    assert (refused.status, refused.json["detail"]) == (
        400,
        "There are 100 messages already: delete one that nobody needs any more.",
    )
    assert len(administrator.get("/messages").json["messages"]) == MOST
