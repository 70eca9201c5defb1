"""A form of the console is a call of the API: with the types that the route says, and the same as a command."""

from typing import Any, Literal, NotRequired, TypedDict

import pytest

from quay.oci.reference import RepositoryName
from quay.web.api import needs
from quay.web.api.errors import BadRequest, NotFound
from quay.web.api.route import Routes
from quay.web.console import local
from quay.web.console.action import Action

routes = Routes("things", "Things")


class Inner(TypedDict):
    name: str
    kind: Literal["user", "team"]


class Body(TypedDict):
    title: str
    count: NotRequired[int]
    ratio: NotRequired[float]
    on: NotRequired[bool]
    until: NotRequired[int | None]
    words: NotRequired[list[str]]
    inner: NotRequired[Inner]
    when: NotRequired[int | float | None]
    free: NotRequired[dict[str, Any]]


@routes.put("/repository/<repository:repository>/thing/<thing>", "changeThing", needs.anybody)
async def change(call, thing: str, body: Body) -> None:
    """Change it."""


(ROUTE,) = routes


def form(**fields):
    return {"path.repository": ["a/b"], "path.thing": ["x y"]} | {
        name.replace("__", "."): values for name, values in fields.items()
    }


def test_types():
    """What a form sends as text arrives in the types of the route; what it does not send is not there."""
    fields = form(
        field__title=["T"], field__count=["3"], field__ratio=["1.5"], field__until=[""], field__words=["a", "", "b"]
    )
    action = Action.of(ROUTE, fields)
    assert action.path == {"repository": RepositoryName("a", "b"), "thing": "x y"}
    assert action.body == {"title": "T", "count": 3, "ratio": 1.5, "until": None, "words": ["a", "b"]}


def test_nested():
    """Members of members have dots in their names."""
    fields = {**form(field__title=["T"]), "field.inner.name": ["n"], "field.inner.kind": ["team"]}
    assert Action.of(ROUTE, fields).body["inner"] == {"name": "n", "kind": "team"}


@pytest.mark.parametrize(("values", "on"), [(["0"], False), (["0", "1"], True), ([""], False), (["on"], True)])
def test_a_checkbox(values, on):
    """A box that is not checked sends nothing, so a hidden field before it says that it was there."""
    assert Action.of(ROUTE, form(field__on=values)).body == {"on": on}


def test_several_boxes_of_one_text():
    """Boxes of the same name make one text of the words that were checked, as scopes are written."""
    chosen = form(field__title=["", "repo:read", "repo:write"])
    assert Action.of(ROUTE, chosen).body == {"title": "repo:read repo:write"}


def test_only_what_the_route_names():
    """Fields that the route does not know are not in the body."""
    assert Action.of(ROUTE, form(field__title=["T"], field__superuser=["1"])).body == {"title": "T"}


def test_not_a_number():
    """A text where a number must stand is refused, by the name of the field."""
    with pytest.raises(BadRequest, match="'count' must be a number"):
        Action.of(ROUTE, form(field__count=["many"]))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("1790000000", 1790000000),
        ("2026-12-31", 1798675200),
        ("2026-12-31T12:30", 1798720200),
        ("2026-12-31T12:30+01:00", 1798716600),
    ],
)
def test_a_date(text, seconds):
    """A time in seconds may be sent as a calendar has it; nothing is no time."""
    assert Action.of(ROUTE, form(field__when=[text])).body == {"when": seconds}


@pytest.mark.parametrize("text", ["soon", "2026-13-01", "2026-02-30", "31.12.2026"])
def test_not_a_date(text):
    """What is neither a number nor a day is refused."""
    with pytest.raises(BadRequest, match="'when' must be a number"):
        Action.of(ROUTE, form(field__when=[text]))


def test_free_members():
    """An object whose members no schema names has what the form names, in objects of one more level at most."""
    fields = {
        **form(),
        "field.free.url": ["u"],
        "field.free.target.kind": ["user"],
        "field.free.target.name": ["n"],
        "field.free.a.b.c": ["d"],
    }
    assert Action.of(ROUTE, fields).body == {
        "free": {"url": "u", "target": {"kind": "user", "name": "n"}, "a": {"b.c": "d"}}
    }


def test_an_empty_object():
    """A field of its own name says that an object is there, with nothing in it."""
    assert Action.of(ROUTE, form(field__free=[""])).body == {"free": {}}


def test_each():
    """A form that sends one parameter of the path several times is as many actions, alike in all else."""
    fields = form(field__title=["T"]) | {"path.thing": ["x", "y"]}
    actions = Action.each(ROUTE, fields)
    assert [action.path["thing"] for action in actions] == ["x", "y"]
    assert {str(action.path["repository"]) for action in actions} == {"a/b"}
    assert all(action.body == {"title": "T"} for action in actions)


def test_each_of_nothing():
    """That no box is checked is said, and nothing is done."""
    fields = form()
    del fields["path.thing"]
    with pytest.raises(BadRequest, match="Nothing was chosen"):
        Action.each(ROUTE, fields)


@pytest.mark.parametrize("name", ["", "a", "A/b", "a/../b", "a/b\0"])
def test_not_a_repository(name):
    """What is no name of a repository is not there."""
    fields = form() | {"path.repository": [name]}
    if name == "a":  # the library's
        assert Action.of(ROUTE, fields).path["repository"] == RepositoryName("library", "a")
        return
    with pytest.raises(NotFound):
        Action.of(ROUTE, fields)


def test_each_with_fields_of_its_own():
    """Several actions in one form have fields of their own, not too many, and the others together."""
    own = ["path.thing=x&field.title=a%26b", "path.thing=y&field.title=c"]
    actions = Action.each(ROUTE, {"path.repository": ["a/b"], "each": own})
    assert [(one.path["thing"], one.body["title"]) for one in actions] == [("x", "a&b"), ("y", "c")]
    assert {str(one.path["repository"]) for one in actions} == {"a/b"}
    with pytest.raises(BadRequest, match="more than 10 fields"):
        Action.each(ROUTE, {"path.repository": ["a/b"], "each": ["&".join("a=b" for _ in range(11))]})


def test_query():
    """What belongs to the query of the call is there, in the command too."""
    action = Action.of(ROUTE, form(query__starttime=["01/01/2026"], field__title=["T"]))
    assert action.query == {"starttime": "01/01/2026"}
    assert action.command("https://r.example").endswith("/thing/x%20y?starttime=01%2F01%2F2026'")


def test_as_a_command():
    """The same call for curl, with everything quoted that a shell would take for something else."""
    command = Action.of(ROUTE, form(field__title=["it's $(x)"])).command("https://r.example")
    assert command == (
        """curl -X PUT -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' """
        """-d '{"title": "it'"'"'s $(x)"}' https://r.example/api/v1/repository/a/b/thing/x%20y"""
    )


@pytest.mark.parametrize(
    ("where", "there"),
    [
        ("/a?b=c", "/a?b=c"),
        ("", "/"),
        ("a", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
        ("/ü", "/%C3%BC"),
    ],
)
def test_local(where, there):
    """Nobody is sent away from this registry by an address in a form."""
    assert local(where) == there
