"""What the schema of a shape accepts is what comes in, and nothing that it does not name."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from quay.web.api.errors import BadRequest
from quay.web.api.shapes import Body, Definitions, Query, Schema, schema_of


class Leaf(TypedDict):
    """The end of something."""

    name: Annotated[str, Schema(maxLength=8)]
    count: NotRequired[Annotated[int, Schema(minimum=0, maximum=9)]]


class Tree(TypedDict):
    kind: Literal["oak", "elm"]
    leaf: Leaf
    maybe: NotRequired[Leaf | None]
    leaves: NotRequired[list[Leaf]]
    by_name: NotRequired[dict[str, Leaf]]
    either: NotRequired[Leaf | list[Leaf]]
    anything: NotRequired[Any]
    ratio: NotRequired[float | None]
    flag: NotRequired[bool]


SCHEMA = schema_of(Tree)
KNOWN = {"name", "count"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 12) | st.floats(0, 1) | st.sampled_from(["oak", "elm", "", "x" * 9]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "count", "id"]), inner),
    max_leaves=8,
)
leaves = st.fixed_dictionaries(
    {"name": st.text("abc", max_size=10)},
    optional={"count": st.integers(-2, 12), "superuser": json_values, "id": json_values},
)
trees = st.fixed_dictionaries(
    {"kind": st.sampled_from(["oak", "elm", "fir"]), "leaf": leaves},
    optional={
        "maybe": leaves | st.none() | json_values,
        "leaves": st.lists(leaves, max_size=3) | json_values,
        "by_name": st.dictionaries(st.text("ab", max_size=2), leaves, max_size=3),
        "either": leaves | st.lists(leaves, max_size=2),
        "anything": json_values,
        "ratio": json_values,
        "flag": json_values,
        "namespace_id": json_values,
    },
)


def parsed(value: Any) -> Any:
    """What comes in of `value`; None if it is refused."""
    try:
        return Body(Tree).parse(value)
    except BadRequest:
        return None


@given(trees | json_values)
def test_the_schema_is_the_check(value: Any) -> None:
    """What a validator of the published schema accepts is accepted, and nothing else."""
    assert Draft202012Validator(SCHEMA).is_valid(value) == (parsed(value) is not None)


@given(trees)
def test_only_what_is_named_comes_in(value: Any) -> None:
    """Members that the shape does not name are dropped at every depth; those that it names are as they were sent."""
    found = parsed(value)
    if found is None:
        return
    assert found.keys() == value.keys() & SCHEMA["properties"].keys()
    either = found.get("either", [])
    several = [found["leaf"], found.get("maybe") or {}, *found.get("leaves", []), *found.get("by_name", {}).values()]
    for leaf in [*several, *(either if isinstance(either, list) else [either])]:
        assert leaf.keys() <= KNOWN
    assert found["leaf"] == {name: member for name, member in value["leaf"].items() if name in KNOWN}
    assert found.get("anything") == value.get("anything")


@given(trees)
def test_parsing_again_changes_nothing(value: Any) -> None:
    """What came in once comes in unchanged."""
    found = parsed(value)
    if found is not None:
        assert Body(Tree).parse(found) == found


SECRET = "hunter2-and-more"
REFUSED: list[tuple[Any, str]] = [
    ([], "The body must be of the type object."),
    ({"leaf": {"name": "x"}}, "The body lacks 'kind'."),
    ({"kind": SECRET, "leaf": {"name": "x"}}, "'kind' must be one of 'oak', 'elm'."),
    ({"kind": "oak", "leaf": {"name": SECRET}}, "'leaf.name' is longer than 8 characters."),
    ({"kind": "oak", "leaf": SECRET}, "'leaf' must be of the type object."),
    ({"kind": "oak", "leaf": {"name": "x", "count": 10}}, "'leaf.count' must not be more than 9."),
    ({"kind": "oak", "leaf": {"name": "x"}, "leaves": [{}]}, "'leaves.0' lacks 'name'."),
    ({"kind": "oak", "leaf": {"name": "x"}, "ratio": SECRET}, "'ratio' must be of the type number or null."),
    ({"kind": "oak", "leaf": {"name": "x"}, "either": SECRET}, "'either' is none of the things that it may be."),
]


@pytest.mark.parametrize(("value", "told"), REFUSED)
def test_sentences(value: Any, told: str) -> None:
    """A refusal says what is wrong and where, and never what was sent."""
    with pytest.raises(BadRequest) as refused:
        Body(Tree).parse(value)
    assert refused.value.message == told


KEYWORDS = [
    Schema(maxLength=3), Schema(minLength=99), Schema(pattern="^[0-9]$"), Schema(enum=["a"]), Schema(const="a"),
    Schema(format="x", maxLength=1), Schema(type="integer"),
]  # fmt: skip


@pytest.mark.parametrize("keyword", KEYWORDS, ids=lambda keyword: next(iter(keyword.keywords)))
def test_no_keyword_repeats_what_was_sent(keyword: Schema) -> None:
    """Whatever a schema asks for, what does not fit may be a secret, and is not repeated."""
    shape = TypedDict("shape", {"password": Annotated[str, keyword]})  # noqa: UP013
    with pytest.raises(BadRequest) as refused:
        Body(shape).parse({"password": SECRET})
    assert SECRET not in refused.value.message


# --- queries


class Filter(TypedDict):
    page: Annotated[int, Schema(default=1, minimum=1, maximum=1000)]
    text: NotRequired[Annotated[str, Schema(maxLength=5)]]
    ratio: NotRequired[float]
    flag: Annotated[bool, Schema(default=False)]
    public: NotRequired[bool]
    needed: str


def test_query_types() -> None:
    """Parameters come in as what they are; what is missing has its default or is missing; the rest is dropped."""
    query = Query(Filter)
    assert query.parse({"needed": "x"}) == {"page": 1, "flag": False, "needed": "x"}
    assert query.parse({"needed": "1", "page": "7", "ratio": "0.5", "text": "1", "id": "3"}) == {
        "page": 7,
        "ratio": 0.5,
        "text": "1",
        "flag": False,
        "needed": "1",
    }


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("true", True), ("1", True), ("yes", True), ("x", True), ("", False), ("0", False), ("False", False)],
)
def test_truth(text: str, meaning: bool) -> None:
    """Booleans are what Quay takes for true: all but nothing, 0 and false."""
    assert Query(Filter).parse({"needed": "", "flag": text})["flag"] is meaning


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({"needed": "x", "page": "one"}, "'page' must be a whole number of 18 digits at most."),
        ({"needed": "x", "page": "1.5"}, "'page' must be a whole number of 18 digits at most."),
        ({"needed": "x", "page": "9" * 5000}, "'page' must be a whole number of 18 digits at most."),
        ({"needed": "x", "page": "1_0"}, "'page' must be a whole number of 18 digits at most."),
        ({"needed": "x", "page": "٣"}, "'page' must be a whole number of 18 digits at most."),
        ({"needed": "x", "page": "0"}, "'page' must not be less than 1."),
        ({"needed": "x", "page": "1001"}, "'page' must not be more than 1000."),
        ({"needed": "x", "ratio": "nan"}, "'ratio' must be a number."),
        ({"needed": "x", "ratio": "inf"}, "'ratio' must be a number."),
        ({"needed": "x", "text": "123456"}, "'text' is longer than 5 characters."),
        ({}, "The query lacks 'needed'."),
    ],
)
def test_query_refusals(given_: dict[str, str], told: str) -> None:
    """What does not fit is refused, in a sentence."""
    with pytest.raises(BadRequest) as refused:
        Query(Filter).parse(given_)
    assert refused.value.message == told


@given(st.dictionaries(st.sampled_from([*Filter.__annotations__, "other"]), st.text(max_size=8), max_size=7))
def test_any_query(given_: dict[str, str]) -> None:
    """Any text is either refused or comes in as the schema says."""
    try:
        found = Query(Filter).parse(given_)
    except BadRequest:
        return
    assert Draft202012Validator(schema_of(Filter)).is_valid(found)
    assert found.keys() <= Filter.__annotations__.keys()


def test_parameters() -> None:
    """A parameter with a default need not be given."""
    required = {name: needed for name, _, needed in Query(Filter).parameters()}
    assert required == {
        "page": False, "text": False, "ratio": False, "flag": False, "public": False, "needed": True,
    }  # fmt: skip


# --- definitions


def test_definitions() -> None:
    """A document names each shape once, and refers to it wherever it stands."""
    definitions = Definitions("#/x/")
    assert schema_of(Tree, definitions) == {"$ref": "#/x/Tree"}
    assert definitions.keys() == {"Tree", "Leaf"}
    assert definitions["Tree"]["properties"]["leaves"]["items"] == {"$ref": "#/x/Leaf"}
    assert definitions["Leaf"]["description"] == "The end of something."


def test_two_shapes_of_one_name() -> None:
    """Two shapes that are called alike in two modules are two definitions."""
    other = TypedDict("Leaf", {"weight": int})  # noqa: UP013
    other.__module__ = "quay.web.api.some_noun"
    definitions = Definitions("#/x/")
    assert definitions.refer(Leaf) == {"$ref": "#/x/Leaf"}
    assert definitions.refer(other) == {"$ref": "#/x/SomeNounLeaf"}
    assert definitions["SomeNounLeaf"]["properties"].keys() == {"weight"}


def test_a_type_that_json_does_not_know() -> None:
    """A shape with a member that has no JSON is refused where it is declared."""
    with pytest.raises(TypeError, match="has no JSON Schema"):
        schema_of(bytes)
