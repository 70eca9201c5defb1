"""What follows from the declaration of a route."""

from __future__ import annotations

from typing import TypedDict

import pytest

from quay.web.api import NOUNS, needs
from quay.web.api.call import Call
from quay.web.api.route import Routes


class Asked(TypedDict):
    text: str


class Sent(TypedDict):
    name: str


class Answer(TypedDict):
    """What comes back."""

    id: int


def declared() -> Routes:
    routes = Routes("thing", "Things.")

    @routes.get("/thing/<repository:repository>/part/<part_id>", "getPart", needs.anybody)
    async def get_part(call: Call, part_id: str, query: Asked) -> Answer:
        """
        Get one part
        of a thing.
        """
        return {"id": 1}

    @routes.delete("/thing/<thing_id>", "deleteThing", needs.superuser, fresh=True, internal=True)
    async def delete_thing(call: Call, thing_id: str) -> None:
        """Delete it."""

    @routes.post("/thing/", "createThing", needs.superuser, status=201, always=True, when=lambda config: False)
    async def create_thing(call: Call, body: Sent) -> Answer:
        """Make one."""
        return {"id": 2}

    return routes


def test_what_a_declaration_says() -> None:
    """Address, parameters, summary, statuses and shapes are what was declared."""
    part, gone, made = declared()
    assert (part.method, part.nickname, part.tag, part.status) == ("GET", "getPart", "thing", 200)
    assert part.template == "/api/v1/thing/{repository}/part/{part_id}"
    assert list(part.parameters) == ["repository", "part_id"]
    assert part.summary == "Get one part of a thing."
    assert part.query is not None and part.query.shape is Asked and part.body is None
    assert part.answer is Answer
    assert not (part.changes or part.fresh or part.internal or part.always)
    assert (gone.status, gone.fresh, gone.internal, gone.changes) == (204, True, True, True)
    assert made.body is not None and made.body.shape is Sent
    assert (made.status, made.always, made.template) == (201, True, "/api/v1/thing/")


def test_a_route_without_a_need() -> None:
    """A route that does not say who may use it cannot be declared."""
    with pytest.raises(TypeError):
        Routes("thing", "Things.").get("/thing", "getThing")  # type: ignore[call-arg]


EVERY = [route for noun in NOUNS for route in noun]


@pytest.mark.parametrize("route", EVERY, ids=lambda route: route.nickname)
def test_every_route(route) -> None:  # type: ignore[no-untyped-def]
    """Every route says what it does, takes what its need looks up from its path, and changes nothing by GET."""
    assert route.summary.endswith("."), "the handler says nothing of itself"
    assert route.need.takes <= set(route.parameters)
    assert route.method in ("GET", "POST", "PUT", "DELETE")
    assert route.body is None or route.method != "GET"
    taken = set(route.handler.__code__.co_varnames[: route.handler.__code__.co_argcount])
    assert taken - {"call", "body", "query"} == set(route.parameters) - route.need.takes
